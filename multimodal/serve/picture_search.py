"""Search by a picture or a clip of one's own: it becomes visual tokens, and the video embedding of these.

Both are decoded in the sandbox. A picture becomes a clip that stands still, which is not what the backbone learned from, so
motion counts for nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from multimodal.answers.fusion import Hit
from multimodal.extras import need
from multimodal.intake import sandbox
from multimodal.serve import documents
from multimodal.serve.live import Snapshot
from multimodal.store import InputError, Store
from multimodal.tokens import features_of, load_codebook
from vision.backbones import BACKBONES
from vision.clips import FRAMES_PER_CLIP, SIDE, Clip, ReadReport
from vision.errors import MediaError
from vision.pixels import SHORT_SIDE
from vision.readers import LATE_IMPORTS, read_clips

if TYPE_CHECKING:
    from vision.features import Backbone

FORMATS = ("JPEG", "PNG", "WEBP")
PLUGINS = ("PIL.JpegImagePlugin", "PIL.PngImagePlugin", "PIL.WebPImagePlugin")
MOST_PIXELS = 60_000_000
LIMITS = sandbox.Limits(seconds=20.0, memory=2 << 30, total=20.0)
CLIP_LIMITS = sandbox.Limits(seconds=30.0, memory=3 << 30, total=60.0)
CLIPS = 3
"""Clips in a row that the picture stands for: moments are some seconds long."""


MOST_CLIPS = 8
"""Clips of a clip of one's own that are looked at, 12 seconds: a moment is seldom longer."""


@dataclasses.dataclass(frozen=True)
class PictureAnswer:
    """The visual ``tokens`` that a picture or a clip is taken for, each with its name, and the moments nearest to it."""

    tokens: tuple[tuple[int, str | None], ...]
    hits: tuple[Hit, ...]


def search(snapshot: Snapshot, data: bytes, top: int) -> PictureAnswer:
    """The moments that look like a picture, the bytes of a JPEG, PNG or WebP.

    Raises :class:`InputError` where it cannot be read, the store has no model, or its features were made elsewhere.
    """
    network = _network(snapshot)
    try:
        frame = sandbox.call(_decode, data, types=(MediaError,), limits=LIMITS, imports=PLUGINS)
    except (MediaError, sandbox.SandboxError) as error:
        raise InputError(f"the picture cannot be read ({error}); give a JPEG, PNG or WebP") from None
    if frame.shape != (SIDE, SIDE, 3) or frame.dtype != np.uint8:
        raise InputError("the picture cannot be read; give a JPEG, PNG or WebP")
    token = _tokens(snapshot, network(np.repeat(frame[None, None], FRAMES_PER_CLIP, axis=1)))[0]
    return _nearest(snapshot, [token] * CLIPS, top)


def search_clip(snapshot: Snapshot, data: bytes, top: int) -> PictureAnswer:
    """The moments that look like the first 12 seconds of a clip, the bytes of a video file. Raises what :func:`search` raises."""
    network = _network(snapshot)
    clips: list[np.ndarray] = []
    with tempfile.TemporaryDirectory(prefix="videobert-clip-") as folder:
        file = Path(folder) / "clip"
        file.write_bytes(data)
        try:
            stream = sandbox.stream(
                read_clips,
                file,
                types=(Clip, ReadReport, MediaError),
                limits=CLIP_LIMITS,
                imports=LATE_IMPORTS,
            )
            with contextlib.closing(stream):
                clips += [clip.frames for clip in itertools.islice(stream, MOST_CLIPS)]
        except (MediaError, sandbox.SandboxError) as error:
            said = str(error).replace(str(file), "the file").removeprefix("clip: ")
            raise InputError(f"the clip cannot be read ({said}); give a video of 1.5 s or more") from None
    if not clips:
        raise InputError("the clip cannot be read (it is shorter than 1.5 s); give a video of 1.5 s or more")
    tokens = [_tokens(snapshot, network(frames[None]))[0] for frames in clips]
    return _nearest(snapshot, tokens, top)


def _network(snapshot: Snapshot) -> Backbone:
    """The backbone of the store's features. Raises :class:`InputError` where there is no model, or it is not known."""
    if snapshot.by_words:
        raise InputError(
            "what looks alike is told by the model, and the store has none yet; `videobert run VIDEOS` makes one"
        )
    need("search by a picture or clip of your own", "ingest")
    from multimodal.intake.model_cache import backbone

    opened = snapshot.opened
    return backbone(_backbone_of(opened.store, opened.trained.codebook), opened.device)


def _tokens(snapshot: Snapshot, features: np.ndarray) -> list[int]:
    opened = snapshot.opened
    return load_codebook(opened.store, opened.trained.codebook).encode(features).tolist()


def _nearest(snapshot: Snapshot, tokens: Sequence[int], top: int) -> PictureAnswer:
    from multimodal.inference.embedding import embed_videos

    names = documents.token_names(snapshot)
    vector = embed_videos(snapshot.opened.trained, [tokens])[0]
    told = tuple((token, names.get(token)) for token in dict.fromkeys(tokens))
    return PictureAnswer(told, tuple(snapshot.opened.index.like_vector(vector, top)))


def _backbone_of(store: Store, codebook: str) -> str:
    """The name of the backbone whose features the codebook is of."""
    if (name := features_of(store, codebook).get("name")) in BACKBONES:
        return str(name)
    raise InputError(
        "the clips of this store were made elsewhere, so a picture cannot be compared with them; ask by words"
    )


def _decode(data: bytes) -> np.ndarray:
    """uint8 [224, 224, 3]: the picture as a clip's frame is cut: short side 256, its middle."""
    Image.MAX_IMAGE_PIXELS = MOST_PIXELS
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            picture.draft("RGB", (2 * SHORT_SIDE, 2 * SHORT_SIDE))
            rgb = picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise MediaError(" ".join(str(error).split())[:100]) from None
    scale = SHORT_SIDE / min(rgb.size)
    rgb = rgb.resize((max(SIDE, round(rgb.width * scale)), max(SIDE, round(rgb.height * scale))))
    left, top = (rgb.width - SIDE) // 2, (rgb.height - SIDE) // 2
    return np.asarray(rgb.crop((left, top, left + SIDE, top + SIDE)))
