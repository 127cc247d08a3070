"""Replaced-token detection: a generator fills what is masked, and the model says of each token whether it was replaced.

Source: Clark et al., ELECTRA (ICLR 2020), section 2: the sum of the generator's cloze loss and 50 times the detection's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import nn

from multimodal.examples.packing import Batch
from multimodal.joint.generator import Generator, GeneratorReader
from multimodal.joint.model import JointBert
from multimodal.joint.options import ModelOptions
from multimodal.objectives.objective import TERMS, Gather, Reading, Term, predictions
from multimodal.terms import REPLACED
from multimodal.vocabulary import Vocabulary

GENERATOR = f"{TERMS}{REPLACED}.generator."
GENERATOR_BIAS = f"{GENERATOR}bias"
"""The names of its parameters in :data:`~multimodal.objectives.objective.TERM_FILE`."""
LEAST_DRAW = 2.0**-25
"""Half the step of a uniform float32."""


class ReplacedTokens(Term):
    """Cross entropy of "replaced" and "original", asked of the model's states for the batch that the generator filled.

    It owns the generator and the detection head, which is that of `transformers.ElectraForPreTraining`.
    """

    names = (REPLACED,)
    superseded_heads = ("cls.predictions",)

    def __init__(self, options: ModelOptions, vocabulary: Vocabulary, share: Fraction = Fraction(1, 4)):
        """``vocabulary`` is that of the model as it is trained; ``share``: the generator's width, in whole
        heads, as a share of the model's (Clark et al. 2020, section 3.2: 1/4 to 1/2 is best)."""
        super().__init__()
        self.generator = Generator(options, max(1, round(share * options.num_attention_heads)))
        self.dense = nn.Linear(options.hidden_size, options.hidden_size)
        self.dense_prediction = nn.Linear(options.hidden_size, 1)
        self._mask = vocabulary.mask
        # A word that stands for a visual token, or a special, would be told at sight.
        outside_2V = torch.ones(2, vocabulary.size, dtype=torch.bool)
        outside_2V[0, list(vocabulary.replaceable_words)] = False
        outside_2V[1, vocabulary.first_visual :] = False
        self.register_buffer("outside_2V", outside_2V, persistent=False)

    def read(self, model: JointBert, batch: Batch) -> GeneratedReading:
        """The batch as the generator reads it, filled by a sample of its predictions, and as the model reads that.

        Each [MASK] is filled, whether or not the token is asked for: else a mask would tell a misaligned pair.
        """
        embeddings, reader = model.bert["embeddings"], GeneratorReader(model, self.generator)
        rows_TH, table = embeddings.embedding_lookup(batch.ids_T)
        x_TG = reader.encode(batch, rows_TH)
        masked_M = (batch.ids_T == self._mask).nonzero()[:, 0]
        logits_MV = reader.cloze(x_TG.index_select(0, masked_M), table)
        ids_T = batch.ids_T.index_copy(0, masked_M, self._sample(logits_MV, batch.types_T[masked_M]))
        filled = dataclasses.replace(batch, ids_T=ids_T)
        return GeneratedReading(model, model.encode(filled), table, ids_T, masked_M, logits_MV)

    @torch.no_grad()
    def _sample(self, logits_MV: torch.Tensor, types_M: torch.Tensor) -> torch.Tensor:
        """A token of the position's own modality for each, by the generator's probabilities: [M].

        In training a function of PyTorch's random state, which each step sets; in evaluation always the same.
        """
        logits_MV = logits_MV.float().masked_fill(self.outside_2V[types_M], -torch.inf)
        generator = None if self.training else torch.Generator(logits_MV.device).manual_seed(0)
        # The largest of logits with Gumbel noise is a sample of their softmax. A draw of 0 stands for all below LEAST_DRAW.
        noise_MV = torch.empty_like(logits_MV).exponential_(generator=generator).clamp_min_(LEAST_DRAW)
        return (logits_MV - noise_MV.log()).argmax(1)

    def forward(self, reading: GeneratedReading, batch: Batch, gather: Gather) -> torch.Tensor:
        position_N, original_N = predictions(batch, REPLACED).unbind(1)
        x_NH = F.gelu(self.dense(reading.x_TH.index_select(0, position_N)))
        logits_N = self.dense_prediction(x_NH)[:, 0].float()
        replaced_N = (reading.ids_T[position_N] != original_N).float()
        return F.binary_cross_entropy_with_logits(logits_N, replaced_N, reduction="sum")[None]


@dataclasses.dataclass(frozen=True)
class GeneratedReading(Reading):
    """What model and generator make of a batch: ``x_TH`` are the model's states for ``ids_T``, the batch with its M masks
    filled; ``logits_MV`` are the generator's at ``masked_M``."""

    ids_T: torch.Tensor
    masked_M: torch.Tensor
    logits_MV: torch.Tensor

    def cloze(self, position_M: torch.Tensor) -> torch.Tensor:
        """The generator's logits at masked positions: rows of those that were sampled from."""
        return self.logits_MV.index_select(0, torch.searchsorted(self.masked_M, position_M))


def generator_of(options: ModelOptions, terms: Mapping[str, torch.Tensor]) -> Generator | None:
    """The generator among the stored parameters of an objective's terms; ``None`` where they have none."""
    own = {n.removeprefix(GENERATOR): tensor for n, tensor in terms.items() if n.startswith(GENERATOR)}
    return Generator.of_tensors(options, own) if own else None
