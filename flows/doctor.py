"""The command `doctor`: a check of the installation and of the store."""

from __future__ import annotations

import dataclasses
import importlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from flows import progress
from flows.printing import JsonOption, print_json, put
from flows.settings import DEFAULT_STORE, StoreOption
from multimodal.extras import EXTRAS, NAMED, installed, requirements, without
from multimodal.names import listed
from multimodal.store import InputError, Store, StoreLocked

BROKEN = 1
"""Exit status for at least one broken finding."""
OURS = ("flows", "vision", "speech", "multimodal")
OPENED = {
    "torch": "torch", "faiss-cpu": "faiss", "openai-whisper": "whisper", "silero-vad": "silero_vad", "torchvision": "torchvision",
    "av": "av", "opencv-python-headless": "cv2", "prefect": "prefect", "scikit-learn": "sklearn",
}  # fmt: skip
"""Distributions whose modules are imported as a test where they are installed, FAISS always: they have compiled parts, or break with a wrong version of another."""
GIGABYTE = 1e9
TIGHT_GIGABYTES = 5.0


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the report; ``note`` is for what does not stop a run."""

    state: Literal["ok", "note", "broken"]
    subject: str
    text: str


def doctor(
    *,
    store: StoreOption = DEFAULT_STORE,
    repair: Annotated[
        bool,
        Parameter(
            help="Put the last whole copy in the place of a damaged catalogue, and set damaged files aside that a run makes again.",
            negative=(),
            show_default=False,
        ),
    ] = False,
    json_: JsonOption = False,
) -> None:
    """Check the installation and the store; the exit status is 1 where something is broken.

    Reads every file of the store. Writes nothing without --repair: each fault comes with its remedy.
    """
    if repair:
        from flows.repair import repair_store

        for line in repair_store(store):
            progress.say(line)
    findings = [*_packages(), *_names(), *_machine(store), *_confinement(), *_weights(), *_store(store)]
    sound = all(finding.state != "broken" for finding in findings)
    if json_:
        print_json({"sound": sound, "findings": [dataclasses.asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            put(f"{finding.state:<7} {finding.subject:<10} {finding.text}")
    if not sound:
        sys.exit(BROKEN)


def _packages() -> Iterator[Finding]:
    """The packages of the plain install: present, of an admitted version, and importable. Those of extras may be absent."""
    versions, wrong, absent = {}, [], {}
    for extra in ("", *EXTRAS):
        for needed in requirements(extra):
            version = installed(needed.name)
            if version is None:
                absent.setdefault(extra, []).append(needed.name)
            elif needed.specifier.contains(version, prereleases=True):
                versions[needed.name] = version
            else:
                wrong.append(f"{needed.name} is {version}: {needed.specifier} is needed")
    wrong += [f"{name} is not installed" for name in absent.pop("", ())]
    for distribution, module in OPENED.items():
        if module != "faiss" and installed(distribution) is None:
            continue
        try:
            importlib.import_module(module)
        except Exception as error:  # noqa: BLE001 - a wrong build says so in any way
            wrong.append(f"{module} cannot be opened ({' '.join(str(error).split())[:160]})")
    for text in dict.fromkeys(wrong):
        yield Finding(
            "broken", "packages", f"{text}; install again as the README says, in an environment of its own"
        )
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    yield Finding("ok", "packages", f"Python {sys.version.split()[0]}, {named}")
    for extra, names in absent.items():
        yield Finding(
            "note", "extras", without(EXTRAS[extra], [extra], f"{listed(names, NAMED)} not installed")
        )


def _names() -> Iterator[Finding]:
    """The origin of our four packages, as other distributions have packages of the same names."""
    here = Path(__file__).resolve().parents[1]
    strange = [f"{n} from {p}" for n in OURS if (p := _place(n)) != here]
    if strange:
        text = f"{', '.join(strange)} in place of {here}: another package has our name; use an environment of its own"
        yield Finding("broken", "names", text)
    else:
        yield Finding("ok", "names", f"{', '.join(OURS)} from {here}")


def _place(name: str) -> Path:
    """The folder that holds the imported package ``name``."""
    return Path(importlib.import_module(name).__file__ or "").resolve().parents[1]


def _machine(store: Path) -> Iterator[Finding]:
    import torch

    from multimodal.machine import cores
    from multimodal.weights.fetching import cache_folder
    from vision.backbones import has_fast_bf16

    halves = "bfloat16 in hardware" if has_fast_bf16() else "no bfloat16 in hardware: fp32, slower"
    cards = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIGABYTE
    yield Finding("ok", "machine", f"{cores()} cores, {memory:.0f} GB of memory, {halves}, {', '.join(cards) or 'no GPU'}")  # fmt: skip
    for what, folder in (("store", store), ("weights", cache_folder())):
        free = shutil.disk_usage(_existing(folder)).free / GIGABYTE
        state = "ok" if free >= TIGHT_GIGABYTES else "note"
        yield Finding(state, "disk", f"{free:.1f} GB free for the {what} at {folder.absolute()}")


def _confinement() -> Iterator[Finding]:
    """Whether the child that reads files of others is confined here: one is started and tries to get out."""
    from multimodal.intake import confinement, sandbox

    if lacking := confinement.missing():
        text = "; ".join(lacking)
        yield Finding(
            "note", "sandbox", f"this machine lacks {text}: untrusted files are not safe to read here"
        )
        return
    try:
        escapes = sandbox.call(
            confinement.escapes, types=(), limits=sandbox.Limits(total=sandbox.DEADLINE_SECONDS)
        )
    except sandbox.SandboxError as error:
        yield Finding(
            "broken", "sandbox", f"no decoder can be started ({error}); install again as the README says"
        )
        return
    if escapes:
        yield Finding(
            "broken", "sandbox", f"a decoder could {', '.join(escapes)}; report it as SECURITY.md says"
        )
    else:
        version = confinement.landlock_version()
        yield Finding("ok", "sandbox", f"decoders are confined by Landlock {version} and seccomp")


def _existing(folder: Path) -> Path:
    """The folder, or its nearest parent that exists."""
    folder = folder.absolute()
    return next(f for f in (folder, *folder.parents) if f.exists())


def _weights() -> Iterator[Finding]:
    from multimodal.weights.fetching import EMPTY, missing_reason
    from multimodal.weights.known import WEIGHTS

    reasons = {name: missing_reason(name) for name in WEIGHTS}
    present = [name for name, reason in reasons.items() if reason is None]
    yield Finding("ok", "weights", f"in the cache, with the right digests: {', '.join(present) or 'none'}")
    if absent := [name for name, reason in reasons.items() if reason == EMPTY]:
        yield Finding("note", "weights", f"not in the cache, fetched at first use: {', '.join(absent)}")
    for name, reason in reasons.items():
        if reason not in (None, EMPTY):
            yield Finding("note", "weights", f"{name}: {reason}; it is fetched again at its next use")


def _store(root: Path) -> Iterator[Finding]:
    from multimodal.catalogue import Catalogue
    from multimodal.catalogue_file import check_there
    from multimodal.integrity import examine, unused
    from multimodal.training.pieces import unknown_pieces

    try:
        store = Store(root, create=False)
        check_there(store.catalogue)
        if not store.catalogue.exists():
            yield Finding("note", "store", f"{store.root}: no video was ingested yet; `videobert run VIDEOS`")
            return
        with (
            store.unwritten(),
            Catalogue(store.catalogue, read_only=True) as catalogue,
            progress.stage("doctor") as report,
        ):
            catalogue.check()
            checked, faults = examine(store, catalogue, report)
            superseded, videos = unused(store, catalogue), catalogue.videos()
            unknown = unknown_pieces(store, catalogue)
    except StoreLocked as error:
        yield Finding("note", "store", f"not checked: {error}")
        return
    except InputError as error:
        yield Finding("broken" if root.exists() else "note", "store", str(error))
        return
    for fault in faults:
        yield Finding("broken", "store", f"{fault.part}: {fault.cause}; {fault.remedy}")
    yield Finding("ok", "store", f"{store.root}: {len(videos)} videos, {checked} files and folders checked, {len(faults)} broken")  # fmt: skip
    moved = [v.name for v in videos if v.path and not Path(v.path).exists()]
    if moved:
        some = ", ".join(moved[:3]) + (", …" if len(moved) > 3 else "")
        yield Finding("note", "videos", f"{len(moved)} are not at their recorded path ({some}): answers do not need them, new pictures and other features do")  # fmt: skip
    if unknown:
        yield Finding("note", "words", unknown)
    if superseded:
        size = sum(superseded.values()) / GIGABYTE
        yield Finding("note", "unused", f"{size:.2f} GB of superseded codebooks, models and indexes, which may be deleted: {', '.join(superseded)}")  # fmt: skip
