"""Figures of captions: each metric in three modes that are not comparable, with its interval and chance.

micro: every segment counts alike. BLEU and METEOR divide sums over all segments, ROUGE-L and CIDEr are means over them,
as pycocoevalcap scores the list of all segments.
macro: the micro score of each video by itself, then the mean over videos: a long video counts as much as a short one.
paragraph: a video's captions in the order of their times are one text, as are its references; the texts are scored as
in micro, a video a segment. Where segments have several references, the r-th text takes each segment's r-th, and
starts over where a segment has fewer.

The document frequencies of CIDEr are counted over all segments (in paragraph: over all videos) that are scored. The
bootstrap draws videos (:mod:`multimodal.scoring.intervals`) and keeps these counts. Chance is the mean of five random
permutations of the same captions among the segments: the score of captions that do not depend on the video.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from multimodal.scoring.caption_metrics import CIDER, METEOR, Metric, Tokens, meteor_parts, parts
from multimodal.scoring.caption_tokenizer import tokenize
from multimodal.scoring.intervals import Figure, VideoBootstrap, not_computed

MODES = ("micro", "macro", "paragraph")
SHUFFLES = 5
LEAST_SEGMENTS = 2


@dataclasses.dataclass(frozen=True)
class Candidate:
    """The ``caption`` of a segment of a video, and one or more ``references`` by people."""

    video: str
    start: float
    caption: str
    references: tuple[str, ...]


def caption_figures(
    candidates: Sequence[Candidate], against: str = "", seed: int = 0, *, with_meteor: bool = True
) -> dict[str, Figure]:
    """``caption_MODE_METRIC`` for each mode and metric; empty where there is no candidate.

    ``against``: what the references are, for people, in the figures' notes. Where METEOR cannot be computed its figures
    have no value, and a note says why.
    """
    candidates = sorted(candidates, key=lambda c: (c.video, c.start))
    if not candidates:
        return {}
    # one run of the tokenizer over all texts, whose tokens are then given back to their segments
    texts = [[c.caption, *c.references] for c in candidates]
    tokens, tokenizer = tokenize([text for some in texts for text in some])
    note = f"against {against}; {tokenizer}" if against else tokenizer
    given = iter(tokens)
    split = [[next(given) for _ in some] for some in texts]
    captions, references = [some[0] for some in split], [some[1:] for some in split]
    random = np.random.default_rng(seed)
    shuffled = [[captions[i] for i in random.permutation(len(captions))] for _ in range(SHUFFLES)]
    lists = [captions, *shuffled]
    videos = [c.video for c in candidates]
    names, paragraph_lists, paragraph_references = _paragraphs(videos, lists, references)
    groups = ((lists, references), (paragraph_lists, paragraph_references))
    of_meteor, why = meteor_parts(groups) if with_meteor else (None, "not asked for")
    found: dict[str, Figure] = {}
    for mode in MODES:
        paragraph = mode == "paragraph"
        metrics = [*parts(*groups[paragraph]), (METEOR, of_meteor[paragraph] if of_meteor else why)]
        for metric, parts_LNK in metrics:
            found |= _figures(mode, metric, parts_LNK, names if paragraph else videos, seed, note)
    return found


def cider_difference(
    first: Sequence[Candidate], second: Sequence[Candidate], seed: int = 0, note: str = ""
) -> Figure | None:
    """The micro CIDEr of the captions ``first`` less that of ``second``, captions of the same segments; chance is 0.

    The bootstrap draws videos for both at once. ``None`` for fewer than two segments.
    """
    first, second = (sorted(some, key=lambda c: (c.video, c.start)) for some in (first, second))
    if len(first) < LEAST_SEGMENTS:
        return None
    texts = [[a.caption, b.caption, *a.references] for a, b in zip(first, second, strict=True)]
    tokens, _ = tokenize([text for some in texts for text in some])
    given = iter(tokens)
    split = [[next(given) for _ in some] for some in texts]
    lists = [[some[0] for some in split], [some[1] for some in split]]
    (parts_2NK,) = (p for metric, p in parts(lists, [some[2:] for some in split]) if metric is CIDER)
    bootstrap = VideoBootstrap([c.video for c in first], seed)
    sums_VK = [bootstrap.sums(parts_NK) for parts_NK in parts_2NK]
    (value,), (other,) = (CIDER.score(sums.sum(0)) for sums in sums_VK)
    drawn, other_drawn = (CIDER.score(bootstrap.drawn_RV @ sums)[:, 0] for sums in sums_VK)
    return bootstrap.figure(
        value - other, drawn - other_drawn, 0.0, len(first), (-CIDER.most, CIDER.most), note
    )


def _paragraphs(
    videos: Sequence[str], lists: Sequence[Sequence[Tokens]], references: Sequence[Sequence[Tokens]]
) -> tuple[list[str], list[list[Tokens]], list[list[Tokens]]]:
    """The videos, and for each its captions and its references joined in the order of their times."""
    names = sorted(set(videos))
    segments = [[i for i, v in enumerate(videos) if v == name] for name in names]
    joined = [[[token for i in some for token in candidates[i]] for some in segments] for candidates in lists]
    joined_references = []
    for some in segments:
        most = max(len(references[i]) for i in some)
        joined_references.append(
            [[token for i in some for token in references[i][r % len(references[i])]] for r in range(most)]
        )
    return names, joined, joined_references


def _figures(
    mode: str, metric: Metric, parts_LNK: np.ndarray | str, videos: Sequence[str], seed: int, note: str
) -> dict[str, Figure]:
    """``parts_LNK``: of the captions, then of each shuffle; or why there are none, in words."""
    names = [f"caption_{mode}_{name}" for name in metric.names]
    if metric is CIDER and len(videos) < LEAST_SEGMENTS:
        parts_LNK = "not computed, of one text all words are equally rare"
    if isinstance(parts_LNK, str):
        return {name: not_computed(parts_LNK) for name in names}
    bootstrap = VideoBootstrap(videos, seed)
    scores = []
    for parts_NK in parts_LNK:
        sums_VK = bootstrap.sums(parts_NK)
        if mode == "macro":
            scored_VM = metric.score(sums_VK)
            scores.append((scored_VM.mean(0), scored_VM))
        else:
            scores.append((metric.score(sums_VK.sum(0)), sums_VK))
    (values_M, kept), *of_shuffles = scores
    # macro draws the videos' scores, the other modes their sums, from which a resample's score is computed
    resampled_RK = bootstrap.drawn_RV @ kept
    resampled_RM = resampled_RK / bootstrap.count if mode == "macro" else metric.score(resampled_RK)
    chances_M = np.mean([values for values, _ in of_shuffles], 0)
    return {
        name: bootstrap.figure(
            values_M[m], resampled_RM[:, m], chances_M[m], len(videos), (0.0, metric.most), note
        )
        for m, name in enumerate(names)
    }
