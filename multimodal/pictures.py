"""Pictures for people: frames of stored videos at given seconds, as JPEG."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from multimodal.intake import sandbox
from vision.errors import MediaError
from vision.readers import frame_at


def frames_at(path: Path, seconds: Sequence[float], short_side: int) -> list[np.ndarray | None]:
    """The frames on display at ``seconds``, uint8 [h, w, 3]; ``None`` from the first that cannot be decoded on.

    Decoding runs in the sandbox. A video that was moved or damaged since it was ingested costs its pictures, not more.
    """
    frames: list[np.ndarray | None] = []
    try:
        for frame in sandbox.stream(_decode_frames, path, list(seconds), short_side, types=(MediaError,)):
            frames.append(frame)
    except (MediaError, sandbox.SandboxError):
        frames += [None] * (len(seconds) - len(frames))
    return frames


def _decode_frames(path: Path, seconds: Sequence[float], short_side: int) -> Iterator[np.ndarray]:
    from vision.media import probe  # PyAV, which only the sandbox's child needs

    media = probe(path)
    for second in seconds:
        yield frame_at(media, second, short_side=short_side)


def jpeg(frame: np.ndarray) -> bytes:
    """The JPEG of uint8 [h, w, 3] RGB."""
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def data_url(picture: bytes) -> str:
    """The JPEG as a ``data:`` URL, which a page can show without a second file."""
    return "data:image/jpeg;base64," + base64.b64encode(picture).decode()
