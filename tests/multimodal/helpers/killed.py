"""A training run that kills itself with SIGKILL: `python killed.py ROOT STEPS MOMENT STEP [CHECKPOINT_SECONDS]`.

MOMENT `never`; `saved`: when the checkpoint of STEP is published; `stepping`: in the middle of STEP's update, when its
loss is known and half the gradients are written; `saving:NAME`: in STEP's checkpoint, when its file NAME is there.
"""

import os
import signal
import sys
from pathlib import Path

import joint_samples
import torch

from multimodal.systems import SYSTEMS, VIDEOBERT
from multimodal.training import checkpoints, loop
from multimodal.training.train_step import Trainer


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at(moment: str, step: int) -> None:
    """Arranges the end."""
    now = {"step": 0}
    step_of, save = Trainer.train_step, checkpoints.save

    def counted(trainer, parts, progress, recent):
        now["step"] = progress.step
        if moment == "stepping" and progress.step == step:
            trainer.objective.model.bert["encoder"]["layer"][0].output.dense.weight.register_hook(
                lambda _: die()
            )
        return step_of(trainer, parts, progress, recent)

    def saved(root, objective, weights, optimizer_state, progress, *others):
        folder = save(root, objective, weights, optimizer_state, progress, *others)
        if moment == "saved" and progress.step == step:
            die()
        return folder

    def watch(event: str, arguments: tuple) -> None:
        file = moment.removeprefix("saving:")
        if event == "os.rename" and now["step"] == step and (Path(arguments[0]) / file).exists():
            die()
        if event == "open" and now["step"] == step and ".part" in str(arguments[0]):
            there = [p.name for p in Path(arguments[0]).parent.glob("*")]
            if file in there and not str(arguments[0]).endswith(file):
                die()

    Trainer.train_step, checkpoints.save = counted, saved
    if moment.startswith("saving:"):
        sys.addaudithook(watch)


def run(root: Path, steps: int, checkpoint_seconds: float, system: str = VIDEOBERT) -> Path:
    row = SYSTEMS[system]
    return loop.train(
        root,
        joint_samples.objective(lambda: joint_samples.model_of(row, 7), system=row),
        joint_samples.examples(1, videos=2, system=row),
        joint_samples.examples(2, videos=1, system=row),
        joint_samples.training(
            examples_per_step=5,
            least_steps=steps,
            most_steps=steps,
            seed=3,
            checkpoint_seconds=checkpoint_seconds,
        ),
        device=torch.device("cpu"),
        card={"for": "a test"},
        report=lambda *_: None,
    )


def forked(
    root: Path, steps: int, moment: str, step: int, checkpoint_seconds: float = 0.0, system: str = VIDEOBERT
) -> int:
    """The same in a copy of this process, which spares it the imports; how it ended, as `subprocess` says it."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        at(moment, step)
        run(root, steps, checkpoint_seconds, system)
    finally:
        os._exit(0)
    raise AssertionError("not reached")


if __name__ == "__main__":
    place, count, when, which, *seconds = sys.argv[1:]
    at(when, int(which))
    run(Path(place), int(count), float(seconds[0]) if seconds else 0.0)
