"""Figures of a fine-tuned head on held-out videos, each with its interval, beside chance and the plain baselines."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from multimodal.examples.options import SCORE, SPAN
from multimodal.finetuning.options import LINEAR
from multimodal.finetuning.task import TEST, TRAIN, Task
from multimodal.scoring.intervals import Figure, figure_of_sums, mean
from vision.clips import CLIP_SECONDS

CHANCE_DRAWS = 200
FOUND = 0.5
"""An answer is found where its time has so much of the union with the true one."""
THRESHOLD = 0.5
"""A moment has each of several classes whose probability is at least that."""


def decided(task: Task, answers_NC: np.ndarray) -> np.ndarray:
    """Probabilities as classes of 0 and 1 [N, C]; scores and seconds as they are."""
    if task.kind in (SCORE, SPAN):
        return answers_NC
    if task.several:
        return (answers_NC >= THRESHOLD).astype(float)
    return np.eye(len(task.classes))[answers_NC.argmax(1)]


def task_figures(
    task: Task, answers_NC: np.ndarray, plain: Mapping[str, np.ndarray], seed: int = 0
) -> dict[str, Figure]:
    """NAME of the head, NAME_majority and so on of each baseline, and NAME_minus_logistic_regression.

    Of classes ``accuracy`` (of several classes ``micro_f1``) and ``macro_f1``; of a score ``correlation`` (Pearson's) and
    ``mean_absolute_error``; of the seconds of an answer ``iou``, their intersection over union with the true ones (1 where both
    are none), and ``found_at_half``, whether it is 0.5 or more.
    """
    units = task.splits[TEST].units
    videos = [unit.video for unit in units]
    true_NC = np.stack([unit.target for unit in units])
    train_NC = np.stack([unit.target for unit in task.splits[TRAIN].units])
    methods = {"": decided(task, answers_NC)} | {f"_{name}": made for name, made in plain.items()}
    found: dict[str, Figure] = {}
    for name, (parts_of, score, chance, bounds) in _figures(task, true_NC, train_NC).items():
        parts = {method: parts_of(true_NC, made_NC) for method, made_NC in methods.items()}
        for method, parts_NK in parts.items():
            found[name + method] = figure_of_sums(videos, parts_NK, score, chance, bounds=bounds, seed=seed)
        both_N2K = np.concatenate([parts[""], parts[f"_{LINEAR}"]], 1)
        width = parts[""].shape[1]
        found[f"{name}_minus_{LINEAR}"] = figure_of_sums(
            videos, both_N2K, lambda sums, s=score, w=width: s(sums[..., :w]) - s(sums[..., w:]), 0.0,
            bounds=(bounds[0] - bounds[1], bounds[1] - bounds[0]), seed=seed,
        )  # fmt: skip
    return found


Parts = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From the truth and the answers [N, C] the parts [N, K] whose sums a figure is a function of."""


def _figures(
    task: Task, true_NC: np.ndarray, train_NC: np.ndarray
) -> dict[str, tuple[Parts, Callable[[np.ndarray], np.ndarray], float, tuple[float, float]]]:
    """Of each figure its parts, its score, chance, and its bounds."""
    if task.kind == SPAN:
        iou, found = _chance_of_spans(task)
        return {
            "iou": (lambda true, made: _counted(ious(true, made)), mean, iou, (0.0, 1.0)),
            "found_at_half": (
                lambda true, made: _counted(ious(true, made) >= FOUND),
                mean,
                found,
                (0.0, 1.0),
            ),
        }
    if task.kind == SCORE:
        error = float(np.abs(true_NC - train_NC.mean()).mean())
        spread = float(max(true_NC.max(), train_NC.max()) - min(true_NC.min(), train_NC.min()))
        return {
            "correlation": (moments_of, correlation, 0.0, (-1.0, 1.0)),
            "mean_absolute_error": (_errors, mean, error, (0.0, spread)),
        }
    classes, shares_C = true_NC.shape[1], true_NC.mean(0)
    if task.several:
        # Chance says of each class that a moment has it, as often as those to learn from have it.
        rate_C = train_NC.mean(0)
        guess = 2 * (shares_C * rate_C).sum() / max((shares_C + rate_C).sum(), 1e-12)
        each = 2 * shares_C * rate_C / np.maximum(shares_C + rate_C, 1e-12)
        of_macro = float(each[shares_C > 0].mean())
        return {
            "micro_f1": (_confusion, micro_f1, float(guess), (0.0, 1.0)),
            "macro_f1": (_confusion, macro_f1, of_macro, (0.0, 1.0)),
        }
    each = 2 * shares_C / classes / (shares_C + 1 / classes)
    return {
        "accuracy": (_right, mean, 1 / classes, (0.0, 1.0)),
        "macro_f1": (_confusion, macro_f1, float(each[shares_C > 0].mean()), (0.0, 1.0)),
    }


def ious(true_N2: np.ndarray, made_N2: np.ndarray) -> np.ndarray:
    """float64 [N]: intersection over union of times; of an answer that is none 1 where the true one is none too, else 0."""
    overlap_N = np.minimum(true_N2[:, 1], made_N2[:, 1]) - np.maximum(true_N2[:, 0], made_N2[:, 0])
    union_N = (true_N2[:, 1] - true_N2[:, 0]) + (made_N2[:, 1] - made_N2[:, 0]) - overlap_N.clip(0)
    none_N2 = np.stack([np.isnan(true_N2[:, 0]), np.isnan(made_N2[:, 0])], 1)
    return np.where(none_N2.any(1), none_N2.all(1), overlap_N.clip(0) / union_N)


def _chance_of_spans(task: Task) -> tuple[float, float]:
    """The mean over random runs of clips of each video: of their IoU, and of how often it is :data:`FOUND`."""
    split, random = task.splits[TEST], np.random.default_rng(0)
    each = []
    for unit in split.units:
        starts = split.starts[unit.video]
        first, last = np.sort(random.integers(len(starts), size=(2, CHANCE_DRAWS)), 0)
        made = np.stack([starts[first], starts[last] + CLIP_SECONDS], 1)
        each.append(ious(np.repeat(unit.target[None], CHANCE_DRAWS, 0), made))
    return float(np.mean(each)), float(np.mean(np.array(each) >= FOUND))


def _counted(scores_N: np.ndarray) -> np.ndarray:
    return np.stack([scores_N, np.ones(len(scores_N))], 1).astype(float)


def _right(true_NC: np.ndarray, made_NC: np.ndarray) -> np.ndarray:
    return _counted((true_NC == made_NC).all(1))


def _errors(true_N1: np.ndarray, made_N1: np.ndarray) -> np.ndarray:
    return _counted(np.abs(true_N1 - made_N1)[:, 0])


def moments_of(true_N1: np.ndarray, made_N1: np.ndarray) -> np.ndarray:
    """The parts [N, 6] of :func:`correlation`: 1, x, y, x², y², x·y of each."""
    x, y = true_N1[:, 0], made_N1[:, 0]
    return np.stack([np.ones(len(x)), x, y, x * x, y * y, x * y], 1)


def correlation(sums_6: np.ndarray) -> np.ndarray:
    """Pearson's correlation from the sums of 1, x, y, x², y², x·y; 0 where one of both does not vary."""
    n, x, y, xx, yy, xy = np.moveaxis(np.asarray(sums_6, float), -1, 0)
    spread = np.sqrt(np.maximum(n * xx - x * x, 0) * np.maximum(n * yy - y * y, 0))
    return np.divide(
        n * xy - x * y, spread, out=np.zeros_like(spread), where=spread > 1e-12 * (n * xx + n * yy)
    )


def _confusion(true_NC: np.ndarray, made_NC: np.ndarray) -> np.ndarray:
    """True positives, predicted and true ones of each class, side by side."""
    return np.concatenate([true_NC * made_NC, made_NC, true_NC], 1)


def macro_f1(sums_3C: np.ndarray) -> np.ndarray:
    """The mean F1 over the classes that are predicted or true (scikit-learn's, with the labels that occur)."""
    both, made, true = np.split(np.asarray(sums_3C, float), 3, axis=-1)
    there = made + true > 0
    f1 = np.divide(2 * both, made + true, out=np.zeros_like(both), where=there)
    return f1.sum(-1) / np.maximum(there.sum(-1), 1)


def micro_f1(sums_3C: np.ndarray) -> np.ndarray:
    """F1 over all classes together."""
    both, made, true = (part.sum(-1) for part in np.split(np.asarray(sums_3C, float), 3, axis=-1))
    return np.divide(2 * both, made + true, out=np.zeros_like(both), where=made + true > 0)
