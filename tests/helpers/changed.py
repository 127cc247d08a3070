"""A published folder whose files a test changes."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from multimodal.store import publish_folder


@contextlib.contextmanager
def changed(folder: Path) -> Iterator[None]:
    """After the body has changed its files the folder is published anew, so they count as written so."""
    yield
    before = shutil.move(folder, folder.with_name(f".{folder.name}.before"))
    with publish_folder(folder) as new:
        shutil.copytree(before, new, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json"))
    shutil.rmtree(before)
