"""Owns captions by the paper's route: a cloze template filled in by the model from the visual tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from multimodal.examples import JOINT, pack, sequence, unmasked
from multimodal.library import Material
from multimodal.pretraining import Trained
from multimodal.segments import Segment
from multimodal.store import InputError

TEMPLATE = "now let me show you how to [MASK] the [MASK]."
"""VideoBERT, section 4.3: the first blank gives the verb, the second the noun."""


@dataclasses.dataclass(frozen=True)
class Caption:
    """``score`` is the geometric mean of the filled-in words' probabilities, ``route`` how the caption was made."""

    start: float
    end: float
    text: str
    score: float
    route: str = "template"


def template_ids(trained: Trained, template: str) -> list[int]:
    """The template's word-piece ids with [MASK] at each blank. Raises :class:`InputError` where it has no blank."""
    parts = template.split("[MASK]")
    if len(parts) == 1:
        raise InputError(f"--template {template!r}: has no blank; write [MASK] where a word is to be found")
    ids = trained.vocabulary.encode(parts[0])
    for part in parts[1:]:
        ids += [trained.vocabulary.mask, *trained.vocabulary.encode(part)]
    return ids


@torch.no_grad()
def blanks(
    trained: Trained, texts: Sequence[Sequence[int]], tokens: Sequence[Sequence[int]]
) -> list[torch.Tensor]:
    """For each text with [MASK]s and its visual tokens (or none): log-probabilities over the word pieces, [blanks, words].

    Specials and unused rows are left out (−inf).
    """
    vocabulary, found = trained.vocabulary, []
    allowed = torch.full((len(vocabulary.words),), -torch.inf)
    allowed[list(vocabulary.replaceable_words)] = 0
    for first in range(0, len(texts), 64):
        inputs = [
            unmasked(*sequence(vocabulary, x, t), JOINT)
            for x, t in zip(texts[first : first + 64], tokens[first : first + 64], strict=True)
        ]
        batch = pack(inputs).to(trained.model.device)
        x_TH = trained.model.encode(batch)
        asked = (batch.ids_T == vocabulary.mask) & (batch.types_T == 0)
        logits = trained.model.cloze(x_TH[asked])[:, : len(vocabulary.words)].float().cpu() + allowed
        counts = torch.bincount(batch.sequence_T[asked], minlength=len(inputs)).tolist()
        found += torch.log_softmax(logits, -1).split(counts)
    return found


def fill(trained: Trained, template: str, tokens: Sequence[int]) -> tuple[str, float]:
    """The template with its blanks filled, the surest first and each knowing those before, and its score."""
    ids = template_ids(trained, template)
    whole = torch.tensor(
        [
            trained.vocabulary.words[i][0] != "#" and trained.vocabulary.words[i].isalpha()
            for i in range(len(trained.vocabulary.words))
        ]
    )
    total, count = 0.0, ids.count(trained.vocabulary.mask)
    for _ in range(count):
        (log_p,) = blanks(trained, [ids], [tokens])
        best, words = log_p.masked_fill(~whole, -torch.inf).max(-1)
        surest = int(best.argmax())
        places = [i for i, token in enumerate(ids) if token == trained.vocabulary.mask]
        ids[places[surest]] = int(words[surest])
        total += float(best[surest])
    return sentence(trained.vocabulary.decode(ids)), float(torch.tensor(total / count).exp())


def sentence(text: str) -> str:
    """Word pieces put back as a person writes: no space before a mark, a capital at the start."""
    for mark in ".,!?;:":
        text = text.replace(f" {mark}", mark)
    return text.replace(" ' ", "'")[:1].upper() + text.replace(" ' ", "'")[1:]


def caption(
    trained: Trained, material: Material, *, at: float | None = None, template: str = TEMPLATE
) -> list[Caption]:
    """A caption for each moment of a video that can be seen, or only for the one at second ``at``.

    Raises :class:`InputError` where ``at`` is outside the video, or nothing of it can be seen.
    """
    shown = [m for m in material.moments() if m.tokens]
    if not shown:
        raise InputError(
            f"video {material.video.name}: none of its picture could be read, so there is nothing to caption"
        )
    if at is not None:
        shown = [moment_at(material, shown, at)]
    return [Caption(m.start, m.end, *fill(trained, template, m.tokens)) for m in shown]


def moment_at(material: Material, shown: Sequence[Segment], at: float) -> Segment:
    """The moment of ``shown`` that second ``at`` is in, else the nearest. Raises :class:`InputError` outside the video."""
    start, end = (
        float(material.starts[0]),
        max(float(material.starts[0]) + (material.video.seconds or 0), shown[-1].end),
    )
    if not start <= at <= end:
        raise InputError(
            f"--at {at:g}: outside the video {material.video.name}, which runs from {start:g} s to {end:g} s; name a second in it"
        )
    return min(shown, key=lambda m: max(m.start - at, at - m.end, 0.0))
