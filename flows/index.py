"""The flow `index`: every moment of the store becomes something that can be found."""

from __future__ import annotations

import dataclasses

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows import progress
from flows.settings import Settings
from multimodal.answers.cache import Standing, bring_up
from multimodal.answers.index import index
from multimodal.answers.session import open_trained
from multimodal.answers.token_names import update_token_names
from multimodal.catalogue import Catalogue
from multimodal.library import usable
from multimodal.store import Store
from multimodal.tokens import encode_videos, train_and_held_out


@dataclasses.dataclass(frozen=True)
class Indexed:
    """How many videos were new to the index, and how each kind of vectors is searched."""

    new: int
    searched: dict[str, Standing]


@task(name="index moments", cache_policy=NO_CACHE, persist_result=False)
def index_moments(settings: Settings) -> Indexed:
    """Puts what is new into the index, and brings up what it is searched by."""
    store = Store(settings.store)
    with Catalogue(store.catalogue) as catalogue:
        trained, videos = open_trained(store, catalogue, settings.torch_device), usable(catalogue)
    with progress.stage("index") as report:
        encode_videos(store, trained.codebook, videos, report)
        new = index(store, trained, videos, report)
        searched = bring_up(store, trained, videos, report)
        train, _ = train_and_held_out(store, videos, trained.codebook)
        update_token_names(store, trained, train)
        return Indexed(new, searched)


@flow(name="index")
def index_videos(settings: Settings = Settings()) -> Indexed:
    """Puts every video into the current model's index, and what is gone out of it.

    Raises :class:`~multimodal.store.InputError` where the store has no model.
    """
    with Store(settings.store).writing():
        return index_moments(settings)
