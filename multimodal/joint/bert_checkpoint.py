"""BERT checkpoints in Hugging Face layout, read and checked before memory is taken for them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from multimodal.joint.layout import TABLE
from multimodal.joint.options import ModelOptions
from multimodal.joint.roberta_checkpoint import config_of_bert, weights_of_bert
from multimodal.joint.weights_pickle import read_weights_pickle
from multimodal.machine import refused_by_machine
from multimodal.store import InputError

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
LARGEST_CONFIG = LARGEST_HEADER = 1 << 20
BIAS = "cls.predictions.bias"
ROBERTA = "roberta"
"""The ``model_type`` of a RoBERTa, which is read as the BERT that it is."""
REQUIRED_CONFIG = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "tie_word_embeddings": True,
}
"""The only values that are read of these keys of a ``config.json``, where it has them."""
DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob")
SHAPE_KEYS = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
SIZES = {
    "hidden_size": (TABLE, 1),
    "intermediate_size": ("bert.encoder.layer.0.intermediate.dense.weight", 0),
    "max_position_embeddings": ("bert.embeddings.position_embeddings.weight", 0),
    "type_vocab_size": ("bert.embeddings.token_type_embeddings.weight", 0),
}
"""The tensor, and its dimension, whose length a value of ``config.json`` gives."""


def read_bert(folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The shape (fields of :class:`ModelOptions`) and the float32 weights of a BERT in Hugging Face layout.

    The folder holds ``config.json`` and ``model.safetensors`` or ``pytorch_model.bin`` (of which only tensors are read,
    no objects, in the confined child). Names are returned as those of `transformers.BertForPreTraining`, also where the file leaves out
    ``bert.`` or has the ``gamma`` and ``beta`` of the first release. Raises :class:`InputError` where the folder holds no
    BERT, or one of a form that is not supported.
    """
    try:
        if (folder / "config.json").stat().st_size > LARGEST_CONFIG:
            raise ValueError(f"it has more than {LARGEST_CONFIG} bytes")
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        roberta = config if config.get("model_type") == ROBERTA else None
        config = config_of_bert(config) if roberta else config
        shape = {f.name: config[f.name] for f in dataclasses.fields(ModelOptions) if f.name in config}
        missing = [key for key in SHAPE_KEYS if key not in shape]
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{folder}: config.json cannot be read ({error}); give a BERT's folder") from error
    if missing:
        raise InputError(f"{folder}: its config.json lacks {missing[0]}; give the folder of a BERT")
    for key, required in REQUIRED_CONFIG.items():
        if config.get(key, required) != required:
            raise InputError(
                f"{folder}: its {key} is {config[key]}; only BERTs with {key} {required} are read"
            )
    for own_key in ("frozen_rows", "pad_token_id"):
        shape.pop(own_key, None)
    _check_shape(folder, shape)
    given = _read_weights(folder)
    given = weights_of_bert(given, roberta) if roberta else given
    weights = {_standard_name(name): tensor.float() for name, tensor in given.items()}
    _check_weights(folder, shape, weights)
    return shape, weights


def is_roberta(folder: Path) -> bool:
    """Whether a folder's ``config.json`` says that it is a RoBERTa."""
    try:
        return json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type") == ROBERTA
    except (OSError, ValueError, AttributeError):
        return False


def _check_shape(folder: Path, shape: dict[str, Any]) -> None:
    """Raises :class:`InputError` where a value has another type, is out of range, or does not fit the others."""
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


def _check_weights(folder: Path, shape: dict[str, Any], weights: dict[str, torch.Tensor]) -> None:
    """Raises :class:`InputError` where the weights hold less than the config says, or NaN or infinity."""
    for name, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise InputError(
                f"{folder}: its {name} is not finite; fetch the weights again from their publisher"
            )
    layers = {name.split(".")[3] for name in weights if name.startswith("bert.encoder.layer.")}
    held = {"num_hidden_layers": len(layers)}
    for key, (name, dimension) in SIZES.items():
        if name not in weights or weights[name].dim() <= dimension:
            raise InputError(f"{folder}: its weights lack {name}; give a BERT that is whole")
        held[key] = weights[name].shape[dimension]
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


def _read_weights(folder: Path) -> dict[str, torch.Tensor]:
    file = weights_file(folder)
    if file.suffix != ".safetensors":
        return read_weights_pickle(file)
    with file.open("rb") as stream:
        # The format (https://github.com/huggingface/safetensors): eight bytes, little-endian, say how long the header is.
        header = int.from_bytes(stream.read(8), "little")
    if header > LARGEST_HEADER:
        raise InputError(
            f"{file}: its header says {header} bytes; a BERT's has at most {LARGEST_HEADER}; fetch it again from its publisher"
        )
    try:
        return load_file(file)
    except (SafetensorError, RuntimeError, OSError) as error:
        if refused_by_machine(error):
            raise
        raise InputError(
            f"{file}: cannot be read as weights ({type(error).__name__}); fetch it again from its publisher"
        ) from error


def _standard_name(name: str) -> str:
    name = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
    if name == "cls.predictions.decoder.bias":
        return BIAS
    return name if name.startswith(("bert.", "cls.")) else f"bert.{name}"
