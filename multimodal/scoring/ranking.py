"""Owns the judging of orders: ranks, recall among the first k, the median rank, and the area under the ROC curve.

Whatever scores equally may come in any order, so a tie is judged by its mean over all orders: no figure depends on
which of two equal moments happens to be stored first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from multimodal.scoring.intervals import Answers, Figure, Videos, mean, of_sums

RECALLS = (1, 5, 10)


def before_and_tied(scores_NM: np.ndarray, own_NM: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each query, how many others score above the best of its own candidates, and how many the same: int64 [N] each.

    ``own_NM``: bool, one or more a row.
    """
    best_N1 = np.where(own_NM, scores_NM, -np.inf).max(1, keepdims=True)
    return ((scores_NM > best_N1) & ~own_NM).sum(1), ((scores_NM == best_N1) & ~own_NM).sum(1)


def recall(before_N: np.ndarray, tied_N: np.ndarray, k: int) -> np.ndarray:
    """float64 [N]: the chance that the own candidate is among the first k, where ties come in any order."""
    return np.clip((k - before_N) / (tied_N + 1), 0.0, 1.0)


def ranks(before_N: np.ndarray, tied_N: np.ndarray) -> np.ndarray:
    """float64 [N]: the mean rank of the own candidate over the orders of its ties; the first has rank 1."""
    return 1 + before_N + tied_N / 2


def precision(scores_NM: np.ndarray, right_NM: np.ndarray, k: int) -> np.ndarray:
    """float64 [N]: the share of right ones among the first k of M > k candidates, where ties come in any order."""
    last_N1 = -np.partition(-scores_NM, k - 1, axis=1)[:, k - 1 : k]
    above, tied = scores_NM > last_N1, scores_NM == last_N1
    of_tied_N = (right_NM & tied).sum(1) / tied.sum(1)
    return ((right_NM & above).sum(1) + (k - above.sum(1)) * of_tied_N) / k


def retrieval(
    name: str, scores_NM: np.ndarray, own_NM: np.ndarray, videos: Sequence[str], seed: int = 0
) -> dict[str, Figure]:
    """``NAME_recall_at_1``, ``_5``, ``_10`` and ``NAME_median_rank`` of N queries among M candidates.

    ``scores_NM``: higher is nearer. Query i calls for the candidates that ``own_NM[i]`` marks, of which the best counts,
    and is about ``videos[i]``. Chance is a blind draw: k / M and the middle rank (M + 1) / 2 where a query has one
    candidate of its own, else what the best of several gives.
    """
    count, candidates = scores_NM.shape
    if not count or candidates < 2:
        return {}
    before_N, tied_N = before_and_tied(scores_NM, own_NM)
    owns = own_NM.sum(1).tolist()
    found: dict[str, Figure] = {}
    for k in RECALLS:
        missed = (
            [math.comb(candidates - own, k) / math.comb(candidates, k) for own in owns]
            if k <= candidates
            else [0.0] * count
        )
        answers = Answers(recall(before_N, tied_N, k).tolist(), list(videos), [1 - m for m in missed])
        found[f"{name}_recall_at_{k}"] = answers.figure(seed)
    middle = float(np.mean([(candidates + 1) / (own + 1) for own in owns]))
    found[f"{name}_median_rank"] = median(
        ranks(before_N, tied_N), videos, middle, (1.0, float(candidates)), seed
    )
    return found


def median(
    values_N: np.ndarray, videos: Sequence[str], chance: float, bounds: tuple[float, float], seed: int = 0
) -> Figure:
    """The figure of the median: of an even count the mean of the two in the middle."""
    about = Videos(videos, seed)
    order = np.argsort(values_N, kind="stable")
    sorted_N, of_N = np.asarray(values_N, float)[order], about.of_N[order]
    resampled = []
    for drawn_V in about.drawn_RV:
        up_to_N = np.cumsum(drawn_V[of_N])
        middle = [(up_to_N[-1] - 1) // 2, up_to_N[-1] // 2]
        resampled.append(sorted_N[np.searchsorted(up_to_N, middle, side="right")].mean())
    return about.figure(float(np.median(values_N)), np.array(resampled), chance, len(values_N), bounds)


def area_under_curve(
    positive_N: np.ndarray,
    negative_M: np.ndarray,
    videos_N: Sequence[str],
    videos_M: Sequence[str],
    seed: int = 0,
) -> Figure | None:
    """How often a positive scores above a negative, a tie counting half: the area under the ROC curve. Chance is 0.5.

    ``None`` where there is no positive or no negative.
    """
    if not len(positive_N) or not len(negative_M):
        return None
    about = Videos([*videos_N, *videos_M], seed)
    count = about.count
    of_N, of_M = about.of_N[: len(positive_N)], about.of_N[len(positive_N) :]
    sorted_by_video = [np.sort(np.asarray(negative_M)[of_M == v]) for v in range(count)]
    wins_VV = np.zeros((count, count))
    for v, values in enumerate(sorted_by_video):
        above = np.searchsorted(values, positive_N, side="left")
        not_below = np.searchsorted(values, positive_N, side="right")
        np.add.at(wins_VV[:, v], of_N, (above + not_below) / 2)
    pairs_VV = np.outer(np.bincount(of_N, minlength=count), np.bincount(of_M, minlength=count))
    drawn_RV = about.drawn_RV
    pairs_R = np.einsum("rv,vw,rw->r", drawn_RV, pairs_VV, drawn_RV, optimize=True)
    wins_R = np.einsum("rv,vw,rw->r", drawn_RV, wins_VV, drawn_RV, optimize=True)
    with_pairs = pairs_R > 0
    return about.figure(
        wins_VV.sum() / pairs_VV.sum(),
        wins_R[with_pairs] / pairs_R[with_pairs],
        0.5,
        len(positive_N) + len(negative_M),
    )


def perplexity(
    log_p_N: Sequence[float],
    chance_log_p_N: Sequence[float],
    videos: Sequence[str],
    choices: int,
    seed: int = 0,
) -> Figure | None:
    """exp of the mean surprise: 1 is certainty, ``choices`` a blind guess. Natural logarithms.

    ``chance_log_p_N`` is what a baseline gives the same answers. ``None`` where nothing was asked.
    """
    if not len(log_p_N):
        return None
    parts_N2 = np.stack([log_p_N, np.ones(len(log_p_N))], 1)
    return of_sums(
        videos,
        parts_N2,
        lambda sums: np.exp(-mean(sums)),
        float(np.exp(-np.mean(chance_log_p_N))),
        bounds=(1.0, float(choices)),
        seed=seed,
    )
