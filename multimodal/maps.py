"""Maps: points of many numbers put on a square, alike ones near each other."""

from __future__ import annotations

import numpy as np

PERPLEXITY = 30.0


def square_map(values_ND: np.ndarray) -> np.ndarray:
    """float64 [n, 2]: places in the unit square by t-SNE (van der Maaten and Hinton 2008) of three points or more. The same
    values give the same places."""
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(values_ND) - 1) / 3)
    near = TSNE(
        2, perplexity=perplexity, init="pca", learning_rate="auto", method="exact", random_state=0
    ).fit_transform(np.asarray(values_ND, np.float64))
    near = near - near.min(0)
    return (near / np.maximum(near.max(0), 1e-9)).astype(np.float64)
