"""Embeddings: word, visual, position and token-type rows, and the logits tied to the word and visual rows.

Shapes: T tokens, M predicted positions, V vocabulary, K frozen visual tokens, H hidden.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from multimodal.examples.packing import Batch
from multimodal.joint.dropout import Dropout
from multimodal.joint.large_vocabulary import (
    ALL,
    Columns,
    EmbeddingLookup,
    TiedLogits,
    TiedLogitsOfTwo,
    of_two_tables,
    rows_of,
)
from multimodal.joint.options import ModelOptions


class Embeddings(nn.Module):
    """The rows of words, ``[>]`` and visual tokens, with BERT's positions and token types.

    Trained visual rows share one parameter with the words: a parameter of their own would change the order of summation
    in the norm of the gradient, and so the seeded loss (docs/decisions.md). Frozen visual rows are a table apart, a
    buffer: no optimizer reaches them, so neither weight decay nor gradient clipping does.
    """

    def __init__(self, o: ModelOptions):
        super().__init__()
        self.word_embeddings = nn.Embedding(o.vocab_size - o.frozen_rows, o.hidden_size)
        visual_KH = torch.zeros(o.frozen_rows, o.hidden_size)
        self.register_buffer("frozen_visual_KH", visual_KH, persistent=o.frozen_rows > 0)
        self.position_embeddings = nn.Embedding(o.max_position_embeddings, o.hidden_size)
        self.token_type_embeddings = nn.Embedding(o.type_vocab_size, o.hidden_size)
        self.LayerNorm = nn.LayerNorm(o.hidden_size, eps=o.layer_norm_eps)
        self.dropout = Dropout(o.hidden_dropout_prob)

    def forward(self, batch: Batch, rows_TH: torch.Tensor) -> torch.Tensor:
        """The encoder's input [T, H] from the tokens' own rows."""
        x_TH = rows_TH + self.position_embeddings(batch.positions_T)
        return self.dropout(self.LayerNorm(x_TH + self.token_type_embeddings(batch.types_T)))

    def embedding_lookup(self, ids_T: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The tokens' rows [T, H], and the trained table for :meth:`tied_logits`."""
        if not len(self.frozen_visual_KH):
            return EmbeddingLookup.apply(self.word_embeddings.weight, ids_T)
        first_visual = self.word_embeddings.num_embeddings
        visual_TH = F.embedding((ids_T - first_visual).clamp_min(0), self.frozen_visual_KH)
        word_TH, table = EmbeddingLookup.apply(self.word_embeddings.weight, ids_T.clamp_max(first_visual - 1))
        return torch.where((ids_T >= first_visual)[:, None], visual_TH, word_TH), table

    def tied_logits(
        self,
        x_MH: torch.Tensor,
        bias_V: torch.Tensor,
        table: torch.Tensor | None = None,
        columns: Columns = ALL,
    ) -> torch.Tensor:
        """The product of each state with each row of ``columns``, plus the bias: [M, C]."""
        table = self.word_embeddings.weight if table is None else table
        bias_C = rows_of(bias_V, columns)
        if not len(self.frozen_visual_KH):
            return TiedLogits.apply(x_MH, rows_of(table, columns), bias_C)
        words, visual = of_two_tables(columns, self.word_embeddings.num_embeddings, len(bias_V))
        rows, frozen = rows_of(table, words), rows_of(self.frozen_visual_KH, visual)
        return TiedLogitsOfTwo.apply(x_MH, rows, bias_C[: len(rows)], x_MH, frozen, bias_C[len(rows) :])
