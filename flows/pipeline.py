"""The flow `pipeline`: all stages, from a folder of videos to the report; each does only what is left."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from prefect import flow

from flows import progress
from flows.captioner import make_captioner
from flows.codebook import make_tokens
from flows.evaluate import evaluate_model
from flows.importing import Imports
from flows.index import index_videos
from flows.ingest import ingest_with_workers
from flows.opened_run import open_run
from flows.pretrain import pretrain_model
from flows.settings import Settings
from multimodal.training.pretraining import start_of


@flow(name="pipeline")
def pipeline(videos: list[Path], settings: Settings = Settings(), imports: Imports = Imports()) -> Path:
    """Ingest, codebook, pretrain, captioner, index, evaluate; returns the report's path. Raises what its stages raise,
    and before they begin where the text checkpoint is not there."""
    with open_run(settings) as run:
        with progress.stage("weights") as report:
            start_of(run.settings.pretrain)
            report(1, 1, run.settings.pretrain.text_start)
        number = run.catalogue.begin_run("pipeline", dataclasses.asdict(run.settings))
        ingest_with_workers(videos, run.settings, imports)
        make_tokens(run.settings)
        pretrain_model(run.settings)
        make_captioner(run.settings)
        index_videos(run.settings)
        report = evaluate_model(run.settings)
        run.catalogue.end_run(number, "done")
    return report
