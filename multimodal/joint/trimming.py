"""Trimming: a joint BERT with the rows of some word pieces for training, and the whole table restored in what is stored.

A training predicts the word pieces that its library says. The rows of all others keep the values of their initialization:
no logit of theirs is computed, and no optimizer state is held for them.
Shapes: W word pieces of the full vocabulary, R kept, V entries of the full vocabulary, M predicted positions, H hidden.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Protocol

import torch

from multimodal.examples.packing import Batch
from multimodal.joint.bert_checkpoint import BIAS
from multimodal.joint.large_vocabulary import ALL, Columns
from multimodal.joint.layout import TABLE
from multimodal.joint.model import JointBert
from multimodal.joint.options import ModelOptions
from multimodal.terms import JOINT, TEXT
from multimodal.vocabulary import TrimmedVocabulary


class ClozeReader(Protocol):
    """What reads a batch and fills its blanks: the joint BERT, or ELECTRA's generator beside it."""

    def encode(self, batch: Batch) -> torch.Tensor: ...
    def transform(self, x_M: torch.Tensor) -> torch.Tensor: ...
    def cloze(self, x_M: torch.Tensor, *, columns: Columns = ALL) -> torch.Tensor: ...


class TrimmedRows:
    """The word rows of the full vocabulary, and how those that are not kept come back into a model's tensors.

    ``unseen`` is the probability that a word piece of the library's speech is none of the kept ones, above 0 and below 1.
    ``sample`` is a batch with cloze predictions of word pieces, whose states say how large the other rows' logits are.
    """

    def __init__(self, vocabulary: TrimmedVocabulary, unseen: float, sample: Batch):
        self.vocabulary, self._unseen, self._sample = vocabulary, unseen, sample
        self._kept_R = torch.tensor(vocabulary.kept)
        self._word_WH = torch.zeros(0)

    def begin(self, model: JointBert, **trained_as: Any) -> JointBert:
        """A model of the kept rows alone, from a whole one; ``trained_as`` are fields of the options that say how."""
        trimmed = JointBert(dataclasses.replace(self.trimmed_options(model.options), **trained_as))
        trimmed.load_tensors(self.trim(model.export_tensors()))
        return trimmed

    def set_rows(self, model: JointBert, rows_VH: torch.Tensor) -> None:
        """Puts rows, by the trimmed ids, into a whole model; those that are NaN stay as they are."""
        table = model.bert["embeddings"].word_embeddings.weight.data
        full = self.vocabulary.full
        id_V = torch.cat([self._kept_R, torch.arange(len(full.words), full.visual_ids.stop)])
        given_V = rows_VH.isfinite().all(1)
        table[id_V[given_V]] = rows_VH[given_V]

    def trimmed_options(self, options: ModelOptions) -> ModelOptions:
        vocabulary = self.vocabulary
        return dataclasses.replace(options, vocab_size=vocabulary.size, pad_token_id=vocabulary.pad)

    def whole_options(self, options: ModelOptions) -> ModelOptions:
        """The inverse of :meth:`trimmed_options`."""
        whole = self.vocabulary.full
        return dataclasses.replace(options, vocab_size=whole.size, pad_token_id=whole.pad)

    def trim(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """A whole model's exported tensors with the rows of the kept pieces alone. The other rows are kept here."""
        words = len(self.vocabulary.full.words)
        self._word_WH = tensors[TABLE][:words].clone()
        table = torch.cat([tensors[TABLE][self._kept_R], tensors[TABLE][words:]])
        return dict(tensors) | {TABLE: table, BIAS: self.trim_bias(tensors[BIAS])}

    def restore(self, tensors: Mapping[str, torch.Tensor], options: ModelOptions) -> dict[str, torch.Tensor]:
        """The inverse of :meth:`trim`; ``options`` are the trimmed model's, written out. The other pieces share one bias."""
        tensors = {name: tensor.cpu() for name, tensor in tensors.items()}
        kept = len(self._kept_R)
        word_WH = self._word_WH.clone()
        word_WH[self._kept_R] = tensors[TABLE][:kept]
        model = JointBert(options).eval()
        model.load_tensors(tensors)
        whole = {
            TABLE: torch.cat([word_WH, tensors[TABLE][kept:]]),
            BIAS: self.restore_bias(tensors[BIAS], model),
        }
        return tensors | whole

    def trim_bias(self, bias_V: torch.Tensor) -> torch.Tensor:
        """A cloze head's bias for the kept pieces and the visual tokens, from that for all."""
        return torch.cat([bias_V[self._kept_R], bias_V[len(self.vocabulary.full.words) :]])

    def restore_bias(self, bias_V: torch.Tensor, reader: ClozeReader) -> torch.Tensor:
        """The inverse of :meth:`trim_bias`; the other pieces share one bias. ``reader`` is on the CPU, without dropout."""
        kept = len(self._kept_R)
        bias_W = torch.full((len(self._word_WH),), self._bias_of_others(reader))
        bias_W[self._kept_R] = bias_V[:kept]
        return torch.cat([bias_W, bias_V[kept:]])

    @torch.no_grad()
    def _bias_of_others(self, reader: ClozeReader) -> float:
        """The bias at which the pieces that are not kept have the odds of ``unseen``, in the geometric mean of the sample."""
        others_W = torch.ones(len(self._word_WH), dtype=torch.bool)
        others_W[self._kept_R] = False
        # A decoder is asked of what it writes.
        asks = (self._sample.target or self._sample).asks
        asked = [asks[name] for name in (TEXT, JOINT) if name in asks]
        position_M = torch.cat(
            [some[some[:, 1] < len(self._kept_R), 0] for some in asked] or [self._kept_R[:0]]
        )
        if not others_W.any() or not len(position_M):
            return 0.0
        x_M = reader.encode(self._sample)[position_M]
        kept_M = reader.cloze(x_M).logsumexp(-1)
        others_M = (reader.transform(x_M) @ self._word_WH[others_W].T).logsumexp(-1)
        return float((kept_M - others_M).mean()) + math.log(self._unseen / (1 - self._unseen))
