"""The flow `evaluate`: the figures of the current model on the held-out videos, and the report."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from flows import history, progress
from flows.opened_run import OpenedRun, recorded_run
from flows.recorded_flow import recorded_flow
from flows.settings import Settings
from multimodal.answers.index import check_indexed
from multimodal.answers.session import open_captioner
from multimodal.scoring.evaluation import evaluate_store
from multimodal.web.chart_pictures import chart_pictures
from multimodal.web.report import write_report
from multimodal.web.results import read_evaluation, worth


@task(name="figures", cache_policy=NO_CACHE, persist_result=False)
def figures(run: OpenedRun) -> Path:
    """The file of the figures; made once for a model, its videos and a truth."""
    with progress.stage("evaluate", "figures") as report:
        captioner = open_captioner(run.store, run.catalogue, run.trained)
        path = evaluate_store(
            run.store, run.trained, captioner, run.videos, report,
            truth_file=run.settings.truth, references_file=run.settings.references,
            world_file=run.settings.world, probe=run.settings.probe, say=progress.say,
        )  # fmt: skip
    run.catalogue.set_current("evaluation", path.name)
    return path


@task(name="report", cache_policy=NO_CACHE, persist_result=False)
def report_page(run: OpenedRun) -> Path:
    """The path of the report: the contents of the store, the figures, sample answers."""
    with progress.stage("report", "parts", names_videos=True) as report:
        return write_report(run.store, run.catalogue, run.trained, report)


@recorded_flow("evaluate")
def evaluate_model(settings: Settings = Settings()) -> Path:
    """Makes the figures and the report; returns the report's path.

    Raises :class:`~multimodal.store.InputError`, before it begins, where a video is not in the model's index, which the report
    asks.
    """
    with recorded_run(settings, "evaluate") as run:
        history.describe(f"evaluate {run.trained.name[:8]}", stage="evaluate", store=run.store.root)
        check_indexed(run.store, run.trained, run.videos)
        before = run.catalogue.current("evaluation")
        if figures(run).name != before:
            evaluated = read_evaluation(run.store, run.catalogue) or {}
            told = worth(evaluated) or "No figures: too few videos to hold any out."
            history.table("figures", history.figures(evaluated), told)
            drawn = chart_pictures(run.store, run.trained.name, evaluated)
            text = "\n\n".join(f"### {c.title}\n\n{c.note}\n\n![{c.title}]({c.data_url})" for c in drawn)
            history.markdown("charts", text or told, told)
        return report_page(run)
