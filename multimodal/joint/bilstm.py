"""A bidirectional LSTM over the words and visual tokens of packed sequences, in place of an encoder (Tang et al. 2019,
"Distilling task-specific knowledge from BERT into simple neural networks", section 3).

Shapes: T tokens, S sequences, H hidden of the joint model, W width of the LSTM in each direction.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence, unpack_sequence

from multimodal.examples.packing import Batch
from multimodal.joint.model import JointBert


class BiLstm(nn.Module):
    """It reads the rows that a joint model has for words and visual tokens, as they are: they belong to the model and are
    neither trained nor kept here. So a token that no label names is known by what the model learned of it."""

    def __init__(self, model: JointBert, width: int):
        super().__init__()
        # In a tuple, so that its rows are no part of this network.
        self._embeddings = (model.bert["embeddings"],)
        self.LayerNorm = nn.LayerNorm(model.options.hidden_size)
        self.lstm = nn.LSTM(model.options.hidden_size, width, bidirectional=True)

    def encode(self, batch: Batch) -> torch.Tensor:
        """States [T, 2 W]: what was read up to each token, and from the end back to it. The first and the last token of a
        sequence have both of the whole: what stands for the sequence is read at either."""
        with torch.no_grad():
            rows_TH, _ = self._embeddings[0].embedding_lookup(batch.ids_T)
        lengths = batch.lengths_S.tolist()
        rows_TH = self.LayerNorm(rows_TH.float())
        if len(lengths) == 1:  # an answer: without packing oneDNN reads it in one call
            x_TW = self.lstm(rows_TH)[0]
        else:
            read = pack_sequence(rows_TH.split(lengths), enforce_sorted=False)
            x_TW = torch.cat(unpack_sequence(self.lstm(read)[0]))
        last_S = batch.lengths_S.cumsum(0) - 1
        first_S = last_S - batch.lengths_S + 1
        width = self.lstm.hidden_size
        whole_SW = torch.cat([x_TW[last_S, :width], x_TW[first_S, width:]], 1)
        return x_TW.index_copy(0, first_S, whole_SW).index_copy(0, last_S, whole_SW)
