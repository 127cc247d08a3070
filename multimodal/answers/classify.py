"""Owns zero-shot verbs and nouns: which word of a list the template's blanks call for, given what is seen."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from multimodal.answers.caption import TEMPLATE, blanks, template_ids
from multimodal.pretraining import Trained
from multimodal.store import InputError


def classify(
    trained: Trained, tokens: Sequence[Sequence[int]], verbs: Sequence[str], nouns: Sequence[str]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of the verbs [n, verbs] at the first blank and of the nouns [n, nouns] at the second.

    ``tokens``: the visual tokens of n moments; an empty list asks the language prior alone.
    VideoBERT, section 4.3. Raises :class:`InputError` for a name that is not one word piece.
    """
    ids = template_ids(trained, TEMPLATE)
    found = torch.stack(blanks(trained, [ids] * len(tokens), tokens))
    return found[:, 0, _pieces(trained, "verb", verbs)], found[:, 1, _pieces(trained, "noun", nouns)]


def _pieces(trained: Trained, kind: str, names: Sequence[str]) -> list[int]:
    pieces = [trained.vocabulary.encode(name) for name in names]
    for name, ids in zip(names, pieces, strict=True):
        if len(ids) != 1 or ids[0] == trained.vocabulary.unknown:
            raise InputError(
                f"{kind} {name!r}: not one word piece of the model's vocabulary; choose a plainer word"
            )
    return [ids[0] for ids in pieces]
