"""Layout: a model as files that open with `transformers.BertForPreTraining.from_pretrained`.

This one view keeps checkpoints. Whatever the network holds in another form (frozen rows apart, later shared layers or
factorised tables) is written out here under the names of that class.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from multimodal.joint.options import ModelOptions

TABLE = "bert.embeddings.word_embeddings.weight"
FROZEN_VISUAL = "bert.embeddings.frozen_visual_KH"
WEIGHTS, CONFIG = "model.safetensors", "config.json"


def export_tensors(state: Mapping[str, torch.Tensor], options: ModelOptions) -> dict[str, torch.Tensor]:
    """The weights of a state dict under `transformers`' names; frozen visual rows in their place in the table."""
    tensors = {name: tensor.detach() for name, tensor in state.items()}
    if options.frozen_rows:
        tensors[TABLE] = torch.cat([tensors[TABLE], tensors.pop(FROZEN_VISUAL)])
    return tensors


def load_tensors(model: nn.Module, options: ModelOptions, tensors: Mapping[str, torch.Tensor]) -> None:
    """The inverse of :func:`export_tensors`: puts the weights into a model of that shape."""
    state = dict(tensors)
    if options.frozen_rows:
        trained_rows = len(state[TABLE]) - options.frozen_rows
        state[TABLE], state[FROZEN_VISUAL] = state[TABLE].split([trained_rows, options.frozen_rows])
    model.load_state_dict(state)


def write_model(folder: Path, exported: Mapping[str, torch.Tensor], options: ModelOptions) -> None:
    """``model.safetensors`` and ``config.json`` as `transformers` reads them, from :func:`export_tensors`."""
    tensors = {name: tensor.contiguous().cpu() for name, tensor in exported.items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    config = {"architectures": ["BertForPreTraining"], "model_type": "bert", "hidden_act": "gelu"}
    (folder / CONFIG).write_text(json.dumps(config | dataclasses.asdict(options), indent=1))


def read_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """The weights of a model folder, by name."""
    return load_file(folder / WEIGHTS)
