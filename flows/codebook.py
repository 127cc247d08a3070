"""The flow `codebook`: the features of a store become visual tokens; fitted once, then kept until a refit is asked for."""

from __future__ import annotations

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows import progress
from flows.settings import Settings
from multimodal.catalogue import Catalogue, Video
from multimodal.library import split, usable
from multimodal.store import InputError, Store, is_published
from multimodal.tokens import describe, encode_videos, fit_codebook


@task(name="fit codebook", cache_policy=NO_CACHE, persist_result=False)
def fit(videos: list[Video], settings: Settings) -> str:
    """The digest of the codebook over all videos but those held out."""
    learned, kept_out = split(videos, settings.split)
    with progress.stage("codebook") as report:
        return fit_codebook(
            Store(settings.store), learned, kept_out, settings.tokens, report, settings.torch_device
        )


REMADE_BY = {"model": "pretrain", "captioner": "captioner", "index": "index", "evaluation": "evaluate"}
"""What keeps to the codebook it was made with, in the order in which it is made anew, and the command that does so."""


def out_of_date(store: Store) -> tuple[str, ...]:
    """What of the store still speaks the tokens of another codebook than the one in use: the model and what it made."""
    with Catalogue(store.catalogue) as catalogue:
        models, codebook, captioner = map(catalogue.current, ("model_codebook", "codebook", "captioner"))
    if models in (None, codebook):
        return ()
    return tuple(kind for kind in REMADE_BY if captioner or kind != "captioner")


def remedy(old: tuple[str, ...]) -> str:
    """What is out of date and what makes it anew, in a line for people."""
    *others, last = (f"`videobert {REMADE_BY[kind]}`" for kind in old)
    return (
        f"out of date: {', '.join(old)}; they keep to the codebook they were made with until {', '.join(others)} and "
        f"{last} have made new ones"
    )


@task(name="encode", cache_policy=NO_CACHE, persist_result=False)
def encode(codebook: str, videos: list[Video], settings: Settings) -> None:
    """The tokens of every video that has none yet."""
    with progress.stage("tokens") as report:
        encode_videos(Store(settings.store), codebook, videos, report)


@flow(name="codebook")
def make_tokens(settings: Settings = Settings()) -> str:
    """Visual tokens for every video of the store; returns the codebook's digest.

    The codebook in use is kept, so that tokens and model stay what they were; ``refit`` fits a new one over all videos
    that the store holds by now. Raises :class:`InputError` where the features were made in another way since.
    """
    store = Store(settings.store)
    with store.writing(), Catalogue(store.catalogue) as catalogue, settings.at(catalogue) as settings:
        videos = usable(catalogue)
        codebook = catalogue.current("codebook")
        if codebook is None or settings.refit or not is_published(store.codebook(codebook)):
            codebook = fit(videos, settings)
            catalogue.set_current("codebook", codebook)
        fitted_on = {features for _, features in describe(store, codebook)["videos"]}
        changed = next((v for v in videos if v.clips and v.features not in fitted_on), None)
        if changed is not None:
            raise InputError(
                f"video {changed.name}: its features were made by another recipe ({changed.features}) than the codebook's; "
                "run with --refit, or with the --backbone of before, or keep it in another --store"
            )
        encode(codebook, videos, settings)
        return codebook
