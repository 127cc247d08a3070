"""One training twice: ours on packed sequences, `transformers.BertForPreTraining` on the padded grid of the same."""

from pathlib import Path

import joint_samples
import padding
import torch
import transformers

from multimodal.examples.packing import Example, pack
from multimodal.examples.sampling import Examples
from multimodal.joint.model import JointBert
from multimodal.objectives.pretraining import PretrainingObjective
from multimodal.terms import ALIGNMENT
from multimodal.training.checkpoints import Progress
from multimodal.training.distributed import SINGLE_PROCESS
from multimodal.training.optimizer import adamw, schedule
from multimodal.training.options import StepOptions
from multimodal.training.train_step import Trainer


def pairs(examples: Examples, step: int, per_step: int) -> list[Example]:
    """Aligned and misaligned pairs, whose loss `transformers` knows too."""
    drawn = [examples.draw(step, (step * per_step + n) % len(examples.spoken)) for n in range(per_step)]
    return [example for found in drawn for example in found if ALIGNMENT in example.asks]


def both(
    model: JointBert, folder: Path, examples: Examples, steps: int, per_step: int, options: StepOptions
) -> tuple[list[float], list[float]]:
    """The losses of `steps` steps from the same weights over the same masks: ours, theirs in fp32."""
    model.save(folder)
    other = transformers.BertForPreTraining.from_pretrained(folder).train()
    optimizer = adamw(other.parameters(), options.learning_rate, options.weight_decay)
    objective = PretrainingObjective(model, joint_samples.vocabulary())
    trainer = Trainer(objective, options, SINGLE_PROCESS).wrap()
    ours, theirs = [], []
    for step in range(1, steps + 1):
        found = pairs(examples, step, per_step)
        ours.append(trainer.train_step([pack(found)], Progress(step, steps, 0, 0))["loss"])
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * schedule(step, steps, options.warmup)
        optimizer.zero_grad()
        loss = other(**padding.padded(found)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(other.parameters(), options.clip)
        optimizer.step()
        theirs.append(loss.item())
    return ours, theirs
