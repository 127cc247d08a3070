"""Small models of systems that read in an order, and `transformers`' models of the same weights."""

import dataclasses

import joint_samples
import torch
from transformers import BertConfig, BertForMaskedLM, BertLMHeadModel

from multimodal.examples.packing import Batch
from multimodal.objectives.pretraining import PretrainingObjective
from multimodal.systems import SYSTEMS, System

GPT, XLNET = SYSTEMS["gpt"], SYSTEMS["xlnet"]


def objective(system: System) -> PretrainingObjective:
    """Random weights that are large enough for all of them to count."""
    found = PretrainingObjective(joint_samples.model(3), joint_samples.vocabulary(), system=system).eval()
    for n, parameter in enumerate(found.parameters()):
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(n))
    return found


def decoder(found: PretrainingObjective, left_to_right: bool = True) -> BertLMHeadModel | BertForMaskedLM:
    """`transformers`' left-to-right model of the same weights, or the same with the mask that it is given."""
    o = dataclasses.asdict(found.model.options)
    shape = {name: o[name] for name in o.keys() & BertConfig().to_dict().keys()}
    kind = BertLMHeadModel if left_to_right else BertForMaskedLM
    other = kind(BertConfig(**shape | {"is_decoder": left_to_right}))
    missing, unexpected = other.load_state_dict(found.model.export_tensors(), strict=False)
    assert all("predictions.decoder" in name for name in missing)
    assert all("pooler" in name or "seq_relationship" in name for name in unexpected)
    return other.eval()


def logits(found: PretrainingObjective, batch: Batch) -> torch.Tensor:
    with torch.no_grad():
        return found.model.cloze(found.model.encode(batch))
