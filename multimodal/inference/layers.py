"""The states of every layer of a model, for what is asked of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import groupby

import numpy as np
import torch

from multimodal.examples.moments import clip_positions, ordered
from multimodal.examples.packing import Example, pack, sequence
from multimodal.inference.trained import BATCH, Trained
from multimodal.objectives.objective import predictions
from multimodal.segments import Segment
from multimodal.terms import LABEL


@dataclasses.dataclass(frozen=True)
class SequencePlace:
    """A word or a visual token in the sequence of a moment: the number of the moment, the position, from 1 on, and of a visual
    token its number among the moment's."""

    moment: int
    position: int
    clip: int | None


@torch.no_grad()
def layer_states(trained: Trained, examples: Sequence[Example]) -> np.ndarray:
    """What each layer of the model itself holds of each example [L + 1, N, H], the first of them being the embeddings: the state
    at the position that is asked for, or where none is the mean over the sequence."""
    found = []
    for first in range(0, len(examples), BATCH):
        some = [ordered(example, trained.attention) for example in examples[first : first + BATCH]]
        batch = pack(some).to(trained.model.device)
        x_LTH = trained.model.encode_layers(batch)
        asked = predictions(batch, LABEL)[:, 0]
        if len(asked):
            found.append(x_LTH[:, asked].cpu().numpy())
            continue
        sums_LSH = x_LTH.new_zeros(len(x_LTH), len(some), x_LTH.shape[2]).index_add(
            1, batch.sequence_T, x_LTH
        )
        found.append((sums_LSH / batch.lengths_S[:, None]).cpu().numpy())
    return np.concatenate(found, 1)


def words_and_clips(trained: Trained, moments: Sequence[Segment]) -> list[SequencePlace]:
    """The words and visual tokens of moments that have both, each read as one sequence. The model is not asked."""
    places: list[SequencePlace] = []
    for number, moment in enumerate(moments):
        clips = clip_positions(trained.vocabulary, _read(trained, moment)[0])
        # [CLS], [>] and [SEP] are neither words nor clips
        places += [SequencePlace(number, position, None) for position in range(1, clips[0] - 1)]
        places += [SequencePlace(number, position, clip) for clip, position in enumerate(clips)]
    return places


def place_states(trained: Trained, moments: Sequence[Segment], places: Sequence[SequencePlace]) -> np.ndarray:
    """What each layer holds at ``places``, in the order of their moments, float32 [L + 1, N, H]."""
    examples = [
        Example(*_read(trained, moments[number]), {LABEL: [(place.position, 0) for place in own]})
        for number, own in groupby(places, key=lambda place: place.moment)
    ]
    return layer_states(trained, examples)


def _read(trained: Trained, moment: Segment) -> tuple[list[int], list[int]]:
    return sequence(trained.vocabulary, trained.vocabulary.encode(moment.text), moment.tokens)
