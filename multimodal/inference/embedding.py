"""Owns how near words and picture are: the embedding of each alone, and the alignment head's judgement of both together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from multimodal.examples.packing import ALIGNED, JOINT, pack, sequence, unmasked
from multimodal.inference.trained import Trained

BATCH = 64


@torch.no_grad()
def embed(trained: Trained, texts: Sequence[str] = (), tokens: Sequence[Sequence[int]] = ()) -> np.ndarray:
    """Unit vectors float32 [n, H] of texts alone or of visual tokens alone; an empty one gives a zero vector."""
    parts = [(trained.vocabulary.encode(t), None) for t in texts] if texts else [(None, t) for t in tokens]
    vectors = np.zeros((len(parts), trained.model.options.hidden_size), np.float32)
    full = [i for i, (words, seen) in enumerate(parts) if words or seen]
    for first in range(0, len(full), BATCH):
        some = full[first : first + BATCH]
        batch = pack([unmasked(*sequence(trained.vocabulary, *parts[i])) for i in some]).to(
            trained.model.device
        )
        vectors[some] = trained.model.embed(trained.model.encode(batch), batch).cpu().numpy()
    return vectors


@torch.no_grad()
def alignment(trained: Trained, texts: Sequence[str], tokens: Sequence[Sequence[int]]) -> np.ndarray:
    """The alignment head's probability, float64 [n], that each text belongs to its visual tokens."""
    found = []
    for first in range(0, len(texts), BATCH):
        pairs = zip(texts[first : first + BATCH], tokens[first : first + BATCH], strict=True)
        inputs = [
            unmasked(*sequence(trained.vocabulary, trained.vocabulary.encode(x), t), JOINT) for x, t in pairs
        ]
        batch = pack(inputs).to(trained.model.device)
        logits = trained.model.alignment(trained.model.encode(batch), batch).float()
        found.append(torch.softmax(logits, -1)[:, ALIGNED].double().cpu().numpy())
    return np.concatenate(found) if found else np.zeros(0)
