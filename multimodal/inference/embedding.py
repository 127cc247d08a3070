"""Dual-encoder embeddings and alignment: text alone and video alone as vectors, and both read together.

The similarity of two embeddings is their inner product; the contrastive loss trained it at ``TEMPERATURE``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from multimodal.examples.packing import ALIGNED
from multimodal.inference.trained import TokenSequence, Trained, encode, sequence
from multimodal.inference.writing import alignment_by_text
from multimodal.objectives.contrast import TEMPERATURE
from multimodal.systems import SENTINELS
from multimodal.training.precision import fast_bf16

LEAST_PROBABILITY = 1e-9
"""Added to a probability before its logarithm is taken."""


def embed_texts(trained: Trained, texts: Sequence[str]) -> np.ndarray:
    """Unit vectors float32 [n, H] of texts; a text without a word piece gives a zero vector."""
    return _embed(trained, [(trained.vocabulary.encode(text), None) for text in texts])


def embed_videos(trained: Trained, tokens: Sequence[Sequence[int]]) -> np.ndarray:
    """Unit vectors float32 [n, H] of runs of visual tokens; an empty run gives a zero vector."""
    return _embed(trained, [(None, run) for run in tokens])


@torch.no_grad()
def _embed(
    trained: Trained, inputs: Sequence[tuple[Sequence[int] | None, Sequence[int] | None]]
) -> np.ndarray:
    vectors = np.zeros((len(inputs), trained.model.options.hidden_size), np.float32)
    full = [i for i, (words, tokens) in enumerate(inputs) if words or tokens]
    sequences = [sequence(trained.vocabulary, *inputs[i]) for i in full]
    found = [trained.model.embed(x_TH, batch).cpu().numpy() for batch, x_TH in encode(trained, sequences)]
    if found:
        vectors[full] = np.concatenate(found)
    return vectors


@torch.no_grad()
def alignment_probability(
    trained: Trained, texts: Sequence[str], tokens: Sequence[Sequence[int]], *, autocast: bool = False
) -> np.ndarray:
    """The probability by the alignment head, or as T5 writes it, float64 [n], that each text belongs to its visual tokens.

    ``autocast``: in bfloat16 where the device multiplies it fast. Of a model that ``has_alignment``; another's head was asked
    something else.
    """
    assert trained.has_alignment
    if trained.form == SENTINELS:
        words = [trained.vocabulary.encode(text) for text in texts]
        return alignment_by_text(trained, words, tokens).double().numpy()
    sequences: list[TokenSequence] = [
        sequence(trained.vocabulary, trained.vocabulary.encode(text), run)
        for text, run in zip(texts, tokens, strict=True)
    ]
    device = trained.model.device
    found = []
    with torch.autocast(device.type, torch.bfloat16, enabled=autocast and fast_bf16(device)):
        for batch, x_TH in encode(trained, sequences):
            logits_S2 = trained.model.alignment(x_TH, batch).float()
            found.append(torch.softmax(logits_S2, -1)[:, ALIGNED].double().cpu().numpy())
    return np.concatenate(found) if found else np.zeros(0)


def rerank_scores(cosines: np.ndarray, aligned: np.ndarray) -> np.ndarray:
    """The sum of two log-probabilities up to a constant: cosine over temperature, and the alignment head's [n]."""
    return cosines / TEMPERATURE + np.log(aligned + LEAST_PROBABILITY)
