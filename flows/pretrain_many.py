"""Pretraining by many processes, on one machine or several: what ``torchrun`` starts.

    torchrun --nproc-per-node 2 -m flows.pretrain_many --store STORE [--shard] [the options of `videobert pretrain`]

The first process holds the store and records the model; the others only compute, and read the same store. No flow runs
here: `videobert run` finds the model and goes on from it.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter

from flows import progress
from flows.configuration import configured
from flows.errors import FOR_PEOPLE
from flows.opened_run import open_run
from flows.pretrain import KEPT, is_asked_for, kept_import, kept_student
from flows.printing import put
from flows.settings import Settings
from multimodal.catalogue import Video
from multimodal.store import InputError, Store
from multimodal.tokens import current_codebook
from multimodal.training.distributed import distributed_context
from multimodal.training.options import PretrainOptions
from multimodal.training.pretraining import pretrain
from multimodal.training.students import teacher_of

app = App(name="flows.pretrain_many", help=__doc__)


@app.default
def pretrain_many(
    settings: Settings = Settings(),
    *,
    shard: Annotated[
        bool,
        Parameter(
            help="Shard weights and optimizer state among the processes (FSDP2), for a model too large for one."
        ),
    ] = False,
) -> None:
    """The joint model, by all processes together, from its last checkpoint where a run was stopped."""
    if "WORLD_SIZE" not in os.environ:
        raise InputError(
            "WORLD_SIZE: not set, so there are no other processes; start it by torchrun, or run `videobert pretrain`"
        )
    settings = configured(settings)
    store = Store(settings.store, create=False)
    device = settings.torch_device
    with distributed_context(device, shard) as context, contextlib.ExitStack() as held:
        job: _Job | Exception | None = None
        if context.is_main:
            try:
                run = held.enter_context(open_run(settings, create=False))
                job = run.videos, current_codebook(run.store, run.catalogue), run.settings.pretrain
                model = run.model_in_use[0]
                if kept_import(run, model, job[1]):
                    raise InputError(f"model: {KEPT}")
                teacher = teacher_of(run.store, model)
                if teacher and is_asked_for(run, teacher, job[1]):
                    raise InputError(f"model: {kept_student(teacher)}")
            except FOR_PEOPLE as error:
                job = error
        job = context.broadcast(job)
        if isinstance(job, Exception):
            raise job if context.is_main else SystemExit(1)
        videos, codebook, options = job
        with progress.stage("pretrain", "steps") if context.is_main else _silent() as report:
            name, _ = pretrain(
                store, videos, codebook, options, device, report, context, lambda line: progress.say(f"pretrain: {line}")
            )  # fmt: skip
        if context.is_main:
            run.set_model(name, codebook)
            put(name)


_Job = tuple[list[Video], str, PretrainOptions]


@contextlib.contextmanager
def _silent() -> Iterator[progress.Report]:
    yield lambda *_: None


def main() -> None:
    """Exit status 1 with one line for people where the request cannot be carried out; torchrun then ends the others."""
    try:
        app(sys.argv[1:], exit_on_error=False, print_error=False)
    except (*FOR_PEOPLE, CycloptsError) as error:
        sys.exit(f"flows.pretrain_many: {' '.join(str(error).split())}")


if __name__ == "__main__":
    main()
