"""Export: a folder with a model of the store and its codebook, to be given away.

It holds the model's files as they are, so it opens as `transformers.BertForPreTraining` does a model folder; ``codebook/``,
what turns features into visual tokens; ``export.json``, what both are; and ``manifest.json``, each file's SHA-256. It holds no
transcript and no path of this machine, and pictures only where they are asked for.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from multimodal.catalogue import Catalogue
from multimodal.disk import part_of, sync
from multimodal.library import kind_of_features
from multimodal.names import did_you_mean, meant
from multimodal.objectives.objective import TERM_FILE
from multimodal.progress import Report
from multimodal.store import (
    InputError,
    Store,
    canonical_json,
    check_published,
    file_digest,
    write_whole,
)
from multimodal.tokens import CENTROIDS, DESCRIPTION, ELSEWHERE, codebook_in, features_of
from multimodal.training.checkpoints import check, latest, read_progress
from multimodal.training.start import CARD, EXPORT, EXPORTED_CODEBOOK

FORMAT = 1
"""Raise it when a folder could not be imported by the program of before."""
MANIFEST = "manifest.json"
MODEL_FILES = (
    "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "trainer.json", CARD,
)  # fmt: skip
OPTIONAL = (TERM_FILE, "README.md")
"""The files of a model folder that go with it, and those that not every model has. The optimizer's state stays."""
TEXTS = (CARD, "README.md")


@dataclasses.dataclass(frozen=True)
class Exported:
    """A ``folder`` that was written, the ``model`` in it, its ``codebook``, and its size in ``bytes``."""

    folder: str
    model: str
    codebook: str
    bytes: int


def export_model(
    store: Store,
    catalogue: Catalogue,
    to: Path,
    model: str | None = None,
    *,
    pictures: bool = False,
    report: Report = lambda *_: None,
) -> Exported:
    """Writes a model of the store, the one in use where none is named, and its codebook to the new folder ``to``.

    ``model`` may be the beginning of a name. ``pictures``: the codebook's frames of the videos go with it. The folder is whole
    or absent. Raises :class:`InputError` where ``to`` exists or its parent does not, where the store has no such model or its
    training was not ended, and :class:`~multimodal.store.DamagedFile` where a file is not as it was written.
    """
    check_target(to)
    name = chosen_model(store, catalogue, model)
    folder = latest(store.model(name))
    assert folder is not None, "models without a checkpoint are not chosen"
    progress = read_progress(folder)
    if not progress.finished:
        raise InputError(
            f"model {name}: its training stands at step {progress.step} of {progress.steps}; let `videobert pretrain` end it first"
        )
    check(folder)
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    in_use = name in (catalogue.current("model"), catalogue.current("next_model"))
    kind = "model_codebook" if name == catalogue.current("model") else "next_model_codebook"
    digest = card.get("codebook") or (catalogue.current(kind) if in_use else None)
    if digest is None:
        raise InputError(
            f"model {name}: its card names no codebook, so nothing says what its tokens are; export another"
        )
    codebook = store.codebook(digest)
    check_published(codebook, [CENTROIDS, DESCRIPTION])
    shown = sorted((codebook / "pictures").glob("*.jpg")) if pictures else []
    check_published(codebook, [f"pictures/{picture.name}" for picture in shown])
    with _new_folder(to) as beside:
        (beside / EXPORTED_CODEBOOK).mkdir()
        there = [folder / name for name in (*MODEL_FILES, *OPTIONAL) if (folder / name).is_file()]
        copied = [file for file in there if file.name not in TEXTS]
        for done, file in enumerate(copied):
            shutil.copyfile(file, beside / file.name)
            report(done, len(copied) + 1, file.name)
        for file in (file for file in there if file.name in TEXTS):
            text = _without_path(file.read_text(encoding="utf-8"), card)
            (beside / file.name).write_text(text, encoding="utf-8")
        shutil.copyfile(codebook / CENTROIDS, beside / EXPORTED_CODEBOOK / CENTROIDS)
        if shown:
            (beside / EXPORTED_CODEBOOK / "pictures").mkdir()
        for picture in shown:
            shutil.copyfile(picture, beside / EXPORTED_CODEBOOK / "pictures" / picture.name)
        fitted = codebook_in(codebook)
        width = fitted.centroids_[-1].shape[1] if fitted.has_centroids else 0
        features = {"width": width} | features_of(store, digest)
        used = fitted.used_.nonzero()[0].tolist()
        description = _description(json.loads((codebook / DESCRIPTION).read_text()), features, used)
        (beside / EXPORTED_CODEBOOK / DESCRIPTION).write_text(json.dumps(description, indent=1))
        about = {
            "format": FORMAT,
            "model": name,
            "step": folder.name,
            "codebook": digest,
            "features": features,
        }
        (beside / EXPORT).write_text(json.dumps(about, indent=1))
        size = sum(p.stat().st_size for p in beside.rglob("*") if p.is_file())
        report(len(copied) + 1, len(copied) + 1, "published")
    return Exported(str(to), name, digest, size)


def check_target(to: Path) -> None:
    """Raises :class:`InputError` where a folder cannot become the export."""
    if to.exists() or to.is_symlink():
        raise InputError(f"--to {to}: is there already; name a folder that is not, nothing is overwritten")
    if not to.absolute().parent.is_dir():
        raise InputError(f"--to {to}: {to.absolute().parent} is no folder; make it first, or name another")


def chosen_model(store: Store, catalogue: Catalogue, wanted: str | None) -> str:
    """The name of a model of the store, the one in use where none is wanted.

    Raises :class:`InputError` where there is none, or several can be meant.
    """
    if wanted is None:
        name = catalogue.current("model") or catalogue.current("next_model")
        if name is None or latest(store.model(name)) is None:
            raise InputError(f"store {store.root}: has no model yet; run `videobert run VIDEOS`")
        return name
    known = sorted(f.name for f in store.model("").glob("[!.]*") if latest(f) is not None)
    found = meant(wanted, known)
    if len(found) == 1 and found[0] in known:
        return found[0]
    if len(found) > 1:
        raise InputError(f"model {wanted}: can mean {len(found)} models; write more of its name")
    raise InputError(
        f"model {wanted}: not in store {store.root}{did_you_mean(wanted, known)}; leave it out to take the one in use"
    )


def _without_path(text: str, card: dict[str, Any]) -> str:
    """The text of a card that an earlier version wrote with the path of the text start: by its last part alone."""
    start = str(card.get("options", {}).get("text_start", ""))
    if os.sep not in start:
        return text
    return text.replace(json.dumps(start)[1:-1], Path(start).name).replace(start, Path(start).name)


def _description(description: dict[str, Any], features: dict[str, Any], used: list[int]) -> dict[str, Any]:
    """A ``codebook.json`` for another store: without the moments that the tokens are shown by, with what made the features."""
    return description | {
        "videos": [[video, kind_of_features(made)] for video, made in description["videos"]],
        "examples": {},
        "without_picture": used,
        ELSEWHERE: {"features": features},
    }


@contextlib.contextmanager
def _new_folder(final: Path) -> Iterator[Path]:
    """A folder beside ``final`` that becomes it, with its manifest, by one rename, and never replaces what is there.

    What an export of the same name that was killed left beside it goes.
    """
    final = final.absolute()
    for left in final.parent.glob(f".{final.name}.*.part"):
        if not _runs(left.suffixes[-2].removeprefix(".")):
            shutil.rmtree(left, ignore_errors=True)
    beside = part_of(final)
    beside.mkdir()
    try:
        yield beside
        files = sorted(p for p in beside.rglob("*") if p.is_file())
        manifest = {p.relative_to(beside).as_posix(): file_digest(p) for p in files}
        for path in [*files, *(p for p in beside.rglob("*") if p.is_dir())]:
            sync(path)
        write_whole(beside / MANIFEST, canonical_json({"files": manifest}).encode())
        check_target(final)
        beside.rename(final)
        sync(final.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _runs(process: str) -> bool:
    """Whether a process of this number is there."""
    return process.isdecimal() and Path("/proc", process).exists()
