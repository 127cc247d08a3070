"""Import of an exported model: its digests are compared, its files are read as data, and it becomes the store's.

Nothing in the folder is run: JSON, safetensors and, where they were asked for, JPEG. What the folder's own manifest does not
name is not looked at. The files are checked where they lie in the store, before they have a name there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file

from multimodal.byte_pairs import load_vocabulary
from multimodal.catalogue import Catalogue
from multimodal.codebook_in_use import IMPORTED_CODEBOOK, IMPORTED_MODEL, check_features, is_imported
from multimodal.damage import set_aside
from multimodal.examples.options import ExampleOptions
from multimodal.joint.bert_checkpoint import LARGEST_HEADER, read_bert
from multimodal.joint.layout import TABLE
from multimodal.joint.model import JointBert
from multimodal.joint.options import ModelOptions
from multimodal.library import usable
from multimodal.machine import refused_by_machine
from multimodal.objectives.objective import TERM_FILE
from multimodal.objectives.replaced import generator_of
from multimodal.objectives.weights import LossWeights
from multimodal.objectives.written import writer_of
from multimodal.progress import Report
from multimodal.segments import CONTEXT
from multimodal.store import InputError, Store, changed_files, file_digest, is_published, publish_folder
from multimodal.systems import System
from multimodal.tokens import CENTROIDS, DESCRIPTION, ELSEWHERE, codebook_in
from multimodal.training.checkpoints import Progress
from multimodal.training.start import CARD, EXPORT, EXPORTED_CODEBOOK
from multimodal.transfer.exporting import FORMAT, MANIFEST, MODEL_FILES, OPTIONAL
from multimodal.vocabulary import LARGEST_TOKENIZER, given_text
from vision.backbones import BACKBONES
from vision.codebook import Codebook
from vision.errors import ModelError

LARGEST_WEIGHTS = 8 << 30
"""Bytes of a file of numbers; the weights of BERT-large with 20,736 visual tokens have 1.4 billion."""
LARGEST_PICTURE, WIDEST_PICTURE = 1 << 20, 4096
"""Bytes of a token's picture, and its longer side in pixels."""
PICTURE = re.compile(rf"{EXPORTED_CODEBOOK}/pictures/v\d{{5,7}}\.jpg")
NAME = re.compile(r"[0-9A-Za-z_-][0-9A-Za-z_.-]{0,63}")
STEP = re.compile(r"step-\d{1,9}")
ARRAYS = ("model.safetensors", TERM_FILE, f"{EXPORTED_CODEBOOK}/{CENTROIDS}")
REQUIRED = (EXPORT, *MODEL_FILES, f"{EXPORTED_CODEBOOK}/{CENTROIDS}", f"{EXPORTED_CODEBOOK}/{DESCRIPTION}")
ADMITTED = {*REQUIRED, *OPTIONAL}
AGAIN = "have it exported and sent again"


@dataclasses.dataclass(frozen=True)
class Imported:
    """A ``model`` that was taken in, with its ``codebook`` of so many ``tokens``, and the ``backbone`` of these, "" where they
    were made of imported features; ``videos``: how many of the store get its tokens with the next run."""

    model: str
    codebook: str
    tokens: int
    backbone: str
    videos: int


def import_model(
    store: Store, catalogue: Catalogue, folder: Path, report: Report = lambda *_: None
) -> Imported:
    """Takes in the model of a folder that :func:`~multimodal.transfer.exporting.export_model` wrote: it and its codebook become the
    store's with the next index, and no run trains another in its place before it is told to. The caller holds the store.

    Raises :class:`InputError`, and leaves the store as it was, where the folder is none of these, was altered, is of another
    version or holds what does not belong together; where the store has a model of its own; and where it has videos whose
    features are of another kind.
    """
    _check_replaceable(store, catalogue)
    about, files = _read_manifest(folder)
    model, digest = store.model(about["model"]) / about["step"], store.codebook(about["codebook"])
    for published in (model, digest):
        if is_published(published) and changed_files(published):
            set_aside(store, published)
    with publish_folder(digest) as codebook_part, publish_folder(model) as model_part:
        parts = {EXPORTED_CODEBOOK: codebook_part, "": model_part}
        for done, (name, sum_) in enumerate(sorted(files.items())):
            report(done, len(files) + 1, name)
            inside = name.startswith(f"{EXPORTED_CODEBOOK}/")
            to = parts[EXPORTED_CODEBOOK if inside else ""] / name.removeprefix(f"{EXPORTED_CODEBOOK}/")
            _copy(folder, name, sum_, to)
        report(len(files), len(files) + 1, "opened")
        fitted, description = _open(folder, about, model_part, codebook_part)
        (model_part / EXPORT).unlink()
        check_features(store, usable(catalogue), description)
    backbone = str(description[ELSEWHERE]["features"].get("name", ""))
    settings = json.loads(catalogue.current("settings") or "{}")
    settings.pop("text_start", None)  # said before there was a model to go on from
    if backbone in BACKBONES:
        settings["backbone"] = backbone
    pair: tuple[str | None, str | None] = about["model"], about["codebook"]
    used = {
        "codebook": about["codebook"],
        IMPORTED_MODEL: about["model"],
        IMPORTED_CODEBOOK: about["codebook"],
    }
    if pair == (catalogue.current("model"), catalogue.current("model_codebook")):
        pair = None, None
    coming = {"next_model": pair[0], "next_model_codebook": pair[1], "next_captioner": None}
    catalogue.set_together(used | coming | {"settings": json.dumps(settings)})
    report(len(files) + 1, len(files) + 1, "in use with the next run")
    videos = sum(1 for video in usable(catalogue) if video.clips)
    return Imported(about["model"], about["codebook"], len(fitted.used_), backbone, videos)


def _check_replaceable(store: Store, catalogue: Catalogue) -> None:
    """Raises :class:`InputError` where the store has a model that was trained here."""
    for kind in ("next_model", "model"):
        name, codebook = catalogue.current(kind), catalogue.current(f"{kind}_codebook")
        if name is not None and not is_imported(catalogue, name, codebook):
            raise InputError(
                f"store {store.root}: has a model of its own, {name}, which would be put out of use; import into another --store, "
                "or go on from the folder here with `videobert run VIDEOS --refit --text-start FOLDER`"
            )


def _refused(folder: Path, what: str, remedy: str = AGAIN) -> InputError:
    return InputError(f"{folder}: {what}; {remedy}")


def check_export(folder: Path) -> None:
    """Raises :class:`InputError` where a folder cannot be an exported model, by its manifest alone."""
    _read_manifest(folder)


def _read_manifest(folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """What ``export.json`` says, and the SHA-256 of each file of the folder. Raises :class:`InputError`."""
    if not (folder / MANIFEST).is_file() or not (folder / EXPORT).is_file():
        missing = next(name for name in (MANIFEST, EXPORT) if not (folder / name).is_file())
        raise _refused(folder, f"has no {missing}", "give a folder that `videobert export` wrote, whole")
    try:
        files = json.loads(given_text(folder / MANIFEST))["files"]
        right = isinstance(files, dict) and all(isinstance(digest, str) for digest in files.values())
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        right = False
    if not right:
        raise _refused(folder, f"its {MANIFEST} cannot be read")
    if files.get(EXPORT) != file_digest(folder / EXPORT):
        raise _refused(folder, f"{EXPORT} is not as it was written")
    about = _json(folder, folder / EXPORT)
    if about.get("format") != FORMAT:
        raise _refused(
            folder,
            f"was written in format {about.get('format')}, and this program reads {FORMAT}",
            "use the version of videobert that exported it",
        )
    if missing := [name for name in REQUIRED if name not in files]:
        raise _refused(folder, f"its {MANIFEST} lacks {missing[0]}")
    if odd := [name for name in files if name not in ADMITTED and not PICTURE.fullmatch(name)]:
        raise _refused(folder, f"holds {odd[0][:60]!r}, which is no part of a model")
    for name, form in (("model", NAME), ("codebook", NAME), ("step", STEP)):
        if not isinstance(about.get(name), str) or not form.fullmatch(about[name]):
            raise _refused(folder, f"its {EXPORT} names no {name} that can be stored")
    return about, files


def _json(folder: Path, file: Path) -> dict[str, Any]:
    try:
        found = json.loads(given_text(file))
        if not isinstance(found, dict):
            raise ValueError("it is no object")
        return found
    except (OSError, ValueError, RecursionError) as error:
        raise _refused(folder, f"{file.name} cannot be read ({error})") from error


def _copy(folder: Path, name: str, digest: str, to: Path) -> None:
    """Copies a file into the store and compares the copy with the manifest. Raises :class:`InputError`."""
    file = folder / name
    of_others = LARGEST_PICTURE if PICTURE.fullmatch(name) else LARGEST_TOKENIZER
    largest = LARGEST_WEIGHTS if name in ARRAYS else of_others
    if file.is_symlink() or not file.is_file():
        raise _refused(folder, f"{name} is missing or no file")
    if file.stat().st_size > largest:
        raise _refused(folder, f"{name} has {file.stat().st_size} bytes, of at most {largest}")
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, to)
    if file_digest(to) != digest:
        raise _refused(folder, f"{name} is not as it was written")


def _open(
    folder: Path, about: dict[str, Any], model: Path, codebook: Path
) -> tuple[Codebook, dict[str, Any]]:
    """The codebook and its description. Raises :class:`InputError` where a file is not what it should be, or the parts do not
    belong together."""
    for file in (model / "model.safetensors", model / TERM_FILE, codebook / CENTROIDS):
        if file.exists():
            with file.open("rb") as stream:
                header = int.from_bytes(stream.read(8), "little")
            if header > LARGEST_HEADER:
                raise _refused(
                    folder, f"{file.name}: its header says {header} bytes, of at most {LARGEST_HEADER}"
                )
    card, description = _json(folder, model / CARD), _json(folder, codebook / DESCRIPTION)
    with _told(folder, "the codebook"):
        fitted = codebook_in(codebook)
        used = [level[mask] for level, mask in zip(fitted.centroids_, fitted.used_levels_, strict=True)]
        if not fitted.used_.any() or len(fitted.counts_) != len(fitted.used_):
            raise ValueError("no token is used")
        if fitted.has_centroids and not all(np.isfinite(part).all() for part in used):
            raise ValueError("its centroids are not finite")
        made = description[ELSEWHERE]["features"]
        if made.get("width", 0) != (used[-1].shape[1] if fitted.has_centroids else 0):
            raise ValueError("its centroids are not as wide as its features")
        named = [
            *description["videos"],
            *([v, ""] for v in (*description["held_out"], *description["words_only"])),
        ]
        if description["examples"] or not all(isinstance(part, str) for pair in named for part in pair):
            raise ValueError(f"{DESCRIPTION} names moments of videos")
        if not {*description["without_picture"]} <= {*fitted.used_.nonzero()[0].tolist()}:
            raise ValueError(f"{DESCRIPTION} names tokens that it does not use")
    with _told(folder, "the model"):
        _, weights = read_bert(model)
        vocabulary = load_vocabulary(model)
        options, rows = ModelOptions.load(model), len(weights[TABLE])
        if not options.vocab_size == vocabulary.size == rows or vocabulary.visual != len(fitted.used_):
            raise ValueError(
                f"{rows} rows, {vocabulary.size} entries of its vocabulary, {len(fitted.used_)} tokens of its codebook"
            )
        if options.frozen_rows not in (0, vocabulary.visual):
            raise ValueError(f"frozen_rows {options.frozen_rows}")
        opened = JointBert.load(model)
        if weights.keys() != opened.export_tensors().keys():
            raise ValueError("its weights are not those of its shape")
        terms = load_file(model / TERM_FILE) if (model / TERM_FILE).exists() else {}
        if not all(torch.isfinite(tensor).all() for tensor in terms.values()):
            raise ValueError(f"{TERM_FILE} is not finite")
        generator_of(opened.options, terms), writer_of(opened.options, terms)
        _check_card(card, about["codebook"])
        progress = Progress(**_json(folder, model / "trainer.json"))
        if not progress.finished:
            raise ValueError("its training was not ended")
    for picture in sorted((codebook / "pictures").glob("*.jpg")):
        with _told(folder, picture.name), Image.open(picture, formats=["JPEG"]) as opened_picture:
            if max(opened_picture.size) > WIDEST_PICTURE:
                raise ValueError(f"it is {opened_picture.size[0]} pixels wide")
    return fitted, description


def _check_card(card: dict[str, Any], codebook: str) -> None:
    """Raises ``ValueError`` and its like where what is read of a card is not of its type, or names another codebook."""
    if card.get("codebook", codebook) != codebook:
        raise ValueError(f"it was made with codebook {card['codebook']}, and {codebook} lies beside it")
    options = card.get("options", {})
    System(**options.get("system", {}))
    ExampleOptions(context=options.get("examples", {}).get("context", CONTEXT))
    LossWeights(**options.get("training", {}).get("weights", {}))
    if not all(isinstance(video, str) for kind in ("learned", "held_out") for video in card.get(kind, [])):
        raise ValueError(f"{CARD} names videos otherwise than by their digests")
    for video, share in card.get("unknown_pieces", {}).items():
        if not isinstance(video, str) or not 0 <= share <= 1:
            raise ValueError(f"{CARD} names shares that are none")


@contextlib.contextmanager
def _told(folder: Path, what: str) -> Iterator[None]:
    """Whatever a reader says of wrong content becomes a line."""
    try:
        yield
    except (
        InputError, ModelError, SafetensorError, OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError,
        RecursionError,
    ) as error:  # fmt: skip
        if refused_by_machine(error):
            raise
        cause = " ".join(str(error).split())[:200]
        raise _refused(folder, f"{what} cannot be opened ({cause})") from error
