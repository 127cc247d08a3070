"""Owns the writing: a learned captioner's sentence for each moment, and the one that a nearest neighbour would copy."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import torch

from multimodal.captioning.beam import BeamOptions, beam_search
from multimodal.captioning.dataset import View, look_at, together, views
from multimodal.captioning.trained import LearnedCaptioner
from multimodal.inference.cloze import sentence
from multimodal.inference.embedding import embed_videos
from multimodal.inference.trained import Trained
from multimodal.library import Material
from multimodal.segments import Segment
from multimodal.store import Store

BATCH = 32
BEGIN, END = 0, 1
"""Where the marks of begin and end stand among a captioner's pieces."""


@torch.no_grad()
def write(
    trained: Trained,
    captioner: LearnedCaptioner,
    views: Sequence[View],
    options: BeamOptions = BeamOptions(),  # noqa: B008 - frozen
) -> list[tuple[str, float]]:
    """A sentence for each view and its score, the geometric mean of its pieces' probabilities."""
    network, found = captioner.network, []
    for first in range(0, len(views), BATCH):
        some = look_at(trained, views[first : first + BATCH], captioner.options.template)
        memory = together(some).to(trained.model.device)
        look_NMH = network.look(memory)

        def next_log_p(written_RL: torch.Tensor, moment_R: torch.Tensor) -> torch.Tensor:
            rows = moment_R.to(look_NMH.device)  # noqa: B023 - called before the next batch
            logits = network(written_RL.to(rows.device), look_NMH[rows], memory.there_NM[rows])  # noqa: B023
            return torch.log_softmax(logits[:, -1].float(), -1)

        for w in beam_search(next_log_p, len(some), BEGIN, END, captioner.options.longest, options):
            ids = [network.shape.pieces[piece] for piece in w.pieces]
            found.append((sentence(trained.vocabulary.decode(ids)), float(np.exp(w.log_p / w.count))))
    return found


def describer(
    store: Store | None,
    trained: Trained,
    captioner: LearnedCaptioner,
    materials: Sequence[Material],
    *,
    during: bool,
) -> Callable[[Sequence[Segment]], list[str]]:
    """What captions moments of these videos, as :func:`multimodal.scoring.metrics.evaluate` asks for it.

    ``store`` is read where the captioner wants features, ``during`` is that of :func:`~multimodal.captioning.dataset.views`:
    not to be true where the captions are judged by what is said.
    """
    by_video = {m.video.video: m for m in materials}

    def describe(moments: Sequence[Segment]) -> list[str]:
        order = sorted(range(len(moments)), key=lambda place: moments[place].video)
        looked: list[View] = []
        for video, places in itertools.groupby(order, key=lambda place: moments[place].video):
            asked = [moments[place] for place in places]
            looked += views(store, by_video[video], asked, captioner.options, during=during)
        captions = dict(zip(order, write(trained, captioner, looked), strict=True))
        return [captions[place][0] for place in range(len(moments))]

    return describe


def nearest_captions(
    trained: Trained, learned: Sequence[Segment], asked: Sequence[Sequence[int]]
) -> list[tuple[str, float]]:
    """The baseline: for each moment's visual tokens the sentence of the learned moment nearest to it, and their cosine.

    Nearest by the video-only embedding. ``learned`` moments without words or tokens are passed over.
    """
    known = [s for s in learned if s.text and s.tokens]
    if not known or not asked:
        return [("", 0.0)] * len(asked)
    near = embed_videos(trained, asked) @ embed_videos(trained, [s.tokens for s in known]).T
    return [(known[i].text, float(row[i])) for row, i in zip(near, near.argmax(1), strict=True)]
