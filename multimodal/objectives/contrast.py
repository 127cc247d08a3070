"""Contrast: the text embedding of a segment against the video embeddings of all (Sentence-BERT's dual encoder, InfoNCE)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from multimodal.examples.packing import Batch
from multimodal.objectives.objective import Gather, Reading, Term, predictions
from multimodal.terms import CONTRAST

TEMPERATURE = 0.05


class Contrast(Term):
    """Symmetric cross entropy over P pairs of sequences, the words of a segment and then its video.

    The label of each is a digest of what it reads. Two pairs that read the same words or the same visual tokens are right
    for each other, so neither is the other's negative. The sum is over the pairs of all processes, and its gradients,
    added over the processes, are those of one process.
    """

    names = (CONTRAST,)
    minimum_count = 2
    over_all_processes = True

    def counts(self, batch: Batch) -> list[int]:
        return [len(predictions(batch, CONTRAST)) // 2]

    def forward(self, reading: Reading, batch: Batch, gather: Gather) -> torch.Tensor:
        predicted_P22 = predictions(batch, CONTRAST).view(-1, 2, 2)
        sequence_P2 = batch.sequence_T[predicted_P22[:, :, 0]]
        embeddings_SH = reading.model.embed(reading.x_TH, batch)
        text_PH, video_PH = gather(embeddings_SH[sequence_P2]).unbind(1)
        text_digest_P, video_digest_P = gather(predicted_P22[:, :, 1]).unbind(1)
        with torch.autocast(reading.x_TH.device.type, enabled=False):
            logits_PP = text_PH @ video_PH.T / TEMPERATURE
        own_P = torch.arange(len(logits_PP), device=logits_PP.device)
        same_PP = (text_digest_P[:, None] == text_digest_P) | (video_digest_P[:, None] == video_digest_P)
        logits_PP = logits_PP.masked_fill(same_PP.fill_diagonal_(False), -torch.inf)
        both_ways = [F.cross_entropy(logits, own_P, reduction="sum") for logits in (logits_PP, logits_PP.T)]
        return (sum(both_ways) / 2)[None]
