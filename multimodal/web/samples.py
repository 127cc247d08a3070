"""Owns the report's sample answers: which questions are put to the model, and the frames that its answers speak of."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from multimodal import pictures
from multimodal.answers.caption import Caption, caption
from multimodal.answers.forecast import Horizon, forecast
from multimodal.answers.search import Hit, Index
from multimodal.catalogue import Video
from multimodal.examples.sampling import HORIZONS
from multimodal.inference.trained import Trained
from multimodal.library import Material
from multimodal.progress import Report
from vision.clips import CLIP_SECONDS

SEARCHES, HITS, CAPTIONS, FORECASTS = 4, 3, 4, 2
FRAME_SIDE = 180
WORDS_APART = 3
"""Two telling words make a query where at most this many words lie from one to the other."""


@dataclasses.dataclass(frozen=True)
class Shot:
    """The frame of a video, by digest, on display at ``second``."""

    video: str
    second: float


@dataclasses.dataclass(frozen=True)
class FoundMoment:
    hit: Hit
    shot: Shot


@dataclasses.dataclass(frozen=True)
class Captioned:
    """What the model says of a moment, and what was said in it (empty where nobody speaks)."""

    video: Video
    shot: Shot
    said: str
    caption: Caption


@dataclasses.dataclass(frozen=True)
class Ahead:
    """What the model expects at a horizon, and the clip that really came: its token and frame, or ``None`` past the end."""

    horizon: Horizon
    token: int | None
    shot: Shot | None


@dataclasses.dataclass(frozen=True)
class Forecast:
    video: Video
    at: float
    now: Shot
    ahead: tuple[Ahead, ...]


def searches(index: Index) -> list[tuple[str, list[FoundMoment]]]:
    """Queries of the corpus's own words, each with its first hits."""
    asked = queries([(m.video, m.text) for m in index.moments], SEARCHES)
    return [
        (text, [FoundMoment(h, Shot(h.video, (h.start + h.end) / 2)) for h in index.search(text, HITS)])
        for text in asked
    ]


def queries(said: Sequence[tuple[str, str]], count: int) -> list[str]:
    """Phrases from one telling word to the next, out of what is ``said``: (video, sentence). No telling word comes twice.

    A word tells as much as it is frequent in sentences and rare in videos (tf-idf); where phrases run out, single words.
    A function of what is said alone: equals go by the alphabet.
    """
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    sentences: Counter[str] = Counter()
    videos: dict[str, set[str]] = {}
    forms: dict[tuple[str, ...], Counter[str]] = {}
    for video, sentence in said:
        words = re.findall(r"[^\W\d_]+", sentence.lower())
        content = [i for i, word in enumerate(words) if len(word) > 2 and word not in ENGLISH_STOP_WORDS]
        sentences.update({words[i] for i in content})
        for i in content:
            videos.setdefault(words[i], set()).add(video)
        spans = [(i, i) for i in content]
        spans += [(i, j) for i, j in zip(content, content[1:], strict=False) if j - i <= WORDS_APART]
        for i, j in spans:
            key = tuple(sorted({words[i], words[j]}))
            forms.setdefault(key, Counter())[" ".join(words[i : j + 1])] += 1
    of = len({video for video, _ in said})
    telling = {word: n * math.log(1 + of / len(videos[word])) for word, n in sentences.items()}
    found: list[str] = []
    taken: set[str] = set()
    for key in sorted(forms, key=lambda k: (len(k) == 1, -math.prod(telling[w] for w in k), k)):
        if len(found) < count and not taken & set(key):
            found.append(min(forms[key], key=lambda form: (-forms[key][form], form)))
            taken |= set(key)
    return found


def captions(trained: Trained, materials: Sequence[Material]) -> list[Captioned]:
    """A caption of a moment of each video, of several where there are few videos; moments with speech go first."""
    found = []
    for material, wanted in zip(materials, _shares(len(materials), CAPTIONS), strict=True):
        shown = [m for m in material.moments() if m.tokens]
        shown = [m for m in shown if m.text] or shown
        places = np.unique(np.linspace(0, len(shown) - 1, wanted + 2)[1:-1].round().astype(int))
        for moment in (shown[i] for i in places):
            middle = (moment.start + moment.end) / 2
            (said,) = caption(trained, material, at=middle)
            found.append(Captioned(material.video, Shot(material.video.video, middle), moment.text, said))
    return found


def _shares(of: int, count: int) -> list[int]:
    return [count // of + (i < count % of) for i in range(of)] if of else []


def forecasts(trained: Trained, materials: Sequence[Material]) -> list[Forecast]:
    """What comes next in the first videos that have a next clip, asked where the farthest horizon is still inside."""
    found = []
    for material in [m for m in materials if len(m.starts) > 1][:FORECASTS]:
        last = max(min(len(material.starts) // 2, len(material.starts) - 1 - max(HORIZONS)), 0)
        at = float(material.starts[last]) + CLIP_SECONDS
        ahead = tuple(_ahead(material, at, h) for h in forecast(trained, material, at))
        found.append(Forecast(material.video, at, Shot(material.video.video, at - CLIP_SECONDS / 2), ahead))
    return found


def _ahead(material: Material, at: float, horizon: Horizon) -> Ahead:
    off = np.abs(material.starts + CLIP_SECONDS - at - horizon.seconds)
    clip = int(off.argmin())
    if off[clip] >= CLIP_SECONDS / 2:
        return Ahead(horizon, None, None)
    shot = Shot(material.video.video, float(material.starts[clip]) + CLIP_SECONDS / 2)
    return Ahead(horizon, int(material.tokens[clip]), shot)


def choose(videos: Sequence[Video], held_out: Sequence[Video]) -> list[Video]:
    """The videos to show answers of: those that the model has not learned from first, those with speech first."""
    kept = {v.video for v in held_out}
    shown = [v for v in videos if v.clips]
    return sorted(shown, key=lambda v: (v.video not in kept, not v.sentences, v.name, v.video))[:CAPTIONS]


def take(videos: Sequence[Video], shots: Sequence[Shot], report: Report) -> dict[Shot, str]:
    """A data URL for each shot whose file is still where it was seen last; one visit to each video."""
    by_digest = {v.video: v for v in videos}
    asked: dict[str, list[Shot]] = {}
    for shot in dict.fromkeys(shots):
        if _still_there(by_digest[shot.video]):
            asked.setdefault(shot.video, []).append(shot)
    taken: dict[Shot, str] = {}

    def visit(video: str) -> list[np.ndarray | None]:
        return pictures.frames(
            Path(by_digest[video].path), [shot.second for shot in asked[video]], FRAME_SIDE
        )

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, (video, frames) in enumerate(zip(asked, pool.map(visit, asked), strict=True), 1):
            for shot, frame in zip(asked[video], frames, strict=True):
                if frame is not None:
                    taken[shot] = pictures.data_url(pictures.jpeg(frame))
            report(done, len(asked), by_digest[video].name)
    return taken


def _still_there(video: Video) -> bool:
    path = Path(video.path)
    return bool(video.clips) and path.is_file() and path.stat().st_size == video.bytes
