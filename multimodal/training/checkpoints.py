"""Checkpoints: an objective's files with the trainer's state, published whole or not at all."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from multimodal.disk import part_of
from multimodal.objectives.objective import Objective
from multimodal.store import (
    DamagedFile,
    canonical_json,
    changed_files,
    check_published,
    is_published,
    publish_folder,
)

METRICS = "metrics.jsonl"
OPTIMIZER, TRAINER = "optimizer.safetensors", "trainer.json"
LEAST_GAIN = 0.01
"""The share by which a held-out loss has to be lower to count as lower; less is chance."""
SMOOTHED = 3
"""Held-out losses whose mean is judged: one of a small sample rises and falls with the steps just made."""
COOLDOWN = 0.2
"""The steps in which the learning rate of a training that ends early falls, as a share of the steps made until then (Hägele
et al. 2024, "Scaling laws and compute-optimal training beyond fixed training durations", section 3)."""


@dataclasses.dataclass(frozen=True)
class Progress:
    """``step`` updates were made of ``steps``; the next item is number ``cursor`` of ``epoch``'s permutation.

    ``skipped`` are the batches that no update was made of, each run's first and last, counted from 1 over the whole
    training; ``recent`` the losses that a loss spike is told by. ``held_out`` are the last :data:`SMOOTHED` held-out losses,
    ``lowest`` is the lowest mean of so many and its step; ``early``, where the training ends before its time, the step that
    decided it and the steps that were planned.
    """

    step: int
    steps: int
    epoch: int
    cursor: int
    skipped: tuple[tuple[int, int], ...] = ()
    recent: tuple[float, ...] = ()
    held_out: tuple[float, ...] = ()
    lowest: tuple[float, int] | None = None
    early: tuple[int, int] | None = None

    @property
    def finished(self) -> bool:
        return self.step >= self.steps

    @property
    def planned(self) -> int:
        """The steps that were planned; ``steps`` are fewer where the training ends early."""
        return self.early[1] if self.early else self.steps

    @property
    def about_early_end(self) -> str:
        """Why the training ends before its time, in words; empty where it does not."""
        if self.early is None or self.lowest is None:
            return ""
        return f"ends early, at step {self.steps} of {self.planned}: the held-out loss was lowest at step {self.lowest[1]}"

    @property
    def batches(self) -> int:
        """The number of batches drawn, with those that were skipped."""
        return self.step + sum(last - first + 1 for first, last in self.skipped)

    def after(self, epoch: int, cursor: int) -> Progress:
        """One update on."""
        return dataclasses.replace(self, step=self.step + 1, epoch=epoch, cursor=cursor)

    def judged(self, held_out_loss: float, patience: int, least: int) -> Progress:
        """The same with the held-out loss of this step; an early end where no mean of :data:`SMOOTHED` was lower for
        ``patience`` steps and ``least`` were made, unless the planned end comes as soon."""
        now = dataclasses.replace(self, held_out=(*self.held_out, held_out_loss)[-SMOOTHED:])
        if len(now.held_out) < SMOOTHED:
            return now
        mean = sum(now.held_out) / SMOOTHED
        if self.lowest is None or mean < (1 - LEAST_GAIN) * self.lowest[0]:
            return dataclasses.replace(now, lowest=(mean, self.step))
        if self.early is not None or self.step < max(self.lowest[1] + patience, least):
            return now
        steps = self.step + math.ceil(COOLDOWN * self.step)
        if steps >= self.steps:
            return now
        return dataclasses.replace(now, steps=steps, early=(self.step, self.steps))

    def skip_batches(self, to: Progress) -> Progress:
        """These weights, with the batches after those of ``to``: those between are skipped."""
        skipped = (*self.skipped, (self.batches + 1, to.batches))
        return dataclasses.replace(self, epoch=to.epoch, cursor=to.cursor, skipped=skipped)


def step_folder(root: Path, step: int) -> Path:
    return root / f"step-{step}"


def save(
    root: Path,
    objective: Objective,
    weights: Mapping[str, torch.Tensor],
    optimizer_state: Mapping[str, Mapping[str, torch.Tensor]],
    progress: Progress,
    card: dict[str, Any],
    describe: Callable[[Path, Progress], None] = lambda folder, progress: None,
    rollback_steps: int | None = None,
) -> Path:
    """Publishes ``step-<n>``, then removes the older ones but for the one that :func:`prune_checkpoints` keeps.

    ``weights`` and ``optimizer_state`` are whole. The optimizer's state is left out once the training has ended: nobody
    reads it any more, and it is twice as large as the model. ``card`` says what the model was made from; ``describe``
    writes what else belongs into the folder.
    """
    folder = step_folder(root, progress.step)
    with publish_folder(folder) as part:
        objective.save(part, weights)
        if not progress.finished:
            save_file(_optimizer_tensors(optimizer_state), part / OPTIMIZER)
        (part / TRAINER).write_text(canonical_json(progress))
        (part / "card.json").write_text(json.dumps(card, indent=1, sort_keys=True, default=str))
        describe(part, progress)
    prune_checkpoints(root, rollback_steps)
    return folder


def prune_checkpoints(root: Path, rollback_steps: int | None = None) -> None:
    """Removes all checkpoints but the last one and, where it is given, the last one of a multiple of ``rollback_steps``."""
    found = _published(root)
    kept = found[-1:]
    if rollback_steps is not None:
        kept += [folder for folder in found if _step(folder) % rollback_steps == 0][-1:]
    for folder in found:
        if folder not in kept:
            _remove(folder)


def rollback(root: Path, rollback_steps: int) -> None:
    """Removes the checkpoints after the last one of a multiple of ``rollback_steps``.

    The newest goes first, so that what is left when it is killed in between is still one training.
    """
    for folder in reversed(_published(root)):
        if _step(folder) % rollback_steps == 0:
            return
        _remove(folder)


def _remove(folder: Path) -> None:
    """By one rename out of sight, so that a kill leaves no half of a checkpoint under its name."""
    aside = part_of(folder)
    folder.rename(aside)
    shutil.rmtree(aside)


def latest(root: Path) -> Path | None:
    """The published checkpoint with the most steps, or ``None``."""
    found = _published(root)
    return found[-1] if found else None


def finished(root: Path) -> Path | None:
    """The last checkpoint of a training whose steps are all made; ``None`` of another one."""
    last = latest(root)
    return last if last is not None and read_progress(last).finished else None


def _published(root: Path) -> list[Path]:
    folders = [f for f in root.glob("step-*") if is_published(f) and f.name.removeprefix("step-").isdigit()]
    return sorted(folders, key=_step)


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def read_progress(folder: Path) -> Progress:
    """Raises :class:`~multimodal.store.DamagedFile` where it is not as it was written."""
    check_published(folder, [TRAINER])
    found = json.loads((folder / TRAINER).read_text())
    skipped = tuple((first, last) for first, last in found.pop("skipped", ()))
    names = ("recent", "held_out", "lowest", "early")
    tuples = {name: tuple(found[name]) for name in names if found.get(name) is not None}
    return Progress(**found | tuples | {"skipped": skipped})


def resume(folder: Path, objective: Objective, optimizer: torch.optim.Optimizer) -> Progress:
    """Puts weights and optimizer state back as they were in a folder that passed :func:`check`."""
    objective.load(folder)
    tensors = load_file(folder / OPTIMIZER)
    for name, parameter in objective.trained_parameters().items():
        if f"{name}.step" in tensors:
            optimizer.state[parameter] = {
                key: tensors[f"{name}.{key}"].to(_device(parameter, key))
                for key in ("step", "exp_avg", "exp_avg_sq")
            }
    return read_progress(folder)


def check(folder: Path) -> None:
    """Raises :class:`~multimodal.store.DamagedFile` where a file of a published folder differs from its manifest."""
    if changed := changed_files(folder):
        raise DamagedFile(folder, f"{changed[0]} is not as it was written")


def not_finite(weights: Mapping[str, torch.Tensor]) -> str | None:
    """The first tensor that holds NaN or infinity; ``None`` where all numbers are finite."""
    return next((name for name, tensor in weights.items() if not torch.isfinite(tensor).all()), None)


def check_finite(folder: Path, network: torch.nn.Module) -> None:
    """Raises :class:`~multimodal.store.DamagedFile` where the weights that were read from a folder are not finite: every
    answer would be NaN."""
    if (name := not_finite(dict(network.named_parameters()))) is not None:
        raise DamagedFile(folder, f"its weights are not finite ({name})")


def _device(parameter: torch.Tensor, key: str) -> torch.device:
    # Fused AdamW on a GPU wants its step count there too; on a CPU it is a tensor of its own.
    fused_on_gpu = parameter.device.type != "cpu"
    return parameter.device if key != "step" or fused_on_gpu else torch.device("cpu")


def _optimizer_tensors(state: Mapping[str, Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": value.detach().cpu().contiguous()
        for name, values in state.items()
        for key, value in values.items()
    }
