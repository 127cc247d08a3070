"""Owns checkpoints: a model folder with the trainer's state, published whole or not at all."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save_file

from multimodal.joint.model import JointBert
from multimodal.store import InputError, canonical_json, changed_files, is_published, publish_folder
from multimodal.training.model_card import model_card
from multimodal.vocabulary import Vocabulary

METRICS = "metrics.jsonl"


@dataclasses.dataclass(frozen=True)
class Progress:
    """``step`` updates were made of ``steps``; the next item is number ``cursor`` of ``epoch``'s permutation.

    ``skipped`` are the batches that no update was made of, each run's first and last, counted from 1 over the whole
    training; ``recent`` the losses that a spike is told by.
    """

    step: int
    steps: int
    epoch: int
    cursor: int
    skipped: tuple[tuple[int, int], ...] = ()
    recent: tuple[float, ...] = ()

    @property
    def finished(self) -> bool:
        return self.step >= self.steps

    @property
    def batches(self) -> int:
        """How many were drawn, with those that were skipped."""
        return self.step + sum(last - first + 1 for first, last in self.skipped)

    def after(self, epoch: int, cursor: int) -> Progress:
        """One update on."""
        return dataclasses.replace(self, step=self.step + 1, epoch=epoch, cursor=cursor)

    def passing_over(self, to: Progress) -> Progress:
        """These weights, with the batches after those of ``to``: what lies between is skipped."""
        skipped = (*self.skipped, (self.batches + 1, to.batches))
        return dataclasses.replace(self, epoch=to.epoch, cursor=to.cursor, skipped=skipped)


def step_folder(root: Path, step: int) -> Path:
    return root / f"step-{step}"


def save(
    root: Path,
    model: JointBert,
    vocabulary: Vocabulary,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    card: dict[str, Any],
    every: int | None = None,
) -> Path:
    """Publishes ``step-<n>`` and then removes the older ones but for the one that :func:`tidy` keeps.

    ``card`` says what the model was made from. ``root`` may hold ``metrics.jsonl``, whose last numbers the model card tells.
    """

    def beside_it(beside: Path) -> None:
        vocabulary.write(beside)
        about = model_card(card, model.options, vocabulary, progress.step, progress.steps, root / METRICS)
        (beside / "README.md").write_text(about, encoding="utf-8")

    return publish(root, model, optimizer, progress, card, beside_it, every)


class Kept(Protocol):
    """A network that a checkpoint can keep."""

    def save(self, folder: Path) -> None: ...
    def put(self, tensors: dict[str, torch.Tensor]) -> None: ...
    def named_parameters(self) -> Iterable[tuple[str, torch.nn.Parameter]]: ...


def publish(
    root: Path,
    model: Kept,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    card: dict[str, Any],
    beside_it: Callable[[Path], None] = lambda _: None,
    every: int | None = None,
) -> Path:
    """The same for any network; ``beside_it`` puts what else belongs into the folder."""
    folder = step_folder(root, progress.step)
    with publish_folder(folder) as beside:
        model.save(beside)
        save_file(_optimizer_tensors(model, optimizer), beside / "optimizer.safetensors")
        (beside / "trainer.json").write_text(canonical_json(progress))
        (beside / "card.json").write_text(json.dumps(card, indent=1, sort_keys=True, default=str))
        beside_it(beside)
    tidy(root, every)
    return folder


def tidy(root: Path, every: int | None = None) -> None:
    """Removes all checkpoints but the last one and, where ``every`` is given, the last one of a multiple of so many steps."""
    found = _published(root)
    kept = found[-1:]
    if every is not None:
        kept += [folder for folder in found if _step(folder) % every == 0][-1:]
    for folder in found:
        if folder not in kept:
            _remove(folder)


def go_back(root: Path, every: int) -> None:
    """Removes the checkpoints after the last one of a multiple of ``every`` steps, newest first, so that what is left when
    it is killed in between is still one training."""
    for folder in reversed(_published(root)):
        if _step(folder) % every == 0:
            return
        _remove(folder)


def _remove(folder: Path) -> None:
    """By one rename out of sight, so that a kill leaves no half of a checkpoint under its name."""
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    folder.rename(aside)
    shutil.rmtree(aside)


def latest(root: Path) -> Path | None:
    """The published checkpoint with the most steps, or ``None``."""
    found = _published(root)
    return found[-1] if found else None


def _published(root: Path) -> list[Path]:
    folders = [f for f in root.glob("step-*") if is_published(f) and f.name.removeprefix("step-").isdigit()]
    return sorted(folders, key=_step)


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def read_progress(folder: Path) -> Progress:
    found = json.loads((folder / "trainer.json").read_text())
    skipped = tuple((first, last) for first, last in found.pop("skipped", ()))
    return Progress(**found | {"skipped": skipped, "recent": tuple(found.get("recent", ()))})


def resume(folder: Path, model: Kept, optimizer: torch.optim.Optimizer) -> Progress:
    """Puts weights and optimizer back as they were in a folder that passed :func:`check`."""
    model.put(load_file(folder / "model.safetensors"))
    tensors = load_file(folder / "optimizer.safetensors")
    for name, parameter in model.named_parameters():
        if f"{name}.step" in tensors:
            optimizer.state[parameter] = {
                key: tensors[f"{name}.{key}"].to(_place(parameter, key))
                for key in ("step", "exp_avg", "exp_avg_sq")
            }
    return read_progress(folder)


def check(folder: Path) -> None:
    """Raises :class:`InputError` where a published folder differs from its manifest."""
    if changed := changed_files(folder):
        raise InputError(
            f"checkpoint {folder}: {changed[0]} is not as it was written; remove the folder and run again"
        )


def _place(parameter: torch.Tensor, key: str) -> torch.device:
    fused_keeps_step_beside = parameter.device.type != "cpu"
    return parameter.device if key != "step" or fused_keeps_step_beside else torch.device("cpu")


def _optimizer_tensors(model: Kept, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    tensors = {}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{name}.{key}"] = value.detach().cpu().contiguous()
    return tensors
