"""Cloze: cross entropy of hidden words and visual tokens, by the modality in which they are hidden.

VideoBERT (Sun et al. 2019, section 3.3) masks text alone, video alone, and both together.
"""

from __future__ import annotations

import torch

from multimodal.examples.packing import Batch
from multimodal.joint.large_vocabulary import CrossEntropy
from multimodal.objectives.objective import Gather, Reading, Term, predictions
from multimodal.terms import JOINT, TEXT, VIDEO


class Cloze(Term):
    """Cloze terms, from one product with the table: logits exist only at predicted positions.

    Shapes: M predicted positions, V vocabulary.
    """

    heads = ("cls.predictions",)

    def __init__(self, names: tuple[str, ...] = (TEXT, VIDEO, JOINT)):
        super().__init__()
        self.names = names

    def asked_of(self, batch: Batch) -> Batch:
        """The batch whose positions are asked for."""
        return batch

    def counts(self, batch: Batch) -> list[int]:
        return super().counts(self.asked_of(batch))

    def forward(self, reading: Reading, batch: Batch, gather: Gather) -> torch.Tensor:
        of_each = [predictions(self.asked_of(batch), name) for name in self.names]
        predicted_M2 = torch.cat(of_each)
        term_M = torch.cat([torch.full_like(some[:, 0], n) for n, some in enumerate(of_each)])
        # In the order of the batch, whatever the modality: the states are read front to back.
        by_position = predicted_M2[:, 0].argsort()
        position_M, label_M = predicted_M2[by_position].T.contiguous()
        loss_M = CrossEntropy.apply(reading.cloze(position_M), label_M)
        return loss_M.new_zeros(len(self.names)).index_add(0, term_M[by_position], loss_M)
