"""The flow `index`: every moment of the store becomes something that can be found."""

from __future__ import annotations

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows import progress
from flows.settings import Settings
from multimodal.answers import search
from multimodal.answers.session import open_trained
from multimodal.catalogue import Catalogue
from multimodal.library import usable
from multimodal.store import Store
from multimodal.tokens import encode_videos


@task(name="index moments", cache_policy=NO_CACHE, persist_result=False)
def index_moments(settings: Settings) -> int:
    """How many videos were new to the model's index."""
    store = Store(settings.store)
    with Catalogue(store.catalogue) as catalogue:
        trained, videos = open_trained(store, catalogue, settings.torch_device), usable(catalogue)
    with progress.stage("index") as report:
        encode_videos(store, trained.codebook, videos, report)
        return search.index(store, trained, videos, report)


@flow(name="index")
def index_videos(settings: Settings = Settings()) -> int:
    """Puts every video into the current model's index; returns how many were new.

    Raises :class:`~multimodal.store.InputError` where the store has no model.
    """
    with Store(settings.store).writing():
        return index_moments(settings)
