"""Generation: a captioner's sentence for each moment, and the sentence that a nearest neighbour would copy."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import torch

from multimodal.captioning.dataset import CaptionInput, caption_inputs, collate, encode_views
from multimodal.captioning.trained import TrainedCaptioner
from multimodal.inference.beam import BeamOptions, beam_search
from multimodal.inference.cloze import sentence
from multimodal.inference.embedding import embed_videos
from multimodal.inference.trained import Trained
from multimodal.library import Material
from multimodal.segments import Segment
from multimodal.store import Store

BATCH = 32
BEGIN, END = 0, 1
"""The places of the marks of begin and end among a captioner's pieces."""


@torch.no_grad()
def generate(
    trained: Trained,
    captioner: TrainedCaptioner,
    inputs: Sequence[CaptionInput],
    options: BeamOptions = BeamOptions(),  # noqa: B008 - frozen
) -> list[tuple[str, float]]:
    """A sentence for each moment by beam search, and its score: the geometric mean of its pieces' probabilities."""
    decoder, found = captioner.network, []
    for first in range(0, len(inputs), BATCH):
        views = encode_views(trained, inputs[first : first + BATCH], captioner.options.template)
        memory = collate(views).to(trained.model.device)
        ask = decoder.next_pieces(decoder.attended(memory), memory.present_NM)
        for w in beam_search(ask, len(views), BEGIN, END, captioner.options.longest, options):
            ids = [decoder.shape.pieces[piece] for piece in w.pieces]
            found.append((sentence(trained.vocabulary.decode(ids)), float(np.exp(w.log_p / w.count))))
    return found


def describer(
    store: Store | None,
    trained: Trained,
    captioner: TrainedCaptioner,
    materials: Sequence[Material],
    *,
    during: bool,
) -> Callable[[Sequence[Segment]], list[str]]:
    """A function that captions moments of these videos, for :func:`multimodal.scoring.metrics.evaluate`.

    ``store`` is read where the captioner wants features. ``during`` is that of
    :func:`~multimodal.captioning.dataset.caption_inputs`: false where the captions are judged by the speech itself.
    """
    by_video = {m.video.video: m for m in materials}

    def describe(moments: Sequence[Segment]) -> list[str]:
        order = sorted(range(len(moments)), key=lambda place: moments[place].video)
        inputs: list[CaptionInput] = []
        for video, places in itertools.groupby(order, key=lambda place: moments[place].video):
            asked = [moments[place] for place in places]
            inputs += caption_inputs(store, by_video[video], asked, captioner.options, during=during)
        captions = dict(zip(order, generate(trained, captioner, inputs), strict=True))
        return [captions[place][0] for place in range(len(moments))]

    return describe


def nearest_captions(
    trained: Trained, train_segments: Sequence[Segment], asked: Sequence[Sequence[int]]
) -> list[tuple[str, float]]:
    """The baseline: for each moment's visual tokens the sentence of the nearest training segment, and their cosine.

    Nearest by the video embedding. Training segments without words or tokens are left out.
    """
    known = [s for s in train_segments if s.text and s.tokens]
    if not known or not asked:
        return [("", 0.0)] * len(asked)
    near = embed_videos(trained, asked) @ embed_videos(trained, [s.tokens for s in known]).T
    return [(known[i].text, float(row[i])) for row, i in zip(near, near.argmax(1), strict=True)]
