"""Owns text to video: the visual tokens that a sentence calls for, and a strip of the real clips nearest to them."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from multimodal.examples.packing import JOINT, pack, sequence, unmasked
from multimodal.inference.cloze import known_ids
from multimodal.inference.trained import Trained
from multimodal.segments import SILENT_TOKENS
from multimodal.store import InputError, Store
from multimodal.tokens import PICTURE_SIDE, describe, picture_of
from vision.clips import CLIP_SECONDS

CLIPS = 3
"""About as long as a sentence is spoken, which is what the model has read."""
GAP, GREY = 4, 128


@dataclasses.dataclass(frozen=True)
class Imagined:
    """A clip that a text calls for: its visual token, the token's probability there, and the real clip nearest to it,
    ``video`` (a digest) from ``start`` to ``end`` s. Tokens made elsewhere have none: then ``video`` is empty."""

    token: int
    probability: float
    video: str
    start: float
    end: float


@torch.no_grad()
def imagine(store: Store, trained: Trained, text: str, clips: int = CLIPS) -> list[Imagined]:
    """``clips`` visual tokens after ``text`` by masked prediction, one after the other, each knowing those before it
    (VideoBERT, figure 1: text to video; all at once did worse, docs/log.md). Only tokens that the codebook uses.

    Raises :class:`InputError` for a text that is empty, too long or has a word that the vocabulary lacks, and for
    ``clips`` out of range.
    """
    if not 1 <= clips <= SILENT_TOKENS:
        raise InputError(f"--clips {clips}: from 1 to {SILENT_TOKENS}, the longest run that the model reads")
    words = known_ids(trained, "TEXT", text)
    vocabulary, described = trained.vocabulary, describe(store, trained.codebook)
    used = sorted({*map(int, described["examples"]), *described["without_picture"]})
    unused = torch.ones(vocabulary.visual, dtype=torch.bool)
    unused[used] = False
    tokens: list[int] = []
    sure: list[float] = []
    for _ in range(clips):
        batch = pack([unmasked(*sequence(vocabulary, words, [*tokens, -1]), JOINT)]).to(trained.model.device)
        asked = batch.ids_T == vocabulary.mask
        logits = trained.model.cloze(trained.model.encode(batch)[asked])[:, vocabulary.first_visual :]
        best, token = torch.softmax(logits[0].float().cpu().masked_fill(unused, -torch.inf), -1).max(-1)
        tokens.append(int(token))
        sure.append(float(best))
    examples = described["examples"]
    return [
        Imagined(token, p, video, start, start + CLIP_SECONDS if video else start)
        for token, p, (video, start) in (
            (t, p, examples.get(str(t), ("", 0.0))) for t, p in zip(tokens, sure, strict=True)
        )
    ]


def strip(store: Store, trained: Trained, found: Sequence[Imagined]) -> bytes:
    """One PNG of the clips' pictures side by side; a grey one where a token has none."""
    pictures = []
    for clip in found:
        path = picture_of(store, trained.codebook, clip.token)
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
