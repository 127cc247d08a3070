"""Owns cloze templates, the paper's way of asking: a sentence with blanks, filled in by the model from the visual tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from multimodal.examples.packing import JOINT, pack, sequence, unmasked
from multimodal.inference.trained import Trained
from multimodal.store import InputError

TEMPLATE = "now let me show you how to [MASK] the [MASK]."
"""VideoBERT, section 4.3: the first blank gives the verb, the second the noun."""


MOST_PIECES = 96
"""Of a text that is asked about; the rest of a sequence is for what is seen."""


def known_ids(trained: Trained, name: str, text: str) -> list[int]:
    """The word-piece ids of a person's ``text``; ``name`` says what it is.

    Raises :class:`InputError` where it is empty, too long, or has a word that the vocabulary lacks.
    """
    vocabulary = trained.vocabulary
    ids = vocabulary.encode(text)
    if not ids:
        raise InputError(f"{name} {text!r}: is empty; write a word or more")
    if len(ids) > MOST_PIECES:
        raise InputError(
            f"{name} {text[:40]!r}…: {len(ids)} word pieces; at most {MOST_PIECES}, make it shorter"
        )
    lacking = [word for word in text.split() if vocabulary.unknown in vocabulary.encode(word)]
    if lacking:
        raise InputError(
            f"{name} {text!r}: the model's vocabulary lacks {lacking[0]!r}; choose a plainer word"
        )
    return ids


def template_ids(trained: Trained, template: str) -> list[int]:
    """The template's word-piece ids with [MASK] at each blank.

    Raises :class:`InputError` where it has no blank, or what :func:`known_ids` raises.
    """
    parts = template.split("[MASK]")
    if len(parts) == 1:
        raise InputError(f"--template {template!r}: has no blank; write [MASK] where a word is to be found")
    if "".join(parts).strip():
        known_ids(trained, "--template", " ".join(parts))
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
