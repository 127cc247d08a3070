"""The flow `distill`: a smaller model from the store's model, or a bidirectional LSTM from one of its heads."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from flows import history, progress
from flows.opened_run import OpenedRun, recorded_run
from flows.recorded_flow import recorded_flow
from flows.settings import Settings
from flows.training_processes import together
from multimodal.distillation.lstm import DistilledHead, distill_head
from multimodal.distillation.options import DistillOptions, LstmOptions
from multimodal.distillation.requests import check_request, student_head
from multimodal.distillation.training import check_teacher, distill


@task(name="teach", cache_policy=NO_CACHE, persist_result=False)
def teach(run: OpenedRun, teacher: str, codebook: str, options: DistillOptions) -> str:
    """The name of the student; a training that was stopped goes on from its last checkpoint."""
    with progress.stage("distill", "steps") as report:
        given = {
            "store": run.store, "teacher": check_teacher(run.store, teacher, options), "videos": run.videos, "codebook": codebook,
            "options": options, "device": run.settings.torch_device, "truth_file": run.settings.truth,
        }  # fmt: skip
        with together(run.settings, distill, given) as context:
            name, _ = distill(
                **given, report=report, context=context, say=lambda line: progress.say(f"distill: {line}")
            )
    return name


@task(name="teach a head", cache_policy=NO_CACHE, persist_result=False)
def teach_head(run: OpenedRun, head: str, name: str, options: LstmOptions) -> DistilledHead:
    """The head on an LSTM; a training that was stopped goes on from its last checkpoint."""
    with progress.stage("distill", "steps") as report:
        given = {
            "store": run.store, "trained": run.trained, "videos": run.videos, "head": head, "name": name, "options": options,
        }  # fmt: skip
        with together(run.settings, distill_head, given) as context:
            return distill_head(**given, report=report, context=context)


@recorded_flow("distill")
def distill_model(
    options: DistillOptions = DistillOptions(),  # noqa: B008
    head: str | None = None,
    name: str | None = None,
    lstm: LstmOptions = LstmOptions(),  # noqa: B008
    undo: bool = False,
    settings: Settings = Settings(),
) -> str | DistilledHead:
    """Trains a student of the store's pretrained model and makes it the store's model; returns its name. Costs nothing where
    that student is trained. ``undo`` makes the teacher the store's model again.

    Of a ``head``, with the method ``bilstm``, it trains an LSTM that answers as the head does, kept as the head ``name``, by default
    HEAD-bilstm. Raises :class:`~multimodal.store.InputError` for what cannot be distilled, before anything is loaded.
    """
    with recorded_run(settings, "distill") as run:
        history.describe(f"distill by {options.method}", stage="distill", store=run.store.root)
        model, codebook = run.model_in_use
        teacher = check_request(run.store, model, options, head, name, undo=undo)
        if head is not None and not undo:
            return teach_head(run, head, student_head(head, name), lstm)
        made = teacher if undo else teach(run, teacher, codebook, options)
        run.set_model(made, codebook)
        return made
