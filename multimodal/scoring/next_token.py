"""Next-token figures: the visual token of a coming clip at each horizon, by the model and by counted n-grams."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from multimodal.answers.counts import Counts
from multimodal.answers.forecast import horizon_probabilities
from multimodal.answers.plain import NGrams
from multimodal.inference.trained import Trained
from multimodal.known_world.inference import BestAnswers
from multimodal.library import Material
from multimodal.scoring.intervals import Figure, ScoredQuestions, compared, sample_questions
from multimodal.segments import HORIZONS
from vision.clips import CLIP_SECONDS

BATCH = 128


def figure_name(horizon: int) -> str:
    """``next_token`` for the very next clip, ``next_token_at_3_s`` … for those further ahead."""
    return "next_token" if horizon == 1 else f"next_token_at_{horizon * CLIP_SECONDS:g}_s"


def next_token_figures(
    trained: Trained | None,
    counts: Counts,
    choices: int,
    asked: Sequence[Material],
    seed: int = 0,
    best: BestAnswers | None = None,
) -> dict[str, Figure]:
    """``next_token…``, ``…_counts`` and ``…_minus_counts``: accuracy of the likeliest of ``choices`` tokens at each horizon.

    A question is a clip of one of the ``asked`` videos, with the clips up to it as the context, as in ``videobert next``.
    The n-grams leave out the video that is asked about. Chance is the most frequent token that was counted. Of many clips
    a sample is asked. ``trained`` is ``None`` where the videos were learned from: then the counts alone are asked. With
    ``best`` answers there is ``next_token…_limit``.
    """
    frequent = Counter(counts.clips.values.tolist()).most_common(1)
    usual = frequent[0][0] if frequent else -1
    ngrams = NGrams(counts, choices)
    clips, note = sample_questions([(m, i) for m in asked for i in range(1, len(m.tokens))], seed)
    model: dict[str, ScoredQuestions] = {}
    plain: dict[str, ScoredQuestions] = {}
    limit: dict[str, ScoredQuestions] = {}
    for first in range(0, len(clips), BATCH):
        batch = clips[first : first + BATCH]
        contexts = [m.tokens[:i].tolist() for m, i in batch]
        guesses = None if trained is None else horizon_probabilities(trained, contexts).argmax(-1).tolist()
        for n, ((m, i), context) in enumerate(zip(batch, contexts, strict=True)):
            horizons = [h for h in HORIZONS if i + h <= len(m.tokens)]
            counted = ngrams.probabilities(context, horizons, m.video.video).argmax(-1).tolist()
            known = None if best is None else best.next_tokens(context, horizons).argmax(-1).tolist()
            for place, h in enumerate(horizons):
                token, video, name = int(m.tokens[i + h - 1]), m.video.video, figure_name(h)
                plain.setdefault(name, ScoredQuestions()).add(video, counted[place] == token, token == usual)
                if known is not None:
                    limit.setdefault(name, ScoredQuestions()).add(
                        video, known[place] == token, token == usual
                    )
                if guesses is not None:
                    answers = model.setdefault(name, ScoredQuestions())
                    answers.add(video, guesses[n][place] == token, token == usual)
    found: dict[str, Figure] = {}
    for name, answers in plain.items():
        found |= compared(name, model.get(name, ScoredQuestions()), answers, seed, note)
        if name in limit:
            found[f"{name}_limit"] = limit[name].figure(seed, note)
    return found
