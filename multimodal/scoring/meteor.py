"""Owns METEOR 1.5, whose matching of stems, synonyms and paraphrases is a Java program; its score is computed here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from multimodal.scoring.captions import Measure, Words
from multimodal.scoring.words import METEOR_JAR, jar, missing, run_java

PARTS = 23
"""What the program says of a segment: four lengths, four counts for each of four kinds of match, chunks, matched words."""
STAGES = 4
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.20, 0.60, 0.75
WEIGHTS = np.array([1.0, 0.6, 0.8, 0.6])
"""English, task "rank": Denkowski and Lavie 2014. Weights of exact, stem, synonym and paraphrase matches."""


def meteor(sums_K: np.ndarray) -> np.ndarray:
    """[..., 23] -> [..., 1]: the score of counts summed over segments."""
    length, reference_length, function, reference_function = np.moveaxis(sums_K[..., :4], -1, 0)
    matches = sums_K[..., 4 : 4 + 4 * STAGES].reshape(*sums_K.shape[:-1], STAGES, 4)
    content, reference_content, words, reference_words = np.moveaxis(
        np.einsum("...sk,s->...k", matches, WEIGHTS), -1, 0
    )
    chunks, matched, reference_matched = np.moveaxis(sums_K[..., -3:], -1, 0)

    def share(content, words, length, function):
        whole = DELTA * (length - function) + (1 - DELTA) * function
        return (DELTA * content + (1 - DELTA) * words) / np.where(whole, whole, 1.0)

    precision = share(content, words, length, function)
    recall = share(reference_content, reference_words, reference_length, reference_function)
    below = ALPHA * precision + (1 - ALPHA) * recall
    f_mean = precision * recall / np.where(below, below, 1.0)
    in_a_row = (matched + reference_matched) / 2
    scattered = chunks / np.where(in_a_row, in_a_row, 1.0)
    whole = (matched == length) & (reference_matched == reference_length) & (chunks == 1)
    return (f_mean * (1 - GAMMA * np.where(whole, 0.0, scattered) ** BETA))[..., None]


METEOR = Measure(("meteor",), meteor)


Deals = Sequence[Sequence[Words]]
"""One or more lists of one candidate for each segment."""


def parts(groups: Sequence[tuple[Deals, Sequence[Sequence[Words]]]]) -> tuple[list[np.ndarray] | None, str]:
    """For each group of deals and their segments' references, what each candidate adds to the sums: float64 [deals, segments, 23].

    All groups are asked in one run, whose start takes seconds. ``None`` where it cannot be, and why, in words.
    """
    if why := missing(METEOR_JAR):
        return None, f"not computed, {why}"
    lines = [
        " ||| ".join(["SCORE", *(_one_line(r) for r in those), _one_line(candidate)])
        for deals, references in groups
        for deal in deals
        for candidate, those in zip(deal, references, strict=True)
    ]
    answered = run_java(["-jar", str(jar(METEOR_JAR)), "-", "-", "-stdio", "-l", "en", "-norm"], lines)
    if answered is None or len(answered) != len(lines):
        return None, "not computed, its program failed"
    numbers = np.array([[float(x) for x in line.split()] for line in answered], float)
    shapes = [(len(deals), len(references), PARTS) for deals, references in groups]
    ends = np.cumsum([deals * segments for deals, segments, _ in shapes])[:-1]
    return [part.reshape(s) for part, s in zip(np.split(numbers, ends), shapes, strict=True)], ""


def _one_line(words: Words) -> str:
    return " ".join(words).replace("|||", "")
