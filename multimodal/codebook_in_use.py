"""The codebook in use: when a new one is fitted, and what of a store was made with another one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from multimodal.catalogue import Catalogue, Video
from multimodal.library import kind_of_features
from multimodal.store import InputError, Store, is_published
from multimodal.tokens import describe

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
    fitted_on = {kind_of_features(features) for _, features in describe(store, codebook)["videos"]}
    other = next((v for v in videos if v.clips and kind_of_features(v.features) not in fitted_on), None)
    if other is not None:
        raise InputError(
            f"video {other.name}: its features were made by another recipe ({other.features}) than the codebook's; "
            "run with --refit, or with the --backbone of before, or keep it in another --store"
        )
    return codebook


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
