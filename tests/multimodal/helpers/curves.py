"""One training twice: ours on packed sequences, `transformers.BertForPreTraining` on the padded grid of the same."""

import torch
import transformers

from multimodal.examples.packing import IGNORED, JOINT, Input, pack
from multimodal.examples.sampling import Examples
from multimodal.joint.model import JointBert
from multimodal.training.checkpoints import Progress
from multimodal.training.distributed import SINGLE_PROCESS
from multimodal.training.optimizer import adamw, schedule
from multimodal.training.options import StepOptions
from multimodal.training.train_step import Trainer


def joint_inputs(examples: Examples, step: int, items: int) -> list[Input]:
    """Aligned and misaligned pairs, whose loss `transformers` knows too."""
    drawn = [examples.draw(step, (step * items + n) % len(examples.spoken)) for n in range(items)]
    return [i for found in drawn for i in found if i.regime == JOINT]


def padded(found: list[Input]) -> dict[str, torch.Tensor]:
    longest = max(len(i.ids) for i in found)

    def grid(rows: list[list[int]], fill: int) -> torch.Tensor:
        return torch.tensor([row + [fill] * (longest - len(row)) for row in rows])

    return {
        "input_ids": grid([i.ids for i in found], 0),
        "token_type_ids": grid([i.types for i in found], 0),
        "attention_mask": grid([[1] * len(i.ids) for i in found], 0),
        "labels": grid([i.labels for i in found], IGNORED),
        "next_sentence_label": torch.tensor([i.aligned for i in found]),
    }


def both(
    model: JointBert, folder, examples: Examples, steps: int, items: int, options: StepOptions
) -> tuple[list[float], list[float]]:
    """The losses of `steps` steps from the same weights over the same masks: ours, theirs in fp32."""
    model.save(folder)
    other = transformers.BertForPreTraining.from_pretrained(folder).train()
    optimizer = adamw(other, options.learning_rate, options.weight_decay)
    trainer = Trainer(model, options, SINGLE_PROCESS).join()
    ours, theirs = [], []
    for step in range(1, steps + 1):
        found = joint_inputs(examples, step, items)
        ours.append(trainer.update([pack(found)], Progress(step, steps, 0, 0))["loss"])
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * schedule(step, steps, options.warmup)
        optimizer.zero_grad()
        loss = other(**padded(found)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(other.parameters(), options.clip)
        optimizer.step()
        theirs.append(loss.item())
    return ours, theirs
