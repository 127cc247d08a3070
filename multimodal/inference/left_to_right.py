"""What a model that reads left to right says next, word by word or clip by clip, and how likely it finds a name (GPT).

Other systems fill blanks (:mod:`multimodal.inference.cloze`), some by a decoder (:mod:`multimodal.inference.writing`). What is read so far is kept (:mod:`multimodal.joint.cached`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from multimodal.examples.orders import video_first
from multimodal.examples.packing import VIDEO_TYPE, Parts, chained
from multimodal.inference.sampling import SamplingOptions, sample
from multimodal.inference.trained import TEXT_TYPE, TokenSequence, Trained
from multimodal.joint.cached import CachedReader
from multimodal.store import InputError

BATCH = 32
"""Prompts that are read at once."""
LONGEST = 40
"""Word pieces of a text that is written, at most."""
LONGEST_PROMPT = 128
"""Tokens of a prompt, at most."""
ROLLOUTS = 16
"""Continuations over which the probabilities of a later clip are averaged."""
LIKELIEST = SamplingOptions(temperature=0.0)
"""Always the likeliest word."""


@dataclasses.dataclass(frozen=True)
class WrittenText:
    """``ids`` of word pieces without the end mark, and the ``log_p`` of each of them and of the end."""

    ids: tuple[int, ...]
    log_p: tuple[float, ...]

    @property
    def score(self) -> float:
        """The geometric mean of the probabilities."""
        return float(np.exp(np.mean(self.log_p)))


def check_left_to_right(trained: Trained, asked: str) -> None:
    """Raises :class:`InputError` where the model does not read left to right; ``asked`` is what was asked for."""
    if not trained.left_to_right:
        raise InputError(
            f"{asked}: model {trained.name} draws no words; leave it out, or train one that reads left to right: --system gpt"
        )


def prompt(
    trained: Trained, tokens: Sequence[int], begun: Sequence[int] = (), examples: Sequence[Parts] = ()
) -> TokenSequence:
    """What is read before a text about visual ``tokens`` is written: ``[CLS] [>] video [SEP]`` and the words ``begun`` with.

    ``examples``: the words and tokens of other moments, whose video and words are read before (:func:`fitting`). Without
    tokens it is ``[CLS]`` and the words.
    """
    own = ((), tokens)
    parts = video_first([*fitting(examples, own, len(begun)), own])
    if parts:
        ids, types = chained(trained.vocabulary, parts, LONGEST_PROMPT)
    else:
        ids, types = [trained.vocabulary.cls_id], [TEXT_TYPE]
    return [*ids, *begun], [*types, *[TEXT_TYPE] * len(begun)]


def fitting(examples: Sequence[Parts], own: Parts, more: int = 0) -> list[Parts]:
    """The examples that are read before the part ``own`` and ``more`` tokens behind it: the last ones where all would be longer
    than :data:`LONGEST_PROMPT`."""
    room, kept = LONGEST_PROMPT - sum(map(len, own)) - 2 - more, list[Parts]()
    for words, tokens in reversed(examples):
        room -= len(words) + len(tokens) + 3  # [>] and, in either order of its parts, at most two [SEP]
        if room < 0:
            break
        kept.insert(0, (words, tokens))
    return kept


@torch.no_grad()
def write(
    trained: Trained,
    prompts: Sequence[TokenSequence],
    options: SamplingOptions = LIKELIEST,
    longest: int = LONGEST,
) -> list[WrittenText]:
    """A text behind each prompt, one word piece at least and ``longest`` at most.

    Each is drawn with the same random numbers, so it does not depend on the prompts beside it.
    """
    vocabulary, found = trained.vocabulary, []
    words = len(vocabulary.words)
    ended_V, begun_V = torch.full((2, words), -torch.inf)
    begun_V[list(vocabulary.replaceable_words)] = 0
    ended_V[[*vocabulary.replaceable_words, vocabulary.sep]] = 0
    for first in range(0, len(prompts), BATCH):
        some = prompts[first : first + BATCH]
        texts: list[WrittenText] = [WrittenText((), ())] * len(some)
        random = [np.random.default_rng(options.seed) for _ in some]
        reader = CachedReader(trained.model)
        x_NH = _read(reader, some)
        live = list(range(len(some)))
        for length in range(longest):
            allowed_V = ended_V if length else begun_V
            logits_NV = trained.model.cloze(x_NH, columns=slice(words)).float().cpu()
            log_p_NV = torch.log_softmax(logits_NV + allowed_V, -1)
            kept, ids = [], []
            for row, n in enumerate(live):
                piece = sample(log_p_NV[row].exp().double().numpy(), options, random[n])
                log_p = (*texts[n].log_p, float(log_p_NV[row, piece]))
                if piece == vocabulary.sep:
                    texts[n] = WrittenText(texts[n].ids, log_p)
                    continue
                texts[n] = WrittenText((*texts[n].ids, piece), log_p)
                kept.append(row)
                ids.append(piece)
            live = [live[row] for row in kept]
            if not live or length + 1 == longest:
                break
            reader.select(torch.tensor(kept, device=x_NH.device))
            x_NH = _read(reader, [([piece], [TEXT_TYPE]) for piece in ids])
        found += texts
    return found


@torch.no_grad()
def next_words(trained: Trained, prompts: Sequence[TokenSequence]) -> torch.Tensor:
    """Log-probabilities [n, words] of the word piece after each prompt; specials and unused rows are left out (−inf)."""
    words = len(trained.vocabulary.words)
    allowed_V = torch.full((words,), -torch.inf)
    allowed_V[list(trained.vocabulary.replaceable_words)] = 0
    found = []
    for first in range(0, len(prompts), BATCH):
        x_NH = _read(CachedReader(trained.model), prompts[first : first + BATCH])
        found.append(
            torch.log_softmax(trained.model.cloze(x_NH, columns=slice(words)).float().cpu() + allowed_V, -1)
        )
    return torch.cat(found) if found else torch.zeros(0, words)


def name_log_p(
    trained: Trained, prompts: Sequence[TokenSequence], names: Sequence[Sequence[int]]
) -> torch.Tensor:
    """[n, names]: log p of each name behind each prompt, the mean over its pieces, each given those before it."""
    asked: dict[tuple[int, tuple[int, ...]], int] = {}
    for n in range(len(prompts)):
        for pieces in names:
            for i in range(len(pieces)):
                asked.setdefault((n, tuple(pieces[:i])), len(asked))
    read = [([*prompts[n][0], *before], [*prompts[n][1], *[TEXT_TYPE] * len(before)]) for n, before in asked]
    log_p_MV = next_words(trained, read)
    return torch.tensor(
        [
            [
                sum(float(log_p_MV[asked[n, tuple(pieces[:i])], piece]) for i, piece in enumerate(pieces))
                / len(pieces)
                for pieces in names
            ]
            for n in range(len(prompts))
        ]
    ).reshape(len(prompts), len(names))


@torch.no_grad()
def coming_probabilities(
    trained: Trained,
    prompts: Sequence[TokenSequence],
    ahead: Sequence[int],
    allowed: torch.Tensor | None = None,
) -> list[torch.Tensor]:
    """For each prompt that ends in a video: probabilities of the visual tokens of the next ``ahead`` clips, [ahead, tokens].

    The first is exact. A later one is the mean of what is predicted after :data:`ROLLOUTS` continuations, which are drawn
    with the same evenly spread numbers for all prompts. ``allowed``: the probability of all other tokens is 0.
    """
    model, first_visual = trained.model, trained.vocabulary.first_visual
    found: list[torch.Tensor] = []
    for first in range(0, len(prompts), BATCH):
        some, longest = prompts[first : first + BATCH], max(ahead[first : first + BATCH])
        reader, random = CachedReader(model), np.random.default_rng(0)
        x_NH, coming, rollouts = _read(reader, some), [], 1
        for step in range(longest):
            logits_NV = model.cloze(x_NH, columns=trained.vocabulary.visual_ids).float().cpu()
            if allowed is not None:
                logits_NV = logits_NV.masked_fill(~allowed, -torch.inf)
            p_NV = torch.softmax(logits_NV, -1)
            coming.append(p_NV.view(len(some), rollouts, -1).mean(1))
            if step + 1 == longest:
                break
            if not step:
                rollouts = ROLLOUTS
                rows = torch.arange(len(some)).repeat_interleave(rollouts)
                reader.select(rows.to(x_NH.device))
                p_NV = p_NV[rows]
            u = torch.from_numpy((random.permutation(rollouts) + 0.5) / rollouts).repeat(len(some))
            cumulated_NV = p_NV.double().cumsum(1)
            token_N = torch.searchsorted(cumulated_NV, u[:, None] * cumulated_NV[:, -1:])[:, 0]
            token_N = token_N.clamp_max(p_NV.shape[1] - 1) + first_visual
            x_NH = _read(reader, [([token], [VIDEO_TYPE]) for token in token_N.tolist()])
        found += [torch.stack(coming, 1)[n, :count] for n, count in enumerate(ahead[first : first + BATCH])]
    return found


def _read(reader: CachedReader, sequences: Sequence[TokenSequence]) -> torch.Tensor:
    """The state [N, H] after each of the sequences, which follow what was read before."""
    longest = max(len(ids) for ids, _ in sequences)
    ids_NL, types_NL = (
        torch.tensor([[*sequence[part], *[0] * (longest - len(sequence[part]))] for sequence in sequences])
        for part in (0, 1)
    )
    lengths_N, device = torch.tensor([len(ids) for ids, _ in sequences]), reader.model.device
    return reader.read(ids_NL.to(device), types_NL.to(device), lengths_N.to(device))
