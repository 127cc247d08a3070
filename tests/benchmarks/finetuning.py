"""Fine-tuning with few labels: from the pretrained model, from random weights, by adapters, beside plain baselines.

    python tests/benchmarks/finetuning.py world      # the dish of 12 s of a video of the known world
    python tests/benchmarks/finetuning.py kitchen    # the action of a step of the token kitchen, by its picture alone

Pretrains a small joint BERT without the labels, then learns from 20, 100 and 500 labelled moments (a fifth of them says when
to end) with several seeds, and judges each head on the same 400 moments of videos that were in neither. ``--probe`` asks what
each layer knows in place of it, of the pretrained model and of the same network from random weights.
"""

import argparse
import contextlib
import dataclasses
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import known_world
import numpy as np
import token_kitchen

from flows.settings import Settings
from multimodal.catalogue import Catalogue, Video
from multimodal.finetuning.options import FineTuningOptions
from multimodal.finetuning.task_files import Row, TaskFile
from multimodal.finetuning.training import fine_tune
from multimodal.inference.trained import Trained, load_trained
from multimodal.joint.model import JointBert
from multimodal.known_world.corpus import write_corpus
from multimodal.known_world.process import Sampler, WorldOptions, make_world
from multimodal.library import read_material, usable
from multimodal.objectives.pretraining import PretrainingObjective
from multimodal.scoring.layer_probe import probe_figures
from multimodal.scoring.truth import Truth, TruthStep, read_truth
from multimodal.store import Store
from multimodal.tokens import train_and_held_out
from multimodal.training import checkpoints
from multimodal.training.options import NOTHING
from multimodal.training.pretraining import pretrain
from multimodal.web.results import figures_table
from vision.clips import CLIP_SECONDS

MOMENT = 8
"""Clips of a moment of the known world."""
JUDGED = 400
Labelled = tuple[str, float, float, str]
"""Video, start, end, label."""


def of_world(videos: Sequence[Video], signal: float, seed: int) -> list[Labelled]:
    """Moments of each video, one after the other, with its dish."""
    sampler = Sampler(make_world(WorldOptions(signal=signal)), seed)
    found = []
    for video in videos:
        drawn = sampler.video(int(video.name.removeprefix("v")))
        for first in range(0, len(drawn.tokens) - MOMENT + 1, MOMENT):
            start = first * CLIP_SECONDS
            found.append((video.video, start, start + MOMENT * CLIP_SECONDS, f"dish {drawn.dish}"))
    return found


def of_kitchen(videos: Sequence[Video], folder: Path) -> list[Labelled]:
    """The steps of each video with their actions."""
    truth = json.loads((folder / token_kitchen.TRUTH).read_text())
    steps = {video["sha256"]: video["steps"] for video in truth["videos"]}
    return [(v.video, s["start"], s["end"], s["action"]) for v in videos for s in steps[v.video]]


def steps_of_world(videos: Sequence[Video], signal: float, seed: int) -> Truth:
    """What is done with what in each clip."""
    world = make_world(WorldOptions(signal=signal))
    sampler = Sampler(world, seed)
    steps = {}
    for video in videos:
        drawn = sampler.video(int(video.name.removeprefix("v")))
        steps[video.video] = tuple(
            TruthStep(
                clip * CLIP_SECONDS, (clip + 1) * CLIP_SECONDS,
                f"action {world.action_DK[drawn.dish, step]}", f"thing {world.thing_DK[drawn.dish, step]}",
            )
            for clip, step in enumerate(drawn.steps)
        )  # fmt: skip
    return Truth((), (), steps, frozenset())


def print_probe(
    store: Store, trained: Trained, parts: Sequence[Sequence[Video]], truth: Truth, seeds: int
) -> None:
    materials = [[read_material(store, trained.codebook, video) for video in part] for part in parts]
    for seed in range(seeds):
        models = {"pretrained": trained, "random weights": random_weights(store, trained, seed)}
        for name, model in models.items():
            found = probe_figures(model, *materials, truth, seed)
            print(f"{name}, seed {seed}")
            figures = {figure: dataclasses.asdict(f) for figure, f in found.items()}
            print("\n".join(figures_table(figures)[2:]), flush=True)


def chosen(learned: list[Labelled], judged: list[Labelled], count: int, seed: int) -> TaskFile:
    """So many labelled moments, their videos in an order of the seed; the last fifth says when to end. And those to judge by."""
    random = np.random.default_rng(seed)
    videos = [str(v) for v in random.permutation(sorted({v for v, *_ in learned}))]
    of_video = {v: [m for m in learned if m[0] == v] for v in videos}
    # As many videos as there are moments, so that one video does not stand for all.
    share = max(1, -(-count // len(videos)))
    drawn = [of_video[v][int(i)] for v in videos for i in random.permutation(len(of_video[v]))[:share]][
        :count
    ]
    ending = {v for v, *_ in drawn[-(count // 5) :]}
    kept = [judged[i] for i in np.random.default_rng(0).permutation(len(judged))[:JUDGED]]
    rows = [Row("", v, s, e, (name,), split="dev" if v in ending else "train") for v, s, e, name in drawn]
    rows += [Row("", v, s, e, (name,), split="test") for v, s, e, name in kept]
    return TaskFile("labels", "sequence", tuple(rows))


def random_weights(store: Store, trained: Trained, seed: int) -> Trained:
    """The same network before any training, as a model of the store."""
    name = f"random{seed}"
    model = JointBert(trained.model.options).init_weights(seed, by_width=True)
    objective = PretrainingObjective(model, trained.vocabulary)
    checkpoints.save(
        store.model(name), objective, objective.state_dict(), {}, checkpoints.Progress(0, 0, 0, 0), {}
    )
    return load_trained(store, name, trained.codebook, "cpu")


METHODS = {
    "pretrained, full": {},
    "pretrained, adapters": {"adapt": "adapters"},
    "pretrained, lora": {"adapt": "lora"},
    "pretrained, head": {"adapt": "head"},
    "random weights, full": {},
}
BASELINES = ("majority", "nearest_neighbours", "logistic_regression")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("corpus", choices=("world", "kitchen"))
    parser.add_argument("--videos", type=int, default=300, help="videos of the known world to pretrain on")
    parser.add_argument("--signal", type=float, default=1.0)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--steps", type=int, default=1500, help="pretraining steps at most")
    parser.add_argument("--sizes", type=int, nargs="+", default=[20, 100, 500])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--read", choices=("text", "video", "both"))
    parser.add_argument("--probe", action="store_true")
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store = Store(folder / "store")
        catalogue = stack.enter_context(Catalogue(store.catalogue))
        if given.corpus == "world":
            write_corpus(
                make_world(WorldOptions(signal=given.signal)), given.videos + known_world.HELD_OUT, folder
            )
            codebook = known_world.ingest(folder, store, catalogue)
        else:
            codebook = token_kitchen.ingest_kitchen(folder, store, catalogue)
        videos = usable(catalogue)
        settings = Settings(size="small", text_start=NOTHING)
        training = dataclasses.replace(settings.training, most_steps=given.steps)
        options = known_world.narrow(settings, training, given.layers, given.hidden)
        began = time.monotonic()
        name, _ = pretrain(store, videos, codebook, options, "cpu", known_world.quiet)
        print(f"pretrained in {time.monotonic() - began:.0f} s", flush=True)
        trained = load_trained(store, name, codebook, "cpu")
        learned, held_out = train_and_held_out(store, videos, codebook)
        parts = [
            of_world(part, given.signal, 0) if given.corpus == "world" else of_kitchen(part, folder)
            for part in (learned, held_out)
        ]
        if given.probe:
            world = given.corpus == "world"
            truth = (
                steps_of_world(videos, given.signal, 0) if world else read_truth(folder / token_kitchen.TRUTH)
            )
            print_probe(store, trained, (learned, held_out), truth, given.seeds)
            return
        read = given.read or ("both" if given.corpus == "world" else "video")
        for size in given.sizes:
            found: dict[str, list[float]] = {}
            for seed in range(given.seeds):
                task = chosen(*parts, size, seed)
                for method in given.methods:
                    start = random_weights(store, trained, seed) if method.startswith("random") else trained
                    tuning = FineTuningOptions(read=read, seed=seed, precision="fp32", **METHODS[method])
                    began = time.monotonic()
                    made = fine_tune(store, start, videos, task, "bench", tuning, known_world.quiet)
                    found.setdefault(method, []).append(made.figures["accuracy"].value)
                    found.setdefault(f"{method}: seconds", []).append(time.monotonic() - began)
                    print(f"  {size} labels, seed {seed}, {method}: {found[method][-1]:.3f}", flush=True)
                    found[f"{method}: moved"] = [made.moved]
                for baseline in BASELINES:
                    found.setdefault(baseline, []).append(made.figures[f"accuracy_{baseline}"].value)
            print(
                f"{size} labels, accuracy over {made.figures['accuracy'].n} moments, chance {made.figures['accuracy'].chance:.3f}"
            )
            for method, values in found.items():
                shown = " ".join(f"{value:.3f}" for value in values)
                print(f"  {method:32} {np.mean(values):.3f}  ({shown})", flush=True)


if __name__ == "__main__":
    main()
