"""The flow `compare`: systems of pretraining on the store's videos at an equal budget, in one table and one picture."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows import progress
from flows.opened_run import OpenedRun, open_run
from flows.settings import Settings
from multimodal.comparison.budget import Budget, step_cost
from multimodal.comparison.page import write_page
from multimodal.comparison.runs import ComparedRun, compare
from multimodal.names import meant
from multimodal.store import InputError
from multimodal.systems import SYSTEMS, System, system
from multimodal.tokens import current_codebook


@task(name="compared runs", cache_policy=NO_CACHE, persist_result=False)
def compared_runs(
    run: OpenedRun, systems: Sequence[System], seeds: Sequence[int], budget: Budget
) -> list[ComparedRun]:
    """Each system with each seed; what was trained and judged before is read from the store."""
    settings, current = run.settings, run.catalogue.current("model")
    with progress.stage("compare", which_run) as report:
        return compare(
            run.store, run.videos, current_codebook(run.store, run.catalogue), settings.pretrain, systems, seeds, budget,
            settings.torch_device, report, truth_file=settings.truth, world_file=settings.world,
            keep=frozenset(filter(None, [current])),
        )  # fmt: skip


@flow(name="compare")
def compare_systems(
    systems: list[str],
    settings: Settings = Settings(),
    seeds: int = 3,
    tokens: int | None = None,
    seconds: float | None = None,
) -> list[ComparedRun]:
    """Trains the named systems (all where none is named) with so many seeds, and writes the page; returns the runs.

    ``tokens`` or ``seconds`` is the budget of each run; where neither is given, the tokens that `pretrain` would read with
    the system of the settings. Raises :class:`~multimodal.store.InputError` for a name that is not known.
    """
    with open_run(settings) as run:
        rows = named(systems)
        if seeds < 1:
            raise InputError(f"--seeds {seeds}: at least 1")
        budget = Budget(tokens, seconds) if tokens or seconds else default_budget(run)
        first = run.settings.training.seed
        runs = compared_runs(run, rows, range(first, first + seeds), budget)
        write_page(run.store.comparison_page, runs, in_words(budget))
        return runs


def which_run(done: float, runs: float) -> str:
    """The run that is under way, in words."""
    return f"run {min(int(done) + 1, int(runs))} of {runs:.0f}"


def named(systems: Sequence[str]) -> list[System]:
    """The rows of the names, each of which may be an unambiguous beginning."""
    found = [system(known[0] if len(known := meant(name, SYSTEMS)) == 1 else name) for name in systems]
    return list(dict.fromkeys(found)) or list(SYSTEMS.values())


def default_budget(run: OpenedRun) -> Budget:
    """The tokens that `pretrain` reads with these settings."""
    options, videos = run.settings.pretrain, run.videos
    codebook = current_codebook(run.store, run.catalogue)
    cost = step_cost(run.store, videos, codebook, options, run.settings.torch_device, timed=False)
    return Budget(tokens=round(cost.tokens * options.training.steps(cost.items)))


def in_words(budget: Budget) -> str:
    if budget.tokens is not None:
        return f"reading {budget.tokens:,} tokens"
    return f"for {budget.seconds:g} s of steps"
