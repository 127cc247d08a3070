"""Chapters of a video: cut where what is said and seen changes, named by the most telling words.

Source of the cuts: Hearst, TextTiling (Computational Linguistics 1997): the likeness of what comes before and after each
gap (:mod:`multimodal.answers.likeness`), and its depth below the peaks on both sides.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from multimodal.answers.likeness import by_model, in_words_and_tokens
from multimodal.answers.token_names import content_words
from multimodal.library import Material
from multimodal.segments import Segment
from speech.cues import Cue, write_webvtt

if TYPE_CHECKING:
    from multimodal.inference.trained import Trained

LEAST_SECONDS = 15.0
LEAST_SHARE = 0.03
"""A chapter lasts at least so many seconds and this share of the video."""
WORDS = 3
"""Words of a title at most."""
NO_WORDS = "without words"


Likeness = Callable[[Sequence[Segment]], np.ndarray]
"""Of n moments, float64 [n - 1]."""


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
    likeness: Likeness = in_words_and_tokens,
) -> list[Chapter]:
    """The chapters of a video from its ``moments`` in order of time, one at the least; none without a moment.

    ``seconds``: its length. ``names``: of visual tokens, for the titles of chapters without words. ``likeness``: of both
    sides of each gap between two moments.
    """
    if not moments:
        return []
    words = [Counter(content_words(m.text)) for m in moments]
    tokens = [Counter(m.tokens) for m in moments]
    cuts = _cuts(_depths(likeness(moments)), [m.start for m in moments], seconds)
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
    material: Material, seconds: float, names: Mapping[int, str] | None = None, trained: Trained | None = None
) -> list[Chapter]:
    """The chapters of a video of ``seconds``, by counts of words and visual tokens, or where it is given by the model."""
    transcript = material.transcript.sentences
    length = max([seconds, *(sentence.end for sentence in transcript)])
    alike = in_words_and_tokens if trained is None else functools.partial(by_model, trained)
    return chapters(material.moments(), length, names, alike)


def _depths(alike: np.ndarray) -> np.ndarray:
    """float64 [n]: how far the likeness at each gap lies below the peaks on its two sides."""
    depths = np.zeros(len(alike))
    for i, value in enumerate(alike):
        left = right = value
        for other in alike[i::-1]:
            if other < left:
                break
            left = other
        for other in alike[i:]:
            if other < right:
                break
            right = other
        depths[i] = left + right - 2 * value
    return depths


def _cuts(depths: np.ndarray, starts: Sequence[float], seconds: float) -> list[int]:
    """The moments at which chapters begin: the deepest gaps first, none too near another or an end of the video."""
    if not len(depths):
        return []
    least = max(LEAST_SECONDS, LEAST_SHARE * seconds)
    enough = depths.mean() + depths.std()
    taken: list[int] = []
    for gap in np.argsort(-depths, kind="stable"):
        place = int(gap) + 1
        others = [0.0, seconds, *(starts[i] for i in taken)]
        if depths[gap] > max(enough, 1e-9) and all(abs(starts[place] - other) >= least for other in others):
            taken.append(place)
    return sorted(taken)


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
