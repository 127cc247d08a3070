"""The writer: a decoder beside the joint BERT that writes words and visual tokens over its states (BART, T5).

The embeddings are those of the model, for what is read, for what is written, and as output rows. With token type 0 for all that is
written it is the decoder of `transformers.EncoderDecoderModel` of two BERTs.
Shapes: T tokens read, U tokens written, S sequences, N of them with something written, L longest of these, H hidden, V vocabulary.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from multimodal.examples.packing import TEXT_TYPE, Batch
from multimodal.joint.decoder import Decoder
from multimodal.joint.large_vocabulary import ALL, Columns
from multimodal.joint.model import JointBert
from multimodal.joint.options import ModelOptions


class Writer(nn.Module):
    """The decoder's own weights, with as many layers as the encoder, and a bias for each entry of the vocabulary."""

    def __init__(self, options: ModelOptions):
        super().__init__()
        self.decoder = Decoder(options, options.num_hidden_layers, options.hidden_dropout_prob)
        self.bias = nn.Parameter(torch.zeros(options.vocab_size))

    @classmethod
    def of_tensors(cls, options: ModelOptions, tensors: Mapping[str, torch.Tensor]) -> Writer:
        """The writer of a trained model with these weights, ready for inference."""
        writer = cls(options)
        writer.load_state_dict(dict(tensors))
        return writer.eval()

    def init_from(self, model: JointBert) -> None:
        """The encoder's layers and head (:meth:`Decoder.init_from`)."""
        self.decoder.init_from(model)
        self.bias.data.copy_(model.cls["predictions"].bias.data)

    def states(
        self, model: JointBert, batch: Batch, x_TH: torch.Tensor, rows_UH: torch.Tensor
    ) -> torch.Tensor:
        """The states [U, H] after each written token of ``batch.target``, whose rows in the table are ``rows_UH``; ``x_TH`` are
        the encoder's states."""
        target = batch.target
        written_N = target.lengths_S.nonzero()[:, 0]
        read = x_TH.split(batch.lengths_S.tolist())
        memory_NMH = pad_sequence([read[n] for n in written_N.tolist()], True)
        rows_UH = rows_UH + positions(model, target.positions_T)
        lengths_N = target.lengths_S[written_N]
        rows_NLH = pad_sequence(rows_UH.split(lengths_N.tolist()), True)
        y_NLH = self.decoder.states(
            rows_NLH, memory_NMH, _present(batch.lengths_S[written_N], memory_NMH.shape[1])
        )
        return y_NLH[_present(lengths_N, y_NLH.shape[1])]

    def logits(
        self,
        model: JointBert,
        y_UH: torch.Tensor,
        table: torch.Tensor | None = None,
        columns: Columns = ALL,
    ) -> torch.Tensor:
        """Logits over ``columns`` of the vocabulary [U, C] of the token that follows; the output rows are tied to the embeddings."""
        y_UH = self.decoder.transform(y_UH)
        return model.bert["embeddings"].tied_logits(y_UH, self.bias, table, columns)


def positions(model: JointBert, positions_U: torch.Tensor) -> torch.Tensor:
    """What is added to the rows of written tokens: of their positions, and of token type 0."""
    embeddings = model.bert["embeddings"]
    return embeddings.position_embeddings(positions_U) + embeddings.token_type_embeddings.weight[TEXT_TYPE]


def _present(lengths_N: torch.Tensor, longest: int) -> torch.Tensor:
    """bool [N, L]: the places that are no padding."""
    return torch.arange(longest, device=lengths_N.device) < lengths_N[:, None]


@dataclasses.dataclass(frozen=True)
class TargetReader:
    """A writer beside the model whose embeddings it shares: reads a batch with its target, and tells what follows each token."""

    model: JointBert
    writer: Writer

    def encode(self, batch: Batch) -> torch.Tensor:
        """The decoder's states [U, H]."""
        rows_UH = self.model.bert["embeddings"].embedding_lookup(batch.target.ids_T)[0]
        return self.writer.states(self.model, batch, self.model.encode(batch), rows_UH)

    def transform(self, y_UH: torch.Tensor) -> torch.Tensor:
        return self.writer.decoder.transform(y_UH)

    def cloze(self, y_UH: torch.Tensor, columns: Columns = ALL) -> torch.Tensor:
        return self.writer.logits(self.model, y_UH, columns=columns)
