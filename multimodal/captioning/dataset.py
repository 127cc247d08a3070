"""Owns what the captioner is given of a moment, and what the joint encoder makes of it: the decoder's memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from multimodal.captioning.decoder import ASKED, HEARD, SEEN, CaptionerOptions, Memory
from multimodal.inference.cloze import template_ids
from multimodal.inference.trained import Trained, encode, sequence
from multimodal.library import Material, read_features
from multimodal.segments import Segment, spoken_segments
from multimodal.store import InputError, Store
from speech.sentences import Sentence, Transcript

MOST_HEARD = 48
"""Word pieces of what is heard, at most: the last ones."""

Reference = tuple[str, float, float, str]
"""A caption that a person wrote: the video's digest, start and end in seconds, the sentence."""


@dataclasses.dataclass(frozen=True)
class View:
    """A moment as the captioner meets it: its visual tokens, the words heard beside it, its clips' features [n, D]."""

    tokens: tuple[int, ...]
    heard: str = ""
    features: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Seen:
    """A moment's memory, [M, H] float16, the kind of each place, and its features [M, D] (zero where there is none)."""

    x_MH: torch.Tensor
    kind_M: torch.Tensor
    features_MD: torch.Tensor


def views(
    store: Store | None,
    material: Material,
    segments: Sequence[Segment],
    options: CaptionerOptions,
    *,
    during: bool,
) -> list[View]:
    """Each segment of a video as the captioner meets it. ``during``: what is heard is what is said in the segment's time,
    else the sentence before it. Raises :class:`InputError` where features are wanted and the video has none."""
    values = None
    if options.features:
        assert store is not None
        values, _ = read_features(store, material.video)
        if len(values) != len(material.starts):
            raise InputError(
                f"video {material.video.name}: has visual tokens but no features; make a captioner without them"
            )
    return [
        View(
            s.tokens,
            heard(material.transcript, s.start, s.end, during) if options.words else "",
            None if values is None else values[list(s.clips)].astype(np.float32),
        )
        for s in segments
    ]


def heard(transcript: Transcript, start: float, end: float, during: bool) -> str:
    """What is said in ``[start, end)``, or else the last sentence that ended by ``start``."""
    if during:
        return " ".join(s.text for s in transcript.sentences if s.start < end and s.end > start)
    before = [s for s in transcript.sentences if s.end <= start]
    return before[-1].text if before else ""


def referred(material: Material, references: Sequence[Reference]) -> list[Segment]:
    """Segments of a video whose text is the reference caption; those that show no clip are left out."""
    said = tuple(Sentence(start, end, text, ()) for _, start, end, text in references)
    found = spoken_segments(
        material.video.video, Transcript(None, {}, said), material.starts, material.tokens
    )
    return [s for s in found if s.tokens]


@torch.no_grad()
def look_at(trained: Trained, found: Sequence[View], template: str) -> list[Seen]:
    """What the frozen encoder makes of each view: its outputs for ``[CLS] heard template [>] video [SEP]`` at the visual
    tokens, the template's blanks and the words heard."""
    vocabulary = trained.vocabulary
    asked = template_ids(trained, template) if template else []
    words = [vocabulary.encode(v.heard)[-MOST_HEARD:] for v in found]
    sequences = [sequence(vocabulary, [*w, *asked], v.tokens) for v, w in zip(found, words, strict=True)]
    seen: list[Seen] = []
    for batch, x_TH in encode(trained, sequences):
        some = slice(len(seen), len(seen) + len(batch.lengths_S))
        heard_S = torch.tensor([len(w) for w in words[some]], device=x_TH.device)
        kind_T = torch.full_like(batch.ids_T, -1)
        kind_T[batch.ids_T >= vocabulary.first_visual] = SEEN
        kind_T[(batch.ids_T == vocabulary.mask) & (batch.types_T == 0)] = ASKED
        places_T = batch.positions_T
        kind_T[(places_T >= 1) & (places_T <= heard_S[batch.sequence_T])] = HEARD
        kept_T = kind_T >= 0
        counts = torch.bincount(batch.sequence_T[kept_T], minlength=len(batch.lengths_S)).tolist()
        x = x_TH[kept_T].half().cpu().split(counts)
        kinds = kind_T[kept_T].cpu().split(counts)
        seen += [
            Seen(x_MH, kind_M, _features(view, kind_M))
            for x_MH, kind_M, view in zip(x, kinds, found[some], strict=True)
        ]
    return seen


def _features(view: View, kind_M: torch.Tensor) -> torch.Tensor:
    if view.features is None:
        return torch.zeros(len(kind_M), 0)
    values = torch.from_numpy(view.features)
    placed = torch.zeros(len(kind_M), values.shape[1])
    shown = torch.nn.functional.normalize(values[: int((kind_M == SEEN).sum())], dim=-1)
    placed[kind_M == SEEN] = shown
    return placed


def together(seen: Sequence[Seen]) -> Memory:
    """The memories of some moments as one, padded."""
    pad = torch.nn.utils.rnn.pad_sequence
    there = pad([torch.ones(len(s.kind_M), dtype=torch.bool) for s in seen], True)
    return Memory(
        pad([s.x_MH for s in seen], True),
        pad([s.kind_M for s in seen], True),
        there,
        pad([s.features_MD for s in seen], True),
    )
