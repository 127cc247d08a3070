"""Association rows: embedding rows of words and visual tokens that begin alike where what they stand for occurs together.

A network of random weights has to learn each pair of a word and a visual token from its gradients, and meets most pairs a few
times. Counts know the pairs at once: their factorised mutual information is a word embedding (Levy and Goldberg, Neural Word
Embedding as Implicit Matrix Factorization, 2014), here one table of both modalities.
Shapes: N segments, V entries (words, then visual tokens), W words and ``[>]``, K visual tokens, H hidden, R rank.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse
import torch
from scipy.sparse.linalg import eigsh

from multimodal.examples.segment_table import SegmentTable
from multimodal.segments import CONTEXT
from multimodal.vocabulary import Vocabulary

SMOOTHING = 1.0
"""Occurrences that are added to those of a pair and to those that chance would give: rare pairs weigh less."""
ROOT_MEAN_SQUARE = 0.1
"""Of the rows. Rows of BERT's 0.02 are lost in the first steps, which move each number by the learning rate."""
NOISE = 0.01
"""Deviation of what is added to the rows."""


def association_rows(
    spoken: SegmentTable, runs: SegmentTable, vocabulary: Vocabulary, hidden: int, seed: int
) -> torch.Tensor:
    """float32 [V, hidden]: rows whose products approximate positive pointwise mutual information, by the ids of ``vocabulary``.

    A word occurs together with the other words and the visual tokens of its segment, a visual token with those at most
    :data:`~multimodal.segments.CONTEXT` clips away in its run. The matrix is approximated by its ``hidden // 2`` largest
    eigenvalues and turned at random, so that no head of attention gets them all. The row of an entry that occurs together
    with none is NaN.
    """
    words, visual = vocabulary.first_visual, vocabulary.visual
    said_NW = _occurrences(spoken.words(), spoken.word_counts(), words)
    shown_NK = _occurrences(spoken.tokens(), spoken.token_counts(), visual)
    text_WW = said_NW.T @ said_NW - sparse.diags(np.asarray(said_NW.sum(0)).ravel())
    joint_WK = positive_mutual_information(said_NW.T @ shown_NK)
    video_KK = positive_mutual_information(_beside(runs, visual))
    blocks = [[positive_mutual_information(text_WW), joint_WK], [joint_WK.T, video_KK]]
    return torch.from_numpy(_factorised(sparse.csr_array(sparse.block_array(blocks)), hidden, seed))


def positive_mutual_information(counts: sparse.sparray) -> sparse.csr_array:
    """The positive part of the logarithm of each count over that of independent rows and columns, both smoothed by
    :data:`SMOOTHING`. A pair that never occurs has 0."""
    found = sparse.csr_array(counts, dtype=np.float64)
    found.eliminate_zeros()
    found = found.tocoo()
    if not found.nnz:
        return sparse.csr_array(found.shape, dtype=np.float64)
    row, column = found.coords
    by_chance = np.asarray(found.sum(1))[row] * np.asarray(found.sum(0))[column] / found.sum()
    values = np.log((found.data + SMOOTHING) / (by_chance + SMOOTHING))
    positive = sparse.coo_array((np.maximum(values, 0), (row, column)), found.shape).tocsr()
    positive.eliminate_zeros()
    return positive


def _factorised(matrix_VV: sparse.csr_array, hidden: int, seed: int) -> np.ndarray:
    """float32 [V, H] of :data:`ROOT_MEAN_SQUARE` and a little noise, so that no two are the same; NaN where a row is empty."""
    entries, random = matrix_VV.shape[0], np.random.default_rng(seed)
    rank = min(hidden // 2, entries - 1)
    rows_VH = np.full((entries, hidden), np.nan, np.float32)
    used_V = matrix_VV.count_nonzero(axis=1) > 0
    if not used_V.any():
        return rows_VH
    values_R, vectors_VR = eigsh(matrix_VV, k=rank, which="LA", v0=random.standard_normal(entries))
    turn_RH = np.linalg.qr(random.standard_normal((hidden, rank)))[0].T
    found_UH = (vectors_VR[used_V] * np.sqrt(np.maximum(values_R, 0))) @ turn_RH
    found_UH *= ROOT_MEAN_SQUARE / np.sqrt(np.square(found_UH).mean())
    rows_VH[used_V] = found_UH + NOISE * random.standard_normal(found_UH.shape)
    return rows_VH


def _occurrences(entry_n: np.ndarray, length_N: np.ndarray, entries: int) -> sparse.csr_array:
    """How often each entry is in each of N lists, which lie one after the other: [N, entries]."""
    list_n = np.repeat(np.arange(len(length_N)), length_N)
    return sparse.coo_array((np.ones(len(entry_n)), (list_n, entry_n)), (len(length_N), entries)).tocsr()


def _beside(runs: SegmentTable, visual: int) -> sparse.csr_array:
    """How often two visual tokens are at most :data:`CONTEXT` clips apart in a run: [K, K], symmetric."""
    token_n, run_n = runs.tokens(), np.repeat(np.arange(len(runs)), runs.token_counts())
    pairs_KK = sparse.csr_array((visual, visual))
    for apart in range(1, CONTEXT + 1):
        same_run = run_n[:-apart] == run_n[apart:]
        places = (token_n[:-apart][same_run], token_n[apart:][same_run])
        pairs_KK = (
            pairs_KK + sparse.coo_array((np.ones(int(same_run.sum())), places), (visual, visual)).tocsr()
        )
    return pairs_KK + pairs_KK.T
