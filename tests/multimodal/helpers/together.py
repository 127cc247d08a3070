"""Trainings by the processes that `torchrun` started: `torchrun --nproc-per-node 2 together.py FOLDER`.

Each one's folder is named for what it shows; what a single process makes of them is in ``test_many_processes.py``.
"""

import sys
from pathlib import Path

import joint_samples
import torch

from multimodal.objectives.weights import LossWeights
from multimodal.training import loop
from multimodal.training.distributed import SINGLE_PROCESS, DistributedContext, distributed_context

STEPS, HALF = 4, 2
ALL, NO_CONTRAST = LossWeights(), LossWeights(contrast=0.0)
PLAIN = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def run(
    root: Path,
    steps: int = STEPS,
    stop: int = STEPS,
    context: DistributedContext = SINGLE_PROCESS,
    weights: LossWeights = ALL,
    **options,
) -> Path:
    """A training of `steps` steps that ends after `stop` of them, in fp32 and without dropout."""
    wanted = {
        "examples_per_step": 6,
        "least_steps": steps,
        "most_steps": steps,
        "seed": 3,
        "checkpoint_steps": HALF,
    }

    def stopped(done: int, total: int, words: str) -> None:
        if done == stop + 1:
            raise InterruptedError

    try:
        return loop.train(
            root,
            joint_samples.objective(lambda: joint_samples.model(7, **PLAIN), weights),
            joint_samples.examples(1, videos=2),
            joint_samples.examples(2, videos=1),
            joint_samples.training(**wanted | options, weights=weights),
            device=torch.device("cpu"),
            card={},
            report=stopped,
            context=context,
        )
    except InterruptedError:
        return root / f"step-{stop}"


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    with distributed_context("cpu", sharded=False) as ddp:
        fsdp = DistributedContext(ddp.rank, ddp.world_size, sharded=True)
        run(folder / "ddp", context=ddp)
        run(folder / "ddp_from_one", context=ddp)
        run(folder / "fsdp", context=fsdp)
        run(folder / "fsdp_from_one", context=fsdp)
        run(folder / "ddp_to_one", stop=HALF, context=ddp)
        run(folder / "fsdp_to_one", stop=HALF, context=fsdp)
        run(folder / "in_parts", context=fsdp, accumulate=3, weights=NO_CONTRAST)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
