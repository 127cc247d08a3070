"""The flow `finetune`: a head for a task, from a file of labels, judged on held-out videos."""

# Annotations are evaluated here: Prefect validates parameters by them.
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from flows import history, progress
from flows.evaluate import report_page
from flows.opened_run import OpenedRun, recorded_run
from flows.recorded_flow import recorded_flow
from flows.settings import Settings
from flows.training_processes import together
from multimodal.finetuning.options import FineTuningOptions, check_name
from multimodal.finetuning.task_files import TaskFile, read_task
from multimodal.finetuning.training import FineTuned, fine_tune
from multimodal.store import InputError


@task(name="learn a task", cache_policy=NO_CACHE, persist_result=False)
def learn(run: OpenedRun, file: TaskFile, name: str, options: FineTuningOptions) -> FineTuned:
    """The head; a run that was stopped goes on from its last checkpoint."""
    with progress.stage("finetune", "steps") as report:
        given = {
            "store": run.store, "trained": run.trained, "videos": run.videos, "file": file, "name": name, "options": options,
        }  # fmt: skip
        with together(run.settings, fine_tune, given) as context:
            return fine_tune(**given, report=report, context=context)


@recorded_flow("finetune")
def finetune_head(
    task: Path | None = None,
    name: str | None = None,
    options: FineTuningOptions = FineTuningOptions(),  # noqa: B008
    settings: Settings = Settings(),
) -> FineTuned:
    """Trains a head of the store's model on a file of labels (docs/finetuning.md) and keeps it as ``name``, the file's where it is
    not given. A report that is there is made anew, with what the head says of held-out videos.

    Raises :class:`~multimodal.store.InputError` where the store has no model or the file cannot be used.
    """
    with recorded_run(settings, "finetune") as run:
        path = task or run.task
        if path is None:
            raise InputError("--task: none given; name a file of labels (docs/finetuning.md)")
        name = check_name(path.stem if name is None else name)
        history.describe(f"finetune {name}", stage="finetune", store=run.store.root)
        made = learn(run, read_task(path, options.kind), name, options)
        if run.store.report.exists():
            report_page(run)
        return made
