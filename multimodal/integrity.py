"""Looks a store over: whether all that its catalogue speaks of can be opened and is as it was written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq

from multimodal.catalogue import Catalogue, Video
from multimodal.library import read_features, read_imported_tokens, read_transcript, usable
from multimodal.progress import Report
from multimodal.store import Store, changed_files, is_published
from multimodal.training.checkpoints import latest

REMADE = "take it away and run again: it is made anew"
CODEBOOK = "restore it; or take it away and run again, which fits a new codebook and trains a model on it"
CHECKPOINT = (
    "take the folder away and run again: training goes on from the checkpoint before it, or begins anew"
)
IMPORTED = "restore it, or import it again"


@dataclass(frozen=True)
class Fault:
    """What is wrong with a part of the store (`part` is its path from the root), and what to do."""

    part: str
    why: str
    remedy: str


@dataclass(frozen=True)
class Part:
    """A file or folder, how it is looked at (raising where it is broken), and what to do where it is."""

    path: Path
    look: Callable[[], object]
    remedy: str


def examine(store: Store, catalogue: Catalogue, report: Report) -> tuple[int, list[Fault]]:
    """How many files and published folders were looked at, and what is wrong.

    Transcripts, features, tokens and indexes are opened and read to their end; codebook and checkpoints in use are compared
    with their manifests, byte for byte. A file that no run made yet is no fault.
    """
    parts, faults = list(_parts(store, catalogue)), []
    for done, part in enumerate(parts, 1):
        name = part.path.relative_to(store.root).as_posix()
        try:
            part.look()
        except FileNotFoundError as error:
            missing = Path(str(error.filename or part.path))
            faults.append(Fault(name, f"{missing.name} is missing", part.remedy))
        except Exception as error:  # noqa: BLE001 - whatever a damaged file makes a reader say
            faults.append(
                Fault(name, " ".join(str(error).split())[:200] or type(error).__name__, part.remedy)
            )
        report(done, len(parts), name)
    return len(parts), faults


def unused(store: Store, catalogue: Catalogue) -> dict[str, int]:
    """Bytes of the codebooks, models, captioners and indexes of before, by path from the root.

    Of before is what no answer comes from and is older than what is used in its place: a training that was stopped and is to
    go on is newer.
    """
    current = {kind: catalogue.current(kind) for kind in ("codebook", "model", "model_codebook", "captioner")}
    codebooks = {current["codebook"], current["model_codebook"]}
    used = {
        "codebooks": codebooks,
        "tokens": codebooks,
        "models": {current["model"]},
        "captioners": {current["captioner"]},
        "indexes": {current["model"]},
        "caches": {current["model"]},
    }
    found = {}
    for kind, names in used.items():
        folders = sorted(p for p in (store.root / kind).glob("[!.]*") if p.is_dir())
        files = {folder: [p.stat() for p in folder.rglob("*") if p.is_file()] for folder in folders}
        ages = {folder: max((f.st_mtime for f in stats), default=0.0) for folder, stats in files.items()}
        in_use = [f for f in folders if f.name in names or f.name.split(".step-")[0] in names]
        line = max((ages[folder] for folder in in_use), default=0.0)
        for folder in folders:
            if folder not in in_use and ages[folder] < line:
                found[folder.relative_to(store.root).as_posix()] = sum(f.st_size for f in files[folder])
    return found


def _parts(store: Store, catalogue: Catalogue) -> Iterator[Part]:
    codebook, model, captioner = (catalogue.current(kind) for kind in ("codebook", "model", "captioner"))
    for video in usable(catalogue):
        remedy = REMADE if video.path else IMPORTED
        if video.transcript is not None:
            yield Part(
                store.transcript(video.video, video.transcript),
                partial(read_transcript, store, video),
                remedy,
            )
        if video.features is not None:
            yield Part(store.features(video.video, video.features), partial(_read_seen, store, video), remedy)
    if codebook:
        yield Part(store.codebook(codebook), partial(_as_written, store.codebook(codebook)), CODEBOOK)
    for root in (model and store.model(model), captioner and store.captioner(captioner)):
        if root and (checkpoint := latest(root)):
            yield Part(checkpoint, partial(_as_written, checkpoint), CHECKPOINT)
    for path in sorted((store.root / "tokens" / (codebook or "")).glob("*.parquet")):
        yield Part(path, partial(pq.read_table, path), REMADE)
    for path in sorted(store.root.glob(f"indexes/{model or ''}.step-*/*.parquet")):
        yield Part(path, partial(pq.read_table, path), REMADE)


def _read_seen(store: Store, video: Video) -> None:
    if read_imported_tokens(store, video) is None:
        values, _ = read_features(store, video)
        if len(values) != (video.clips or 0):
            raise ValueError(f"it holds {len(values)} clips, the catalogue says {video.clips}")


def _as_written(folder: Path) -> None:
    if not is_published(folder):
        raise FileNotFoundError(2, "there is none", str(folder))
    if changed := changed_files(folder):
        raise ValueError(f"{', '.join(changed[:3])} not as written")
