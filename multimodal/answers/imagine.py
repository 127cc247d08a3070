"""Text to video: the visual tokens that follow from a sentence, and a strip of the real clips nearest to them."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from multimodal.answers.plain import WordsAndTokens
from multimodal.inference.cloze import known_ids, visual_probabilities
from multimodal.inference.trained import Trained
from multimodal.library import Material
from multimodal.segments import SILENT_TOKENS
from multimodal.store import InputError, Store
from multimodal.tokens import PICTURE_SIDE, describe
from vision.clips import CLIP_SECONDS

CLIPS = 3
"""About as long as a sentence is spoken, which is what the model has read."""
GAP, GREY = 4, 128


@dataclasses.dataclass(frozen=True)
class Imagined:
    """A predicted clip: its visual token, the token's probability, and the real clip nearest to the token's centroid,
    ``video`` (a digest) from ``start`` to ``end`` s. ``video`` is empty for an imported token, which has no clip.

    Plainly: a clip that was shown while the nearest sentence was said, without a probability.
    """

    token: int
    probability: float | None
    video: str
    start: float
    end: float


def imagine(store: Store, trained: Trained, text: str, clips: int = CLIPS) -> list[Imagined]:
    """``clips`` visual tokens after ``text`` by masked prediction, each conditioned on those before it (VideoBERT, figure
    1: text to video). Only tokens that the codebook uses are allowed.

    Raises :class:`InputError` for a text that is empty, too long or has a word that the vocabulary lacks, and for
    ``clips`` out of range.
    """
    check_clips(clips)
    words = known_ids(trained, "TEXT", text)
    vocabulary, described = trained.vocabulary, describe(store, trained.codebook)
    used = sorted({*map(int, described["examples"]), *described["without_picture"]})
    allowed = torch.zeros(vocabulary.visual, dtype=torch.bool)
    allowed[used] = True
    tokens: list[int] = []
    found: list[Imagined] = []
    for _ in range(clips):
        (p_V,) = visual_probabilities(trained, [words], [[*tokens, -1]], allowed=allowed)
        best, token = p_V.max(-1)
        tokens.append(int(token))
        video, start = described["examples"].get(str(int(token)), ("", 0.0))
        end = start + CLIP_SECONDS if video else start
        found.append(Imagined(int(token), float(best), video, start, end))
    return found


def check_clips(clips: int) -> None:
    """Raises :class:`InputError` where ``clips`` is out of range."""
    if not 1 <= clips <= SILENT_TOKENS:
        raise InputError(f"--clips {clips}: from 1 to {SILENT_TOKENS}, the longest run that the model reads")


def look_up(
    read: Callable[[str], Material | None], table: WordsAndTokens, text: str, clips: int = CLIPS
) -> list[Imagined]:
    """The first ``clips`` clips of the learned moment whose words are most like ``text``; empty where none shares a word.

    ``read``: a video's digest -> its material, ``None`` where it was removed. Raises :class:`InputError` for ``clips`` out
    of range.
    """
    check_clips(clips)
    moment = table.saying(text)
    if moment is None:
        return []
    video, start, _ = table.counts.source(moment)
    material = read(video)
    own = next((s for s in material.spoken() if s.start == start), None) if material is not None else None
    if own is None:
        return []
    begin = [float(material.starts[clip]) for clip in own.clips]
    return [
        Imagined(token, None, video, at, at + CLIP_SECONDS)
        for token, at in list(zip(own.tokens, begin, strict=True))[:clips]
    ]


def strip(paths: Sequence[Path | None]) -> bytes:
    """One PNG of the tokens' pictures side by side; a grey one for ``None``."""
    from PIL import Image

    pictures = []
    for path in paths:
        if path is None:
            pictures.append(np.full((PICTURE_SIDE, PICTURE_SIDE, 3), GREY, np.uint8))
            continue
        with Image.open(path) as picture:
            scale = PICTURE_SIDE / picture.height
            pictures.append(
                np.asarray(picture.convert("RGB").resize((round(picture.width * scale), PICTURE_SIDE)))
            )
    gap = np.full((PICTURE_SIDE, GAP, 3), 255, np.uint8)
    row = [part for picture in pictures for part in (gap, picture)][1:]
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(row, axis=1)).save(buffer, "PNG")
    return buffer.getvalue()
