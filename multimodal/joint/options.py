"""Options: the shape of the joint BERT, under the names of a Hugging Face ``config.json``. No PyTorch here."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

TRAINED_AS = ("share_layers", "embedding_size", "visual_rows")
"""The fields of :class:`ModelOptions` that no ``config.json`` holds."""


@dataclasses.dataclass(frozen=True)
class ModelOptions:
    """The shape of the encoder.

    ``frozen_rows`` is the number of visual rows that keep the values of their initialization. The cloze head is tied
    to the table, so the output rows of these tokens are frozen too; their biases are trained.
    ``pad_token_id`` is the vocabulary's. Packed sequences hold no padding; `transformers` gives the row no gradient.

    How the network is trained, which the files of a model do not say as they hold it written out (:attr:`written_out`):
    ``share_layers``, the parts that all layers share (:func:`multimodal.joint.layers.shared_layers`); ``embedding_size``, the
    width of a factorised table of words (0: it is whole), with ``visual_rows`` trained rows of visual tokens beside it
    (:mod:`multimodal.joint.factorised`).
    """

    vocab_size: int
    hidden_size: int = 384
    num_hidden_layers: int = 6
    num_attention_heads: int = 12
    intermediate_size: int = 1536
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    frozen_rows: int = 0
    pad_token_id: int = 0
    share_layers: str = "none"
    embedding_size: int = 0
    visual_rows: int = 0

    @property
    def written_out(self) -> ModelOptions:
        """The shape of the same function as BERT has it, nothing shared and nothing factorised."""
        return dataclasses.replace(self, share_layers="none", embedding_size=0, visual_rows=0)

    @classmethod
    def load(cls, folder: Path) -> ModelOptions:
        """Read from a folder's ``config.json``; keys that do not shape the model are ignored."""
        config = json.loads((folder / "config.json").read_text())
        known = {f.name for f in dataclasses.fields(cls)} - set(TRAINED_AS)
        return cls(**{key: value for key, value in config.items() if key in known})


@dataclasses.dataclass(frozen=True)
class Shape:
    """The shape of an encoder trained from scratch. The feed-forward width is 4 × ``hidden``, as in every BERT.

    ``dropout`` is BERT's. A network that is small for its data learns faster without (Lan et al. 2020, section 4.8)."""

    layers: int = 6
    hidden: int = 384
    heads: int = 12
    dropout: float = 0.1
