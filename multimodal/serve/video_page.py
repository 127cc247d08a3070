"""The page of a video: its transcript beside the player, and under it what is shown, as bands, pictures and chapters."""

from __future__ import annotations

import colorsys
import dataclasses
import itertools
from typing import Any

from multimodal.answers.chapters import Chapter, of_video
from multimodal.answers.index import read
from multimodal.catalogue import Video
from multimodal.library import Material, read_transcript, read_values
from multimodal.serve import documents, searching
from multimodal.serve.live import LiveStore, Snapshot
from multimodal.serve.media import is_playable
from multimodal.serve.searching import Ask
from multimodal.store import InputError
from multimodal.vocabulary import visual_name
from vision.clips import CLIP_SECONDS

PICTURES = 16
"""Pictures of the strip under the player."""
MARKS = 200
"""Hits that are marked on the timeline at most."""
WIDTH = 1000.0
"""Of the timeline, in the units of its SVG."""


@dataclasses.dataclass(frozen=True)
class Band:
    """Clips in a row that show one visual token: its place on the timeline, its colour, and its name."""

    x: float
    width: float
    colour: str
    token: str
    name: str | None
    start: float


def context(
    live: LiveStore, snapshot: Snapshot, video: Video, second: float | None, query: str | None
) -> dict[str, Any]:
    """The page's values. ``query``: a search whose hits in this video are marked."""
    usable = video.state in ("done", "partial")
    material = documents.material(snapshot, video) if usable else None
    transcript = material.transcript if material else read_transcript(live.store, video) if usable else None
    seconds = max([video.seconds or 0.0, *(s.end for s in (transcript.sentences if transcript else ()))])
    names = documents.token_names(snapshot)
    found = video_chapters(live, video, material, seconds, names)
    return {
        "video": video, "seconds": seconds, "sentences": transcript.sentences if transcript else (),
        "reason": documents.video_row(video, live.store.root)["reason"], "second": second, "query": query,
        "chapters": [(c, _x(c.start, seconds)) for c in found],
        "bands": bands(material, seconds, names) if material else [],
        "fit": fit(snapshot, video, seconds), "marks": marks(live, snapshot, video, query, seconds),
        "pictures": [seconds * (i + 0.5) / PICTURES for i in range(PICTURES)] if video.clips and video.path else [],
        "playable": is_playable(video), "searched": video.video in snapshot.searched,
        "asks": usable and not snapshot.by_words and bool(video.clips), "language": transcript.language if transcript else None,
        "sound_only": usable and not video.clips,
    }  # fmt: skip


def video_chapters(
    live: LiveStore, video: Video, material: Material | None, seconds: float, names: dict[int, str]
) -> list[Chapter]:
    return of_video(material, seconds, names, features=read_values(live.store, video)) if material else []


def bands(material: Material, seconds: float, names: dict[int, str]) -> list[Band]:
    made = []
    clips = zip(material.starts.tolist(), material.tokens.tolist(), strict=True)
    for token, run in itertools.groupby(clips, key=lambda clip: clip[1]):
        places = [start for start, _ in run]
        start, end = places[0], places[-1] + CLIP_SECONDS
        x = _x(start, seconds)
        band = Band(
            x, max(0.5, _x(end, seconds) - x), colour(token), visual_name(token), names.get(token), start
        )
        made.append(band)
    return made


def colour(token: int) -> str:
    """A colour for a visual token: neighbouring numbers get hues far apart, by the golden section."""
    red, green, blue = colorsys.hls_to_rgb(
        token * 0.618033988749895 % 1.0, 0.45 + 0.15 * (token % 3) / 2, 0.6
    )
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def fit(snapshot: Snapshot, video: Video, seconds: float) -> str | None:
    """How well words and picture fit in each spoken moment: the cosine of the two embeddings, as the points of a polyline
    of 100 units, from −1 at the bottom to 1. ``None`` without a model, or with fewer than two such moments."""
    if snapshot.by_words or video.video not in snapshot.searched:
        return None
    try:
        stored = read(snapshot.opened.store, snapshot.opened.trained, video)
    except (InputError, OSError):  # a run is about to index it anew
        return None
    cosines = (stored.text_vectors * stored.video_vectors).sum(1).tolist()
    points = [
        f"{_x((m.start + m.end) / 2, seconds):.1f},{50 - 50 * cosine:.1f}"
        for m, cosine in zip(stored.moments, cosines, strict=True)
        if m.text and m.tokens
    ]
    return " ".join(points) if len(points) > 1 else None


def marks(
    live: LiveStore, snapshot: Snapshot, video: Video, query: str | None, seconds: float
) -> list[tuple[float, float]]:
    """(x, second) of each hit of a search in this video."""
    if not query or video.video not in snapshot.searched:
        return []
    try:
        found = searching.search(live, snapshot, Ask(query, top=MARKS, video=video.video))
    except InputError:
        return []
    return sorted((_x(hit.start, seconds), hit.start) for hit in found.answer.hits)


def _x(second: float, seconds: float) -> float:
    return round(WIDTH * min(1.0, max(0.0, second / seconds)), 2) if seconds else 0.0
