"""Students of a small joint BERT on the token kitchen, beside the same network from random weights with the same budget.

    python tests/benchmarks/distillation.py --keep FOLDER            # as many pieces as fit into --seconds; run it again to go on
    python tests/benchmarks/distillation.py --keep FOLDER --table    # what is there so far
    python tests/benchmarks/distillation.py --speed                  # the time of an answer at MiniLM's size, random weights

A piece is a teacher, a control, a student of one method, or a head with its LSTM, of one seed; what was made is kept in FOLDER,
and a training that was stopped goes on. Students have half of the layers. The LSTM learns the action of a step by its visual
tokens from the head of a fine-tuned teacher (500 labels), and is judged by labels of other videos.
"""

import argparse
import dataclasses
import json
import tempfile
import time
from functools import partial
from pathlib import Path

import finetuning
import known_world
import numpy as np
import token_kitchen
import torch

from flows.settings import Settings
from multimodal.catalogue import Catalogue, Video
from multimodal.distillation.card import fill, masked
from multimodal.distillation.lstm import distill_head
from multimodal.distillation.options import DISTILBERT, HINTON, TINYBERT, DistillOptions, LstmOptions
from multimodal.distillation.timing import answer_seconds
from multimodal.distillation.training import COMPARISON, check_teacher, distill
from multimodal.examples.moments import moments_at
from multimodal.examples.packing import Example, pack, sequence
from multimodal.finetuning.options import FineTuningOptions
from multimodal.finetuning.training import fine_tune
from multimodal.inference.heads import answer_moments, load_head
from multimodal.inference.trained import Trained, load_trained
from multimodal.joint.bilstm import BiLstm
from multimodal.joint.model import JointBert
from multimodal.joint.options import ModelOptions
from multimodal.library import read_material, usable
from multimodal.scoring.metrics import evaluate
from multimodal.scoring.truth import read_truth
from multimodal.store import Store
from multimodal.tokens import train_and_held_out
from multimodal.training.options import NOTHING
from multimodal.training.pretraining import pretrain
from multimodal.vocabulary import SPECIALS, Vocabulary

METHODS = (DISTILBERT, HINTON, TINYBERT)
JUDGED = (
    "text_cloze_with_video", "video_cloze_with_text", "alignment_accuracy", "search_recall_at_10", "next_token",
    "said_word", "imagined_clip", "verb_and_noun_zero_shot",
)  # fmt: skip
LABELS = 500


class Bench:
    """The store of the token kitchen in a folder, and the figures that were made so far."""

    def __init__(self, given: argparse.Namespace, catalogue: Catalogue, store: Store):
        self.given, self.store, self.folder = given, store, given.keep
        found = self.folder / "codebook.txt"
        if not found.exists():
            codebook = token_kitchen.ingest_kitchen(self.folder, store, catalogue)
            found.write_text(codebook)
        self.codebook, self.videos = found.read_text(), usable(catalogue)
        self.truth = self.folder / token_kitchen.TRUTH
        self.file = self.folder / "figures.json"
        self.figures = json.loads(self.file.read_text()) if self.file.exists() else {}

    def keep(self, piece: str, found: dict) -> None:
        self.figures[piece] = found
        self.file.write_text(json.dumps(self.figures, indent=1))

    def pretrained(self, layers: int, seed: int) -> str:
        settings = Settings(size="small", text_start=NOTHING, seed=seed)
        training = dataclasses.replace(
            settings.training, most_steps=self.given.steps, least_steps=self.given.steps
        )
        options = known_world.narrow(settings, training, layers, self.given.hidden)
        return pretrain(self.store, self.videos, self.codebook, options, "cpu", known_world.quiet)[0]

    def opened(self, name: str) -> Trained:
        return load_trained(self.store, name, self.codebook, "cpu")

    def judged(self, name: str) -> dict[str, float]:
        parts = train_and_held_out(self.store, self.videos, self.codebook)
        materials = ([read_material(self.store, self.codebook, v) for v in part] for part in parts)
        found = evaluate(self.opened(name), *materials, read_truth(self.truth), known_world.quiet)
        return {key: figure.value for key, figure in found.items() if figure.value is not None}

    def teacher(self, seed: int) -> None:
        name = self.pretrained(self.given.layers, seed)
        self.keep(f"teacher {seed}", {"name": name, "figures": self.judged(name)})

    def control(self, seed: int) -> None:
        name = self.pretrained(self.given.layers // 2, seed)
        self.keep(f"control {seed}", {"name": name, "figures": self.judged(name)})

    def student(self, method: str, seed: int) -> None:
        options = DistillOptions(method, seed=seed)
        teacher = check_teacher(self.store, self.figures[f"teacher {seed}"]["name"], options)
        name, folder = distill(
            self.store, teacher, self.videos, self.codebook, options, "cpu", known_world.quiet, truth_file=self.truth
        )  # fmt: skip
        about = json.loads((folder / COMPARISON).read_text())
        figures = {key: own for key, (_, own) in about["figures"].items()}
        slow, fast = about["milliseconds"]
        self.keep(f"{method} {seed}", {"name": name, "figures": figures, "speed": slow / fast})

    def lstm(self, seed: int) -> None:
        trained = self.opened(self.figures[f"teacher {seed}"]["name"])
        learned, held_out = train_and_held_out(self.store, self.videos, self.codebook)
        parts = [finetuning.of_kitchen(part, self.folder) for part in (learned, held_out)]
        task = finetuning.chosen(*parts, LABELS, seed)
        tuning = FineTuningOptions(read="video", seed=seed, precision="fp32")
        name, began = f"action{seed}", time.monotonic()
        fine_tune(self.store, trained, self.videos, task, name, tuning, known_world.quiet)
        tuned = time.monotonic() - began
        made = distill_head(
            self.store, trained, self.videos, name, f"{name}-bilstm", LstmOptions(seed=seed), known_world.quiet
        )  # fmt: skip
        rows = [(row.video, row.start, row.end, row.labels[0]) for row in task.rows if row.split == "test"]
        right = {head: self.accuracy(trained, head, rows) for head in (name, made.name)}
        slow, fast = made.milliseconds
        found = {
            "teacher": right[name], "student": right[made.name], "speed": slow / fast, "parameters": made.parameters,
            "agreement": made.figures["agreement"].value, "examples": made.counts["train"],
            "seconds": [tuned, time.monotonic() - began - tuned],
        }  # fmt: skip
        self.keep(f"bilstm {seed}", found)

    def accuracy(self, trained: Trained, name: str, rows: list[finetuning.Labelled]) -> float:
        """The share of the labelled moments that a head tells right."""
        head, right = load_head(self.store, trained, name), []
        by_digest: dict[str, Video] = {video.video: video for video in self.videos}
        for video in sorted({video for video, *_ in rows}):
            own = [row for row in rows if row[0] == video]
            material = read_material(self.store, self.codebook, by_digest[video])
            moments = moments_at(material, [(start, end) for _, start, end, _ in own])
            said = answer_moments(trained, head, moments).argmax(1)
            right += [head.shape.classes[n] == label for n, (*_, label) in zip(said, own, strict=True)]
        return float(np.mean(right))

    def run(self) -> None:
        """The pieces that are left, while there is time to begin one."""
        began = time.monotonic()
        for seed in range(self.given.seeds):
            pieces = {"teacher": self.teacher, "control": self.control, "bilstm": self.lstm}
            pieces |= {m: lambda seed, m=m: self.student(m, seed) for m in METHODS}
            for piece, make in pieces.items():
                if f"{piece} {seed}" in self.figures:
                    continue
                if time.monotonic() - began > self.given.seconds:
                    print("not done: run it again to go on")
                    return
                at = time.monotonic()
                make(seed)
                print(f"{piece} {seed}: {time.monotonic() - at:.0f} s", flush=True)

    def table(self) -> None:
        seeds = [s for s in range(self.given.seeds) if f"teacher {s}" in self.figures]
        rows = ("teacher", *METHODS, "control")
        print(f"{'':26}" + "".join(f"{row:>12}" for row in rows))
        kept: dict[str, list[float]] = {row: [] for row in rows}
        for figure in JUDGED:
            shown = []
            for row in rows:
                pairs = [
                    (self.figures[f"{row} {s}"]["figures"][figure], self.figures[f"teacher {s}"]["figures"][figure])
                    for s in seeds
                    if f"{row} {s}" in self.figures
                ]  # fmt: skip
                kept[row] += [own / theirs for own, theirs in pairs if theirs]
                shown.append(f"{np.mean([own for own, _ in pairs]):12.3f}" if pairs else f"{'–':>12}")
            print(f"{figure:26}" + "".join(shown))
        print(
            f"{'kept, mean of all':26}" + "".join(f"{np.mean(kept[row] or [np.nan]):12.1%}" for row in rows)
        )
        for method in METHODS:
            found = [self.figures[f"{method} {s}"]["speed"] for s in seeds if f"{method} {s}" in self.figures]
            print(f"times the speed of an answer, {method}: {' '.join(f'{x:.2f}' for x in found)}")
        for seed in seeds:
            if found := self.figures.get(f"bilstm {seed}"):
                print(
                    f"BiLSTM, seed {seed}: accuracy {found['student']:.3f} of {found['teacher']:.3f} "
                    f"({found['student'] / found['teacher']:.1%}), {found['speed']:.1f} times the speed, {found['parameters'][1]:,} of "
                    f"{found['parameters'][0]:,} parameters, agrees in {found['agreement']:.3f}"
                )


def speed() -> None:
    """Six layers of 384 over 30,522 words and 20,736 visual tokens, beside students of three layers and narrower."""
    vocabulary = Vocabulary((*SPECIALS, *(f"word{n}" for n in range(30_522 - len(SPECIALS)))), 20_736)
    random = np.random.default_rng(0)
    shapes = [(6, 384, 12), (3, 384, 12), (3, 192, 12), (1, 384, 12)]
    models = []
    for layers, hidden, heads in shapes:
        options = ModelOptions(
            vocabulary.size, hidden, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=4 * hidden
        )  # fmt: skip
        network = JointBert(options).init_weights(0).eval()
        models.append(Trained(f"{layers} x {hidden}", Path(), network, vocabulary, ""))
    asked = [masked(models[0], "", random.integers(20_736, size=8).tolist()) for _ in range(30)]
    for used in (20_736, 1_000):
        shown = torch.arange(20_736) < used
        seconds = answer_seconds([partial(fill, model, shown) for model in models], asked)
        print(f"a clip beside 7, {used:,} visual tokens shown, {torch.get_num_threads()} threads")
        for trained, took in zip(models, seconds, strict=True):
            print(f"{trained.name:10} {1000 * took:7.1f} ms, {seconds[0] / took:.2f} times the speed")
    batches = [
        pack([Example(*sequence(vocabulary, [5 + n % 900] * 12, run[:-1]))])
        for n, (_, run) in enumerate(asked)
    ]
    readers = [models[0].model, models[1].model, BiLstm(models[0].model, LstmOptions().width).eval()]
    with torch.no_grad():
        seconds = answer_seconds([reader.encode for reader in readers], batches)
    print("what a head reads of 12 words and 7 clips")
    for name, took in zip(("6 x 384", "3 x 384", "BiLSTM"), seconds, strict=True):
        print(f"{name:10} {1000 * took:7.1f} ms, {seconds[0] / took:.2f} times the speed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=240, help="no piece begins after so many")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--speed", action="store_true")
    given = parser.parse_args()
    if given.speed:
        speed()
        return
    given.keep = given.keep or Path(tempfile.mkdtemp())
    store = Store(given.keep / "store")
    with Catalogue(store.catalogue) as catalogue:
        bench = Bench(given, catalogue, store)
        if not given.table:
            bench.run()
        bench.table()


if __name__ == "__main__":
    main()
