"""ELECTRA's generator: a narrow BERT that shares the embeddings of the joint BERT and fills what is masked.

Source: Clark et al., ELECTRA (ICLR 2020), sections 2 and 3.2. The module is `transformers.ElectraForMaskedLM` with an embedding
width that is not the hidden width.
Shapes: T tokens, M predicted positions, V vocabulary, H width of the joint BERT and its embeddings, G of the generator.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import nn

from multimodal.examples.packing import Batch
from multimodal.joint.attention import LengthBuckets
from multimodal.joint.large_vocabulary import ALL, Columns
from multimodal.joint.layers import Layer
from multimodal.joint.model import JointBert
from multimodal.joint.options import ModelOptions

PROJECTION = "embeddings_project.weight"


class Generator(nn.Module):
    """The generator's own weights; the embeddings and the output rows are those of the model that it is called with."""

    def __init__(self, options: ModelOptions, heads: int):
        """``options`` are the joint BERT's; the generator has as many layers, and ``heads`` heads of the same size."""
        super().__init__()
        width = heads * (options.hidden_size // options.num_attention_heads)
        narrow = dataclasses.replace(
            options, hidden_size=width, num_attention_heads=heads, intermediate_size=4 * width
        )
        self.embeddings_project = nn.Linear(options.hidden_size, width)
        self.layers = nn.ModuleList(Layer(narrow) for _ in range(options.num_hidden_layers))
        self.dense = nn.Linear(width, options.hidden_size)
        self.LayerNorm = nn.LayerNorm(options.hidden_size, eps=options.layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(options.vocab_size))

    @classmethod
    def of_tensors(cls, options: ModelOptions, tensors: Mapping[str, torch.Tensor]) -> Generator:
        """The generator of a trained model with these weights, ready for inference."""
        head_size = options.hidden_size // options.num_attention_heads
        generator = cls(options, len(tensors[PROJECTION]) // head_size)
        generator.load_state_dict(dict(tensors))
        return generator.eval()


@dataclasses.dataclass(frozen=True)
class GeneratorReader:
    """A generator beside the model whose embeddings it shares: what reads a batch where blanks are to be filled."""

    model: JointBert
    generator: Generator

    def encode(self, batch: Batch, rows_TH: torch.Tensor | None = None) -> torch.Tensor:
        """The last layer's states [T, G]. ``rows_TH``: as in :meth:`~multimodal.joint.model.JointBert.encode`."""
        embeddings, buckets = self.model.bert["embeddings"], LengthBuckets.of(batch)
        rows_TH = embeddings.embedding_lookup(batch.ids_T)[0] if rows_TH is None else rows_TH
        x_TG = self.generator.embeddings_project(embeddings(batch, rows_TH))
        x_TG = x_TG.index_select(0, buckets.bucket_order_T)
        for layer in self.generator.layers:
            x_TG = layer(x_TG, buckets)
        return x_TG.index_select(0, buckets.inverse_order_T)

    def transform(self, x_MG: torch.Tensor) -> torch.Tensor:
        """The states [M, H] that are compared with the rows of the vocabulary."""
        return self.generator.LayerNorm(F.gelu(self.generator.dense(x_MG)))

    def cloze(
        self, x_MG: torch.Tensor, table: torch.Tensor | None = None, columns: Columns = ALL
    ) -> torch.Tensor:
        """Logits over ``columns`` of the vocabulary [M, C]; the output rows are tied to the embeddings."""
        embeddings = self.model.bert["embeddings"]
        return embeddings.tied_logits(self.transform(x_MG), self.generator.bias, table, columns)
