"""The flow `captioner`: the corpus' own sentences teach a decoder to write what the joint model sees."""

from __future__ import annotations

from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows import progress
from flows.settings import Settings
from multimodal.answers.session import open_trained
from multimodal.captioning.options import Reference
from multimodal.captioning.training import learn_captioner
from multimodal.catalogue import Catalogue, Video
from multimodal.inference.trained import Trained
from multimodal.library import read_material, usable
from multimodal.scoring.references import asked, match, read_references
from multimodal.store import Store
from multimodal.tokens import train_and_held_out


@task(name="learn to caption", cache_policy=NO_CACHE, persist_result=False)
def learn(settings: Settings) -> str | None:
    """The name of the captioner; a run that was stopped goes on from its last checkpoint."""
    store = Store(settings.store)
    with Catalogue(store.catalogue) as catalogue, progress.stage("captioner") as report:
        trained, videos = open_trained(store, catalogue, settings.torch_device), usable(catalogue)
        told = _references(settings.references, store, trained, videos)
        return learn_captioner(store, trained, videos, settings.captioner, report, told)


def _references(file: Path | None, store: Store, trained: Trained, videos: list[Video]) -> list[Reference]:
    """The sentences that people wrote about videos that the model learned from: the others are there to judge by."""
    if file is None:
        return []
    matched = match(read_references(file), videos)
    learned, _ = train_and_held_out(store, videos, trained.codebook)
    materials = [read_material(store, trained.codebook, v) for v in learned if v.video in matched.by_video]
    found = [a for m in materials for a in asked(m, matched.by_video[m.video.video])]
    return [(a.moment.video, a.moment.start, a.moment.end, text) for a in found for text in a.sentences]


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
