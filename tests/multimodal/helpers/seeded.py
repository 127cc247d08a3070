"""The seeded training whose losses are on record: ``python seeded.py ROOT``, by one process or by those of `torchrun`.

The kernels are pinned in the environment (:data:`PINNED`), so that every x86-64 processor adds in the same order.
"""

import sys
from pathlib import Path

import joint_samples
import torch

from multimodal.training import loop
from multimodal.training.distributed import distributed_context

PINNED = {
    "ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "ONEDNN_MAX_CPU_ISA": "SSE41", "OMP_NUM_THREADS": "1",
}  # fmt: skip


def main(root: Path) -> None:
    torch.set_num_threads(1)
    with distributed_context() as context:
        loop.train(
            root,
            joint_samples.objective(lambda: joint_samples.model(7)),
            joint_samples.examples(1, videos=4),
            joint_samples.examples(2, videos=2),
            joint_samples.training(examples_per_step=8, least_steps=50, most_steps=50, seed=3),
            device=torch.device("cpu"),
            card={},
            report=lambda *_: None,
            context=context,
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
