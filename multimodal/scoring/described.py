"""Owns the scoring of captions of whole videos: each measure in three modes that are not comparable, beside chance.

micro: every segment counts alike. BLEU and METEOR divide sums over all segments, ROUGE-L and CIDEr are means over them:
what pycocoevalcap gives for the list of all segments.
macro: the micro score of each video by itself, then the mean over videos: a long video counts as much as a short one.
paragraph: a video's captions in the order of their times are one text, as are its references; the texts are scored as
in micro, a video a segment. Where segments have several references, the r-th text takes each segment's r-th, and
begins anew where a segment has fewer.

How rare an n-gram is for CIDEr is counted over all segments (in paragraph: over all videos) that are scored. The
interval draws videos (:mod:`multimodal.scoring.intervals`) and keeps those counts. Chance is the same captions dealt
out at random among the segments, the mean of five deals: what captions are worth that do not look at the video.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from multimodal.scoring import meteor
from multimodal.scoring.captions import CIDER, Measure, Words, parts
from multimodal.scoring.intervals import Figure, Videos, not_computed
from multimodal.scoring.words import words_of

MODES = ("micro", "macro", "paragraph")
DEALS = 5
LEAST_SEGMENTS = 2


@dataclasses.dataclass(frozen=True)
class Described:
    """A segment of a video, what was said of it (``caption``), and one or more captions by people."""

    video: str
    start: float
    caption: str
    references: tuple[str, ...]


def caption_figures(
    described: Sequence[Described], against: str = "", seed: int = 0, *, with_meteor: bool = True
) -> dict[str, Figure]:
    """``caption_MODE_MEASURE`` for each mode and measure; none where nothing was described.

    ``against`` says in their notes what the references are, for people.
    Where METEOR cannot be computed its figures have no value, and a note that says why.
    """
    described = sorted(described, key=lambda d: (d.video, d.start))
    if not described:
        return {}
    texts = [[d.caption, *d.references] for d in described]
    words, rule = words_of([text for some in texts for text in some])
    note = f"against {against}; {rule}" if against else rule
    given = iter(words)
    split = [[next(given) for _ in some] for some in texts]
    captions, references = [some[0] for some in split], [some[1:] for some in split]
    random = np.random.default_rng(seed)
    deals = [captions, *([captions[i] for i in random.permutation(len(captions))] for _ in range(DEALS))]
    videos = [d.video for d in described]
    names, joined, texts_joined = _paragraphs(videos, deals, references)
    groups = ((deals, references), (joined, texts_joined))
    stems, why = meteor.parts(groups) if with_meteor else (None, "not asked for")
    found: dict[str, Figure] = {}
    for mode in MODES:
        paragraph = mode == "paragraph"
        measures = [*parts(*groups[paragraph]), (meteor.METEOR, stems[paragraph] if stems else why)]
        for measure, parts_DNK in measures:
            found |= _figures(mode, measure, parts_DNK, names if paragraph else videos, seed, note)
    return found


def _paragraphs(
    videos: Sequence[str], deals: Sequence[Sequence[Words]], references: Sequence[Sequence[Words]]
) -> tuple[list[str], list[list[Words]], list[list[Words]]]:
    """The videos, and their captions and references joined in the order in which they come."""
    names = sorted(set(videos))
    segments = [[i for i, v in enumerate(videos) if v == name] for name in names]
    joined = [[[word for i in some for word in deal[i]] for some in segments] for deal in deals]
    texts = [
        [
            [word for i in some for word in references[i][r % len(references[i])]]
            for r in range(max(len(references[i]) for i in some))
        ]
        for some in segments
    ]
    return names, joined, texts


def _figures(
    mode: str, measure: Measure, parts_DNK: np.ndarray | str, videos: Sequence[str], seed: int, note: str
) -> dict[str, Figure]:
    names = [f"caption_{mode}_{name}" for name in measure.names]
    if measure is CIDER and len(videos) < LEAST_SEGMENTS:
        parts_DNK = "not computed, of one text all words are equally rare"
    if isinstance(parts_DNK, str):
        return {name: not_computed(parts_DNK) for name in names}
    about = Videos(videos, seed)
    scores = []
    for parts_NK in parts_DNK:
        sums_VK = about.sums(parts_NK)
        if mode == "macro":
            scored_VM = measure.score(sums_VK)
            scores.append((scored_VM.mean(0), scored_VM))
        else:
            scores.append((measure.score(sums_VK.sum(0)), sums_VK))
    (values_M, kept), *dealt = scores
    resampled_RK = about.drawn_RV @ kept
    resampled_RM = resampled_RK / about.count if mode == "macro" else measure.score(resampled_RK)
    chances_M = np.mean([values for values, _ in dealt], 0)
    return {
        name: about.figure(
            values_M[m], resampled_RM[:, m], chances_M[m], len(videos), (0.0, measure.most), note
        )
        for m, name in enumerate(names)
    }
