"""Damaged files are set aside: moved to the folder ``damaged/`` of the store, from which nothing is read."""

from __future__ import annotations

import shutil
from pathlib import Path

from multimodal.catalogue import Catalogue
from multimodal.codebook_in_use import IMPORTED_CODEBOOK, IMPORTED_MODEL
from multimodal.store import Store
from multimodal.sums import sum_file

OF_A_VIDEO = ("transcripts", "features")
OF_ALL = (
    "codebooks",
    "splits",
    "tokens",
    "models",
    "captioners",
    "indexes",
    "caches",
    "evaluations",
    "comparisons",
)


def can_be_made_again(store: Store, catalogue: Catalogue, path: Path) -> bool:
    """Whether a run makes the file or folder again: it is not of an imported video, nor of one whose file moved away, nor an
    imported model or codebook."""
    model, codebook = catalogue.current(IMPORTED_MODEL), catalogue.current(IMPORTED_CODEBOOK)
    imported = {model and store.model(model), codebook and store.codebook(codebook)}
    if imported & {path, *path.parents}:
        return False
    kind = path.relative_to(store.root).parts[0]
    if kind in OF_A_VIDEO:
        video = catalogue.get(path.name.partition(".")[0])
        return video is not None and bool(video.path) and Path(video.path).exists()
    return kind in OF_ALL


def set_aside(store: Store, path: Path) -> Path | None:
    """Moves a file with its sum, or a folder, to the same place below ``damaged/``; returns the new place.

    ``None`` where it is missing, so that there is nothing to move. The caller holds the store.
    """
    place = store.damaged / path.relative_to(store.root)
    place.parent.mkdir(parents=True, exist_ok=True)
    for old, new in ((sum_file(path), sum_file(place)), (path, place)):
        if new.is_dir():
            shutil.rmtree(new)
        if old.exists():
            old.replace(new)
    return place if place.exists() else None
