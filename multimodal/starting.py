"""Owns where a joint BERT begins: a BERT checkpoint's weights, and a row of the table for each visual token."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import torch
from safetensors.torch import load_file

from multimodal.model import JointBert, ModelOptions


def start_from(
    checkpoint: Path, words: int, centroids_KD: torch.Tensor, seed: int, **shape: int
) -> JointBert:
    """A joint BERT that starts from a BERT text checkpoint: its word rows, then ``[>]``, then one row a visual token.

    ``checkpoint`` is a folder in Hugging Face layout (``config.json``, ``model.safetensors``). ``centroids_KD`` are the
    codebook's leaves; where their width D is not the model's H they are centred and sent through a random orthogonal
    projection (distances kept in expectation), then scaled to the spread of the word rows. Leaves that the codebook
    does not use (NaN) and heads that the checkpoint lacks start at random.
    """
    config = json.loads((checkpoint / "config.json").read_text())
    known = {f.name for f in dataclasses.fields(ModelOptions)}
    options = ModelOptions(
        **{k: v for k, v in config.items() if k in known}
        | {"vocab_size": words + 1 + len(centroids_KD)}
        | shape
    )
    model = JointBert(options).start(seed)
    given = load_file(checkpoint / "model.safetensors")
    given = {
        name if name.startswith(("bert.", "cls.")) else f"bert.{name}": tensor.float()
        for name, tensor in given.items()
    }
    state = model.state_dict()
    words_name = "bert.embeddings.word_embeddings.weight"
    table_WH = given.pop(words_name)
    assert table_WH.shape == (words, options.hidden_size), (
        f"{checkpoint}: {tuple(table_WH.shape)} word rows, {words} in its vocabulary"
    )
    state[words_name][:words] = table_WH
    state[words_name][words + 1 :] = visual_rows(centroids_KD, options.hidden_size, table_WH, seed)
    for name, tensor in given.items():
        if name in state and state[name].shape == tensor.shape:
            state[name].copy_(tensor)
        elif name == "cls.predictions.bias":
            state[name][:words] = tensor
    return model


def visual_rows(centroids_KD: torch.Tensor, hidden: int, words_WH: torch.Tensor, seed: int) -> torch.Tensor:
    """Embedding rows [K, H] for the visual tokens; see :func:`start_from`."""
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
