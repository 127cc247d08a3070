"""The joint BERT: embeddings, encoder, cloze head and alignment head over words and visual tokens.

The module and parameter names are those of `transformers.BertForPreTraining`, so a saved model opens there and the
same weights give the same loss. Sequences are packed: every layer but attention works on the T tokens of a batch
without padding, and logits over the vocabulary exist only at predicted positions.
Shapes: T tokens, S sequences, H hidden, M predicted positions, V vocabulary.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from multimodal.examples.packing import Batch
from multimodal.joint import layout
from multimodal.joint.attention import LengthBuckets
from multimodal.joint.embeddings import Embeddings
from multimodal.joint.factorised import FactorisedEmbeddings
from multimodal.joint.heads import ClozeHead
from multimodal.joint.large_vocabulary import ALL, Columns
from multimodal.joint.layers import shared_layers
from multimodal.joint.options import ModelOptions

DEVIATION = 0.02
GAIN = DEVIATION * 768**0.5
"""Of a dense layer of BERT-base: the deviation of its outputs for inputs of deviation 1."""


def init_weights(module: nn.Module, seed: int, *, by_width: bool = False) -> None:
    """BERT's initialization of all dense layers and embeddings in ``module``, a function of ``seed``.

    ``by_width``: dense layers of every width have the :data:`GAIN` of those of BERT-base (LeCun et al., Efficient BackProp,
    1998, section 4.6). With BERT's deviation a narrow network says next to nothing in its first steps.
    """
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, (nn.Linear, nn.Embedding)):
            dense = by_width and isinstance(part, nn.Linear)
            deviation = GAIN / part.in_features**0.5 if dense else DEVIATION
            part.weight.data.normal_(0.0, deviation, generator=generator)
        if isinstance(part, nn.Linear) and part.bias is not None:
            part.bias.data.zero_()


class JointBert(nn.Module):
    """BERT over one vocabulary of word pieces and visual tokens (VideoBERT, section 3.2; Devlin et al. 2019).

    Checked against `transformers.BertForPreTraining` with the same weights in ``tests/multimodal/test_model.py``.
    """

    def __init__(self, options: ModelOptions):
        super().__init__()
        self.options = options
        encoder = nn.ModuleDict({"layer": shared_layers(options)})
        embeddings = (FactorisedEmbeddings if options.embedding_size else Embeddings)(options)
        pooler = nn.ModuleDict({"dense": nn.Linear(options.hidden_size, options.hidden_size)})
        self.bert = nn.ModuleDict({"embeddings": embeddings, "encoder": encoder, "pooler": pooler})
        self.cls = nn.ModuleDict(
            {"predictions": ClozeHead(options), "seq_relationship": nn.Linear(options.hidden_size, 2)}
        )

    @property
    def device(self) -> torch.device:
        return self.cls["seq_relationship"].weight.device

    def init_weights(self, seed: int, *, by_width: bool = False) -> JointBert:
        """BERT's initialization: normal of deviation 0.02, biases zero. A function of ``seed``. ``by_width``: see
        :func:`init_weights`."""
        init_weights(self, seed, by_width=by_width)
        return self

    def encode(self, batch: Batch, rows_TH: torch.Tensor | None = None) -> torch.Tensor:
        """The last layer's states [T, H]. ``rows_TH`` are the tokens' embedding rows, where they were looked up already."""
        x_TH, buckets = self._embedded(batch, rows_TH)
        for layer in self.bert["encoder"]["layer"]:
            x_TH = layer(x_TH, buckets)
        return x_TH.index_select(0, buckets.inverse_order_T)

    def encode_layers(self, batch: Batch, rows_TH: torch.Tensor | None = None) -> torch.Tensor:
        """The states after the embeddings and after each layer [L + 1, T, H]; the last ones are those of :meth:`encode`."""
        x_TH, buckets = self._embedded(batch, rows_TH)
        states = [x_TH]
        for layer in self.bert["encoder"]["layer"]:
            states.append(layer(states[-1], buckets))
        return torch.stack([x.index_select(0, buckets.inverse_order_T) for x in states])

    def _embedded(self, batch: Batch, rows_TH: torch.Tensor | None) -> tuple[torch.Tensor, LengthBuckets]:
        """The encoder's input [T, H] in the order of its buckets."""
        embeddings, buckets = self.bert["embeddings"], LengthBuckets.of(batch)
        rows_TH = embeddings.embedding_lookup(batch.ids_T)[0] if rows_TH is None else rows_TH
        return embeddings(batch, rows_TH).index_select(0, buckets.bucket_order_T), buckets

    def transform(self, x_MH: torch.Tensor) -> torch.Tensor:
        """The states [M, H] that the cloze head compares with the rows of the vocabulary."""
        return self.cls["predictions"].transform(x_MH)

    def cloze(
        self, x_MH: torch.Tensor, table: torch.Tensor | None = None, columns: Columns = ALL
    ) -> torch.Tensor:
        """Logits over ``columns`` of the vocabulary [M, C]; the output rows are tied to the embeddings."""
        bias_V = self.cls["predictions"].bias
        return self.bert["embeddings"].tied_logits(self.transform(x_MH), bias_V, table, columns)

    def alignment(self, x_TH: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Logits [S, 2] of ``ALIGNED`` and ``MISALIGNED`` from each sequence's ``[CLS]``."""
        first_S = batch.lengths_S.cumsum(0) - batch.lengths_S
        return self.cls["seq_relationship"](torch.tanh(self.bert["pooler"]["dense"](x_TH[first_S])))

    def embed(self, x_TH: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Sequence embeddings [S, H]: the mean of each sequence's states, of length one (Sentence-BERT's pooling)."""
        sums_SH = x_TH.new_zeros(len(batch.lengths_S), x_TH.shape[1], dtype=torch.float32)
        sums_SH = sums_SH.index_add(0, batch.sequence_T, x_TH.float())
        return F.normalize(sums_SH, dim=-1)

    def export_tensors(self) -> dict[str, torch.Tensor]:
        """All weights under the names of `transformers.BertForPreTraining` (:mod:`multimodal.joint.layout`)."""
        return layout.export_tensors(self.state_dict(), self.options)

    def load_tensors(self, tensors: dict[str, torch.Tensor]) -> None:
        """The inverse of :meth:`export_tensors`."""
        layout.load_tensors(self, self.options, tensors)

    def save(self, folder: Path) -> None:
        """``model.safetensors`` and ``config.json`` as `transformers` reads them."""
        layout.write_model(folder, self.export_tensors(), self.options)

    @classmethod
    def load(cls, folder: Path) -> JointBert:
        """The model of a folder, ready for inference."""
        model = cls(ModelOptions.load(folder))
        model.load_tensors(layout.read_tensors(folder))
        return model.eval()
