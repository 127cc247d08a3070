"""Integrity of a store: every file that the catalogue refers to can be read and is as it was written."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
from safetensors import safe_open

from multimodal import sums
from multimodal.catalogue import Catalogue, Video
from multimodal.codebook_in_use import IMPORTED_CODEBOOK, IMPORTED_MODEL
from multimodal.inference.heads import head_names, heads_root, read_head
from multimodal.library import read_features, read_imported_tokens, read_transcript, usable
from multimodal.progress import Report
from multimodal.store import DamagedFile, InputError, Store, changed_files, is_published, reading
from multimodal.training.checkpoints import latest
from multimodal.training.students import teacher_of
from multimodal.training.unfinished_runs import unfinished

REMADE = "delete it and run again: it is made anew"
HEAD = "delete it and run `videobert finetune` again"
CODEBOOK = "restore it; or delete it and run again, which fits a new codebook and trains a model on it"
CHECKPOINT = "delete the folder and run again: training goes on from the checkpoint before it, or begins anew"
IMPORTED = "restore it, or import it again"
CURVES = "delete it: nothing but the report's curves is read from it"
COPY = "delete it: the next run keeps another copy"
OWN = "restore it"
REMEDIES = {
    "models": CURVES,
    "captioners": CURVES,
    "heads": HEAD,
    "copies": COPY,
    "corrections": OWN,
    "store.json": OWN,
    "catalogue.sqlite": OWN,
}
"""Of files that the catalogue does not name, by the first part of their path; :data:`REMADE` for all others."""


@dataclass(frozen=True)
class Fault:
    """A fault of a file or folder (``part`` is its path from the root), its cause, and the remedy."""

    part: str
    cause: str
    remedy: str

    @property
    def can_be_set_aside(self) -> bool:
        """Whether a run makes it again, or does without it."""
        return self.remedy not in (IMPORTED, OWN)


@dataclass(frozen=True)
class Part:
    """A file or folder, the check that raises where it is broken, and the remedy."""

    path: Path
    check: Callable[[], object]
    remedy: str


def examine(store: Store, catalogue: Catalogue, report: Report) -> tuple[int, list[Fault]]:
    """The number of files and published folders that were checked, and the faults found.

    Every file that has a sum is compared with it, byte for byte, and so are the codebook and the checkpoints in use with
    their manifests. Transcripts, features, tokens and indexes of before there were sums are opened and read to their end. A
    file that no run has made yet is no fault.
    """
    named = {part.path: part for part in _parts(store, catalogue)}
    parts, faults = [*named.values(), *(part for part in _summed(store) if part.path not in named)], []
    for done, part in enumerate(parts, 1):
        name = part.path.relative_to(store.root).as_posix()
        try:
            part.check()
        except DamagedFile as error:
            faults.append(Fault(name, error.cause, part.remedy))
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
    """Bytes of superseded codebooks, models, captioners and indexes, by path from the root.

    A folder is superseded where no answer comes from it and no stopped training can go on in it. No time decides: a clock may
    have been set back.
    """
    kinds = ("codebook", "model", "model_codebook", "captioner", "next_model", "next_captioner")
    current = {kind: catalogue.current(kind) for kind in kinds}
    codebooks = {current["codebook"], current["model_codebook"]}
    models, captioners = (
        {current[kind], current[f"next_{kind}"]}
        | {root.name for root, _, card in unfinished(store.root / f"{kind}s") if fits(card)}
        for kind, fits in (
            ("model", lambda card: card.get("codebook") in codebooks),
            ("captioner", lambda card: card.get("model") in (current["model"], current["next_model"])),
        )
    )
    for name in (current["model"], current["next_model"]):
        models.add(_teacher_of(store, name))
    in_use = {
        "codebooks": codebooks,
        "tokens": codebooks,
        "models": models,
        "captioners": captioners,
        "indexes": models,
        "caches": models,
        "heads": _heads_in_use(store) | {root.name for root, *_ in unfinished(heads_root(store))},
    }
    superseded = {}
    for kind, names in in_use.items():
        for folder in sorted(p for p in (store.root / kind).glob("[!.]*") if p.is_dir()):
            # An index or a cache is named after its model and step, "<model>.step-<n>".
            if folder.name not in names and folder.name.split(".step-")[0] not in names:
                size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
                superseded[folder.relative_to(store.root).as_posix()] = size
    return superseded


def _teacher_of(store: Store, name: str | None) -> str | None:
    """The teacher that a student's `distill --undo` goes back to. A damaged card is told by its manifest."""
    with contextlib.suppress(InputError):
        return teacher_of(store, name)
    return None


def _heads_in_use(store: Store) -> set[str]:
    """The folders of the heads that have a name. A damaged file of a name is told by its own sum."""
    found = set()
    for name in head_names(store):
        with contextlib.suppress(InputError, LookupError):
            found.add(read_head(store, name)["head"])
    return found


def _parts(store: Store, catalogue: Catalogue) -> Iterator[Part]:
    codebook, model, captioner = (catalogue.current(kind) for kind in ("codebook", "model", "captioner"))
    codebooks = dict.fromkeys(filter(None, (codebook, catalogue.current("model_codebook"))))
    for video in usable(catalogue):
        remedy = REMADE if video.path else IMPORTED
        if video.transcript is not None:
            yield Part(
                store.transcript(video.video, video.transcript),
                partial(_check_transcript, store, video),
                remedy,
            )
        if video.features is not None:
            yield Part(
                store.features(video.video, video.features), partial(_read_clips, store, video), remedy
            )
    came = [catalogue.current(kind) for kind in (IMPORTED_CODEBOOK, IMPORTED_MODEL)]
    for digest in codebooks:
        remedy = IMPORTED if digest == came[0] else CODEBOOK
        yield Part(store.codebook(digest), partial(_check_manifest, store.codebook(digest)), remedy)
    for root in (model and store.model(model), captioner and store.captioner(captioner)):
        if root and (checkpoint := latest(root)):
            remedy = IMPORTED if root.name == came[1] else CHECKPOINT
            yield Part(checkpoint, partial(_check_manifest, checkpoint), remedy)
    for address in sorted(_heads_in_use(store)):
        if checkpoint := latest(heads_root(store) / address):
            yield Part(checkpoint, partial(_check_manifest, checkpoint), HEAD)
    for digest in codebooks:
        for path in sorted(store.tokens(digest, "").parent.glob("*.parquet")):
            yield Part(path, partial(_read_table, path), REMADE)
    for path in sorted(store.root.glob(f"indexes/{model or ''}.step-*/*.parquet")):
        yield Part(path, partial(_read_table, path), REMADE)


def _summed(store: Store) -> Iterator[Part]:
    """Every file with a sum, and every folder whose files have theirs in one.

    The names are read once: a large library has hundreds of thousands, and paths as objects cost more than the names.
    """
    for place, folders, names in os.walk(store.root):
        at_root = place == str(store.root)
        folders[:] = sorted(
            f for f in folders if not f.startswith(".") and not (at_root and f == store.damaged.name)
        )
        first = Path(place).relative_to(store.root).parts[:1]
        for name in sorted(n for n in names if n.endswith(sums.ENDING) and not n.startswith(".")):
            path = Path(place, name.removesuffix(sums.ENDING))
            remedy = REMEDIES.get(first[0] if first else path.name, REMADE)
            yield Part(path, partial(_check_sum, path), remedy)
        if sums.ALL in names:
            yield Part(Path(place), partial(_check_sums, Path(place, sums.ALL)), CURVES)


def _check_sum(path: Path) -> None:
    with reading(path):
        path.stat()


def _check_sums(sums_file: Path) -> None:
    if wrong := sums.unlike(sums_file):
        raise InputError(f"{', '.join(wrong[:3])} not as written")


def _is_summed(path: Path) -> bool:
    """Whether the file has a sum and is as it was written: nothing in it needs to be parsed then. Raises :class:`DamagedFile`."""
    digest = sums.recorded_sum(path)
    if digest is not None and digest != sums.file_digest(path):
        raise DamagedFile(path, "not as it was written")
    return digest is not None


def _check_transcript(store: Store, video: Video) -> None:
    if not _is_summed(store.transcript(video.video, video.transcript)):
        read_transcript(store, video)


def _read_table(path: Path) -> None:
    if not _is_summed(path):
        with reading(path):
            pq.ParquetFile(path).read(use_threads=False)


def _read_clips(store: Store, video: Video) -> None:
    path = store.features(video.video, video.features)
    if not _is_summed(path) and read_imported_tokens(store, video) is None:
        read_features(store, video)
    with reading(path, summed=False), safe_open(path, "numpy") as file:
        names = file.keys()
        count = file.get_slice("values").get_shape()[0] if "values" in names else None
    if count not in (None, video.clips or 0):
        raise InputError(f"it holds {count} clips, the catalogue says {video.clips}")


def _check_manifest(folder: Path) -> None:
    if not is_published(folder):
        raise FileNotFoundError(2, "there is none", str(folder))
    if changed := changed_files(folder):
        raise InputError(f"{', '.join(changed[:3])} not as written")
