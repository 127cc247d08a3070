"""Students: which layers of a teacher a smaller network begins with or is compared with, and its first weights.

Shapes: V vocabulary, H hidden.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from multimodal.joint.bert_checkpoint import BIAS
from multimodal.joint.initialization import visual_rows
from multimodal.joint.layout import TABLE
from multimodal.joint.model import JointBert
from multimodal.joint.options import ModelOptions

LAYER = re.compile(r"(bert\.encoder\.layer\.)(\d+)(\..*)")


def spread_layers(teacher: int, student: int) -> tuple[int, ...]:
    """The layers of a teacher, from 0, that a student of fewer begins with: the first, the last, and those between at equal
    distances. Of 12 for 6 they are 0, 2, 4, 7, 9, 11, as DistilBERT has them (Sanh et al. 2019)."""
    return tuple(int(n) for n in np.linspace(0, teacher - 1, student).round())


def mapped_layers(teacher: int, student: int) -> tuple[int, ...]:
    """The layer of a teacher, from 0, that each layer of a student is compared with: the last one of each k, of k · student
    layers (TinyBERT, Jiao et al. 2020, section 3.1)."""
    k = teacher // student
    return tuple(i * k + k - 1 for i in range(student))


def student_of(teacher: JointBert, shape: ModelOptions, seed: int, layers: Sequence[int] = ()) -> JointBert:
    """A network of this shape, whose layer i begins as the teacher's layer ``layers[i]``, or where none is given at random.

    Where it is as wide as its teacher its embeddings and heads begin as the teacher's; a narrower one has the rows of words
    and visual tokens through a random orthogonal projection
    (:func:`~multimodal.joint.initialization.visual_rows`), with the biases of the cloze head. All else is random.
    """
    student = JointBert(dataclasses.replace(shape, frozen_rows=0)).init_weights(seed, by_width=True)
    given, tensors = teacher.export_tensors(), student.export_tensors()
    for name, tensor in tensors.items():
        if layer := LAYER.fullmatch(name):
            if layers:
                tensors[name] = given[f"{layer[1]}{layers[int(layer[2])]}{layer[3]}"]
        elif given[name].shape == tensor.shape and shape.hidden_size == teacher.options.hidden_size:
            tensors[name] = given[name]
    if shape.hidden_size != teacher.options.hidden_size:
        tensors[TABLE] = visual_rows(given[TABLE], shape.hidden_size, tensors[TABLE], seed)
        tensors[BIAS] = given[BIAS]
    student = JointBert(shape)
    student.load_tensors(tensors)
    return student
