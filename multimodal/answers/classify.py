"""Zero-shot classification: verbs and nouns of a person's lists for each moment, by cloze and by the alignment head."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from multimodal.answers.plain import WordsAndTokens
from multimodal.inference.cloze import blank_log_probabilities, known_ids
from multimodal.inference.embedding import alignment_probability
from multimodal.inference.left_to_right import (
    Parts,
    check_left_to_right,
    name_log_p,
    next_words,
    prompt,
)
from multimodal.inference.trained import Trained
from multimodal.segments import Segment
from multimodal.store import InputError
from multimodal.vocabulary import TEMPLATE

VERB, NOUN = 0, 1
PARTNERS = 5
"""A verb is written out with this many nouns, the likeliest by the template, and a noun with as many verbs."""
WITHOUT_PARTNER = ("now let me show you how to {} it.", "now let me show you the {}.")
"""The sentences of verbs without nouns, and of nouns without verbs."""


@dataclasses.dataclass(frozen=True)
class Named:
    """``probability``: of the name among those of its list, a softmax over ``log_p``: the mean log-probability of its
    pieces at the template's blank, or by counts Σ log p(token | name) − log p(token). ``aligned``: the alignment head's
    probability of the sentence with this name, ``None`` by counts, and of a model without one.

    By counts only: ``heard``, whether it is said in the moment itself; of ``seen`` moments of other videos that show one of
    the moment's visual tokens, it is said in ``said``.
    """

    name: str
    probability: float
    log_p: float
    aligned: float | None = None
    heard: bool = False
    said: int | None = None
    seen: int | None = None


@dataclasses.dataclass(frozen=True)
class Classified:
    """The names of both lists for one moment, the likeliest by the template first."""

    verbs: tuple[Named, ...]
    nouns: tuple[Named, ...]


def classify(
    trained: Trained,
    tokens: Sequence[Sequence[int]],
    verbs: Sequence[str],
    nouns: Sequence[str],
    examples: Sequence[Parts] = (),
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of the verbs [n, verbs] at the first blank and of the nouns [n, nouns] at the second.

    ``tokens``: the visual tokens of n moments; an empty list asks the language prior alone.
    VideoBERT, section 4.3. A name of several word pieces has as many blanks, filled from left to right; its score is the
    mean over its pieces, as a sum would leave long names no chance. A model that reads left to right is asked for the names behind the
    beginning of the template (:func:`_written`), and behind the ``examples``, words and tokens of other moments. Raises
    :class:`InputError` for a name that is empty or has a word that the vocabulary lacks, and for examples that the model
    has no use for.
    """
    if examples:
        check_left_to_right(trained, "--examples")
    if trained.left_to_right:
        return _written(trained, tokens, verbs, nouns, examples)
    asked = _Blanks(trained, tokens)
    return asked.log_p(VERB, verbs), asked.log_p(NOUN, nouns)


def first_words(trained: Trained, tokens: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """Of a model that reads left to right: log-probabilities [n, words] of the word behind each beginning of :data:`WITHOUT_PARTNER`, for
    the visual tokens of n moments."""
    starts = [trained.vocabulary.encode(said.split("{}")[0]) for said in WITHOUT_PARTNER]
    return [next_words(trained, [prompt(trained, run, start) for run in tokens]) for start in starts]


def _written(
    trained: Trained,
    tokens: Sequence[Sequence[int]],
    verbs: Sequence[str],
    nouns: Sequence[str],
    examples: Sequence[Parts],
) -> tuple[torch.Tensor, torch.Tensor]:
    """:func:`classify` by a model that reads left to right: the verbs behind the template's beginning, the nouns behind it with each of the
    :data:`PARTNERS` likeliest verbs, in the mean over these by their probabilities; without verbs, behind "show you the"."""
    encode = trained.vocabulary.encode
    pieces = [
        [known_ids(trained, kind, name) for name in names]
        for kind, names in (("verb", verbs), ("noun", nouns))
    ]
    start, between, _ = (encode(part) for part in TEMPLATE.split("[MASK]"))
    begun = [prompt(trained, run, start, examples) for run in tokens]
    verb_log_p = name_log_p(trained, begun, pieces[VERB])
    if not verbs:
        alone = encode(WITHOUT_PARTNER[NOUN].split("{}")[0])
        begun = [prompt(trained, run, alone, examples) for run in tokens]
        return verb_log_p, name_log_p(trained, begun, pieces[NOUN])
    partner_log_p, partners = verb_log_p.topk(min(PARTNERS, len(verbs)))
    said = [
        prompt(trained, run, [*start, *pieces[VERB][verb], *between], examples)
        for run, some in zip(tokens, partners.tolist(), strict=True)
        for verb in some
    ]
    given_verb = name_log_p(trained, said, pieces[NOUN]).reshape(*partners.shape, len(nouns))
    return verb_log_p, (given_verb + partner_log_p.log_softmax(-1)[:, :, None]).logsumexp(1)


class _Blanks:
    """The template's blanks for some moments; each way of covering it is encoded once."""

    def __init__(self, trained: Trained, tokens: Sequence[Sequence[int]]):
        self.trained, self.tokens = trained, list(tokens)
        self._encoded: dict[tuple[int, ...], tuple[torch.Tensor, ...]] = {}

    def log_p(self, slot: int, names: Sequence[str]) -> torch.Tensor:
        """Log-probabilities [n, names] of the names at the blank ``slot``."""
        columns = [self._name(slot, known_ids(self.trained, ("verb", "noun")[slot], name)) for name in names]
        return torch.stack(columns, 1) if columns else torch.zeros(len(self.tokens), 0)

    def _name(self, slot: int, pieces: Sequence[int]) -> torch.Tensor:
        """[n] mean log-probabilities of a name's pieces, each given those before it."""
        found = [self._at_blank(slot, len(pieces), pieces[:i])[:, piece] for i, piece in enumerate(pieces)]
        return torch.stack(found).mean(0)

    def _at_blank(self, slot: int, count: int, before: Sequence[int]) -> torch.Tensor:
        """Log-probabilities over the word pieces [n, words] at the blank after ``before``, of ``count`` places in the slot."""
        vocabulary = self.trained.vocabulary
        filled = [[vocabulary.mask], [vocabulary.mask]]
        filled[slot] = [*before, *[vocabulary.mask] * (count - len(before))]
        start, between, end = (vocabulary.encode(part) for part in TEMPLATE.split("[MASK]"))
        ids = (*start, *filled[VERB], *between, *filled[NOUN], *end)
        if ids not in self._encoded:
            found = blank_log_probabilities(self.trained, [ids] * len(self.tokens), self.tokens)
            self._encoded[ids] = torch.stack(found).unbind(1)
        # The verb's blanks come first: of several in the verb's slot the first is the one asked for; the noun's slot begins
        # after the verb's single blank.
        return self._encoded[ids][slot]


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
    trained: Trained,
    tokens: Sequence[Sequence[int]],
    verbs: Sequence[str],
    nouns: Sequence[str],
    examples: Sequence[Parts] = (),
) -> list[Classified]:
    """Both lists for each of n moments, by the template's blanks and by the alignment head. A list may be empty.

    Raises :class:`InputError` where both lists are empty, a name comes twice, or what :func:`classify` raises.
    """
    check_names(verbs, nouns)
    by_blank = classify(trained, tokens, verbs, nouns, examples)
    found = []
    for run, verb_log_p, noun_log_p in zip(tokens, *by_blank, strict=True):
        # A name is judged by the alignment head beside the likeliest names of the other list.
        verb_order = verb_log_p.argsort(descending=True, stable=True).tolist()
        noun_order = noun_log_p.argsort(descending=True, stable=True).tolist()
        verb_aligned = noun_aligned = None
        if trained.has_alignment:
            verb_aligned, _ = align(trained, run, verbs, [nouns[i] for i in noun_order[:PARTNERS]])
            _, noun_aligned = align(trained, run, [verbs[i] for i in verb_order[:PARTNERS]], nouns)
        found.append(
            Classified(
                _ranked(verbs, verb_order, verb_log_p, verb_aligned),
                _ranked(nouns, noun_order, noun_log_p, noun_aligned),
            )
        )
    return found


def check_names(verbs: Sequence[str], nouns: Sequence[str]) -> None:
    """Raises :class:`InputError` where both lists are empty, or a name is empty or comes twice."""
    if not verbs and not nouns:
        raise InputError("--verbs and --nouns: no name given; name some, as in --verbs chop,pour")
    for kind, names in (("verb", verbs), ("noun", nouns)):
        twice = next((n for i, n in enumerate(names) if n in names[:i]), None)
        if twice is not None:
            raise InputError(f"--{kind}s: {twice!r} comes twice; name each once")
        empty = next((name for name in names if not name.strip()), None)
        if empty is not None:
            raise InputError(f"{kind} {empty!r}: is empty; write a word or more")


def count_moments(
    table: WordsAndTokens, moments: Sequence[Segment], verbs: Sequence[str], nouns: Sequence[str]
) -> list[Classified]:
    """Both lists for each moment by counts: names that are said in it first, then by the words that are said while its
    visual tokens are shown in other videos. Raises :class:`InputError` as :func:`classify_moments` does."""
    check_names(verbs, nouns)
    stem = {name: set(table.stems_of(name)) for name in (*verbs, *nouns)}
    found = []
    for m in moments:
        heard = set(table.stems_of(m.text))
        lists = []
        for names in (verbs, nouns):
            fits = table.fits(names, m.tokens, m.video)
            share = torch.softmax(torch.tensor([fit.score for fit in fits]), -1).tolist()
            named = [
                Named(name, p, fit.score, heard=bool(stem[name]) and stem[name] <= heard, said=fit.said, seen=fit.seen)
                for name, p, fit in zip(names, share, fits, strict=True)
            ]  # fmt: skip
            lists.append(tuple(sorted(named, key=lambda n: (not n.heard, -n.log_p))))
        found.append(Classified(*lists))
    return found


def _ranked(
    names: Sequence[str], order: Sequence[int], log_p: torch.Tensor, aligned: np.ndarray | None
) -> tuple[Named, ...]:
    share = torch.softmax(log_p, -1).tolist()
    fits = [None] * len(names) if aligned is None else aligned.tolist()
    return tuple(Named(names[i], share[i], float(log_p[i]), fits[i]) for i in order)
