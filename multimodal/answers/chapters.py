"""Chapters of a video: stretches of moments that are about one thing, named by their most telling words.

Source of the cuts: Eisenstein and Barzilay, Bayesian Unsupervised Topic Segmentation (EMNLP 2008): of all ways to cut, the one
whose chapters have the largest evidence (:mod:`multimodal.answers.cohesion`), by dynamic programming.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from multimodal.answers import cohesion
from multimodal.answers.token_names import content_words
from multimodal.library import Material
from multimodal.segments import Segment
from speech.cues import Cue, write_webvtt

if TYPE_CHECKING:
    from multimodal.inference.trained import Trained

LEAST_SECONDS = 15.0
LEAST_SHARE = 0.03
"""A chapter lasts at least so many seconds and this share of the video."""
PRICE = 8.0
"""Nats by which a chapter's evidence must exceed that of the same moments in a neighbour."""
MOST_MOMENTS = 2000
"""Of a longer video moments in a row are taken together: a table of this many squared has 32 MB."""
WORDS = 3
"""Words of a title at most."""
NO_WORDS = "without words"


Cohesion = Callable[[Sequence[Segment]], np.ndarray]
"""Of n moments, float64 [n, n] as in :mod:`multimodal.answers.cohesion`."""


@dataclasses.dataclass(frozen=True)
class Chapter:
    """``[start, end)`` in seconds. ``title``: its most telling words, else the names of its visual tokens."""

    start: float
    end: float
    title: str


def chapters(
    moments: Sequence[Segment],
    seconds: float,
    names: Mapping[int, str] | None = None,
    cohesion_of: Cohesion = cohesion.plain,
) -> list[Chapter]:
    """The chapters of a video from its ``moments`` in order of time, one at the least; none without a moment.

    ``seconds``: its length. ``names``: of visual tokens, for the titles of chapters without words. ``cohesion_of``: how
    well the moments of each stretch make one chapter.
    """
    if not moments:
        return []
    moments = _together(moments)
    words = [Counter(content_words(m.text)) for m in moments]
    tokens = [Counter(m.tokens) for m in moments]
    cuts = _cuts(cohesion_of(moments), [m.start for m in moments], seconds)
    bounds = [0, *cuts, len(moments)]
    parts = [range(a, b) for a, b in zip(bounds, bounds[1:], strict=False)]
    titles = _titles([sum((words[i] for i in part), Counter()) for part in parts])
    starts = [0.0, *(moments[cut].start for cut in cuts)]
    ends = [*starts[1:], max(seconds, moments[-1].end)]
    return [
        Chapter(start, end, title or _shown([tokens[i] for i in part], names or {}))
        for start, end, title, part in zip(starts, ends, titles, parts, strict=True)
    ]


def of_video(
    material: Material,
    seconds: float,
    names: Mapping[int, str] | None = None,
    *,
    features: np.ndarray | None = None,
    trained: Trained | None = None,
) -> list[Chapter]:
    """The chapters of a video of ``seconds``, by words, visual tokens and ``features`` [clips, d], and by the model where it is
    given."""
    transcript = material.transcript.sentences
    length = max([seconds, *(sentence.end for sentence in transcript)])

    def cohesion_of(moments: Sequence[Segment]) -> np.ndarray:
        if trained is None:
            return cohesion.plain(moments, features)
        return cohesion.by_model(trained, moments, features)

    return chapters(material.moments(), length, names, cohesion_of)


def _together(moments: Sequence[Segment]) -> Sequence[Segment]:
    """At most :data:`MOST_MOMENTS`: of more, as many in a row as it takes are one."""
    several = math.ceil(len(moments) / MOST_MOMENTS)
    if several == 1:
        return moments
    rows = [moments[n : n + several] for n in range(0, len(moments), several)]
    return [
        dataclasses.replace(
            row[0],
            end=row[-1].end,
            text=" ".join(m.text for m in row if m.text),
            tokens=tuple(token for m in row for token in m.tokens),
            clips=tuple(clip for m in row for clip in m.clips),
        )
        for row in rows
    ]


def _cuts(evidence: np.ndarray, starts: Sequence[float], seconds: float) -> list[int]:
    """The moments at which chapters begin, but for the first: those of the way to cut with the largest sum of ``evidence`` [n, n]
    less :data:`PRICE` a chapter. A video that is too short for two chapters is one."""
    n, least = len(evidence), max(LEAST_SECONDS, LEAST_SHARE * seconds)
    bounds = np.array([0.0, *starts[1:], max(seconds, *starts)])
    best, began = np.full(n + 1, -np.inf), np.zeros(n + 1, int)
    best[0] = 0.0
    for end in range(1, n + 1):
        total = best[:end] + evidence[:end, end - 1] - PRICE
        total[bounds[end] - bounds[:end] < least] = -np.inf
        began[end] = total.argmax()
        best[end] = total[began[end]]
    cuts, end = [], n
    while np.isfinite(best[n]) and began[end]:
        end = int(began[end])
        cuts.append(end)
    return cuts[::-1]


def _titles(parts: Sequence[Counter]) -> list[str]:
    """The words of each part with the highest tf-idf over the parts; equals go by the alphabet."""
    of = Counter(word for part in parts for word in part)

    def best(part: Counter) -> list[Hashable]:
        weight = {word: n * math.log((len(parts) + 1) / of[word]) for word, n in part.items()}
        return sorted(weight, key=lambda word: (-weight[word], word))[:WORDS]

    return [", ".join(map(str, best(part))) for part in parts]


def _shown(tokens: Sequence[Counter], names: Mapping[int, str]) -> str:
    """The names of the visual tokens that are shown most."""
    said = [names[token] for token, _ in sum(tokens, Counter()).most_common() if token in names]
    return "; ".join(dict.fromkeys(said[:2])) or NO_WORDS


def webvtt(found: Sequence[Chapter]) -> str:
    """The chapters as WebVTT, as players read them (``kind="chapters"``)."""
    escaped = ((c, c.title.replace("&", "&amp;").replace("<", "&lt;")) for c in found)
    return write_webvtt(Cue(round(c.start, 3), round(c.end, 3), title) for c, title in escaped)
