"""Domain continuation on the known world: a library of 30 videos alone, and from a model of N others.

    python tests/benchmarks/continuation.py --keep FOLDER --others 3000 --steps 3000 --piece others --minutes 7
    python tests/benchmarks/continuation.py --keep FOLDER --others 3000 --steps 3000 --piece alone
    python tests/benchmarks/continuation.py --keep FOLDER --others 3000 --steps 3000 --piece imported
    python tests/benchmarks/continuation.py --keep FOLDER --others 3000 --steps 3000 --piece continued
    python tests/benchmarks/continuation.py --keep FOLDER --others 3000 --steps 3000 --piece table

The library's 30 videos, the N others and those by which all are judged are different videos of one world. A piece that
has not ended after ``--minutes`` stops; called again it goes on from its last checkpoint. ``others`` trains the model of the
others and exports it, ``alone`` a model of the library from random weights, ``imported`` judges the others' model on the
library as it was imported, ``continued`` goes on from it on the library, ``table`` prints all figures.
"""

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import known_world
from known_world import HELD_OUT, NAMES, narrow, quiet

from flows.settings import Settings
from multimodal.catalogue import Catalogue
from multimodal.inference.trained import load_trained
from multimodal.intake.imports import import_files
from multimodal.intake.options import ImportOptions
from multimodal.known_world.corpus import TOKENS, TRANSCRIPTS, WORLD, read_world, write_videos
from multimodal.known_world.inference import BestAnswers
from multimodal.known_world.process import WorldOptions, make_world
from multimodal.library import read_material, usable
from multimodal.scoring.metrics import evaluate
from multimodal.store import Store
from multimodal.tokens import encode_videos, keep_split, train_and_held_out
from multimodal.training.options import NOTHING, PretrainOptions
from multimodal.training.pretraining import pretrain
from multimodal.transfer.exporting import export_model
from multimodal.transfer.importing import import_model

LIBRARY = 30
PIECES = ("others", "alone", "imported", "continued", "table")


def corpus(folder: Path, numbers: list[int], seed: int) -> Path:
    """The tables of these videos of the world."""
    write_videos(make_world(WorldOptions()), numbers, folder, seed)
    return folder


def is_judge(name: str) -> bool:
    return int(name.removeprefix("v")) < HELD_OUT


def opened(folder: Path, numbers: list[int], seed: int) -> tuple[Store, Catalogue, str]:
    """The store of a corpus with its codebook, made where it is not there."""
    store = Store(folder / "store")
    catalogue = Catalogue(store.catalogue)
    codebook = catalogue.current("codebook")
    if codebook is None:
        codebook = known_world.ingest(corpus(folder / "corpus", numbers, seed), store, catalogue)
        catalogue.set_current("codebook", codebook)
    return store, catalogue, codebook


def taken_in(folder: Path, exported: Path, numbers: list[int], seed: int) -> tuple[Store, Catalogue, str]:
    """A store that took in the exported model, and then the library."""
    store = Store(folder / "store")
    catalogue = Catalogue(store.catalogue)
    codebook = catalogue.current("codebook")
    if codebook is None:
        made = corpus(folder / "corpus", numbers, seed)
        import_files(store, catalogue, [made / TOKENS, made / TRANSCRIPTS], ImportOptions(), quiet)
        codebook = import_model(store, catalogue, exported).codebook
        videos = usable(catalogue)
        judges = [v for v in videos if is_judge(v.name)]
        keep_split(store, codebook, lambda: ([v for v in videos if v not in judges], judges))
        encode_videos(store, codebook, videos, quiet)
    return store, catalogue, codebook


def options(given: argparse.Namespace, start: str, most_steps: int) -> PretrainOptions:
    settings = Settings(size="small", seed=given.seed, text_start=NOTHING)
    training = dataclasses.replace(settings.training, most_steps=most_steps, checkpoint_seconds=20.0)
    made = narrow(settings, training, given.layers, given.hidden)
    if start == NOTHING:
        return made
    rate = made.training.learning_rate * given.rate
    return dataclasses.replace(
        made, text_start=start, shape=None, training=dataclasses.replace(made.training, learning_rate=rate)
    )


def until(minutes: float) -> Callable[[int, int, str], None]:
    """A report that ends the process when the time is over; the training has made a checkpoint shortly before."""
    due = time.monotonic() + 60 * minutes

    def report(done: int, of: int, words: str) -> None:
        if done % 50 == 0:
            print(f"step {done} of {of}: {words}", file=sys.stderr, flush=True)
        if time.monotonic() > due and done < of:
            sys.exit(f"stopped at step {done} of {of}; the same command goes on")

    return report


def judged(store: Store, catalogue: Catalogue, codebook: str, name: str, world: Path, judges: int) -> dict:
    """The figures over the first held-out videos."""
    parts = train_and_held_out(store, usable(catalogue), codebook)
    learned, held_out = ([read_material(store, codebook, v) for v in part] for part in parts)
    held_out = sorted(held_out, key=lambda m: m.video.name)[:judges]
    trained = load_trained(store, name, codebook, "cpu")
    best = BestAnswers(read_world(world))
    return {
        n: dataclasses.asdict(f)
        for n, f in evaluate(trained, learned, held_out, None, quiet, best=best).items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--keep", type=Path, required=True, help="folder for stores, models and figures")
    parser.add_argument("--piece", choices=PIECES, required=True)
    parser.add_argument("--others", type=int, default=3000, help="videos that the start has learned from")
    parser.add_argument("--steps", type=int, default=3000, help="steps of the others' model at most")
    parser.add_argument("--minutes", type=float, default=7.0, help="after which a piece stops")
    parser.add_argument("--rate", type=float, default=0.3, help="learning rate of going on, as a share")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--judges", type=int, default=50, help="held-out videos by which all are judged")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    judges = list(range(HELD_OUT))
    others = list(range(HELD_OUT, HELD_OUT + given.others))
    # Far behind the others, so that the library is the same whatever their number.
    library = list(range(100_000, 100_000 + LIBRARY))
    exported = given.keep / f"exported-{given.others}"
    figures = given.keep / f"{given.piece}-{given.others}.json"
    world = given.keep / "library/corpus" / WORLD
    if given.piece == "table":
        print_table(given)
        return
    if given.piece == "others":
        place = opened(given.keep / f"others-{given.others}", judges + others, given.seed)
        start, steps = NOTHING, given.steps
    elif given.piece == "alone":
        place = opened(given.keep / "library", judges + library, given.seed)
        start, steps = NOTHING, given.steps
    else:
        place = taken_in(given.keep / f"taken-{given.others}", exported, judges + library, given.seed)
        start, steps = str(exported), given.steps
        world = given.keep / f"taken-{given.others}/corpus" / WORLD
    store, catalogue, codebook = place
    began = time.process_time()
    if given.piece == "imported":
        name = catalogue.current("next_model")
    else:
        wanted = options(given, start, steps)
        name, folder = pretrain(store, usable(catalogue), codebook, wanted, "cpu", until(given.minutes))
        print(f"{folder.name}, {time.process_time() - began:.0f} CPU s in this call", file=sys.stderr)
    if given.piece == "others":
        catalogue.set_together({"model": name, "model_codebook": codebook})
        if not exported.exists():
            export_model(store, catalogue, exported)
        return
    figures.write_text(json.dumps(judged(store, catalogue, codebook, name, world, given.judges)))


def print_table(given: argparse.Namespace) -> None:
    """Each figure of each arm with its interval, beside chance and limit."""
    arms = {
        arm: json.loads(file.read_text())
        for arm in PIECES[1:-1]
        if (file := given.keep / f"{arm}-{given.others}.json").exists()
    }
    print(f"{'':28}{'chance':>7}" + "".join(f"{arm:>24}" for arm in arms) + f"{'limit':>8}")
    for name in NAMES:
        found = {arm: f[name] for arm, f in arms.items() if name in f}
        if not found:
            continue
        one = next(iter(found.values()))
        cells = "".join(
            f"{f['value']:8.3f} {f['low']:6.3f} – {f['high']:.3f}" if (f := found.get(arm)) else f"{'–':>24}"
            for arm in arms
        )
        limit = next(
            (f[f"{name}_limit"]["value"] for f in arms.values() if f"{name}_limit" in f), float("nan")
        )
        print(f"{name:<28}{one['chance']:7.3f}{cells}{limit:8.3f}")


if __name__ == "__main__":
    main()
