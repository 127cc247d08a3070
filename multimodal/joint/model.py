"""Owns the joint BERT: embeddings, encoder, cloze head, alignment head, in the layout of Hugging Face's BERT.

The module and parameter names are those of `transformers.BertForPreTraining`, so a saved model opens there and the
same weights give the same loss. Sequences arrive packed: every layer but attention works on the T tokens of a batch
with no padding, and logits over the vocabulary are made only where a token is asked for.
Shapes: T tokens, S sequences, L longest sequence, H hidden, N heads, D head size, M asked places, V vocabulary.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from multimodal.examples.packing import Batch
from multimodal.joint.attention import LengthBuckets, SelfAttention
from multimodal.joint.dropout import Dropout
from multimodal.joint.large_vocabulary import EmbeddingLookup, TiedLogits

TABLE = "bert.embeddings.word_embeddings.weight"
FROZEN = "bert.embeddings.frozen_FH"


@dataclasses.dataclass(frozen=True)
class ModelOptions:
    """The shape of the encoder; the names are those of a Hugging Face ``config.json``.

    ``frozen_rows``: so many rows at the end of the table of embeddings are kept as they were put there. The cloze head is
    tied to the table, so what it compares with for these tokens is frozen too; its bias for them is not.
    ``pad_token_id`` is the vocabulary's; packed sequences need none, but the row that it names gets no gradient for what is
    read in `transformers`.
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

    @classmethod
    def load(cls, folder: Path) -> ModelOptions:
        """From a ``config.json``; keys that do not shape the model are passed over."""
        config = json.loads((folder / "config.json").read_text())
        known = {f.name for f in dataclasses.fields(cls)}
        return cls(**{key: value for key, value in config.items() if key in known})


class Embeddings(nn.Module):
    """The table holds a row for each word piece, ``[>]`` and visual token.

    Frozen rows lie apart, in a buffer: no optimizer sees them, so neither weight decay nor the clipping of gradients does.
    """

    def __init__(self, o: ModelOptions):
        super().__init__()
        self.word_embeddings = nn.Embedding(o.vocab_size - o.frozen_rows, o.hidden_size)
        frozen_FH = torch.zeros(o.frozen_rows, o.hidden_size)
        self.register_buffer("frozen_FH", frozen_FH, persistent=o.frozen_rows > 0)
        self.position_embeddings = nn.Embedding(o.max_position_embeddings, o.hidden_size)
        self.token_type_embeddings = nn.Embedding(o.type_vocab_size, o.hidden_size)
        self.LayerNorm = nn.LayerNorm(o.hidden_size, eps=o.layer_norm_eps)
        self.dropout = Dropout(o.hidden_dropout_prob)

    def forward(self, batch: Batch, rows_TH: torch.Tensor) -> torch.Tensor:
        x_TH = rows_TH + self.position_embeddings(batch.positions_T)
        return self.dropout(self.LayerNorm(x_TH + self.token_type_embeddings(batch.types_T)))

    def embedding_lookup(self, ids_T: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The tokens' rows [T, H], and the trained rows of the table for :meth:`scores`."""
        if not len(self.frozen_FH):
            return EmbeddingLookup.apply(self.word_embeddings.weight, ids_T)
        first = self.word_embeddings.num_embeddings
        frozen_TH = F.embedding((ids_T - first).clamp_min(0), self.frozen_FH)
        trained_TH, table = EmbeddingLookup.apply(self.word_embeddings.weight, ids_T.clamp_max(first - 1))
        return torch.where((ids_T >= first)[:, None], frozen_TH, trained_TH), table

    def scores(
        self, x_MH: torch.Tensor, bias_V: torch.Tensor, table: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The product with each row of the table and its bias, [M, V]."""
        table = self.word_embeddings.weight if table is None else table
        if not len(self.frozen_FH):
            return TiedLogits.apply(x_MH, table, bias_V)
        first = self.word_embeddings.num_embeddings
        trained = TiedLogits.apply(x_MH, table, bias_V[:first])
        return torch.cat([trained, TiedLogits.apply(x_MH, self.frozen_FH, bias_V[first:])], 1)


class AddAndNorm(nn.Module):
    """Dense, dropout, residual, LayerNorm: the second half of both parts of a BERT layer."""

    def __init__(self, width: int, o: ModelOptions):
        super().__init__()
        self.dense = nn.Linear(width, o.hidden_size)
        self.LayerNorm = nn.LayerNorm(o.hidden_size, eps=o.layer_norm_eps)
        self.dropout = Dropout(o.hidden_dropout_prob)

    def forward(self, y: torch.Tensor, residual_TH: torch.Tensor) -> torch.Tensor:
        return self.LayerNorm(self.dropout(self.dense(y)) + residual_TH)


class Layer(nn.Module):
    def __init__(self, o: ModelOptions):
        super().__init__()
        attention = SelfAttention(o.hidden_size, o.num_attention_heads, o.attention_probs_dropout_prob)
        self.attention = nn.ModuleDict({"self": attention, "output": AddAndNorm(o.hidden_size, o)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(o.hidden_size, o.intermediate_size)})
        self.output = AddAndNorm(o.intermediate_size, o)

    def forward(self, x_TH: torch.Tensor, grids: LengthBuckets) -> torch.Tensor:
        x_TH = self.attention["output"](self.attention["self"](x_TH, grids), x_TH)
        return self.output(F.gelu(self.intermediate["dense"](x_TH)), x_TH)


class Transform(nn.Module):
    def __init__(self, o: ModelOptions):
        super().__init__()
        self.dense = nn.Linear(o.hidden_size, o.hidden_size)
        self.LayerNorm = nn.LayerNorm(o.hidden_size, eps=o.layer_norm_eps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.LayerNorm(F.gelu(self.dense(x)))


class ClozeHead(nn.Module):
    def __init__(self, o: ModelOptions):
        super().__init__()
        self.transform = Transform(o)
        self.bias = nn.Parameter(torch.zeros(o.vocab_size))


class JointBert(nn.Module):
    """BERT over one vocabulary of word pieces and visual tokens (VideoBERT, section 3.2; Devlin et al. 2019).

    Checked against `transformers.BertForPreTraining` with the same weights in ``tests/multimodal/test_model.py``.
    """

    def __init__(self, options: ModelOptions):
        super().__init__()
        self.options = options
        encoder = nn.ModuleDict(
            {"layer": nn.ModuleList(Layer(options) for _ in range(options.num_hidden_layers))}
        )
        pooler = nn.ModuleDict({"dense": nn.Linear(options.hidden_size, options.hidden_size)})
        self.bert = nn.ModuleDict({"embeddings": Embeddings(options), "encoder": encoder, "pooler": pooler})
        self.cls = nn.ModuleDict(
            {"predictions": ClozeHead(options), "seq_relationship": nn.Linear(options.hidden_size, 2)}
        )

    @property
    def device(self) -> torch.device:
        return self.cls["seq_relationship"].weight.device

    def start(self, seed: int) -> JointBert:
        """BERT's initialisation: normal of deviation 0.02, biases zero. A function of ``seed``."""
        generator = torch.Generator().manual_seed(seed)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                module.weight.data.normal_(0.0, 0.02, generator=generator)
            if isinstance(module, nn.Linear):
                module.bias.data.zero_()
        return self

    def encode(self, batch: Batch, rows_TH: torch.Tensor | None = None) -> torch.Tensor:
        """The last layer's outputs, [T, H]; ``rows_TH`` are the tokens' rows of the table, where they were looked up."""
        embeddings, grids = self.bert["embeddings"], LengthBuckets.of(batch)
        rows_TH = embeddings.embedding_lookup(batch.ids_T)[0] if rows_TH is None else rows_TH
        x_TH = embeddings(batch, rows_TH).index_select(0, grids.order_T)
        for layer in self.bert["encoder"]["layer"]:
            x_TH = layer(x_TH, grids)
        return x_TH.index_select(0, grids.back_T)

    def cloze(self, x_MH: torch.Tensor, table: torch.Tensor | None = None) -> torch.Tensor:
        """Logits over the vocabulary, [M, V]; the decoder is tied to the word embeddings."""
        head = self.cls["predictions"]
        return self.bert["embeddings"].scores(head.transform(x_MH), head.bias, table)

    def alignment(self, x_TH: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Logits [S, 2] of ``ALIGNED`` and ``MISALIGNED`` from each sequence's ``[CLS]``."""
        first_S = batch.lengths_S.cumsum(0) - batch.lengths_S
        return self.cls["seq_relationship"](torch.tanh(self.bert["pooler"]["dense"](x_TH[first_S])))

    def embed(self, x_TH: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The mean of each sequence's outputs, of length one: [S, H] (Sentence-BERT's pooling)."""
        sums_SH = x_TH.new_zeros(len(batch.lengths_S), x_TH.shape[1], dtype=torch.float32)
        sums_SH = sums_SH.index_add(0, batch.sequence_T, x_TH.float())
        return F.normalize(sums_SH, dim=-1)

    def tensors(self) -> dict[str, torch.Tensor]:
        """All weights under the names of `transformers.BertForPreTraining`, frozen rows in their place in the table."""
        tensors = {name: tensor.detach() for name, tensor in self.state_dict().items()}
        if self.options.frozen_rows:
            tensors[TABLE] = torch.cat([tensors[TABLE], tensors.pop(FROZEN)])
        return tensors

    def put(self, tensors: dict[str, torch.Tensor]) -> None:
        """The inverse of :meth:`tensors`."""
        if self.options.frozen_rows:
            parts = tensors[TABLE].split(
                [len(tensors[TABLE]) - self.options.frozen_rows, self.options.frozen_rows]
            )
            tensors = tensors | dict(zip((TABLE, FROZEN), parts, strict=True))
        self.load_state_dict(tensors)

    def save(self, folder: Path) -> None:
        """``model.safetensors`` and ``config.json`` as `transformers` reads them."""
        tensors = {name: tensor.contiguous().cpu() for name, tensor in self.tensors().items()}
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        config = {"architectures": ["BertForPreTraining"], "model_type": "bert", "hidden_act": "gelu"}
        (folder / "config.json").write_text(json.dumps(config | dataclasses.asdict(self.options), indent=1))

    @classmethod
    def load(cls, folder: Path) -> JointBert:
        model = cls(ModelOptions.load(folder))
        model.put(load_file(folder / "model.safetensors"))
        return model.eval()
