"""Unfinished runs: models of a codebook whose training was stopped, and how their options differ from a new run's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from multimodal.store import Store, canonical_json
from multimodal.training import checkpoints
from multimodal.training.checkpoints import Progress


def unfinished_runs(store: Store, name: str, card: dict[str, Any]) -> list[str]:
    """A line for each other unfinished model, where the model ``name`` (its card will be ``card``) has no checkpoint yet."""
    root = store.model(name)
    if checkpoints.latest(root) is not None:
        return []
    lines = []
    for other, at, theirs in unfinished(root.parent):
        if theirs.get("codebook") == card["codebook"]:
            lines.append(
                f"model {other.name}: left at step {at.step} of {at.steps}, and this run begins another, {name}, as other "
                f"options make another model: {_differences(theirs, card)}. To go on with it, stop and say its options; to be "
                f"rid of it, remove {other}"
            )
    return lines


def unfinished(folder: Path) -> Iterator[tuple[Path, Progress, dict[str, Any]]]:
    """The folder of each model or captioner in ``folder`` whose training was stopped, its progress and its card.

    Folders that cannot be read are left to `videobert doctor`.
    """
    for root in sorted(folder.glob("[!.]*")):
        if (last := checkpoints.latest(root)) is None:
            continue
        try:
            at, card = checkpoints.read_progress(last), json.loads((last / "card.json").read_text())
        except (OSError, ValueError, TypeError):
            continue
        if not at.finished:
            yield root, at, card


def _differences(theirs: dict[str, Any], ours: dict[str, Any]) -> str:
    there, here = (dict(_leaves(json.loads(canonical_json(card["options"])))) for card in (theirs, ours))
    found = [
        f"{name} {there.get(name)} there, {here.get(name)} here"
        for name in sorted(there | here)
        if there.get(name) != here.get(name)
    ]
    return (
        "; ".join(found)
        or "the options are the same, its videos, their words or the checkpoint it starts from are not"
    )


def _leaves(options: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in options.items():
        if isinstance(value, dict):
            yield from _leaves(value, prefix if name in ("training", "examples") else f"{name} ")
        else:
            yield prefix + name, value
