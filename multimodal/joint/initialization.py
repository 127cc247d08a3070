"""Initialization: a joint BERT from a text checkpoint, a joint model or from scratch, with a row for each visual token."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import torch

from multimodal.byte_pairs import load_vocabulary
from multimodal.joint.bert_checkpoint import BIAS, read_bert
from multimodal.joint.layout import TABLE
from multimodal.joint.model import JointBert
from multimodal.joint.options import ModelOptions, Shape
from multimodal.store import InputError
from multimodal.vocabulary import Vocabulary

RANDOM_WHERE_ABSENT = ("bert.pooler.", "cls.")
"""The parts that a BERT without heads lacks: they begin at random."""


def from_scratch(
    shape: Shape, vocabulary: Vocabulary, centroids_KD: torch.Tensor, seed: int, *, frozen: bool = False
) -> JointBert:
    """A joint BERT of random weights, dense layers by their width, but for the rows of its visual tokens."""
    options = ModelOptions(
        vocab_size=vocabulary.size,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=4 * shape.hidden,
        hidden_dropout_prob=shape.dropout,
        attention_probs_dropout_prob=shape.dropout,
        pad_token_id=vocabulary.pad,
    )
    model = JointBert(options).init_weights(seed, by_width=True)
    return _with_visual_rows(model, vocabulary, centroids_KD, seed, frozen)


def from_checkpoint(
    checkpoint: Path, vocabulary: Vocabulary, centroids_KD: torch.Tensor, seed: int, *, frozen: bool = False
) -> JointBert:
    """A joint BERT that begins with a BERT text checkpoint: its word rows, then ``[>]``, then a row for each visual token.

    ``checkpoint`` is a folder in Hugging Face layout (:func:`~multimodal.joint.bert_checkpoint.read_bert`).
    ``centroids_KD`` are the codebook's leaves (:func:`visual_rows`); ``frozen`` keeps their rows untrained. Heads that the
    checkpoint lacks begin at random. A table that was padded beyond its vocabulary, to the ``vocab_size`` of its
    ``config.json``, gives its first rows. Raises :class:`InputError` where it is no BERT that can be read, or not one of
    this vocabulary.
    """
    shape, given = read_bert(checkpoint)
    words = len(vocabulary.words)
    own = {"vocab_size": vocabulary.size, "pad_token_id": vocabulary.pad}
    model = JointBert(ModelOptions(**shape | own)).init_weights(seed)
    state = model.state_dict()
    for name, tensor in state.items():
        by_word = name in (TABLE, BIAS)
        rows = words if by_word else len(tensor)
        found = given.get(name)
        if found is None and not name.startswith(RANDOM_WHERE_ABSENT):
            raise InputError(f"{checkpoint}: its weights lack {name}; give a BERT that is whole")
        if found is not None and by_word and found.dim() and rows < shape.get("vocab_size", 0) == len(found):
            found = found[:rows]
        if found is not None and found.shape != (rows, *tensor.shape[1:]):
            rule = f"{words} word pieces in its vocabulary" if by_word else "its config.json says otherwise"
            raise InputError(
                f"{checkpoint}: {name} is {_dimensions(found)}, but {rule}; give a BERT whose files belong together"
            )
        if found is not None:
            tensor[:rows].copy_(found)
    return _with_visual_rows(model, vocabulary, centroids_KD, seed, frozen)


def from_joint(
    folder: Path,
    vocabulary: Vocabulary,
    from_K: torch.Tensor,
    centroids_KD: torch.Tensor,
    seed: int,
    *,
    frozen: bool = False,
) -> JointBert:
    """A joint BERT that goes on from the one of a model folder: all of its weights, and the rows of its visual tokens as
    :func:`carried_rows` says.

    ``vocabulary`` has the folder's words and sentinels. ``from_K`` int64 [K]: for each of its visual tokens that of the
    folder whose row it takes, -1 for one that begins anew, as :func:`visual_rows` of ``centroids_KD``. Raises
    :class:`InputError` where the folder holds no whole joint model of these words.
    """
    shape, given = read_bert(folder)
    before = load_vocabulary(folder)
    own = {"vocab_size": vocabulary.size, "pad_token_id": vocabulary.pad}
    model = JointBert(ModelOptions(**shape | own)).init_weights(seed)
    tensors = model.export_tensors()
    for name, tensor in tensors.items():
        by_word = name in (TABLE, BIAS)
        wanted = (before.size, *tensor.shape[1:]) if by_word else tensor.shape
        if name not in given or given[name].shape != wanted:
            found = _dimensions(given[name]) if name in given else "not there"
            raise InputError(
                f"{folder}: {name} is {found}, but its vocabulary and config.json say {' × '.join(map(str, wanted))}; give a "
                "model folder whose files belong together"
            )
        if not by_word:
            tensor.copy_(given[name])
    begun_KH = visual_rows(centroids_KD, shape["hidden_size"], given[TABLE][: len(vocabulary.words)], seed)
    for name, new in ((TABLE, begun_KH), (BIAS, torch.zeros(vocabulary.visual))):
        tensors[name].copy_(carried_rows(given[name], before, from_K, new))
    if frozen:
        model = JointBert(dataclasses.replace(model.options, frozen_rows=vocabulary.visual))
    model.load_tensors(tensors)
    return model


def carried_rows(
    given: torch.Tensor, before: Vocabulary, from_K: torch.Tensor, new: torch.Tensor
) -> torch.Tensor:
    """A tensor with a row for each entry of the vocabulary ``before``, for another set of visual tokens: the K of ``from_K``
    take the rows of those that it names, where it is -1 those of ``new``. All other rows stay."""
    rows, carried = new.to(given.dtype).clone(), from_K >= 0
    rows[carried] = given[before.visual_ids][from_K[carried]]
    return torch.cat([given[: before.first_visual], rows, given[before.visual_ids.stop :]])


def _dimensions(tensor: torch.Tensor) -> str:
    return " × ".join(map(str, tensor.shape)) or "a number"


def _with_visual_rows(
    model: JointBert, vocabulary: Vocabulary, centroids_KD: torch.Tensor, seed: int, frozen: bool
) -> JointBert:
    tensors = model.export_tensors()
    table_VH = tensors[TABLE]
    words_WH = table_VH[: len(vocabulary.words)]
    table_VH[vocabulary.visual_ids] = visual_rows(centroids_KD, table_VH.shape[1], words_WH, seed)
    if frozen:
        model = JointBert(dataclasses.replace(model.options, frozen_rows=vocabulary.visual))
        model.load_tensors(tensors)
    return model


def visual_rows(centroids_KD: torch.Tensor, hidden: int, words_WH: torch.Tensor, seed: int) -> torch.Tensor:
    """Embedding rows [K, H] for the visual tokens from the codebook's leaves, with the mean and deviation of ``words_WH``.

    VideoBERT (section 3.2) takes the centroids as they are, since they are as wide as the model. Where the leaves' width
    D is not H they are centred and sent through a random orthogonal projection, which keeps distances in expectation.
    Leaves that the codebook does not use (NaN) get random rows.
    """
    generator = torch.Generator().manual_seed(seed)
    used_K = centroids_KD.isfinite().all(1)
    rows_KH = torch.randn(len(centroids_KD), hidden, generator=generator)
    if used_K.sum() > 1:
        x = centroids_KD[used_K].float()
        x = x - x.mean(0)
        if x.shape[1] != hidden:
            larger, smaller = max(x.shape[1], hidden), min(x.shape[1], hidden)
            basis, _ = torch.linalg.qr(torch.randn(larger, smaller, generator=generator))
            x = x @ (basis if x.shape[1] == larger else basis.T)
        rows_KH[used_K] = x / x.std().clamp_min(1e-6)
    assert math.isfinite(float(rows_KH.sum()))
    return rows_KH * words_WH.std() + words_WH.mean(0)
