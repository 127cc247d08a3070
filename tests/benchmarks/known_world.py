"""The known world: a corpus of a size, a small model trained on it, and its figures beside chance, counts and the limit.

    python tests/benchmarks/known_world.py --videos 300 --signal 0.3

Draws a world, writes and imports its corpus (``--keep FOLDER`` leaves it there), trains a joint BERT from random weights
with the recipe of `--size small`, and prints the figures over the same 100 held-out videos at every size.
``--write FOLDER`` writes the corpus alone, for `videobert ingest --import`. ``--limits`` trains nothing: how good the best
answers are at several strengths of the signal, and from so many clips. ``--ahead`` adds the next tokens after every
clip of these videos: accuracy and cross entropy, in nats, of model and best answer. ``--questions N`` asks N questions of cloze
in place of 1,000, without their limits, for narrower intervals.
"""

import argparse
import contextlib
import dataclasses
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from flows.settings import Settings
from multimodal.answers import forecast
from multimodal.catalogue import Catalogue
from multimodal.inference.trained import Trained, load_trained
from multimodal.intake.imports import import_files
from multimodal.intake.options import ImportOptions
from multimodal.joint.options import Shape
from multimodal.known_world.corpus import TOKENS, TRANSCRIPTS, WORLD, read_world, write_corpus
from multimodal.known_world.inference import BestAnswers
from multimodal.known_world.process import Sampler, WorldOptions, make_world
from multimodal.library import Material, read_material, split, usable
from multimodal.objectives.weights import LossWeights
from multimodal.scoring import intervals
from multimodal.scoring.cloze import cloze_figures
from multimodal.scoring.intervals import Figure
from multimodal.scoring.metrics import evaluate
from multimodal.segments import HORIZONS
from multimodal.store import Store
from multimodal.terms import PRETRAINING_TERMS
from multimodal.tokens import TokenOptions, encode_videos, fit_codebook, train_and_held_out
from multimodal.training.options import NOTHING, PretrainOptions, TrainingOptions
from multimodal.training.pretraining import pretrain
from vision.clips import CLIP_SECONDS

HELD_OUT = 100
"""Videos that are held out, the first ones of every corpus."""
NAMES = (
    "text_cloze_with_video", "text_cloze_without_video", "video_cloze_with_text", "video_cloze_without_text",
    "alignment_auc", "next_token", "next_token_at_3_s", "next_token_at_6_s", "next_token_at_12_s",
    "search_recall_at_1", "moment_to_text_recall_at_1",
)  # fmt: skip


def quiet(*_: object) -> None:
    pass


def ingest(folder: Path, store: Store, catalogue: Catalogue) -> str:
    """Imports the corpus of a folder; the digest of its codebook."""
    import_files(store, catalogue, [folder / TOKENS, folder / TRANSCRIPTS], ImportOptions(), quiet)
    videos = usable(catalogue)
    held_out = frozenset(v.video for v in videos if int(v.name.removeprefix("v")) < HELD_OUT)
    learned, held = split(videos, held_out)
    codebook = fit_codebook(store, learned, held, TokenOptions(), quiet)
    encode_videos(store, codebook, videos, quiet)
    return codebook


def options(given: argparse.Namespace) -> PretrainOptions:
    settings = Settings(
        size="small", seed=given.seed, context=given.context, system=given.system, weights=given.weights
    )
    training = dataclasses.replace(settings.training, most_steps=given.steps)
    if given.epochs:
        training = dataclasses.replace(training, epochs=given.epochs)
    if given.examples:
        training = dataclasses.replace(training, examples_per_step=given.examples)
    if given.terms:
        weights = LossWeights(**{term: float(term in given.terms) for term in PRETRAINING_TERMS})
        training = dataclasses.replace(training, weights=weights)
    settings = dataclasses.replace(settings, text_start=NOTHING)
    made = narrow(settings, training, given.layers, given.hidden, given.dropout)
    if given.runs:
        examples = dataclasses.replace(made.examples, runs_per_spoken_segment=given.runs)
        made = dataclasses.replace(made, examples=examples)
    return dataclasses.replace(made, text_start=str(given.start), shape=None) if given.start else made


def narrow(
    settings: Settings, training: TrainingOptions, layers: int, hidden: int, dropout: float = 0.0
) -> PretrainOptions:
    """The options of a network of random weights that is narrower than the size's own.

    Its rate is higher, by the root of the widths' ratio (docs/known_world.md). Its products are so small that bf16, which has
    to be converted to, is slower than fp32.
    """
    rate = training.learning_rate * (settings.sized.shape.hidden / hidden) ** 0.5
    return dataclasses.replace(
        settings.pretrain,
        shape=Shape(layers, hidden, hidden // 32, dropout=dropout),
        training=dataclasses.replace(training, learning_rate=rate, precision="fp32", patience=None),
    )


def line(name: str, figures: dict[str, Figure]) -> str:
    """Chance, counts, the model with its interval, the limit, the part of the way, and what it has more than counts."""
    model, counts, limit = (figures.get(n) for n in (name, f"{name}_counts", f"{name}_limit"))
    counted = f"{counts.value:7.3f}" if counts else f"{'–':>7}"
    way = (model.value - model.chance) / (limit.value - model.chance)
    more = figures.get(f"{name}_minus_counts")
    return (
        f"{name:<28}{model.chance:7.3f}{counted}{model.value:7.3f}  {model.low:.3f} – {model.high:.3f}"
        f"{limit.value:7.3f}{way:8.0%}" + (f"  {more.low:6.3f} to {more.high:.3f}" if more else "")
    )


def gain(name: str, without: str, figures: dict[str, Figure]) -> str:
    """What the other modality adds, with its interval, and what it adds at the limit."""
    more = figures[f"{name}_minus_{without}"]
    limit = figures[f"{name}_limit"].value - figures[f"{without}_limit"].value
    return f"{name} less {without}: {more.value:.3f} ({more.low:.3f} to {more.high:.3f}), at the limit {limit:.3f}"


SIGNALS, CONTEXTS = (1.0, 0.3, 0.1, 0.0), (1, 5, 16, 64)


def print_limits(seed: int) -> None:
    """Accuracy of the best answers over all questions about the held-out videos."""
    for signal in SIGNALS:
        world = make_world(WorldOptions(signal=signal))
        best, sampler = BestAnswers(world), Sampler(world, seed)
        right: dict[str, list[bool]] = {}
        for video in map(sampler.video, range(HELD_OUT)):
            for s in video.sentences:
                tokens = video.tokens[s.first : s.first + s.count]
                for place, word in enumerate(s.words):
                    for name, given in (("text with video", tokens), ("text without", None)):
                        found = best.words[int(best.hidden_word(s.words, place, given).argmax())]
                        right.setdefault(name, []).append(found == word)
                for place, token in enumerate(tokens):
                    for name, words in (("video with text", s.words), ("video without", None)):
                        found = int(best.hidden_token(tokens, place, words).argmax())
                        right.setdefault(name, []).append(found == token)
        print(f"signal {signal:g}: ", {name: round(float(np.mean(r)), 3) for name, r in right.items()})
    for context in CONTEXTS:
        ahead: dict[int, list[bool]] = {h: [] for h in HORIZONS}
        for video in map(sampler.video, range(HELD_OUT)):
            for now in range(1, len(video.tokens)):
                p = best.next_tokens(video.tokens[max(0, now - context) : now], HORIZONS)
                for h, row in zip(HORIZONS, p, strict=True):
                    if now + h <= len(video.tokens):
                        ahead[h].append(int(row.argmax()) == video.tokens[now + h - 1])
        print(f"{context} clips: ", {h: round(float(np.mean(r)), 3) for h, r in ahead.items()})


def print_cloze(trained: Trained, learned: list[Material], held_out: list[Material], most: int) -> None:
    """Cloze of so many questions at most, beside counts, and what the other modality adds."""
    intervals.MOST_QUESTIONS = most
    paired, train = ([s for m in some for s in m.spoken() if s.text] for some in (held_out, learned))
    silent = [s for m in learned for s in m.moments() if not s.text]
    figures = cloze_figures(trained, [s for s in paired if s.tokens], train, None, silent=silent)
    for name in (name for name in NAMES if name in figures):
        model, counts, more = (figures[f"{name}{end}"] for end in ("", "_counts", "_minus_counts"))
        print(
            f"{name:<28}{model.n:6d}{counts.value:8.3f}{model.value:8.3f}  {more.low:6.3f} to {more.high:.3f}"
        )
    for modality, other in (("text", "video"), ("video", "text")):
        name = f"{modality}_cloze_with_{other}"
        more = figures[f"{name}_minus_{modality}_cloze_without_{other}"]
        print(f"{name}: {more.value:.3f} more ({more.low:.3f} to {more.high:.3f}) than without")


def print_ahead(trained: Trained, held_out: list[Material], best: BestAnswers) -> None:
    """Accuracy and cross entropy of the next tokens at each horizon, over all clips of the held-out videos."""
    found: dict[int, list[tuple[float, ...]]] = {h: [] for h in HORIZONS}
    for material in held_out:
        tokens = material.tokens.tolist()
        asked = [tokens[:now] for now in range(1, len(tokens))]
        told = forecast.horizon_probabilities(trained, asked).double().numpy()
        for now, rows in enumerate(told, 1):
            limits = best.next_tokens(tokens[:now], HORIZONS)
            for h, row, limit in zip(HORIZONS, rows, limits, strict=True):
                if now + h <= len(tokens):
                    true = tokens[now + h - 1]
                    right = row.argmax() == true, limit.argmax() == true
                    found[h].append((*map(float, right), -np.log(row[true]), -np.log(limit[true])))
    print(f"{'':8}{'n':>6}{'right':>8}{'limit':>8}{'nats':>8}{'limit':>8}")
    for h, rows in found.items():
        means = "".join(f"{value:8.3f}" for value in np.mean(rows, 0))
        print(f"{h * CLIP_SECONDS:5.1f} s {len(rows):6}{means}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--videos", type=int, default=300, help="videos to learn from")
    parser.add_argument("--signal", type=float, default=1.0)
    parser.add_argument("--system", help="another one than videobert")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--steps", type=int, default=3000, help="training steps at most")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--examples", type=int, help="spoken segments and runs of a step")
    parser.add_argument("--runs", type=int, help="runs of tokens for each spoken segment")
    parser.add_argument("--context", type=int, help="clips that the next ones are forecast from")
    parser.add_argument("--ask", type=int, nargs="+", help="lengths of contexts whose forecasts are averaged")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--terms", nargs="+", choices=PRETRAINING_TERMS, help="terms of the loss; all")
    parser.add_argument("--weights", help="of the terms of the loss: contrast=0,alignment=5")
    parser.add_argument("--start", type=Path, help="folder of a model of this world to go on from")
    parser.add_argument("--limits", action="store_true")
    parser.add_argument("--ahead", action="store_true")
    parser.add_argument("--questions", type=int)
    parser.add_argument("--write", type=Path)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--json", type=Path, help="file for all figures")
    given = parser.parse_args()
    if given.limits:
        print_limits(given.seed)
        return
    if given.ask:
        forecast.context_lengths = lambda most: tuple(given.ask)
    world = make_world(WorldOptions(signal=given.signal))
    if given.write:
        write_corpus(world, given.videos + HELD_OUT, given.write, given.seed)
        return
    with contextlib.ExitStack() as stack:
        folder = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_corpus(world, given.videos + HELD_OUT, folder / "corpus", given.seed)
        store = Store(folder / "store")
        catalogue = stack.enter_context(Catalogue(store.catalogue))
        codebook, videos = ingest(folder / "corpus", store, catalogue), usable(catalogue)
        began = time.process_time()
        name, _ = pretrain(store, videos, codebook, options(given), "cpu", quiet)
        trained_s = time.process_time() - began
        learned, held_out = (
            [read_material(store, codebook, v) for v in part]
            for part in train_and_held_out(store, videos, codebook)
        )
        trained = load_trained(store, name, codebook, "cpu")
        best = BestAnswers(read_world(folder / "corpus" / WORLD))
        if given.questions:
            print_cloze(trained, learned, held_out, given.questions)
            return
        if given.ahead:
            print_ahead(trained, held_out, best)
        figures = evaluate(trained, learned, held_out, None, quiet, best=best)
    print(
        f"{given.videos} videos, signal {given.signal:g}, {given.layers} x {given.hidden}, {trained_s:.0f} CPU s"
    )
    print(
        f"{'':28}{'chance':>7}{'counts':>7}{'model':>7}  {'95 % interval':13}{'limit':>7}{'of way':>8}  less counts"
    )
    for figure in (name for name in NAMES if name in figures):
        print(line(figure, figures))
    for modality, other in (("text", "video"), ("video", "text")):
        if f"{modality}_cloze_with_{other}" in figures:
            print(gain(f"{modality}_cloze_with_{other}", f"{modality}_cloze_without_{other}", figures))
    if given.json:
        given.json.write_text(json.dumps({n: dataclasses.asdict(f) for n, f in figures.items()}))


if __name__ == "__main__":
    main()
