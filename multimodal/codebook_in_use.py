"""The codebook in use: when a new one is fitted, and what of a store was made with another one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from multimodal.catalogue import Catalogue, Video
from multimodal.library import about_features, kind_of_features, same_features
from multimodal.store import InputError, Store, is_published
from multimodal.tokens import ELSEWHERE, describe

IMPORTED_MODEL, IMPORTED_CODEBOOK = "imported_model", "imported_codebook"
"""What the catalogue calls the model that was imported last and its codebook."""
COMMANDS = {"model": "pretrain", "captioner": "captioner", "index": "index", "evaluation": "evaluate"}
"""The artefacts that belong to one codebook, in the order in which they are made anew, each with its command."""


def codebook_to_use(
    store: Store, current: str | None, videos: Sequence[Video], fit: Callable[[], str], *, refit: bool
) -> str:
    """The digest of the codebook that the videos are to be encoded with: the current one, or one that ``fit`` makes.

    The current one is kept, so that tokens and model stay what they were, until a refit is asked for.
    Raises :class:`InputError` where a video's features are of another recipe than the codebook's.
    """
    codebook = current
    if codebook is None or refit or not is_published(store.codebook(codebook)):
        codebook = fit()
    check_features(store, videos, describe(store, codebook))
    return codebook


def check_features(store: Store, videos: Sequence[Video], codebook: Mapping[str, Any]) -> None:
    """Raises :class:`InputError` where a video's features are not of the kind that a codebook was fitted on.

    ``codebook`` is its ``codebook.json``. Of one that was fitted elsewhere the backbone counts, not the recipe, which another
    machine's precision changes.
    """
    by_kind = {kind_of_features(v.features): v for v in videos if v.clips}
    known = {kind_of_features(features) for _, features in codebook["videos"]}
    for kind in sorted(by_kind.keys() - known):
        other = by_kind[kind]
        if ELSEWHERE not in codebook:
            raise InputError(
                f"video {other.name}: its features were made by another recipe ({other.features}) than the codebook's; "
                "run with --refit, or with the --backbone of before, or keep it in another --store"
            )
        made, wanted = (
            about_features(store.features(other.video, other.features)),
            codebook[ELSEWHERE]["features"],
        )
        if not same_features(made, wanted):
            raise InputError(
                f"video {other.name}: its features are {told_features(made)}, the imported codebook's {told_features(wanted)}; "
                "run with --refit, or keep it in another --store"
            )


def told_features(about: Mapping[str, Any]) -> str:
    """What :func:`~multimodal.library.about_features` gives, in words."""
    width = about.get("width")
    made = about.get("name") or f"imported {about.get('imported', 'features' if width else 'tokens')}"
    return f"{made}, {width} numbers wide" if width else str(made)


def is_imported(catalogue: Catalogue, model: str | None, codebook: str | None) -> bool:
    """Whether this model and its codebook came by `videobert import-model`."""
    both = (catalogue.current(IMPORTED_MODEL), catalogue.current(IMPORTED_CODEBOOK))
    return model is not None and both == (model, codebook)


def out_of_date(catalogue: Catalogue) -> tuple[str, ...]:
    """The artefacts in use that were made with another codebook than the current one: the model and what it made."""
    models, codebook, captioner = map(catalogue.current, ("model_codebook", "codebook", "captioner"))
    if models in (None, codebook):
        return ()
    return tuple(kind for kind in COMMANDS if captioner or kind != "captioner")


def remedy(old: Sequence[str]) -> str:
    """A line for people: what is out of date and the commands that make it anew."""
    *others, last = (f"`videobert {COMMANDS[kind]}`" for kind in old)
    return (
        f"out of date: {', '.join(old)}; they belong to the codebook that they were made with until {', '.join(others)} and "
        f"{last} have made new ones"
    )
