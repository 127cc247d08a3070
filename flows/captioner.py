"""The flow `captioner`: a decoder trained on the corpus' own sentences to caption what the joint model encodes."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from flows import history, progress
from flows.opened_run import OpenedRun, recorded_run
from flows.recorded_flow import recorded_flow
from flows.settings import Settings
from flows.training_processes import together
from multimodal.captioning.training import captioner_name, learn_captioner
from multimodal.scoring.references import training_captions
from multimodal.training.checkpoints import finished


@task(name="learn to caption", cache_policy=NO_CACHE, persist_result=False)
def learn(run: OpenedRun) -> str | None:
    """The name of the captioner; a run that was stopped goes on from its last checkpoint."""
    file = run.settings.references
    with progress.stage("captioner", "steps") as report:
        store, trained, videos = run.store, run.trained, run.videos
        captions = training_captions(file, store, trained.codebook, videos) if file else []
        given = {
            "store": store, "trained": trained, "videos": videos, "options": run.settings.captioner, "references": captions,
        }  # fmt: skip
        name = captioner_name(trained, run.settings.captioner, captions)
        with together(
            run.settings,
            learn_captioner,
            given,
            is_done=lambda: finished(store.captioner(name)) is not None,
            may_shard=True,
        ) as context:
            return learn_captioner(**given, report=report, context=context)


@recorded_flow("captioner")
def make_captioner(settings: Settings = Settings()) -> str | None:
    """Makes the captioner of the current model; returns its name, ``None`` where there is no sentence to learn from.

    Raises :class:`~multimodal.store.InputError` where the store has no model.
    """
    with recorded_run(settings, "captioner") as run:
        history.describe(f"captioner of {run.trained.name[:8]}", stage="captioner", store=run.store.root)
        name = learn(run)
        run.set_captioner(name or "")
        return name
