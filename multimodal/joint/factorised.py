"""Factorised embeddings: the rows of the words as the product of two smaller matrices (ALBERT, Lan et al. 2020, section 3.1).

Unlike ALBERT's, the projection comes before positions, types and LayerNorm, so the product is BERT's table and a model opens
as `transformers.BertForPreTraining`. Visual tokens have rows of full width in a table of their own: centroids do not fit the
small one.
Shapes: T tokens, M predicted positions, V words and ``[>]``, K visual tokens, E embedding size, H hidden.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import nn

from multimodal.joint.embeddings import Embeddings
from multimodal.joint.large_vocabulary import (
    ALL,
    Columns,
    EmbeddingLookup,
    TiedLogitsOfTwo,
    of_two_tables,
    rows_of,
)
from multimodal.joint.options import ModelOptions

TABLE = "bert.embeddings.word_embeddings.weight"
"""In BERT the rows of all entries; here those of the words, of ``embedding_size`` numbers."""
PROJECTION = "bert.embeddings.projection.weight"
VISUAL = "bert.embeddings.visual_embeddings.weight"

Tables = tuple[torch.Tensor, torch.Tensor]
"""The small table of the words [V, E], and the rows of the visual tokens [K, H]."""


class FactorisedEmbeddings(Embeddings):
    """Words of ``embedding_size`` numbers, projected to the width of the network."""

    def __init__(self, o: ModelOptions):
        super().__init__(o)
        words = o.vocab_size - o.frozen_rows - o.visual_rows
        self.word_embeddings = nn.Embedding(words, o.embedding_size)
        self.projection = nn.Linear(o.embedding_size, o.hidden_size, bias=False)
        self.visual_embeddings = nn.Embedding(o.visual_rows, o.hidden_size)

    def embedding_lookup(self, ids_T: torch.Tensor) -> tuple[torch.Tensor, Tables]:
        """The tokens' rows [T, H], and both trained tables for :meth:`tied_logits`."""
        words = self.word_embeddings.num_embeddings
        word_TE, table_VE = EmbeddingLookup.apply(self.word_embeddings.weight, ids_T.clamp_max(words - 1))
        visual_T = (ids_T - words).clamp_min(0)
        if len(self.frozen_visual_KH):
            visual_TH, table_KH = F.embedding(visual_T, self.frozen_visual_KH), self.frozen_visual_KH
        else:
            visual_TH, table_KH = EmbeddingLookup.apply(self.visual_embeddings.weight, visual_T)
        rows_TH = torch.where((ids_T >= words)[:, None], visual_TH, self.projection(word_TE))
        return rows_TH, (table_VE, table_KH)

    def tied_logits(
        self,
        x_MH: torch.Tensor,
        bias_V: torch.Tensor,
        table: Tables | None = None,
        columns: Columns = ALL,
    ) -> torch.Tensor:
        """The product of each state with each row of ``columns``, plus the bias: [M, C]; the table of the words is never multiplied out."""
        visual = self.frozen_visual_KH if len(self.frozen_visual_KH) else self.visual_embeddings.weight
        table_VE, table_KH = (self.word_embeddings.weight, visual) if table is None else table
        x_ME = F.linear(x_MH, self.projection.weight.T)
        words, clips = of_two_tables(columns, len(table_VE), len(bias_V))
        table_VE, table_KH = rows_of(table_VE, words), rows_of(table_KH, clips)
        bias_C = rows_of(bias_V, columns)
        words_of_bias, of_clips = bias_C[: len(table_VE)], bias_C[len(table_VE) :]
        return TiedLogitsOfTwo.apply(x_ME, table_VE, words_of_bias, x_MH.to(x_ME.dtype), table_KH, of_clips)


def multiply_out(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state dict with the table of trained rows in place of its factors, as BERT has it."""
    tensors = dict(state)
    table_VH = tensors.pop(TABLE) @ tensors.pop(PROJECTION).T
    return tensors | {TABLE: torch.cat([table_VH, tensors.pop(VISUAL)])}


def factors(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What the product does not tell: the factors of a state dict."""
    return {f"factor.{name}": state[name].detach() for name in (TABLE, PROJECTION)}


def factorise(tensors: Mapping[str, torch.Tensor], options: ModelOptions) -> dict[str, torch.Tensor]:
    """The inverse of :func:`multiply_out`: the factors that are among ``tensors`` or, where there are none, those of the best
    approximation of the table (Eckart and Young 1936), whose projection has orthonormal columns."""
    state = dict(tensors)
    words = options.vocab_size - options.frozen_rows - options.visual_rows
    table_VH, state[VISUAL] = state.pop(TABLE).split([words, options.visual_rows])
    found = {name: state.pop(f"factor.{name}", None) for name in (TABLE, PROJECTION)}
    if found[PROJECTION] is None:
        gram_HH = table_VH.double().T @ table_VH.double()
        basis_HE = torch.linalg.eigh(gram_HH).eigenvectors[:, -options.embedding_size :]
        found = {TABLE: table_VH @ basis_HE.float(), PROJECTION: basis_HE.float()}
    return state | found
