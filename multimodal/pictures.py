"""Owns pictures for people: frames of stored videos at given seconds, as JPEG."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from multimodal.intake import sandbox
from vision.clips import frame_at
from vision.containers import MediaError
from vision.media import probe


def frames(path: Path, seconds: Sequence[float], short_side: int) -> list[np.ndarray | None]:
    """The frames, uint8 [h, w, 3], on display at ``seconds``; ``None`` for those that cannot be had any more."""
    found: list[np.ndarray | None] = []
    try:
        for frame in sandbox.stream(_frames, path, list(seconds), short_side, types=(MediaError,)):
            found.append(frame)
    except (MediaError, sandbox.SandboxError):
        found += [None] * (len(seconds) - len(found))
    return found


def _frames(path: Path, seconds: Sequence[float], short_side: int) -> Iterator[np.ndarray]:
    media = probe(path)
    for second in seconds:
        yield frame_at(media, second, short_side=short_side)


def jpeg(frame: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def data_url(picture: bytes) -> str:
    """The JPEG as an address that a page can show without a second file."""
    return "data:image/jpeg;base64," + base64.b64encode(picture).decode()
