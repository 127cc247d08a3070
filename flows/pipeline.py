"""The flow `pipeline`: everything, from a folder of videos to answers; each stage does only what is left."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from prefect import flow

from flows.captioner import make_captioner
from flows.codebook import make_tokens
from flows.evaluate import evaluate_model
from flows.importing import Imports
from flows.index import index_videos
from flows.ingest import ingest_with_workers
from flows.pretrain import pretrain_model
from flows.settings import Settings
from multimodal.catalogue import Catalogue
from multimodal.store import Store
from multimodal.training.pretraining import text_start


@flow(name="pipeline")
def pipeline(videos: list[Path], settings: Settings = Settings(), imports: Imports = Imports()) -> Path:
    """Ingest, codebook, pretrain, captioner, index, evaluate; returns the report's path. Raises what its stages raise,
    and before they begin where the text checkpoint is not there."""
    store = Store(settings.store)
    with store.writing(), Catalogue(store.catalogue) as catalogue, settings.at(catalogue) as settings:
        text_start(settings.pretrain.text_start)
        run = catalogue.begin_run("pipeline", dataclasses.asdict(settings))
        ingest_with_workers(videos, settings, imports)
        make_tokens(settings)
        pretrain_model(settings)
        make_captioner(settings)
        index_videos(settings)
        report = evaluate_model(settings)
        catalogue.end_run(run, "done")
    return report
