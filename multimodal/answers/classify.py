"""Zero-shot classification: verbs and nouns of a person's lists for each moment, by cloze and by the alignment head."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from multimodal.inference.cloze import blank_log_probabilities, known_ids
from multimodal.inference.embedding import alignment_probability
from multimodal.inference.trained import Trained
from multimodal.store import InputError
from multimodal.vocabulary import TEMPLATE

VERB, NOUN = 0, 1
PARTNERS = 5
"""A verb is written out with this many nouns, the likeliest by the template, and a noun with as many verbs."""
WITHOUT_PARTNER = ("now let me show you how to {} it.", "now let me show you the {}.")
"""The sentences of verbs without nouns, and of nouns without verbs."""


@dataclasses.dataclass(frozen=True)
class Named:
    """``probability``: of the name among those of its list, a softmax over ``log_p``, the mean log-probability of its
    pieces at the template's blank. ``aligned``: the alignment head's probability of the sentence with this name."""

    name: str
    probability: float
    log_p: float
    aligned: float


@dataclasses.dataclass(frozen=True)
class Classified:
    """The names of both lists for one moment, the likeliest by the template first."""

    verbs: tuple[Named, ...]
    nouns: tuple[Named, ...]


def classify(
    trained: Trained, tokens: Sequence[Sequence[int]], verbs: Sequence[str], nouns: Sequence[str]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of the verbs [n, verbs] at the first blank and of the nouns [n, nouns] at the second.

    ``tokens``: the visual tokens of n moments; an empty list asks the language prior alone.
    VideoBERT, section 4.3. A name of several word pieces has as many blanks, filled from left to right; its score is the
    mean over its pieces, as a sum would leave long names no chance. Raises :class:`InputError` for a name that is empty
    or has a word that the vocabulary lacks.
    """
    asked = _Blanks(trained, tokens)
    return asked.log_p(VERB, verbs), asked.log_p(NOUN, nouns)


class _Blanks:
    """The template's blanks for some moments; each template is encoded once."""

    def __init__(self, trained: Trained, tokens: Sequence[Sequence[int]]):
        self.trained, self.tokens = trained, list(tokens)
        self._asked: dict[tuple, torch.Tensor] = {}

    def log_p(self, slot: int, names: Sequence[str]) -> torch.Tensor:
        columns = [self._name(slot, known_ids(self.trained, ("verb", "noun")[slot], n)) for n in names]
        return torch.stack(columns, 1) if columns else torch.zeros(len(self.tokens), 0)

    def _name(self, slot: int, pieces: Sequence[int]) -> torch.Tensor:
        """[n] log-probabilities of one name."""
        found = [
            self._ask(slot, len(pieces), tuple(pieces[:done]))[:, piece] for done, piece in enumerate(pieces)
        ]
        return torch.stack(found).mean(0)

    def _ask(self, slot: int, count: int, before: tuple[int, ...]) -> torch.Tensor:
        """Log-probabilities over the word pieces [n, words] at the blank after ``before``, out of ``count`` in the slot."""
        key = (slot, count, before) if count > 1 else slot
        if key not in self._asked:
            vocabulary = self.trained.vocabulary
            middle = [[vocabulary.mask], [vocabulary.mask]]
            middle[slot] = [*before, *[vocabulary.mask] * (count - len(before))]
            start, between, end = (vocabulary.encode(part) for part in TEMPLATE.split("[MASK]"))
            ids = [*start, *middle[VERB], *between, *middle[NOUN], *end]
            found = torch.stack(blank_log_probabilities(self.trained, [ids] * len(self.tokens), self.tokens))
            if count == 1:
                self._asked |= {VERB: found[:, 0], NOUN: found[:, 1]}
            else:
                self._asked[key] = found[:, slot]
        return self._asked[key]


def align(
    trained: Trained, tokens: Sequence[int], verbs: Sequence[str], nouns: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """The alignment head's probabilities [verbs] and [nouns] that the template's sentence, written out with the name,
    belongs to a moment's visual tokens. Of the other list the name with the highest probability stands beside it."""
    if not verbs or not nouns:
        found = [
            alignment_probability(trained, [said.format(name) for name in names], [tokens] * len(names))
            for said, names in zip(WITHOUT_PARTNER, (verbs, nouns), strict=True)
        ]
        return found[VERB], found[NOUN]
    said = [TEMPLATE.replace("[MASK]", verb, 1).replace("[MASK]", noun) for verb in verbs for noun in nouns]
    table = alignment_probability(trained, said, [tokens] * len(said)).reshape(len(verbs), len(nouns))
    return table.max(1), table.max(0)


def classify_moments(
    trained: Trained, tokens: Sequence[Sequence[int]], verbs: Sequence[str], nouns: Sequence[str]
) -> list[Classified]:
    """Both lists for each of n moments, by the template's blanks and by the alignment head. A list may be empty.

    Raises :class:`InputError` where both lists are empty, a name comes twice, or what :func:`classify` raises.
    """
    if not verbs and not nouns:
        raise InputError("--verbs and --nouns: no name given; name some, as in --verbs chop,pour")
    for option, names in (("--verbs", verbs), ("--nouns", nouns)):
        twice = next((n for i, n in enumerate(names) if n in names[:i]), None)
        if twice is not None:
            raise InputError(f"{option}: {twice!r} comes twice; name each once")
    by_blank = classify(trained, tokens, verbs, nouns)
    found = []
    for i, seen in enumerate(tokens):
        best = [names[i].argsort(descending=True, stable=True).tolist() for names in by_blank]
        parts = []
        for slot, names in ((VERB, verbs), (NOUN, nouns)):
            others = [(verbs, nouns)[1 - slot][o] for o in best[1 - slot][:PARTNERS]]
            aligned = align(trained, seen, *((names, others) if slot == VERB else (others, names)))[slot]
            log_p = by_blank[slot][i]
            share = torch.softmax(log_p, -1).tolist()
            parts.append(
                tuple(Named(names[n], share[n], float(log_p[n]), float(aligned[n])) for n in best[slot])
            )
        found.append(Classified(*parts))
    return found
