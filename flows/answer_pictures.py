"""The pictures of an answer: which frames and pictures of visual tokens it shows, and their thumbnails in Markdown."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from flows.formatting import Document
from multimodal.answers.results import clock
from multimodal.store import Store

MOST = 10
"""Pictures of an answer at most; each takes about 5 KB of Prefect's database."""
SIDE, SHORT_SIDE = 160, 90
"""Of a thumbnail in pixels, the longer and the shorter one at 16:9."""
COLUMNS = 3
"""As many as the page has room for."""


@dataclasses.dataclass(frozen=True)
class Shown:
    """A picture and the ``words`` beneath it, which name no video: the frame of ``video`` (by digest) at a ``second``, or the
    ``file`` of a visual token's picture."""

    words: str
    video: str | None = None
    second: float = 0.0
    file: Path | None = None


def of_moments(document: Document, kind: str) -> list[Shown]:
    """The frame in the middle of each moment; ``kind``: the entry of the document that holds them."""
    found = []
    for n, moment in enumerate(document[kind][:MOST], 1):
        words = f"{n}. {clock(moment['start'])}–{clock(moment['end'])}"
        middle = (moment["start"] + moment["end"]) / 2
        found.append(Shown(words, moment.get("video") or document["video"], middle))
    return found


def of_forecast(document: Document) -> list[Shown]:
    """The frame of now, then each visual token that is expected with its horizons: the likeliest ones first."""
    expected: dict[Path, list[str]] = {}
    horizons, tokens = document["horizons"], {}
    for rank in range(max((len(h["tokens"]) for h in horizons), default=0)):
        for horizon in horizons:
            for token in horizon["tokens"][rank : rank + 1]:
                if token["picture"]:
                    tokens[file := Path(token["picture"])] = token["token"]
                    expected.setdefault(file, []).append(f"+{horizon['seconds']:g}")
    found = [Shown(f"now, {clock(document['at'])}", document["video"], document["at"])]
    found += [
        Shown(f"{tokens[file]}: {', '.join(seconds)} s", file=file) for file, seconds in expected.items()
    ]
    return found[:MOST]


def of_imagined(document: Document) -> list[Shown]:
    """The frame of the clip nearest to each visual token."""
    found = []
    for n, clip in enumerate(document["clips"][:MOST], 1):
        if near := clip["nearest"]:
            words = f"{n}. {clip['token']} {clock(near['start'])}"
            found.append(Shown(words, near["video"], (near["start"] + near["end"]) / 2))
    return found


def videos_of(document: Document, shown: Sequence[Shown]) -> set[str]:
    """The digests of the videos that the answer names or shows."""
    return {*_digests(document), *(of for one in shown if one.file and (of := _owner(one.file)))}


def _digests(part: object) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(video := part.get("video"), str):
            yield video
        part = list(part.values())
    if isinstance(part, list | tuple):
        for one in part:
            yield from _digests(one)


def _owner(picture: Path) -> str | None:
    """The video that the picture of a visual token is from."""
    description = json.loads((picture.parents[1] / "codebook.json").read_text(encoding="utf-8"))
    token = str(int(picture.stem.removeprefix("v")))
    return description["examples"].get(token, [None])[0]


def markdown(store: Store, shown: Sequence[Shown]) -> str:
    """A table of the thumbnails with their words, row by row; empty where no picture can be had: an imported video has none."""
    from multimodal.catalogue import Catalogue
    from multimodal.pictures import FrameTime, read_frames

    with Catalogue(store.catalogue, read_only=True) as catalogue:
        videos = {v.video: v for v in catalogue.videos()}
    times = [FrameTime(one.video, one.second) for one in shown if one.video in videos]
    frames = read_frames(list(videos.values()), times, lambda *_: None, SHORT_SIDE)
    cells = []
    for one in shown:
        place = FrameTime(one.video or "", one.second)
        picture = _thumbnail(one.file) if one.file else frames.get(place)
        if picture:
            cells.append(f"![{one.words}]({picture}) {one.words}")
    return _table(cells)


def _thumbnail(file: Path) -> str:
    """A data URL of the picture of a visual token."""
    import numpy as np
    from PIL import Image

    from multimodal.pictures import data_url, jpeg

    with Image.open(file, formats=["JPEG"]) as picture:
        picture.thumbnail((SIDE, SIDE))
        return data_url(jpeg(np.asarray(picture.convert("RGB"))))


def _table(cells: list[str]) -> str:
    """The cells as a table, whose head is empty: the page shows no table without a body."""
    if not cells:
        return ""
    columns = min(COLUMNS, len(cells))
    rows = [[""] * columns, ["---"] * columns]
    rows += [cells[i : i + columns] for i in range(0, len(cells), columns)]
    return "\n".join(f"| {' | '.join(row + [''] * (columns - len(row)))} |" for row in rows)
