"""Search by a picture of one's own: it becomes a clip that stands still, a visual token, and the video embedding of that.

The picture is decoded in the sandbox. A still picture is not what the backbone learned from, so motion counts for nothing.
"""

from __future__ import annotations

import dataclasses
import io
import json

import numpy as np
from PIL import Image
from safetensors import safe_open

from multimodal.answers.fusion import Hit
from multimodal.intake import sandbox
from multimodal.serve import documents
from multimodal.serve.live import Snapshot
from multimodal.store import InputError, Store
from multimodal.tokens import describe, load_codebook
from vision.backbones import BACKBONES
from vision.clips import FRAMES_PER_CLIP, SIDE
from vision.errors import MediaError
from vision.pixels import SHORT_SIDE

FORMATS = ("JPEG", "PNG", "WEBP")
PLUGINS = ("PIL.JpegImagePlugin", "PIL.PngImagePlugin", "PIL.WebPImagePlugin")
MOST_PIXELS = 60_000_000
LIMITS = sandbox.Limits(seconds=20.0, memory=2 << 30, total=20.0)
CLIPS = 3
"""Clips in a row that the picture stands for: moments are some seconds long."""


@dataclasses.dataclass(frozen=True)
class PictureAnswer:
    """The visual ``token`` that the picture is taken for, with its ``name``, and the moments nearest to it."""

    token: int
    name: str | None
    hits: tuple[Hit, ...]


def search(snapshot: Snapshot, data: bytes, top: int) -> PictureAnswer:
    """The moments that look like a picture, the bytes of a JPEG, PNG or WebP.

    Raises :class:`InputError` where it cannot be read, the store has no model, or its features were made elsewhere.
    """
    if snapshot.by_words:
        raise InputError(
            "what looks alike is told by the model, and the store has none yet; `videobert run VIDEOS` makes one"
        )
    from multimodal.inference.embedding import embed_videos
    from multimodal.intake.model_cache import backbone

    opened = snapshot.opened
    network = backbone(_backbone_of(opened.store, opened.trained.codebook), opened.device)
    try:
        frame = sandbox.call(_decode, data, types=(MediaError,), limits=LIMITS, imports=PLUGINS)
    except (MediaError, sandbox.SandboxError) as error:
        raise InputError(f"the picture cannot be read ({error}); give a JPEG, PNG or WebP") from None
    if frame.shape != (SIDE, SIDE, 3) or frame.dtype != np.uint8:
        raise InputError("the picture cannot be read; give a JPEG, PNG or WebP")
    features = network(np.repeat(frame[None, None], FRAMES_PER_CLIP, axis=1))
    token = int(load_codebook(opened.store, opened.trained.codebook).encode(features)[0])
    vector = embed_videos(opened.trained, [[token] * CLIPS])[0]
    return PictureAnswer(
        token, documents.token_names(snapshot).get(token), tuple(opened.index.like_vector(vector, top))
    )


def _backbone_of(store: Store, codebook: str) -> str:
    """The name of the backbone whose features the codebook is of."""
    for digest, features in describe(store, codebook)["videos"]:
        path = store.features(digest, features)
        if not path.exists():
            continue
        with safe_open(path, "numpy") as file:
            about = json.loads((file.metadata() or {}).get("about", "{}"))
        name = about.get("recipe", {}).get("name")
        if name in BACKBONES:
            return name
        break
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
