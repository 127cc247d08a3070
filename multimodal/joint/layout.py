"""Layout: a model as files that open with `transformers.BertForPreTraining.from_pretrained`.

This one view keeps checkpoints. Whatever the network holds in another form (frozen rows apart, shared layers, a factorised
table) is written out here under the names of that class. What the view does not tell (the factors) lies beside it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from multimodal.joint.factorised import TABLE, factorise, factors, multiply_out
from multimodal.joint.options import TRAINED_AS, ModelOptions

FROZEN_VISUAL = "bert.embeddings.frozen_visual_KH"
WEIGHTS, CONFIG = "model.safetensors", "config.json"
BESIDE = "factors.safetensors"
"""The factors of a factorised table, for the training that goes on."""


def export_tensors(state: Mapping[str, torch.Tensor], options: ModelOptions) -> dict[str, torch.Tensor]:
    """The weights of a state dict under `transformers`' names; frozen visual rows in their place in the table, a factorised
    table multiplied out. Shared layers are written out already: a state dict has a name for each."""
    tensors = {name: tensor.detach() for name, tensor in state.items()}
    if options.embedding_size:
        tensors = multiply_out(tensors)
    if options.frozen_rows:
        tensors[TABLE] = torch.cat([tensors[TABLE], tensors.pop(FROZEN_VISUAL)])
    return tensors


def load_tensors(model: nn.Module, options: ModelOptions, tensors: Mapping[str, torch.Tensor]) -> None:
    """The inverse of :func:`export_tensors`: puts the weights into a model of that shape.

    Where layers are shared, those of ``tensors`` are alike, or the last one's are taken. The factors of a factorised table
    may be among ``tensors`` (:func:`read_beside` finds them).
    """
    state = dict(tensors)
    if options.frozen_rows:
        trained_rows = len(state[TABLE]) - options.frozen_rows
        state[TABLE], state[FROZEN_VISUAL] = state[TABLE].split([trained_rows, options.frozen_rows])
    if options.embedding_size:
        state = factorise(state, options)
    model.load_state_dict(state)


def write_model(folder: Path, exported: Mapping[str, torch.Tensor], options: ModelOptions) -> None:
    """``model.safetensors`` and ``config.json`` as `transformers` reads them, from :func:`export_tensors`."""
    tensors: dict[str, torch.Tensor] = {}
    written: set[int] = set()
    for name, exported_tensor in exported.items():
        tensor = exported_tensor.contiguous().cpu()
        # Layers that share a tensor have one each in the file.
        tensors[name] = tensor.clone() if tensor.data_ptr() in written else tensor
        written.add(tensor.data_ptr())
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    config = {"architectures": ["BertForPreTraining"], "model_type": "bert", "hidden_act": "gelu"}
    shape = {name: value for name, value in dataclasses.asdict(options).items() if name not in TRAINED_AS}
    (folder / CONFIG).write_text(json.dumps(config | shape, indent=1))


def read_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """The weights of a model folder, by name."""
    return load_file(folder / WEIGHTS)


def write_beside(folder: Path, state: Mapping[str, torch.Tensor], options: ModelOptions) -> None:
    """What a training goes on from and the view does not tell, in a file of its own where there is any."""
    if options.embedding_size:
        tensors = {name: tensor.contiguous().cpu() for name, tensor in factors(state).items()}
        save_file(tensors, folder / BESIDE)


def read_beside(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors of :func:`write_beside`; none where there is no such file."""
    return load_file(folder / BESIDE) if (folder / BESIDE).exists() else {}
