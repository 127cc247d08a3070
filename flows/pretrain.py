"""The flow `pretrain`: the joint model of words and visual tokens."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from flows import history, progress
from flows.opened_run import OpenedRun, recorded_run
from flows.recorded_flow import recorded_flow
from flows.settings import Settings
from flows.training_processes import together
from multimodal.codebook_in_use import is_imported
from multimodal.tokens import current_codebook
from multimodal.training import checkpoints
from multimodal.training.pretraining import kept_after_removals, model_name, pretrain
from multimodal.training.students import teacher_of

KEPT = (
    "kept, as it was imported; --refit makes a codebook and a model of this library alone, --text-start FOLDER goes on from a "
    "model with this codebook"
)


def kept_student(teacher: str) -> str:
    return f"kept, a student of model {teacher}, which `videobert distill --undo` goes back to"


def kept_import(run: OpenedRun, model: str | None, codebook: str | None) -> bool:
    """Whether this model was imported with this codebook, and nothing says where another is to begin."""
    return run.settings.text_start is None and is_imported(run.catalogue, model, codebook)


def may_begin_anew(run: OpenedRun) -> bool:
    """Whether the next pretraining may begin at ``text_start``: not where the model in use was imported, or its teacher was."""
    model = run.model_in_use[0]
    pretrained = teacher_of(run.store, model) or model
    return run.settings.refit or not kept_import(run, pretrained, run.catalogue.current("codebook"))


@task(name="train", cache_policy=NO_CACHE, persist_result=False)
def train(run: OpenedRun, codebook: str) -> str:
    """The name of the trained model; a training that was stopped goes on from its last checkpoint."""
    name, _ = run.model_in_use
    removed, options = run.catalogue.forgotten(), run.settings.pretrain
    with progress.stage("pretrain", "steps") as report:
        if kept_import(run, name, codebook):
            report(1, 1, KEPT)
            return name
        if name and kept_after_removals(run.store, name, codebook, run.videos, removed, options):
            report(
                1, 1, "kept, though videos that it learned from were removed; --refit makes one without them"
            )
            return name
        teacher = teacher_of(run.store, name)
        if teacher and is_asked_for(run, teacher, codebook):
            report(1, 1, kept_student(teacher))
            return name
        if teacher:
            progress.say(
                f"pretrain: this run asks for another model than {teacher}, the teacher of {name}; the student stays in the store"
            )
        given = {
            "store": run.store, "videos": run.videos, "codebook": codebook, "options": options,
            "device": run.settings.torch_device,
        }  # fmt: skip
        with together(
            run.settings, pretrain, given, is_done=lambda: _is_trained(run, codebook), may_shard=True
        ) as context:
            name, _ = pretrain(
                **given, report=report, context=context, say=lambda line: progress.say(f"pretrain: {line}"),
                begun=lambda name: history.rename(f"pretrain {name[:8]}"),
            )  # fmt: skip
    return name


def _is_trained(run: OpenedRun, codebook: str) -> bool:
    name = model_name(run.store, run.videos, codebook, run.settings.pretrain)
    return checkpoints.finished(run.store.model(name)) is not None


def is_asked_for(run: OpenedRun, model: str, codebook: str) -> bool:
    """Whether a run with these settings would train this model, or keep it as it is."""
    options, removed = run.settings.pretrain, run.catalogue.forgotten()
    if kept_import(run, model, codebook):
        return True
    return model == model_name(run.store, run.videos, codebook, options) or kept_after_removals(
        run.store, model, codebook, run.videos, removed, options
    )


@recorded_flow("pretrain")
def pretrain_model(settings: Settings = Settings()) -> str:
    """Pretrains the joint model of the store's codebook; returns its name. Costs nothing where that model is trained.

    A model that learned from videos that were removed since is kept until a refit, and so is an imported one, until a refit or
    a ``text_start``.
    Raises :class:`~multimodal.store.InputError` where the store has no codebook.
    """
    with recorded_run(settings, "pretrain") as run:
        history.describe("pretrain", stage="pretrain", store=run.store.root)
        codebook = current_codebook(run.store, run.catalogue)
        name = train(run, codebook)
        run.set_model(name, codebook)
        return name
