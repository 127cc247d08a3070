"""The runs of a comparison: each system with each seed trained at the budget and evaluated; what was done is not done again."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

from multimodal.catalogue import Video
from multimodal.comparison.budget import Budget, step_cost
from multimodal.inference.trained import load_trained
from multimodal.known_world.corpus import read_world
from multimodal.known_world.inference import BestAnswers
from multimodal.library import read_material
from multimodal.progress import Report
from multimodal.scoring.evaluation import TEMPLATE, captioning_methods
from multimodal.scoring.metrics import evaluate
from multimodal.scoring.truth import read_truth
from multimodal.store import InputError, Store, canonical_json, file_digest, recipe, write_artefact
from multimodal.tokens import train_and_held_out
from multimodal.training.options import PretrainOptions
from multimodal.training.pretraining import model_name, pretrain, suited

VERSION = 2


@dataclasses.dataclass(frozen=True)
class ComparedRun:
    """A system trained with a seed. ``tokens``: read and written in all its ``steps``, which took ``seconds`` (``None``: it was
    stopped, and too few steps were left to tell). ``parameters``: trained.

    ``figures``: those of an evaluation by name, each with value, low, high, chance and n.
    """

    system: str
    seed: int
    steps: int
    tokens: int
    seconds: float | None
    parameters: int
    figures: dict[str, dict[str, Any]]


def compare(
    store: Store,
    videos: Sequence[Video],
    codebook: str,
    candidates: Sequence[PretrainOptions],
    seeds: Sequence[int],
    budget: Budget,
    device: str,
    report: Report,
    *,
    truth_file: Path | None = None,
    world_file: Path | None = None,
    keep: Container[str] = frozenset(),
) -> list[ComparedRun]:
    """All runs, candidate by candidate. ``candidates``: the options of each system but for seed and steps.

    Captions are those of the model alone, as `videobert caption --template` or a decoder of its own gives them.

    A model is removed when its figures are stored, unless its name is in ``keep``. Raises :class:`InputError` where no video
    is held out, and what :func:`~multimodal.training.pretraining.pretrain` raises.
    """
    learned, held_out = train_and_held_out(store, videos, codebook)
    if not held_out:
        raise InputError(
            f"store {store.root}: no video is held out to judge by; give it ten videos, or --held-out before its codebook is made"
        )
    materials = [[read_material(store, codebook, v) for v in part] for part in (learned, held_out)]
    truth = read_truth(truth_file) if truth_file else None
    best = BestAnswers(read_world(world_file)) if world_file else None
    judged_by = [file and file_digest(file) for file in (truth_file, world_file)]
    found: list[ComparedRun] = []
    for candidate in candidates:
        options, _ = suited(store, learned, candidate)
        system = options.system.name
        cost = step_cost(store, videos, codebook, options, device, budget.seconds is not None)
        steps = budget.steps(cost)
        for seed in seeds:
            own = run_options(options, seed, steps)
            name = model_name(store, videos, codebook, own)
            path = store.comparison(recipe(version=VERSION, model=name, judged_by=judged_by))
            progress = _Progress(report, f"{system}, seed {seed}", len(found), len(candidates) * len(seeds))
            if not path.exists():
                _, folder = pretrain(store, videos, codebook, own, device, progress.step)
                trained = load_trained(store, name, codebook, device)
                captions = captioning_methods(store, trained, None, *materials, with_references=False)
                figures = evaluate(
                    trained, *materials, truth, lambda *_: None,
                    caption=captions.pop(TEMPLATE), other_captions=captions, best=best,
                )  # fmt: skip
                parameters = json.loads((folder / "card.json").read_text())["trained_parameters"]
                by_name = {name: dataclasses.asdict(figure) for name, figure in figures.items()}
                tokens = round(steps * cost.tokens)
                run = ComparedRun(system, seed, steps, tokens, progress.seconds(steps), parameters, by_name)
                write_artefact(path, canonical_json(run).encode())
                if name not in keep:
                    store.remove_model(name)
            found.append(ComparedRun(**json.loads(path.read_text())))
            progress.done()
    return found


def run_options(options: PretrainOptions, seed: int, steps: int) -> PretrainOptions:
    """The options of a run: those of its candidate (as :func:`~multimodal.training.pretraining.suited` leaves them) with a
    seed, in exactly so many steps."""
    training = dataclasses.replace(
        options.training, seed=seed, least_steps=steps, most_steps=steps, patience=None
    )
    return dataclasses.replace(options, training=training, choose_tokenizer=False)


class _Progress:
    """The part of a run in a comparison's progress, counted in runs; and when each of its steps ended."""

    def __init__(self, report: Report, about: str, before: int, runs: int):
        self._report, self._about, self._before, self._runs = report, about, before, runs
        self._ends: dict[int, float] = {}

    def step(self, step: float, steps: float, words: str) -> None:
        self._ends.setdefault(int(step), time.monotonic())
        self._report(self._before + step / steps, self._runs, f"{self._about}: {words}")

    def done(self) -> None:
        self._report(self._before + 1, self._runs, self._about)

    def seconds(self, steps: int) -> float | None:
        """The seconds of so many steps, by those that this process made; the last one ends with an evaluation."""
        made = sorted(self._ends)[:-1]
        if len(made) < 2:
            return None
        return (self._ends[made[-1]] - self._ends[made[0]]) / (made[-1] - made[0]) * steps
