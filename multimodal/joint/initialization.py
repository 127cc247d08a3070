"""Owns where a joint BERT begins: a BERT checkpoint's weights or none, and a row of the table for each visual token."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from multimodal.joint.model import TABLE, JointBert, ModelOptions
from multimodal.store import InputError
from multimodal.vocabulary import Vocabulary

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
BIAS = "cls.predictions.bias"
RANDOM_WHERE_ABSENT = ("bert.pooler.", "cls.")
"""What a BERT without heads leaves to us."""
ONLY = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "tie_word_embeddings": True,
}
"""What a ``config.json`` may say of these, where it speaks of them."""
DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob")
SHAPE = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")


@dataclasses.dataclass(frozen=True)
class Shape:
    """The shape of an encoder that starts from nothing; its feed-forward part is 4 times as wide, as in every BERT."""

    layers: int = 6
    hidden: int = 384
    heads: int = 12


def from_scratch(
    shape: Shape, vocabulary: Vocabulary, centroids_KD: torch.Tensor, seed: int, *, frozen: bool = False
) -> JointBert:
    """A joint BERT of random weights (BERT's own initialisation) but for the rows of its visual tokens."""
    options = ModelOptions(
        vocab_size=vocabulary.size,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=4 * shape.hidden,
        pad_token_id=vocabulary.pad,
    )
    return _with_visual_rows(JointBert(options).start(seed), vocabulary, centroids_KD, seed, frozen)


def from_checkpoint(
    checkpoint: Path, vocabulary: Vocabulary, centroids_KD: torch.Tensor, seed: int, *, frozen: bool = False
) -> JointBert:
    """A joint BERT that starts from a BERT text checkpoint: its word rows, then ``[>]``, then a row a visual token.

    ``checkpoint`` is a folder in Hugging Face layout, see :func:`read_bert`. ``centroids_KD`` are the codebook's leaves,
    see :func:`visual_rows`; ``frozen`` keeps their rows as they are put here. Heads that the checkpoint lacks start at
    random. Where the table was padded to the ``vocab_size`` of its ``config.json``, beyond its vocabulary, its first rows are
    the words'. Raises :class:`InputError` where it is no BERT that we read, or not one of this vocabulary.
    """
    shape, given = read_bert(checkpoint)
    words = len(vocabulary.words)
    own = {"vocab_size": vocabulary.size, "pad_token_id": vocabulary.pad}
    model = JointBert(ModelOptions(**shape | own)).start(seed)
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
                f"{checkpoint}: {name} is {_by(found)}, but {rule}; give a BERT whose files belong together"
            )
        if found is not None:
            tensor[:rows].copy_(found)
    return _with_visual_rows(model, vocabulary, centroids_KD, seed, frozen)


def _by(tensor: torch.Tensor) -> str:
    return " × ".join(map(str, tensor.shape)) or "a number"


def _with_visual_rows(
    model: JointBert, vocabulary: Vocabulary, centroids_KD: torch.Tensor, seed: int, frozen: bool
) -> JointBert:
    tensors = model.tensors()
    table_VH = tensors[TABLE]
    words_WH = table_VH[: len(vocabulary.words)]
    table_VH[vocabulary.first_visual :] = visual_rows(centroids_KD, table_VH.shape[1], words_WH, seed)
    if frozen:
        model = JointBert(dataclasses.replace(model.options, frozen_rows=vocabulary.visual))
        model.put(tensors)
    return model


def read_bert(folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The shape (the fields of :class:`ModelOptions`) and the float32 weights of a BERT in Hugging Face layout.

    ``config.json``, and ``model.safetensors`` or ``pytorch_model.bin`` (of which tensors only are read, no objects).
    Names come back as those of `transformers.BertForPreTraining`, also where the file leaves out ``bert.`` or has the
    ``gamma`` and ``beta`` of the first release. Raises :class:`InputError` where it is none, or none that we can run.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        shape = {f.name: config[f.name] for f in dataclasses.fields(ModelOptions) if f.name in config}
        lacks = [key for key in SHAPE if key not in shape]
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{folder}: config.json cannot be read ({error}); give a BERT's folder") from error
    if lacks:
        raise InputError(f"{folder}: its config.json lacks {lacks[0]}; give the folder of a BERT")
    for key, wanted in ONLY.items():
        if config.get(key, wanted) != wanted:
            raise InputError(f"{folder}: its {key} is {config[key]}; only BERTs with {key} {wanted} are read")
    for ours in ("frozen_rows", "pad_token_id"):
        shape.pop(ours, None)
    _check_shape(folder, shape)
    given = {_name(name): tensor.float() for name, tensor in _weights(folder).items()}
    _check_weights(folder, shape, given)
    return shape, given


def _check_shape(folder: Path, shape: dict[str, Any]) -> None:
    """Raises :class:`InputError` where a value is of another type, out of its range, or does not fit the others."""
    for name, value in shape.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if name in DROPOUTS:
            right, rule = number and 0 <= value < 1, "a share from 0 to below 1"
        elif name == "layer_norm_eps":
            right, rule = number and 0 < value < 1, "a number above 0 and below 1"
        else:
            right, rule = number and isinstance(value, int) and value > 0, "a whole number above 0"
        if not right:
            raise InputError(
                f"{folder}: its {name} is {json.dumps(value)[:40]}, not {rule}; give the config.json that came with the weights"
            )
    hidden, heads = shape["hidden_size"], shape["num_attention_heads"]
    if hidden % heads:
        raise InputError(
            f"{folder}: its hidden_size {hidden} is no multiple of its num_attention_heads {heads}; give the config.json that "
            "came with the weights"
        )
    if shape.get("type_vocab_size", 2) < 2:
        raise InputError(f"{folder}: its type_vocab_size is 1; a BERT that tells text from video needs 2")


SIZES = {
    "hidden_size": (TABLE, 1),
    "intermediate_size": ("bert.encoder.layer.0.intermediate.dense.weight", 0),
    "max_position_embeddings": ("bert.embeddings.position_embeddings.weight", 0),
    "type_vocab_size": ("bert.embeddings.token_type_embeddings.weight", 0),
}
"""Whose length a value of ``config.json`` is, and along which of its sides."""


def _check_weights(folder: Path, shape: dict[str, Any], given: dict[str, torch.Tensor]) -> None:
    """Raises :class:`InputError` where the weights hold less than is asked for, before memory is taken for it."""
    layers = {name.split(".")[3] for name in given if name.startswith("bert.encoder.layer.")}
    held = {"num_hidden_layers": len(layers)}
    for key, (name, side) in SIZES.items():
        if name not in given or given[name].dim() <= side:
            raise InputError(f"{folder}: its weights lack {name}; give a BERT that is whole")
        held[key] = given[name].shape[side]
    for key, most in held.items():
        if shape.get(key, 0) > most:
            raise InputError(
                f"{folder}: its {key} is {shape[key]}, but its weights hold {most}; give the config.json that came with the "
                "weights"
            )


def weights_file(folder: Path) -> Path:
    """The file that holds a checkpoint's weights. Raises :class:`InputError` where there is none."""
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            return folder / name
    raise InputError(
        f"{folder}: holds neither {' nor '.join(WEIGHT_FILES)}; put the weights there in one file"
    )


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    file = weights_file(folder)
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        found = torch.load(file, map_location="cpu", weights_only=True)
        return {name: tensor for name, tensor in found.items() if isinstance(tensor, torch.Tensor)}
    except (
        SafetensorError,
        pickle.UnpicklingError,
        RuntimeError,
        OSError,
        EOFError,
        AttributeError,
    ) as error:
        raise InputError(
            f"{file}: cannot be read as weights ({type(error).__name__}); fetch it again from its publisher"
        ) from error


def _name(name: str) -> str:
    name = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
    if name == "cls.predictions.decoder.bias":
        return BIAS
    return name if name.startswith(("bert.", "cls.")) else f"bert.{name}"


def visual_rows(centroids_KD: torch.Tensor, hidden: int, words_WH: torch.Tensor, seed: int) -> torch.Tensor:
    """Embedding rows [K, H] for the visual tokens from the codebook's leaves, with the mean and spread of ``words_WH``.

    Where the leaves' width D is not the model's H they are centred and sent through a random orthogonal projection
    (distances kept in expectation). Leaves that the codebook does not use (NaN) get random rows.
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
