"""The flow `captioner`: the corpus' own sentences teach a decoder to write what the joint model sees."""

from __future__ import annotations

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows import progress
from flows.settings import Settings
from multimodal.answers.session import open_trained
from multimodal.captioning.learning import learn_captioner
from multimodal.catalogue import Catalogue
from multimodal.library import usable
from multimodal.store import Store


@task(name="learn to caption", cache_policy=NO_CACHE, persist_result=False)
def learn(settings: Settings) -> str | None:
    """The name of the captioner; a run that was stopped goes on from its last checkpoint."""
    store = Store(settings.store)
    with Catalogue(store.catalogue) as catalogue, progress.stage("captioner") as report:
        trained, videos = open_trained(store, catalogue, settings.torch_device), usable(catalogue)
        return learn_captioner(store, trained, videos, settings.captioner, report)


@flow(name="captioner")
def make_captioner(settings: Settings = Settings()) -> str | None:
    """Makes the captioner of the current model; returns its name, ``None`` where there is no sentence to learn from.

    Raises :class:`~multimodal.store.InputError` where the store has no model.
    """
    store = Store(settings.store)
    with store.writing(), Catalogue(store.catalogue) as catalogue, settings.at(catalogue) as settings:
        name = learn(settings)
        catalogue.set_current("captioner", name or "")
        return name
