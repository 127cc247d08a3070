"""Students among the models of a store."""

from __future__ import annotations

import json

from multimodal.store import DamagedFile, Store
from multimodal.training import checkpoints


def teacher_of(store: Store, name: str | None) -> str | None:
    """The name of the model that the model ``name`` was distilled from; ``None`` where it is no student, or there is none."""
    folder = checkpoints.latest(store.model(name)) if name else None
    if folder is None or not (folder / "card.json").exists():
        return None
    try:
        return json.loads((folder / "card.json").read_text()).get("teacher", {}).get("name")
    except (ValueError, AttributeError) as error:
        raise DamagedFile(folder, "card.json is not as it was written") from error
