"""The flow `pipeline`: all stages, from a folder of videos to the report; each does only what is left."""

from __future__ import annotations

from pathlib import Path

from flows import history, progress
from flows.captioner import make_captioner
from flows.codebook import make_tokens
from flows.evaluate import evaluate_model
from flows.importing import Imports
from flows.index import index_videos
from flows.ingest import ingest_videos
from flows.opened_run import OpenedRun, recorded_run
from flows.pretrain import may_begin_anew, pretrain_model
from flows.recorded_flow import recorded_flow
from flows.settings import Settings
from multimodal.damage import can_be_made_again, set_aside
from multimodal.store import DamagedFile
from multimodal.training.start import check_start


@recorded_flow("pipeline", command="run")
def pipeline(videos: list[Path], settings: Settings = Settings(), imports: Imports = Imports()) -> Path:
    """Ingest, codebook, pretrain, captioner, index, evaluate; returns the report's path. Raises what its stages raise,
    and before they begin where the text checkpoint is not there.

    A stored file that a stage finds damaged is set aside, once, where it can be made again, and the stages begin anew."""
    with recorded_run(settings, "pipeline") as run:
        with progress.stage("weights") as report:
            if may_begin_anew(run):
                check_start(run.store, run.settings.pretrain)
                report(1, 1, run.settings.pretrain.text_start)
        run.given = run.sources(videos, imports)
        of = history.of_folders(run.given[0])
        history.describe(f"all stages{of}", stage="pipeline", store=run.store.root)
        aside: set[Path] = set()
        while True:
            try:
                with history.parts():
                    report = _stages(run)
                break
            except DamagedFile as damage:
                if damage.path in aside or not can_be_made_again(run.store, run.catalogue, damage.path):
                    raise
                aside.add(damage.path)
                place = set_aside(run.store, damage.path)
                moved = f", moved to {place}" if place else ""
                progress.say(f"{damage.path}: {damage.cause}{moved}; it is made again")
    return report


def _stages(run: OpenedRun) -> Path:
    ingest_videos([], run.settings)
    make_tokens(run.settings)
    pretrain_model(run.settings)
    make_captioner(run.settings)
    index_videos(run.settings)
    return evaluate_model(run.settings)
