"""Ranking metrics: recall and precision at k, the median rank, the area under the ROC curve; and perplexity.

A tie counts as the mean over all orders of what scores equally: no figure depends on which of two equal moments happens
to be stored first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from multimodal.scoring.intervals import Figure, ScoredQuestions, VideoBootstrap, figure_of_sums, mean

RECALLS = (1, 5, 10)


def above_and_tied(scores_NM: np.ndarray, own_NM: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many other candidates score above the best of a query's own ones, and how many the same: int64 [N] each.

    ``own_NM``: bool, one or more true in each row.
    """
    best_N1 = np.where(own_NM, scores_NM, -np.inf).max(1, keepdims=True)
    return ((scores_NM > best_N1) & ~own_NM).sum(1), ((scores_NM == best_N1) & ~own_NM).sum(1)


def recall_at(above_N: np.ndarray, tied_N: np.ndarray, k: int) -> np.ndarray:
    """float64 [N]: the probability that the own candidate is among the first k."""
    return np.clip((k - above_N) / (tied_N + 1), 0.0, 1.0)


def mean_ranks(above_N: np.ndarray, tied_N: np.ndarray) -> np.ndarray:
    """float64 [N]: the mean rank of the own candidate over the orders of its ties; the first has rank 1."""
    return 1 + above_N + tied_N / 2


def precision_at(scores_NM: np.ndarray, right_NM: np.ndarray, k: int) -> np.ndarray:
    """float64 [N]: the share of right ones among the first k of M > k candidates."""
    # what scores as the k-th does fills the places that are left, each of them with the same probability
    last_N1 = -np.partition(-scores_NM, k - 1, axis=1)[:, k - 1 : k]
    above, tied = scores_NM > last_N1, scores_NM == last_N1
    of_tied_N = (right_NM & tied).sum(1) / tied.sum(1)
    return ((right_NM & above).sum(1) + (k - above.sum(1)) * of_tied_N) / k


def retrieval_figures(
    name: str, scores_NM: np.ndarray, own_NM: np.ndarray, videos: Sequence[str], seed: int = 0
) -> dict[str, Figure]:
    """``NAME_recall_at_1``, ``_5``, ``_10`` and ``NAME_median_rank`` of N queries among M candidates.

    ``scores_NM``: higher is nearer. ``own_NM[i]`` marks the candidates that belong to query i, of which the best counts;
    the query is about ``videos[i]``. Chance is a random order: k / M and the rank (M + 1) / 2 where a query has one
    candidate of its own, else the expectation of the best of several.
    """
    count, candidates = scores_NM.shape
    if not count or candidates < 2:
        return {}
    above_N, tied_N = above_and_tied(scores_NM, own_NM)
    owns = own_NM.sum(1).tolist()
    found: dict[str, Figure] = {}
    for k in RECALLS:
        # hypergeometric: the probability that none of the own candidates is among k drawn ones
        missed = (
            [math.comb(candidates - own, k) / math.comb(candidates, k) for own in owns]
            if k <= candidates
            else [0.0] * count
        )
        questions = ScoredQuestions(
            recall_at(above_N, tied_N, k).tolist(), list(videos), [1 - m for m in missed]
        )
        found[f"{name}_recall_at_{k}"] = questions.figure(seed)
    middle = float(np.mean([(candidates + 1) / (own + 1) for own in owns]))
    found[f"{name}_median_rank"] = median_figure(
        mean_ranks(above_N, tied_N), videos, middle, (1.0, float(candidates)), seed
    )
    return found


def median_figure(
    values_N: np.ndarray, videos: Sequence[str], chance: float, bounds: tuple[float, float], seed: int = 0
) -> Figure:
    """The figure of the median; of an even count the mean of the two in the middle."""
    bootstrap = VideoBootstrap(videos, seed)
    order = np.argsort(values_N, kind="stable")
    sorted_N, of_N = np.asarray(values_N, float)[order], bootstrap.of_N[order]
    # a resample repeats a video's values as often as it drew the video; the cumulated counts find the middle of these
    resampled = []
    for drawn_V in bootstrap.drawn_RV:
        up_to_N = np.cumsum(drawn_V[of_N])
        middle = [(up_to_N[-1] - 1) // 2, up_to_N[-1] // 2]
        resampled.append(sorted_N[np.searchsorted(up_to_N, middle, side="right")].mean())
    return bootstrap.figure(float(np.median(values_N)), np.array(resampled), chance, len(values_N), bounds)


def roc_auc(
    positive_N: np.ndarray,
    negative_M: np.ndarray,
    videos_N: Sequence[str],
    videos_M: Sequence[str],
    seed: int = 0,
) -> Figure | None:
    """The area under the ROC curve: how often a positive scores above a negative, a tie counting half. Chance is 0.5.

    ``None`` where there is no positive or no negative.
    """
    if not len(positive_N) or not len(negative_M):
        return None
    bootstrap = VideoBootstrap([*videos_N, *videos_M], seed)
    area, resampled_R = _areas(bootstrap, positive_N, negative_M)
    return bootstrap.figure(area, resampled_R, 0.5, len(positive_N) + len(negative_M))


def auc_difference(
    first: tuple[np.ndarray, np.ndarray],
    second: tuple[np.ndarray, np.ndarray],
    videos_N: Sequence[str],
    videos_M: Sequence[str],
    seed: int = 0,
) -> Figure | None:
    """The area of the ``first`` scores (positive [N], negative [M]) less that of the ``second``; chance is 0.

    The bootstrap draws videos for both at once. ``None`` where there is no positive or no negative.
    """
    if not len(videos_N) or not len(videos_M):
        return None
    bootstrap = VideoBootstrap([*videos_N, *videos_M], seed)
    (one, one_R), (other, other_R) = (_areas(bootstrap, *scores) for scores in (first, second))
    return bootstrap.figure(one - other, one_R - other_R, 0.0, len(videos_N) + len(videos_M), (-1.0, 1.0))


def _areas(
    bootstrap: VideoBootstrap, positive_N: np.ndarray, negative_M: np.ndarray
) -> tuple[float, np.ndarray]:
    """The area under the ROC curve, and that of each resample with a pair. ``bootstrap``: of the positives, then the
    negatives."""
    count = bootstrap.count
    of_N, of_M = bootstrap.of_N[: len(positive_N)], bootstrap.of_N[len(positive_N) :]
    # wins and pairs of each (positive's video, negative's video): a resample weighs them by how often it drew the two
    sorted_by_video = [np.sort(np.asarray(negative_M)[of_M == v]) for v in range(count)]
    wins_VV = np.zeros((count, count))
    for v, values in enumerate(sorted_by_video):
        above = np.searchsorted(values, positive_N, side="left")
        not_below = np.searchsorted(values, positive_N, side="right")
        np.add.at(wins_VV[:, v], of_N, (above + not_below) / 2)
    pairs_VV = np.outer(np.bincount(of_N, minlength=count), np.bincount(of_M, minlength=count))
    drawn_RV = bootstrap.drawn_RV
    pairs_R = np.einsum("rv,vw,rw->r", drawn_RV, pairs_VV, drawn_RV, optimize=True)
    wins_R = np.einsum("rv,vw,rw->r", drawn_RV, wins_VV, drawn_RV, optimize=True)
    with_pairs = pairs_R > 0
    return wins_VV.sum() / pairs_VV.sum(), wins_R[with_pairs] / pairs_R[with_pairs]


def perplexity_figure(
    log_p_N: Sequence[float],
    chance_log_p_N: Sequence[float],
    videos: Sequence[str],
    choices: int,
    seed: int = 0,
    note: str = "",
) -> Figure | None:
    """The perplexity, exp of the mean of −log p (natural): 1 is certainty, ``choices`` a uniform guess.

    ``chance_log_p_N``: log p of a baseline for the same answers. ``None`` where there is no question.
    """
    if not len(log_p_N):
        return None
    parts_N2 = np.stack([log_p_N, np.ones(len(log_p_N))], 1)
    return figure_of_sums(
        videos,
        parts_N2,
        lambda sums: np.exp(-mean(sums)),
        float(np.exp(-np.mean(chance_log_p_N))),
        bounds=(1.0, float(choices)),
        seed=seed,
        note=note,
    )
