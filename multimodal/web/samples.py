"""Sample answers of the report: searches, captions and forecasts chosen by rule, as the commands give them, and frames."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from multimodal.answers.caption import Caption, looked_at
from multimodal.answers.fusion import Hit
from multimodal.answers.opened_store import OpenedStore
from multimodal.answers.results import HorizonForecast
from multimodal.answers.search import Index
from multimodal.answers.token_names import STOP_WORDS
from multimodal.catalogue import Video
from multimodal.library import Material
from multimodal.pictures import FrameTime
from multimodal.segments import HORIZONS
from vision.clips import CLIP_SECONDS

if TYPE_CHECKING:
    from multimodal.captioning.attention import WordAttention

SEARCHES, HITS, CAPTIONS, FORECASTS = 4, 3, 4, 2
WORDS_APART = 3
"""The largest distance, in words, of the two content words of a query."""


@dataclasses.dataclass(frozen=True)
class SearchSample:
    """A hit, and the time in its middle."""

    hit: Hit
    frame: FrameTime


@dataclasses.dataclass(frozen=True)
class CaptionSample:
    """The caption of a moment as `videobert caption` gives it, and the speech in it (empty where nobody speaks).

    ``attention``: of a captioner's words to the clips of the moment; ``None`` of another's caption.
    """

    video: Video
    frame: FrameTime
    speech: str
    caption: Caption
    attention: WordAttention | None


@dataclasses.dataclass(frozen=True)
class HorizonSample:
    """The forecast at a horizon, and the token and frame of the clip that follows; ``None`` past the end of the video."""

    horizon: HorizonForecast
    token: int | None
    frame: FrameTime | None


@dataclasses.dataclass(frozen=True)
class ForecastSample:
    """A forecast from second ``at`` of a video on, horizon by horizon; ``now``: its last clip before that."""

    video: Video
    at: float
    now: FrameTime
    horizons: tuple[HorizonSample, ...]


def search_samples(index: Index) -> list[tuple[str, list[SearchSample]]]:
    """Queries made of the corpus's own words, each with its first hits."""
    queries = sample_queries([(m.video, m.text) for m in index.moments], SEARCHES)
    return [
        (text, [SearchSample(h, FrameTime(h.video, (h.start + h.end) / 2)) for h in index.search(text, HITS)])
        for text in queries
    ]


def sample_queries(sentences: Sequence[tuple[str, str]], count: int) -> list[str]:
    """At most ``count`` phrases of two content words, then single ones, of the highest tf-idf. No content word comes twice.

    ``sentences``: (video, sentence). The term frequency counts sentences, the document frequency videos. The result does
    not depend on the order of the sentences: equals go by the alphabet.
    """
    frequency: Counter[str] = Counter()
    videos: dict[str, set[str]] = {}
    forms: dict[tuple[str, ...], Counter[str]] = {}
    for video, sentence in sentences:
        words = re.findall(r"[^\W\d_]+", sentence.lower())
        content = [i for i, word in enumerate(words) if len(word) > 2 and word not in STOP_WORDS]
        frequency.update({words[i] for i in content})
        for i in content:
            videos.setdefault(words[i], set()).add(video)
        spans = [(i, i) for i in content]
        spans += [(i, j) for i, j in zip(content, content[1:], strict=False) if j - i <= WORDS_APART]
        # the same content words in another order or with other words between are one phrase in several forms
        for i, j in spans:
            key = tuple(sorted({words[i], words[j]}))
            forms.setdefault(key, Counter())[" ".join(words[i : j + 1])] += 1
    of = len({video for video, _ in sentences})
    tf_idf = {word: n * math.log(1 + of / len(videos[word])) for word, n in frequency.items()}
    found: list[str] = []
    taken: set[str] = set()
    for key in sorted(forms, key=lambda k: (len(k) == 1, -math.prod(tf_idf[w] for w in k), k)):
        if len(found) < count and not taken & set(key):
            found.append(min(forms[key], key=lambda form: (-forms[key][form], form)))
            taken |= set(key)
    return found


def caption_samples(opened: OpenedStore, materials: Sequence[Material]) -> list[CaptionSample]:
    """A caption of a moment of each video, of several where there are few videos; moments with speech are preferred."""
    found = []
    for material, wanted in zip(materials, _shares(len(materials), CAPTIONS), strict=True):
        visible = [m for m in material.moments() if m.tokens]
        visible = [m for m in visible if m.text] or visible
        places = np.unique(np.linspace(0, len(visible) - 1, wanted + 2)[1:-1].round().astype(int))
        for moment in (visible[i] for i in places):
            middle = (moment.start + moment.end) / 2
            (made,) = opened.caption(material.video.video, at=middle)
            frame = FrameTime(material.video.video, middle)
            looked = None
            if made.route == "captioner":
                looked = looked_at(opened.store, opened.trained, opened.captioner, material, made)
            found.append(CaptionSample(material.video, frame, moment.text, made, looked))
    return found


def _shares(of: int, count: int) -> list[int]:
    """``count`` divided as evenly as it goes among ``of``."""
    return [count // of + (i < count % of) for i in range(of)] if of else []


def forecast_samples(opened: OpenedStore, materials: Sequence[Material]) -> list[ForecastSample]:
    """Forecasts in the first videos of two clips or more, from where the farthest horizon is still inside the video."""
    found = []
    for material in [m for m in materials if len(m.starts) > 1][:FORECASTS]:
        last = max(min(len(material.starts) // 2, len(material.starts) - 1 - max(HORIZONS)), 0)
        at = float(material.starts[last]) + CLIP_SECONDS
        horizons = tuple(_horizon_sample(material, at, h) for h in opened.next(material.video.video, at=at))
        now = FrameTime(material.video.video, at - CLIP_SECONDS / 2)
        found.append(ForecastSample(material.video, at, now, horizons))
    return found


def _horizon_sample(material: Material, at: float, horizon: HorizonForecast) -> HorizonSample:
    off = np.abs(material.starts + CLIP_SECONDS - at - horizon.seconds)
    clip = int(off.argmin())
    if off[clip] >= CLIP_SECONDS / 2:
        return HorizonSample(horizon, None, None)
    frame = FrameTime(material.video.video, float(material.starts[clip]) + CLIP_SECONDS / 2)
    return HorizonSample(horizon, int(material.tokens[clip]), frame)


def choose_videos(videos: Sequence[Video], held_out: Sequence[Video]) -> list[Video]:
    """The videos of the sample answers: held-out ones first, then those with speech."""
    digests = {v.video for v in held_out}
    visible = [v for v in videos if v.clips]
    return sorted(visible, key=lambda v: (v.video not in digests, not v.sentences, v.name, v.video))[
        :CAPTIONS
    ]
