"""The flow `compare`: systems of pretraining on the store's videos at an equal budget, in one table and one picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE

from flows import history, progress
from flows.opened_run import OpenedRun, recorded_run
from flows.recorded_flow import recorded_flow
from flows.settings import Settings
from multimodal.comparison.budget import Budget, step_cost
from multimodal.comparison.page import write_page
from multimodal.comparison.runs import ComparedRun, compare
from multimodal.names import meant
from multimodal.store import InputError
from multimodal.systems import SYSTEMS, system
from multimodal.tokens import current_codebook
from multimodal.training.options import NOTHING, PretrainOptions
from multimodal.training.students import teacher_of


@task(name="compared runs", cache_policy=NO_CACHE, persist_result=False)
def compared_runs(
    run: OpenedRun, candidates: Sequence[PretrainOptions], seeds: Sequence[int], budget: Budget
) -> list[ComparedRun]:
    """Each system with each seed; what was trained and judged before is read from the store."""
    settings = run.settings
    current = list(filter(None, (run.catalogue.current(kind) for kind in ("model", "next_model"))))
    current += filter(None, [teacher_of(run.store, name) for name in current])
    with progress.stage("compare", which_run) as report:
        return compare(
            run.store, run.videos, current_codebook(run.store, run.catalogue), candidates, seeds, budget,
            settings.torch_device, report, truth_file=settings.truth, world_file=settings.world,
            keep=frozenset(current),
        )  # fmt: skip


@recorded_flow("compare")
def compare_systems(
    systems: list[str],
    settings: Settings = Settings(),
    seeds: int = 3,
    tokens: int | None = None,
    seconds: float | None = None,
) -> list[ComparedRun]:
    """Trains the named systems (all where none is named) with so many seeds, and writes the page; returns the runs.

    ``tokens`` or ``seconds`` is the budget of each run; where neither is given, the tokens that `pretrain` would read with
    the first of them. Raises :class:`~multimodal.store.InputError` for a name that is not known.
    """
    with recorded_run(settings, "compare") as run:
        chosen = named(systems)
        words = f"compare {', '.join(chosen)}, {history.counted(seeds, 'seed')} each"
        history.describe(words, stage="compare", store=run.store.root)
        candidates = options_of(run.settings, chosen)
        if seeds < 1:
            raise InputError(f"--seeds {seeds}: at least 1")
        budget = Budget(tokens, seconds) if tokens or seconds else default_budget(run, candidates[0])
        first = run.settings.training.seed
        runs = compared_runs(run, candidates, range(first, first + seeds), budget)
        write_page(run.store.comparison_page, runs, in_words(budget))
        return runs


def which_run(done: float, runs: float) -> str:
    """The run that is under way, in words."""
    return f"run {min(int(done) + 1, int(runs))} of {runs:.0f}"


def named(systems: Sequence[str]) -> list[str]:
    """The names of systems, each of which may be given by an unambiguous beginning; all where none is given."""
    found = [system(known[0] if len(known := meant(name, SYSTEMS)) == 1 else name).name for name in systems]
    return list(dict.fromkeys(found)) or list(SYSTEMS)


def options_of(settings: Settings, systems: Sequence[str]) -> list[PretrainOptions]:
    """The options of each system under these settings. All begin alike: with random weights where one of them must."""
    found = [dataclasses.replace(settings, system=name).pretrain for name in systems]
    must = [options.system.name for options in found if options.text_start == NOTHING]
    if must and len(must) < len(found):
        progress.say(f"compare: all begin with random weights, as {', '.join(must)} must")
        settings = dataclasses.replace(settings, text_start=NOTHING)
        found = [dataclasses.replace(settings, system=name).pretrain for name in systems]
    return found


def default_budget(run: OpenedRun, options: PretrainOptions) -> Budget:
    """The tokens that `pretrain` reads with these options, those of the first system."""
    videos = run.videos
    codebook = current_codebook(run.store, run.catalogue)
    cost = step_cost(run.store, videos, codebook, options, run.settings.torch_device, timed=False)
    return Budget(tokens=round(cost.tokens * options.training.steps(cost.items)))


def in_words(budget: Budget) -> str:
    if budget.tokens is not None:
        return f"reading {budget.tokens:,} tokens"
    return f"for {budget.seconds:g} s of steps"
