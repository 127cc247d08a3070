"""Pictures for people: frames of stored videos at given seconds, as JPEG."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from multimodal.catalogue import Video
from multimodal.intake import sandbox
from multimodal.machine import cores
from multimodal.progress import Report
from vision.errors import MediaError
from vision.readers import LATE_IMPORTS, frame_at

FRAME_SIDE = 180
"""Shorter side of a frame beside an answer, in pixels."""


@dataclasses.dataclass(frozen=True)
class FrameTime:
    """A second of a video (by digest), whose frame is shown."""

    video: str
    second: float


def read_frames(
    videos: Sequence[Video], times: Sequence[FrameTime], report: Report, short_side: int = FRAME_SIDE
) -> dict[FrameTime, str]:
    """A data URL for each frame whose video file is still where it was; each file is decoded once."""
    by_digest = {v.video: v for v in videos}
    wanted: dict[str, list[FrameTime]] = {}
    for time in dict.fromkeys(times):
        if _still_there(by_digest[time.video]):
            wanted.setdefault(time.video, []).append(time)
    found: dict[FrameTime, str] = {}

    def read(video: str) -> list[np.ndarray | None]:
        return frames_at(Path(by_digest[video].path), [t.second for t in wanted[video]], short_side)

    with ThreadPoolExecutor(cores()) as pool:
        for done, (video, frames) in enumerate(zip(wanted, pool.map(read, wanted), strict=True), 1):
            for time, frame in zip(wanted[video], frames, strict=True):
                if frame is not None:
                    found[time] = data_url(jpeg(frame))
            report(done, len(wanted), by_digest[video].name)
    return found


def _still_there(video: Video) -> bool:
    path = Path(video.path)
    return bool(video.clips) and path.is_file() and path.stat().st_size == video.bytes


def frames_at(path: Path, seconds: Sequence[float], short_side: int) -> list[np.ndarray | None]:
    """The frames on display at ``seconds``, uint8 [h, w, 3]; ``None`` from the first that cannot be decoded on.

    Decoding runs in the sandbox. A video that was moved or damaged since it was ingested costs its pictures, not more.
    """
    frames: list[np.ndarray | None] = []
    try:
        work = sandbox.stream(
            _decode_frames, path, list(seconds), short_side, types=(MediaError,), imports=LATE_IMPORTS,
            limits=sandbox.Limits(total=sandbox.DEADLINE_SECONDS * (1 + len(seconds))),
        )  # fmt: skip
        for frame in work:
            frames.append(frame)
    except (MediaError, sandbox.SandboxError):
        frames += [None] * (len(seconds) - len(frames))
    return frames


def _decode_frames(path: Path, seconds: Sequence[float], short_side: int) -> Iterator[np.ndarray]:
    from vision.media import probe  # PyAV, which only the sandbox's child needs

    media = probe(path, holes=False)
    for second in seconds:
        yield frame_at(media, second, short_side=short_side)


def jpeg(frame: np.ndarray) -> bytes:
    """The JPEG of uint8 [h, w, 3] RGB."""
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def data_url(picture: bytes, kind: str = "jpeg") -> str:
    """A picture of the media type ``image/KIND`` as a ``data:`` URL, which a page can show without a second file."""
    return f"data:image/{kind};base64," + base64.b64encode(picture).decode()
