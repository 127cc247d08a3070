"""Text to video: the visual tokens that follow from a sentence, and a strip of the real clips nearest to them."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from multimodal.answers.plain import WordsAndTokens
from multimodal.inference.cloze import known_ids, visual_probabilities
from multimodal.inference.trained import Trained
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
    By counts it has no probability.
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
        found.append(_imagined(described["examples"], int(token), float(best)))
    return found


def check_clips(clips: int) -> None:
    """Raises :class:`InputError` where ``clips`` is out of range."""
    if not 1 <= clips <= SILENT_TOKENS:
        raise InputError(f"--clips {clips}: from 1 to {SILENT_TOKENS}, the longest run that the model reads")


def count_clips(
    store: Store, trained: Trained, table: WordsAndTokens, text: str, clips: int = CLIPS
) -> list[Imagined]:
    """``clips`` visual tokens that are shown while the words of ``text`` are said, those that fit them best first; empty
    where nobody says any. Raises :class:`InputError` for ``clips`` out of range."""
    check_clips(clips)
    examples = describe(store, trained.codebook)["examples"]
    return [_imagined(examples, token, None) for token in table.shown_with(text, clips)]


def _imagined(examples: Mapping[str, tuple[str, float]], token: int, probability: float | None) -> Imagined:
    video, start = examples.get(str(token), ("", 0.0))
    return Imagined(token, probability, video, start, start + CLIP_SECONDS if video else start)


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
