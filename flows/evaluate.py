"""The flow `evaluate`: what the current model learned, on the videos held out, and the report that shows it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows import progress
from flows.settings import Settings
from multimodal.answers.session import open_trained
from multimodal.catalogue import Catalogue
from multimodal.library import read_material, usable
from multimodal.metrics import evaluate
from multimodal.pretraining import learned_and_held_out
from multimodal.store import Store, canonical_json, recipe, write_whole
from multimodal.truth import read_truth
from multimodal.web.report import write_report

VERSION = 1


@task(name="figures", cache_policy=NO_CACHE, persist_result=False)
def figures(settings: Settings) -> Path:
    """The file of the figures; made once for a model, its videos and a truth."""
    store = Store(settings.store)
    truth = read_truth(settings.truth) if settings.truth else None
    with Catalogue(store.catalogue) as catalogue, progress.stage("evaluate") as report:
        trained, videos = open_trained(store, catalogue, settings.torch_device), usable(catalogue)
        learned, held_out = learned_and_held_out(store, videos, trained.codebook)
        made = recipe(version=VERSION, truth=truth and [truth.actions, truth.things, truth.steps])
        path = store.evaluation(f"{trained.name}.{trained.folder.name}.{made}")
        if not path.exists():
            parts = [
                [read_material(store, trained.codebook, v) for v in part] for part in (learned, held_out)
            ]
            found = evaluate(trained, *parts, truth, report) if held_out else {}
            write_whole(
                path, canonical_json({name: dataclasses.asdict(f) for name, f in found.items()}).encode()
            )
        catalogue.set_current("evaluation", path.name)
    return path


@task(name="report", cache_policy=NO_CACHE, persist_result=False)
def report_page(settings: Settings) -> Path:
    """The page of the store: what is in it, what the model learned, sample answers."""
    store = Store(settings.store)
    with Catalogue(store.catalogue) as catalogue, progress.stage("report") as report:
        return write_report(store, catalogue, settings.torch_device, report)


@flow(name="evaluate")
def evaluate_model(settings: Settings = Settings()) -> Path:
    """Makes the figures and the report; returns the report's path."""
    store = Store(settings.store)
    with store.writing(), Catalogue(store.catalogue) as catalogue, settings.at(catalogue) as settings:
        figures(settings)
        return report_page(settings)
