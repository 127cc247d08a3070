"""Two moments of a video put to the sequence-pair head: do they belong together, as the model's pair task has it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from multimodal.examples.packing import ALIGNED, pair_sequence
from multimodal.inference.embedding import LEAST_PROBABILITY, alignment_probability
from multimodal.inference.trained import Trained, encode
from multimodal.segments import Segment


def together(trained: Trained, pairs: Sequence[tuple[Segment, Segment]]) -> np.ndarray | None:
    """Log-odds float64 [n] that the second moment of each pair goes on with the first; ``None`` where the model's pair task
    does not tell.

    A model of ``next-segment`` reads both. One of ``alignment`` reads the words of each with what is seen in the other, and
    the mean counts; NaN where neither has both.
    """
    if trained.has_next_segment:
        return _follows(trained, pairs)
    return _crossed(trained, pairs) if trained.has_alignment else None


@torch.no_grad()
def _follows(trained: Trained, pairs: Sequence[tuple[Segment, Segment]]) -> np.ndarray:
    vocabulary = trained.vocabulary
    parts = [[(vocabulary.encode(moment.text), moment.tokens) for moment in pair] for pair in pairs]
    found = [np.zeros(0)]
    for batch, x_TH in encode(trained, [pair_sequence(vocabulary, *both) for both in parts]):
        logits_S2 = trained.model.alignment(x_TH, batch).double()
        found.append((logits_S2[:, ALIGNED] - logits_S2[:, 1 - ALIGNED]).cpu().numpy())
    return np.concatenate(found)


def _crossed(trained: Trained, pairs: Sequence[tuple[Segment, Segment]]) -> np.ndarray:
    asked = [
        (number, said.text, shown.tokens)
        for number, (one, other) in enumerate(pairs)
        for said, shown in ((one, other), (other, one))
        if said.text and shown.tokens
    ]
    aligned = alignment_probability(trained, [text for _, text, _ in asked], [shown for *_, shown in asked])
    odds = np.log(aligned + LEAST_PROBABILITY) - np.log(1 - aligned + LEAST_PROBABILITY)
    of = np.array([number for number, *_ in asked], np.int64)
    counts = np.bincount(of, minlength=len(pairs))
    sums = np.bincount(of, odds, minlength=len(pairs))
    return np.divide(sums, counts, out=np.full(len(pairs), np.nan), where=counts > 0)
