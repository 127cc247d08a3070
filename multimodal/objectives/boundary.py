"""The span-boundary objective: each token of a span from the states at its boundaries and its place in the span.

Source: Joshi et al., SpanBERT (TACL 2020), section 3.2.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from multimodal.examples.extra_terms import BOUNDARY_PLACES
from multimodal.examples.packing import Batch
from multimodal.joint.large_vocabulary import CrossEntropy
from multimodal.joint.options import ModelOptions
from multimodal.objectives.objective import Gather, Reading, Term
from multimodal.terms import BOUNDARY

PLACE_WIDTH = 200
"""Width of the embedding of a place."""
COLUMNS = 4
"""Of ``Batch.asks``: the position before the span, the one after it, the token's position, the token."""


class Boundary(Term):
    """Cross entropy over the vocabulary, whose rows are the embeddings' (tied) with a bias of the head's own.

    Shapes: M predictions, H hidden, P width of a place, V vocabulary.
    """

    names = (BOUNDARY,)

    def __init__(self, options: ModelOptions):
        super().__init__()
        hidden, eps = options.hidden_size, options.layer_norm_eps
        self.place_embeddings = nn.Embedding(BOUNDARY_PLACES, PLACE_WIDTH)
        self.layers = nn.ModuleList(
            nn.ModuleDict({"dense": nn.Linear(width, hidden), "LayerNorm": nn.LayerNorm(hidden, eps=eps)})
            for width in (2 * hidden + PLACE_WIDTH, hidden)
        )
        self.bias = nn.Parameter(torch.zeros(options.vocab_size))

    def forward(self, reading: Reading, batch: Batch, gather: Gather) -> torch.Tensor:
        asked_M4 = batch.asks.get(BOUNDARY, batch.lengths_S.new_zeros(0, COLUMNS))
        left_M, right_M, position_M, label_M = asked_M4.T.contiguous()
        x_TH, places = reading.x_TH, self.place_embeddings(position_M - left_M - 1)
        x_MH = torch.cat([x_TH[left_M], x_TH[right_M], places.to(x_TH.dtype)], dim=1)
        for layer in self.layers:
            x_MH = layer["LayerNorm"](F.gelu(layer["dense"](x_MH)))
        logits_MV = reading.model.bert["embeddings"].tied_logits(x_MH, self.bias, reading.table)
        return CrossEntropy.apply(logits_MV, label_M).sum()[None]
