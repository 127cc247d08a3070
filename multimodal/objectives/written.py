"""Written: cross entropy of each token that a decoder writes, given those before it and what the encoder read.

Sources: BART (Lewis et al. 2020, section 2.2), which writes the whole sequence; T5 (Raffel et al. 2020, section 3.1.4), which writes
the spans that are hidden.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch

from multimodal.examples.packing import Batch
from multimodal.joint.model import JointBert
from multimodal.joint.options import ModelOptions
from multimodal.joint.writer import Writer
from multimodal.objectives.cloze import Cloze
from multimodal.objectives.objective import TERMS, Reading
from multimodal.terms import JOINT, TASKS, TEXT, VIDEO

WRITER = f"{TERMS}{TEXT}.writer."
WRITER_BIAS = f"{WRITER}bias"
"""The names of its parameters in :data:`~multimodal.objectives.objective.TERM_FILE`."""


class Written(Cloze):
    """The cloze terms of a system with a decoder, by the modality that is written, and its tasks. It owns the decoder."""

    heads = ()
    superseded_heads = ("cls.predictions",)

    def __init__(self, options: ModelOptions):
        super().__init__((TEXT, VIDEO, JOINT, TASKS))
        self.writer = Writer(options)

    def begin(self, model: JointBert) -> None:
        self.writer.init_from(model)

    def asked_of(self, batch: Batch) -> Batch:
        """What the decoder writes; where it writes nothing, one token of which nothing is asked, so that its weights have a
        gradient of 0 as in all processes."""
        if batch.target is not None:
            return batch.target
        one = batch.ids_T[:1] * 0
        lengths_S = torch.zeros_like(batch.lengths_S)
        lengths_S[0] = 1
        return Batch(one, one, one, lengths_S)

    def read(self, model: JointBert, batch: Batch) -> WrittenReading:
        """The encoder's states of a batch and the decoder's of what it writes, from one look-up in the table."""
        batch = dataclasses.replace(batch, target=self.asked_of(batch))
        ids = torch.cat([batch.ids_T, batch.target.ids_T])
        rows, table = model.bert["embeddings"].embedding_lookup(ids)
        rows_TH, rows_UH = rows.split([batch.tokens, batch.target.tokens])
        x_TH = model.encode(batch, rows_TH)
        return WrittenReading(
            model, x_TH, table, self.writer, self.writer.states(model, batch, x_TH, rows_UH)
        )


@dataclasses.dataclass(frozen=True)
class WrittenReading(Reading):
    """What encoder and decoder make of a batch: ``x_TH`` the encoder's states, ``y_UH`` the decoder's."""

    writer: Writer
    y_UH: torch.Tensor

    def cloze(self, position_M: torch.Tensor) -> torch.Tensor:
        """The decoder's logits at positions of what is written."""
        return self.writer.logits(self.model, self.y_UH.index_select(0, position_M), self.table)


def writer_of(options: ModelOptions, terms: Mapping[str, torch.Tensor]) -> Writer | None:
    """The writer among the stored parameters of an objective's terms; ``None`` where they have none."""
    own = {n.removeprefix(WRITER): tensor for n, tensor in terms.items() if n.startswith(WRITER)}
    return Writer.of_tensors(options, own) if own else None
