"""RoBERTa checkpoints in the form of a BERT's: the same network under other names, whose positions begin after the pad's.

Source: the layout of `transformers.RobertaForMaskedLM`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

POSITIONS = "bert.embeddings.position_embeddings.weight"
TYPES = "bert.embeddings.token_type_embeddings.weight"
NAMES = {
    "roberta.": "bert.",
    "lm_head.dense.": "cls.predictions.transform.dense.",
    "lm_head.layer_norm.": "cls.predictions.transform.LayerNorm.",
    "lm_head.bias": "cls.predictions.bias",
}
"""Beginnings of names, and those of `transformers.BertForPreTraining`. ``lm_head.decoder`` is the table and the bias again."""


def config_of_bert(config: Mapping[str, Any]) -> dict[str, Any]:
    """The ``config.json`` of the BERT that :func:`weights_of_bert` gives."""
    positions, pad = config.get("max_position_embeddings"), config.get("pad_token_id", 1)
    whole = isinstance(positions, int) and isinstance(pad, int)
    return {
        **config,
        "model_type": "bert",
        "type_vocab_size": 2,
        "max_position_embeddings": positions - pad - 1 if whole else positions,
    }


def weights_of_bert(
    weights: Mapping[str, torch.Tensor], config: Mapping[str, Any]
) -> dict[str, torch.Tensor]:
    """The weights under BERT's names. Positions begin at 0; the one token type is that of words and of video."""
    found: dict[str, torch.Tensor] = {}
    for name, tensor in weights.items():
        begins = next((own for own in NAMES if name.startswith(own)), None)
        if begins is not None:
            found[NAMES[begins] + name.removeprefix(begins)] = tensor
        elif not name.startswith("lm_head."):
            found[f"bert.{name}"] = tensor
    if POSITIONS in found:
        found[POSITIONS] = found[POSITIONS][config.get("pad_token_id", 1) + 1 :]
    if TYPES in found and len(found[TYPES]) == 1:
        found[TYPES] = found[TYPES].repeat(2, 1)
    return found
