"""Training steps of the 6 × 384 model on a machine that other processes use too, by how OpenMP's threads wait.

Prints the median seconds of a step with the active and the passive policy, each in a process of its own, in turn, while
as many busy processes run as the machine has cores; and the same with none. ``python tests/benchmarks/training_threads.py``
"""

import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROUNDS, STEPS = 3, 8


def steps() -> None:
    """Prints the median seconds of a training step over random sequences."""
    import torch

    from multimodal.examples.packing import ALIGNED, Example, pack
    from multimodal.joint.model import JointBert
    from multimodal.joint.options import ModelOptions
    from multimodal.objectives.pretraining import PretrainingObjective
    from multimodal.terms import ALIGNMENT, JOINT
    from multimodal.training.distributed import SINGLE_PROCESS
    from multimodal.training.options import StepOptions
    from multimodal.training.train_step import Progress, Trainer
    from multimodal.vocabulary import SPECIALS, Vocabulary

    torch.set_num_threads(os.cpu_count() or 1)
    model = JointBert(ModelOptions(vocab_size=30_572)).init_weights(0)
    objective = PretrainingObjective(model, Vocabulary(SPECIALS, 30_572 - len(SPECIALS) - 1))
    trainer = Trainer(objective, StepOptions(), SINGLE_PROCESS).wrap()
    ids = torch.randint(1000, 30_000, (64, 16), generator=torch.Generator().manual_seed(0)).tolist()
    batch = pack(
        [
            Example(row, [0] * 8 + [1] * 8, {JOINT: [(0, row[0]), (1, row[9])], ALIGNMENT: [(0, ALIGNED)]})
            for row in ids
        ]
    )
    took = []
    for step in range(1, STEPS + 1):
        began = time.monotonic()
        trainer.train_step([batch], Progress(step, STEPS, 0, 0))
        took.append(time.monotonic() - began)
    print(statistics.median(took))


def burn() -> None:
    while True:
        sum(range(10_000))


def measured(policy: str) -> float:
    environment = os.environ | {"OMP_WAIT_POLICY": policy, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, __file__, "steps"]
    return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    for busy in (0, os.cpu_count() or 1):
        others = [multiprocessing.Process(target=burn, daemon=True) for _ in range(busy)]
        for other in others:
            other.start()
        took = {"active": [], "passive": []}
        for _ in range(ROUNDS):
            for policy, seconds in took.items():
                seconds.append(measured(policy))
        for other in others:
            other.kill()
        active, passive = (statistics.median(took[policy]) for policy in ("active", "passive"))
        print(
            f"{busy} busy processes: active {active:.2f} s, passive {passive:.2f} s a step, {active / passive:.2f} times as fast"
        )


if __name__ == "__main__":
    steps() if sys.argv[1:] == ["steps"] else main()
