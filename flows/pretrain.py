"""The flow `pretrain`: segments of words and visual tokens become a joint model."""

from __future__ import annotations

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows import progress
from flows.settings import Settings
from multimodal.catalogue import Catalogue, Video
from multimodal.library import usable
from multimodal.store import Store
from multimodal.tokens import current_codebook
from multimodal.training import checkpoints
from multimodal.training.pretraining import model_name, pretrain


@task(name="train", cache_policy=NO_CACHE, persist_result=False)
def train(videos: list[Video], codebook: str, settings: Settings) -> str:
    """The name of the trained model; a run that was stopped goes on from its last checkpoint."""
    with progress.stage("pretrain") as report:
        name, _ = pretrain(
            Store(settings.store), videos, codebook, settings.pretrain, settings.torch_device, report,
            say=lambda line: progress.say(f"pretrain: {line}"),
        )  # fmt: skip
    return name


@flow(name="pretrain")
def pretrain_model(settings: Settings = Settings()) -> str:
    """Pretrains the joint model of the store's codebook; returns its name. Costs nothing where that model is trained.

    A model that learned from videos that were removed since is kept until a refit.

    Raises :class:`InputError` where the store has no codebook.
    """
    store = Store(settings.store)
    with store.writing(), Catalogue(store.catalogue) as catalogue, settings.at(catalogue) as settings:
        codebook = current_codebook(store, catalogue)
        name = _kept(store, catalogue, codebook, settings) or train(usable(catalogue), codebook, settings)
        catalogue.set_current("model", name)
        catalogue.set_current("model_codebook", codebook)
        return name


def _kept(store: Store, catalogue: Catalogue, codebook: str, settings: Settings) -> str | None:
    """The current model, where it is what this run asks for but for videos that were removed since it learned from them.

    One that came back, perhaps heard anew, is learned from again after a refit.
    """
    name, removed, videos = catalogue.current("model"), catalogue.forgotten(), usable(catalogue)
    if name is None or not removed or checkpoints.latest(store.model(name)) is None:
        return None
    then = {v.video: v for v in [*videos, *removed]}
    now, before = (model_name(store, v, codebook, settings.pretrain) for v in (videos, list(then.values())))
    if now == name or before != name:
        return None
    with progress.stage("pretrain") as report:
        report(1, 1, "kept, though videos that it learned from were removed; --refit makes one without them")
    return name
