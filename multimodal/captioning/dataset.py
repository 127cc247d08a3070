"""The captioner's examples: moments as the frozen encoder sees them, and the sentences to be written of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from multimodal.captioning.options import CaptionerOptions, Reference
from multimodal.inference.cloze import template_ids
from multimodal.inference.trained import TEXT_TYPE, Trained, encode, sequence
from multimodal.joint.caption_decoder import BLANK, CLIP, WORD, EncoderMemory
from multimodal.library import Material, read_features
from multimodal.objectives.captioning import PAD, CaptionBatch
from multimodal.segments import Segment, spoken_segments
from multimodal.store import InputError, Store
from speech.sentences import Sentence, Transcript

MOST_SPOKEN = 48
"""Word pieces of speech beside a moment, at most: the last ones."""


@dataclasses.dataclass(frozen=True)
class CaptionInput:
    """A moment as the captioner reads it: its visual tokens, the words spoken beside it, its clips' features [n, D]."""

    tokens: tuple[int, ...]
    speech: str = ""
    features: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class EncodedView:
    """A moment's encoder states [M, H] float16, the kind of each place, and its features [M, D] (zero where there is none)."""

    x_MH: torch.Tensor
    kind_M: torch.Tensor
    features_MD: torch.Tensor


class CaptionDataset:
    """Moments with their sentences, as places among the ``pieces`` that can be written: a source of the training loop.

    ``sentences`` are word-piece ids. A sentence is drawn once an epoch, in an order that is a function of (seed, epoch).
    """

    def __init__(
        self,
        views: Sequence[EncodedView],
        sentences: Sequence[Sequence[int]],
        pieces: Sequence[int],
        seed: int,
    ):
        place = {piece: i for i, piece in enumerate(pieces)}
        self._views, self._seed = views, seed
        self._sentences = [torch.tensor([place[piece] for piece in ids]) for ids in sentences]
        self.feature_width = views[0].features_MD.shape[1]

    def __len__(self) -> int:
        return len(self._views)

    def order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self._seed, epoch)).permutation(len(self))

    def batch(self, items: Sequence[tuple[int, int]]) -> CaptionBatch:
        """The padded batch of some (epoch, item). The first piece follows the mark of the beginning, place 0."""
        labels = [self._sentences[item] for _, item in items]
        written = [torch.cat([torch.zeros(1, dtype=torch.long), label[:-1]]) for label in labels]
        memory = collate([self._views[item] for _, item in items])
        return CaptionBatch(memory, pad_sequence(written, True), pad_sequence(labels, True, PAD))


def caption_inputs(
    store: Store | None,
    material: Material,
    segments: Sequence[Segment],
    options: CaptionerOptions,
    *,
    during: bool,
) -> list[CaptionInput]:
    """Each segment of a video as the captioner reads it. ``during``: the speech beside it is that of the segment's own time,
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
        CaptionInput(
            s.tokens,
            speech_beside(material.transcript, s.start, s.end, during) if options.words else "",
            None if values is None else values[list(s.clips)].astype(np.float32),
        )
        for s in segments
    ]


def speech_beside(transcript: Transcript, start: float, end: float, during: bool) -> str:
    """The sentences in ``[start, end)`` seconds, or else the last one that ended by ``start``."""
    if during:
        return " ".join(s.text for s in transcript.sentences if s.start < end and s.end > start)
    before = [s for s in transcript.sentences if s.end <= start]
    return before[-1].text if before else ""


def reference_segments(material: Material, references: Sequence[Reference]) -> list[Segment]:
    """Segments of a video whose text is the reference caption; those that show no clip are left out."""
    captions = tuple(Sentence(start, end, text, ()) for _, start, end, text in references)
    found = spoken_segments(
        material.video.video, Transcript(None, {}, captions), material.starts, material.tokens
    )
    return [s for s in found if s.tokens]


@torch.no_grad()
def encode_views(trained: Trained, inputs: Sequence[CaptionInput], template: str) -> list[EncodedView]:
    """The frozen encoder's states of ``[CLS] speech template [>] video [SEP]`` at the visual tokens, the template's blanks
    and the spoken words (VideoBERT, section 4.4)."""
    vocabulary = trained.vocabulary
    blanks = template_ids(trained, template) if template else []
    words = [vocabulary.encode(i.speech)[-MOST_SPOKEN:] for i in inputs]
    sequences = [sequence(vocabulary, [*w, *blanks], i.tokens) for i, w in zip(inputs, words, strict=True)]
    views: list[EncodedView] = []
    for batch, x_TH in encode(trained, sequences):
        some = slice(len(views), len(views) + len(batch.lengths_S))
        words_S = torch.tensor([len(w) for w in words[some]], device=x_TH.device)
        kind_T = torch.full_like(batch.ids_T, -1)
        kind_T[batch.ids_T >= vocabulary.first_visual] = CLIP
        kind_T[(batch.ids_T == vocabulary.mask) & (batch.types_T == TEXT_TYPE)] = BLANK
        # The spoken words stand between [CLS] and the template.
        position_T = batch.positions_T
        kind_T[(position_T >= 1) & (position_T <= words_S[batch.sequence_T])] = WORD
        kept_T = kind_T >= 0
        counts = torch.bincount(batch.sequence_T[kept_T], minlength=len(batch.lengths_S)).tolist()
        states = x_TH[kept_T].half().cpu().split(counts)
        kinds = kind_T[kept_T].cpu().split(counts)
        views += [
            EncodedView(x_MH, kind_M, _placed_features(given, kind_M))
            for x_MH, kind_M, given in zip(states, kinds, inputs[some], strict=True)
        ]
    return views


def _placed_features(given: CaptionInput, kind_M: torch.Tensor) -> torch.Tensor:
    if given.features is None:
        return torch.zeros(len(kind_M), 0)
    values = torch.from_numpy(given.features)
    placed_MD = torch.zeros(len(kind_M), values.shape[1])
    # A sequence that was cut shows fewer clips than there are features.
    clips = int((kind_M == CLIP).sum())
    placed_MD[kind_M == CLIP] = torch.nn.functional.normalize(values[:clips], dim=-1)
    return placed_MD


def collate(views: Sequence[EncodedView]) -> EncoderMemory:
    """The memories of some moments as one, padded."""
    present = [torch.ones(len(view.kind_M), dtype=torch.bool) for view in views]
    return EncoderMemory(
        pad_sequence([view.x_MH for view in views], True),
        pad_sequence([view.kind_M for view in views], True),
        pad_sequence(present, True),
        pad_sequence([view.features_MD for view in views], True),
    )
