"""The states of every layer of a model, for what is asked of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from multimodal.examples.moments import clip_positions, ordered
from multimodal.examples.packing import Example, pack, sequence
from multimodal.inference.trained import BATCH, Trained
from multimodal.objectives.objective import predictions
from multimodal.segments import Segment
from multimodal.terms import LABEL


@dataclasses.dataclass(frozen=True)
class Place:
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


def word_and_clip_states(trained: Trained, moments: Sequence[Segment]) -> tuple[list[Place], np.ndarray]:
    """The words and visual tokens of moments that have both, and what each layer holds of them float32 [L + 1, N, H]. A moment is
    read as words and visual tokens together."""
    examples: list[Example] = []
    places: list[Place] = []
    for number, moment in enumerate(moments):
        ids, types = sequence(trained.vocabulary, trained.vocabulary.encode(moment.text), moment.tokens)
        clips = clip_positions(trained.vocabulary, ids)
        # [CLS], [>] and [SEP] are neither words nor clips
        own = [Place(number, position, None) for position in range(1, clips[0] - 1)]
        own += [Place(number, position, clip) for clip, position in enumerate(clips)]
        examples.append(Example(ids, types, {LABEL: [(place.position, 0) for place in own]}))
        places += own
    return places, layer_states(trained, examples)
