"""The repair of a store: the catalogue from its last whole copy, damaged files set aside for the next run."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

from flows import progress
from multimodal.catalogue import Catalogue
from multimodal.catalogue_file import last_whole_copy, restore
from multimodal.damage import set_aside
from multimodal.integrity import examine
from multimodal.store import InputError, NewerStore, Store


def repair_store(root: Path) -> Iterator[str]:
    """Repairs what can be; gives a line for each thing that it did. Nothing is deleted: what was there lies in ``damaged/``.

    Raises :class:`~multimodal.store.StoreLocked` where another process writes to the store.
    """
    store = Store(root, create=False)
    with store.writing():
        try:
            Catalogue(store.catalogue).close()
        except NewerStore:
            raise
        except InputError as error:
            yield _restored(store, error)
        with Catalogue(store.catalogue) as catalogue, progress.stage("repair") as report:
            _, faults = examine(store, catalogue, report)
            for fault in faults:
                if fault.can_be_set_aside:
                    place = set_aside(store, store.root / fault.part)
                    yield f"{fault.part}: {fault.cause}{f'; moved to {place}' if place else ''}; the next run makes it again"


def _restored(store: Store, error: InputError) -> str:
    copy = last_whole_copy(store.catalogue)
    restore(store.catalogue, copy, store.damaged)
    if copy is None:
        return (
            f"{error}. There is no copy: a new catalogue begins, the old one lies in {store.damaged}; the next run over the "
            "same videos finds their files again, with settings given anew"
        )
    made = datetime.datetime.fromtimestamp(copy.stat().st_mtime, datetime.UTC)
    return f"catalogue: restored from {copy.name} of {made:%Y-%m-%d %H:%M} UTC; the old one lies in {store.damaged}"
