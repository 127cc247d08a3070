"""Trainings by the processes that `torchrun` started: `torchrun --nproc-per-node 2 together.py FOLDER`.

Each one's folder is named for what it shows; what a single process makes of them is in ``test_many_processes.py``.
"""

import sys
from pathlib import Path

import joint_samples
import torch

from multimodal.objectives.objective import LossWeights
from multimodal.training import loop
from multimodal.training.distributed import SINGLE_PROCESS, DistributedContext, joined

STEPS, HALF = 4, 2
NO_CONTRAST = LossWeights(contrast=0.0)
PLAIN = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def run(
    root: Path,
    steps: int = STEPS,
    stop: int = STEPS,
    processes: DistributedContext = SINGLE_PROCESS,
    **options,
) -> Path:
    """A training of `steps` steps that ends after `stop` of them, in fp32 and without dropout."""
    wanted = {"items": 6, "least_steps": steps, "most_steps": steps, "seed": 3, "checkpoint_steps": HALF}

    def stopped(done: int, total: int, words: str) -> None:
        if done == stop + 1:
            raise InterruptedError

    try:
        return loop.train(
            root,
            joint_samples.vocabulary(),
            lambda: joint_samples.model(7, **PLAIN),
            joint_samples.examples(1, videos=2),
            joint_samples.examples(2, videos=1),
            joint_samples.training(**wanted | options),
            device=torch.device("cpu"),
            card={},
            report=stopped,
            processes=processes,
        )
    except InterruptedError:
        return root / f"step-{stop}"


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    with joined("cpu", sharded=False) as ddp:
        fsdp = DistributedContext(ddp.rank, ddp.count, sharded=True)
        run(folder / "ddp", processes=ddp)
        run(folder / "ddp_from_one", processes=ddp)
        run(folder / "fsdp", processes=fsdp)
        run(folder / "fsdp_from_one", processes=fsdp)
        run(folder / "ddp_to_one", stop=HALF, processes=ddp)
        run(folder / "fsdp_to_one", stop=HALF, processes=fsdp)
        run(folder / "in_parts", processes=fsdp, accumulate=3, weights=NO_CONTRAST)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
