"""Owns the command `doctor`: what is installed, what is missing, and whether the store is sound."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from flows import DISTRIBUTION, progress
from flows.printing import JsonOption, print_json
from flows.settings import DEFAULT_STORE, StoreOption
from multimodal.store import Store, StoreError, StoreLocked

BROKEN = 1
"""The exit status where something is broken."""
OURS = ("flows", "vision", "speech", "multimodal")
OPENED = ("torch", "torchvision", "whisper", "av", "cv2", "faiss", "silero_vad", "prefect", "sklearn")
"""Modules with compiled parts, or that break where another is of the wrong version."""
GIGABYTE = 1e9
TIGHT_GIGABYTES = 5.0


@dataclasses.dataclass(frozen=True)
class Finding:
    """`state` is ``ok``, ``note`` (nothing that stops a run) or ``broken``."""

    state: Literal["ok", "note", "broken"]
    subject: str
    text: str


def doctor(store: StoreOption = DEFAULT_STORE, *, json_: JsonOption = False) -> None:
    """What is installed, what is missing, and whether the store is sound. Status 1 where something is broken.

    Reads every file of the store that an answer could come from. Repairs nothing: each fault says what to do.
    """
    found = [*_packages(), *_names(), *_machine(store), *_weights(), *_store(store)]
    sound = all(f.state != "broken" for f in found)
    if json_:
        print_json({"sound": sound, "findings": [dataclasses.asdict(f) for f in found]})
    else:
        for f in found:
            print(f"{f.state:<7} {f.subject:<10} {f.text}")
    if not sound:
        sys.exit(BROKEN)


def _packages() -> Iterator[Finding]:
    from packaging.requirements import Requirement

    there, wrong = [], []
    for line in importlib.metadata.requires(DISTRIBUTION) or ():
        needed = Requirement(line)
        if needed.marker and not needed.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(needed.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{needed.name} is not installed")
            continue
        if needed.specifier.contains(version, prereleases=True):
            there.append(f"{needed.name} {version}")
        else:
            wrong.append(f"{needed.name} is {version}: {needed.specifier} is needed")
    for module in OPENED:
        try:
            importlib.import_module(module)
        except Exception as error:  # noqa: BLE001 - a wrong build says so in any way
            wrong.append(f"{module} cannot be opened ({' '.join(str(error).split())[:160]})")
    for text in wrong:
        yield Finding(
            "broken", "packages", f"{text}; install again as the README says, in an environment of its own"
        )
    yield Finding("ok", "packages", f"Python {sys.version.split()[0]}, {', '.join(there)}")


def _names() -> Iterator[Finding]:
    """Other distributions have packages of our names, too."""
    here = Path(__file__).resolve().parents[1]
    strange = [f"{n} from {p}" for n in OURS if (p := _place(n)) != here]
    if strange:
        text = f"{', '.join(strange)} in place of {here}: another package has our name; use an environment of its own"
        yield Finding("broken", "names", text)
    else:
        yield Finding("ok", "names", f"{', '.join(OURS)} from {here}")


def _place(name: str) -> Path:
    return Path(importlib.import_module(name).__file__ or "").resolve().parents[1]


def _machine(store: Path) -> Iterator[Finding]:
    import torch

    from multimodal.weights.fetching import cache_folder
    from vision.backbones import has_fast_bf16

    halves = "bfloat16 in hardware" if has_fast_bf16() else "no bfloat16 in hardware: fp32, slower"
    cards = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIGABYTE
    yield Finding("ok", "machine", f"{len(os.sched_getaffinity(0))} cores, {memory:.0f} GB of memory, {halves}, {', '.join(cards) or 'no GPU'}")  # fmt: skip
    for what, folder in (("store", store), ("weights", cache_folder())):
        free = shutil.disk_usage(_that_exists(folder)).free / GIGABYTE
        state = "ok" if free >= TIGHT_GIGABYTES else "note"
        yield Finding(state, "disk", f"{free:.1f} GB free for the {what} at {folder.absolute()}")


def _that_exists(folder: Path) -> Path:
    folder = folder.absolute()
    return next(f for f in (folder, *folder.parents) if f.exists())


def _weights() -> Iterator[Finding]:
    from multimodal.weights.fetching import EMPTY, lacking
    from multimodal.weights.known import WEIGHTS

    lack = {name: lacking(name) for name in WEIGHTS}
    there = [name for name, why in lack.items() if why is None]
    yield Finding("ok", "weights", f"in the cache, as their digests say: {', '.join(there) or 'none'}")
    if fetched := [name for name, why in lack.items() if why == EMPTY]:
        yield Finding("note", "weights", f"fetched when they are first asked for: {', '.join(fetched)}")
    for name, why in lack.items():
        if why not in (None, EMPTY):
            yield Finding("note", "weights", f"{name}: {why}; it is fetched again when it is next asked for")


def _store(root: Path) -> Iterator[Finding]:
    from multimodal.catalogue import Catalogue
    from multimodal.integrity import examine, unused

    try:
        store = Store(root, create=False)
        if not store.catalogue.exists():
            yield Finding("note", "store", f"{store.root}: nothing was taken in yet; `videobert run VIDEOS`")
            return
        with store.writing(), Catalogue(store.catalogue) as catalogue, progress.stage("looking") as report:
            looked_at, faults = examine(store, catalogue, report)
            left, videos = unused(store, catalogue), catalogue.videos()
    except StoreLocked as error:
        yield Finding("note", "store", f"not looked at: {error}")
        return
    except StoreError as error:
        yield Finding("broken" if root.exists() else "note", "store", str(error))
        return
    for fault in faults:
        yield Finding("broken", "store", f"{fault.part}: {fault.why}; {fault.remedy}")
    yield Finding("ok", "store", f"{store.root}: {len(videos)} videos, {looked_at} files and folders looked at, {len(faults)} broken")  # fmt: skip
    away = [v.name for v in videos if v.path and not Path(v.path).exists()]
    if away:
        some = ", ".join(away[:3]) + (", …" if len(away) > 3 else "")
        yield Finding("note", "videos", f"{len(away)} are not where they were ({some}): answers go on, new pictures and other features need them")  # fmt: skip
    if left:
        size = sum(left.values()) / GIGABYTE
        yield Finding("note", "unused", f"{size:.2f} GB of codebooks, models and indexes of before, which may be deleted: {', '.join(left)}")  # fmt: skip
