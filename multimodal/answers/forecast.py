"""Forecast: probabilities of the visual tokens of the coming clips by masked prediction, and samples from them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from multimodal.inference.cloze import visual_probabilities
from multimodal.inference.left_to_right import Parts, check_left_to_right
from multimodal.inference.sampling import SamplingOptions, sample
from multimodal.inference.trained import Trained
from multimodal.inference.writing import coming_probabilities
from multimodal.library import Material
from multimodal.segments import CONTEXT, HORIZONS
from multimodal.store import InputError
from speech.sentences import Transcript
from vision.clips import CLIP_SECONDS

if TYPE_CHECKING:
    from multimodal.answers.plain import NGrams

LONGEST_ROLLOUT = 600.0
MOST_HEARD = 64
"""Word pieces of what was said before, at most: the last ones."""


@dataclasses.dataclass(frozen=True)
class Horizon:
    """``tokens`` are the likeliest visual tokens ``seconds`` ahead, each with its probability, best first."""

    seconds: float
    tokens: tuple[tuple[int, float], ...]


@dataclasses.dataclass(frozen=True)
class RolloutClip:
    """A clip of a rollout: the token sampled for the clip that ends ``seconds`` ahead, and its probability."""

    seconds: float
    token: int
    probability: float


def forecast_probabilities(
    trained: Trained,
    contexts: Sequence[Sequence[int]],
    ahead: int,
    heard: Sequence[Sequence[int]] | None = None,
    examples: Sequence[Parts] = (),
) -> torch.Tensor:
    """Probabilities of the visual tokens 1 … ``ahead`` clips after each context: [n, ahead, tokens].

    The coming clips are all masked and read at once, as in training. The result is the mean over contexts of several lengths
    (:func:`context_lengths`). What has a decoder writes on from the longest of them. ``heard``: the word-piece ids that join each context.
    ``examples``: moments that a model that reads left to right reads before.
    """
    words = heard or [()] * len(contexts)
    if trained.writer is not None:
        return coming_probabilities(trained, [c[-trained.context :] for c in contexts], ahead, words)
    total: torch.Tensor | float = 0.0
    lengths = context_lengths(trained.context)
    for length in lengths:
        tokens = [[*context[-length:], *[-1] * ahead] for context in contexts]
        p = visual_probabilities(trained, words, tokens, examples=examples)
        total = total + p.reshape(len(contexts), ahead, -1)
    return total / len(lengths)


def context_lengths(most: int) -> tuple[int, ...]:
    """The lengths of the contexts whose forecasts are averaged, in clips, as models of n-grams mix their orders (Jelinek and
    Mercer 1980): a long context says more, a short one was met more often. 1, 2, … up to the usual :data:`CONTEXT`; where
    more were learned from, a quarter, half and all of them (docs/known_world.md)."""
    return tuple(range(1, most + 1)) if most <= CONTEXT else (most // 4, most // 2, most)


def horizon_probabilities(
    trained: Trained, contexts: Sequence[Sequence[int]], heard: Sequence[Sequence[int]] | None = None
) -> torch.Tensor:
    """Probabilities of the visual tokens at each of :data:`HORIZONS` after each context: [n, horizons, tokens].

    For each horizon only the clips up to it are masked: more masks make the nearer clips less certain. A model that reads left to right
    masks none, and is rolled out once.
    """
    if trained.left_to_right:
        return forecast_probabilities(trained, contexts, max(HORIZONS), heard)[:, [h - 1 for h in HORIZONS]]
    return torch.stack([forecast_probabilities(trained, contexts, h, heard)[:, -1] for h in HORIZONS], 1)


Predict = Callable[[Sequence[int], Sequence[int]], np.ndarray]
"""Visual tokens up to now, and so many clips ahead -> the probabilities of the tokens there, float64 [ahead, tokens]."""


def _prediction(
    trained: Trained,
    material: Material,
    at: float,
    words: bool,
    ngrams: NGrams | None,
    examples: Sequence[Parts],
) -> Predict:
    if examples:
        check_left_to_right(trained, "--examples")
    if ngrams is not None:
        return lambda context, ahead: ngrams.probabilities(context, ahead, material.video.video)
    heard = (
        [trained.vocabulary.encode(words_before(material.transcript, at))[-MOST_HEARD:]] if words else None
    )

    def predict(context: Sequence[int], ahead: Sequence[int]) -> np.ndarray:
        found = [forecast_probabilities(trained, [context], h, heard, examples)[0, -1] for h in ahead]
        return torch.stack(found).double().numpy()

    return predict


def forecast(
    trained: Trained,
    material: Material,
    at: float,
    top: int = 3,
    *,
    words: bool = False,
    ngrams: NGrams | None = None,
    examples: Sequence[Parts] = (),
) -> list[Horizon]:
    """The ``top`` tokens at each horizon after second ``at``, from the clips that ended by then.

    ``words``: what was said by then joins them. ``ngrams``: these predict in the model's place, from the clips alone.
    ``examples``: words and tokens of other moments, read before them. Raises :class:`InputError` where ``at`` is outside the
    video or no clip has ended yet, and for examples that the model has no use for.
    """
    context = tokens_before(material, at)
    predict = _prediction(trained, material, at, words, ngrams, examples)
    found = torch.from_numpy(predict(context, HORIZONS))
    best = [p.topk(min(top, len(p))) for p in found]
    return [
        Horizon(h * CLIP_SECONDS, tuple(zip(b.indices.tolist(), b.values.tolist(), strict=True)))
        for h, b in zip(HORIZONS, best, strict=True)
    ]


def rollout(
    trained: Trained,
    material: Material,
    at: float,
    seconds: float,
    options: SamplingOptions = SamplingOptions(),  # noqa: B008 - frozen
    *,
    words: bool = False,
    ngrams: NGrams | None = None,
    examples: Sequence[Parts] = (),
) -> list[RolloutClip]:
    """One sample of the ``seconds`` after ``at``: clip after clip, each conditioned on those before it.

    The probability is the predicted one, before temperature and nucleus. Raises what :func:`forecast` raises, and
    :class:`InputError` for ``seconds`` out of range.
    """
    if not CLIP_SECONDS <= seconds <= LONGEST_ROLLOUT:
        raise InputError(
            f"--rollout {seconds:g}: from {CLIP_SECONDS:g} s, one clip, to {LONGEST_ROLLOUT:g} s; choose a length between"
        )
    context = tokens_before(material, at)
    predict = _prediction(trained, material, at, words, ngrams, examples)
    random, found = np.random.default_rng(options.seed), []
    for clip in range(1, math.floor(seconds / CLIP_SECONDS + 1e-6) + 1):
        p = predict(context, [1])[0]
        token = sample(p, options, random)
        context.append(token)
        found.append(RolloutClip(clip * CLIP_SECONDS, token, float(p[token])))
    return found


def tokens_before(material: Material, at: float) -> list[int]:
    """The tokens of the clips that ended by second ``at``. Raises :class:`InputError` where ``at`` is outside the video or
    there is none."""
    starts: np.ndarray = material.starts
    if not len(starts):
        raise InputError(
            f"video {material.video.name}: none of its picture could be read, so nothing can be forecast; ask about another"
        )
    end = max(float(starts[-1]) + CLIP_SECONDS, float(starts[0]) + (material.video.seconds or 0))
    if not starts[0] + CLIP_SECONDS <= at <= end:
        raise InputError(
            f"{material.video.name}@{at:g}: name a second from {starts[0] + CLIP_SECONDS:g} s (its first clip's end) to {end:g} s"
        )
    return [int(t) for t in material.tokens[starts + CLIP_SECONDS <= at + 1e-6]]


def words_before(transcript: Transcript, at: float) -> str:
    """The last sentence of which a word was said by second ``at``, as far as it was said by then.

    A sentence whose words have no times counts when it has ended.
    """
    for sentence in reversed(transcript.sentences):
        if sentence.end <= at:
            return sentence.text
        said = [word.text.strip() for word in sentence.words if word.end <= at]
        if said:
            return " ".join(said)
    return ""
