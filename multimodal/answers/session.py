"""A store opened for questions: the current model, captioner and index, and the video or second that is meant."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from typing import TYPE_CHECKING

from multimodal.catalogue import Catalogue, Video
from multimodal.library import Material, read_material, usable
from multimodal.store import InputError, Store, is_published

if TYPE_CHECKING:
    from multimodal.answers.search import Index
    from multimodal.captioning.trained import TrainedCaptioner
    from multimodal.inference.trained import Trained

CLOCK = re.compile(r"(-)?(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d+)?)")
"""Seconds, minutes:seconds or hours:minutes:seconds, as the commands print them."""


@dataclasses.dataclass(frozen=True)
class VideoTime:
    """A video, and a second of it; ``None``: all of it."""

    video: Video
    at: float | None


def resolve(catalogue: Catalogue, label: str, at: float | None = None) -> VideoTime:
    """The meaning of ``label``: a video (its name, path or digest), or with ``@S`` the moment of it at S seconds.

    S may be written as a clock shows it (``1:02.5``). A video whose own name ends in ``@S`` is that video.
    Raises :class:`~multimodal.store.InputError` for a video not in the store, an S that is no time, and where ``at``
    gives it a second time.
    """
    name, mark, second = label.rpartition("@")
    if not mark:
        return VideoTime(catalogue.find(label), at)
    with contextlib.suppress(InputError):
        return VideoTime(catalogue.find(label, exact=True), at)
    time = CLOCK.fullmatch(second)
    try:
        video = catalogue.find(name)
    except InputError:
        if time:
            raise
        return VideoTime(catalogue.find(label), at)
    if time is None:
        raise InputError(
            f"{label}: {second!r} is no time; write VIDEO@SECONDS or VIDEO@MINUTES:SECONDS, as in VIDEO@62.5"
        )
    if at is not None:
        raise InputError(f"{label} and --at {at:g}: name two moments; give one of them")
    return VideoTime(video, _seconds(*time.groups()))


def _seconds(sign: str | None, hours: str | None, minutes: str | None, seconds: str) -> float:
    total = 3600 * int(hours or 0) + 60 * int(minutes or 0) + float(seconds)
    return -total if sign else total


def open_trained(store: Store, catalogue: Catalogue, device: str, *, newest: bool = False) -> Trained:
    """The store's current model; ``newest``: the one that becomes it with the next index, where there is one.

    Raises :class:`InputError` where it has none yet, or none for the codebook in use.
    """
    from multimodal.inference.trained import load_trained

    name, codebook = catalogue.current("model"), catalogue.current("model_codebook")
    next_name, next_codebook = catalogue.current("next_model"), catalogue.current("next_model_codebook")
    if newest and next_name is not None:
        name, codebook = next_name, next_codebook
    elif name is None and next_name is not None:
        raise InputError(f"store {store.root}: its model {next_name} has no index yet; run `videobert index`")
    if name is None or codebook is None:
        raise InputError(f"store {store.root}: has no model yet; run `videobert run VIDEOS`")
    trained = load_trained(store, name, codebook, device)
    made_with = json.loads((trained.folder / "card.json").read_text()).get("codebook", codebook)
    if made_with != codebook:
        raise InputError(
            f"model {name}: was made with codebook {made_with}, the catalogue pairs it with {codebook}, whose tokens it "
            "does not know; run `videobert run VIDEOS`"
        )
    if not is_published(store.codebook(codebook)):
        raise InputError(
            f"model {name}: its codebook {codebook} is not in store {store.root}; run `videobert run VIDEOS`"
        )
    return trained


def open_index(store: Store, catalogue: Catalogue, trained: Trained) -> Index:
    from multimodal.answers.search import Index

    return Index.load(store, trained, usable(catalogue))


def open_captioner(store: Store, catalogue: Catalogue, trained: Trained) -> TrainedCaptioner | None:
    """The store's current captioner, ``None`` where it has none. Raises :class:`InputError` where it is another model's."""
    name = catalogue.current("captioner")
    if name is None:
        return None
    from multimodal.captioning.trained import load_captioner

    return load_captioner(store, trained, name)


def material_of(store: Store, trained: Trained, video: Video) -> Material:
    """The stored material of ``video``. Raises :class:`InputError` where it was refused or not encoded."""
    check_usable(video)
    check_encoded(store, trained.codebook, video)
    return read_material(store, trained.codebook, video)


def check_usable(video: Video) -> None:
    """Raises :class:`InputError` where the video was refused or not ingested."""
    if video.state == "new":
        raise InputError(f"video {video.name}: is not ingested yet; run `videobert run VIDEOS`")
    if video.state not in ("done", "partial"):
        raise InputError(
            f"video {video.name}: {video.state}{': ' + video.reason if video.reason else ''}; ask about another"
        )


def check_encoded(store: Store, codebook: str, video: Video) -> None:
    """Raises :class:`InputError` where the video has clips, and no tokens under ``codebook``."""
    if video.clips and not store.tokens(codebook, video.video).exists():
        raise InputError(f"video {video.name}: has no visual tokens yet; run `videobert index`")
