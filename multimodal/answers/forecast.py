"""Owns what comes next: the distribution over the visual tokens of the coming clips, by masked prediction."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from multimodal.examples import LONGEST_TAIL, VIDEO, pack, sequence, unmasked
from multimodal.library import Material
from multimodal.pretraining import Trained
from multimodal.segments import SILENT_TOKENS
from multimodal.store import InputError
from vision.clips import CLIP_SECONDS

HORIZONS = (1, 2, 4, LONGEST_TAIL)
"""Clips ahead: 1.5, 3, 6 and 12 seconds."""


@dataclasses.dataclass(frozen=True)
class Horizon:
    """``tokens`` are the likeliest visual tokens ``seconds`` ahead, each with its probability, best first."""

    seconds: float
    tokens: tuple[tuple[int, float], ...]


@torch.no_grad()
def distributions(trained: Trained, contexts: Sequence[Sequence[int]], ahead: int) -> torch.Tensor:
    """Probabilities of the visual tokens 1 … ``ahead`` clips after each context: [n, ahead, tokens].

    The coming clips are all masked and read at once, as in training; a context keeps its last tokens only.
    """
    vocabulary, first = trained.vocabulary, trained.vocabulary.first_visual
    inputs = [
        unmasked(*sequence(vocabulary, None, [*c[-(SILENT_TOKENS - ahead) :], *[-1] * ahead]), VIDEO)
        for c in contexts
    ]
    batch = pack(inputs).to(trained.model.device)
    asked = batch.ids_T == vocabulary.mask
    logits = trained.model.cloze(trained.model.encode(batch)[asked])[:, first:].float().cpu()
    return torch.softmax(logits, -1).reshape(len(contexts), ahead, -1)


def forecast(trained: Trained, material: Material, at: float, top: int = 3) -> list[Horizon]:
    """The ``top`` tokens at each horizon after second ``at``, from the clips that ended by then.

    Raises :class:`InputError` where ``at`` is outside the video or no clip has ended yet.
    """
    starts: np.ndarray = material.starts
    if not len(starts):
        raise InputError(
            f"video {material.video.name}: none of its picture could be read, so nothing can be forecast"
        )
    end = max(float(starts[-1]) + CLIP_SECONDS, float(starts[0]) + (material.video.seconds or 0))
    if not starts[0] + CLIP_SECONDS <= at <= end:
        raise InputError(
            f"--at {at:g}: name a second of {material.video.name} from {starts[0] + CLIP_SECONDS:g} s (its first clip's end) to {end:g} s"
        )
    context = [int(t) for t in material.tokens[starts + CLIP_SECONDS <= at + 1e-6]]
    found = distributions(trained, [context], max(HORIZONS))[0]
    best = [found[h - 1].topk(min(top, found.shape[-1])) for h in HORIZONS]
    return [
        Horizon(h * CLIP_SECONDS, tuple(zip(b.indices.tolist(), b.values.tolist(), strict=True)))
        for h, b in zip(HORIZONS, best, strict=True)
    ]
