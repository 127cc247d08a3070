"""What options of the joint model give on a store's held-out videos: `python tests/benchmarks/joint_options.py [STORE]`.

`--masked-pairs --only default "600 steps of 80"` compares the two former recipes of the small sizes, figures and CPU seconds; `--only default` is the present one. STORE holds a codebook over the sample corpus, as `make demo` leaves it in `demo-store`; its models are made in a copy. `--only NAME…` takes some of the options, `--seeds 0 1 2` repeats, `--steps N` shortens.

Six held-out videos ask 66 visual tokens, so a seed moves most figures by more than an option does: `--fresh TRUTH` evaluates each
model on videos that came into the store later too (`tests/benchmarks/fresh_kitchen.py`). `--masked-pairs` trains as the
small sizes did until 2026-12-03, alignment asked of masked pairs.
"""

import argparse
import dataclasses
import json
import shutil
import tempfile
import time
from pathlib import Path

from flows.settings import Settings
from multimodal.catalogue import Catalogue
from multimodal.inference.trained import load_trained
from multimodal.library import read_material, usable
from multimodal.scoring.intervals import Figure
from multimodal.scoring.metrics import evaluate
from multimodal.scoring.truth import Truth, read_truth
from multimodal.store import Store
from multimodal.tokens import train_and_held_out
from multimodal.training.options import TEXT_STARTS, PretrainOptions
from multimodal.training.pretraining import pretrain
from multimodal.training.start import text_start

TRUTH = Path(__file__).parents[1] / "samples/truth.json"
OPTIONS = {
    "default": {},
    "subsample 5": {"subsample": 5},
    "in-video negatives 0.25": {"in_video_negative_rate": 0.25},
    "frozen rows": {"visual_rows": "frozen"},
    "from nothing": {"text_start": "none"},
    "no joint cloze": {"weights": "joint=0"},
    "joint and video twice": {"weights": "joint=2,video=2"},
    "joint and video twice, 28 passes": {"weights": "joint=2,video=2"},
    "steps of 28": {},
    "growing batch": {},
    "29 passes": {},
    "no dropout, 29 passes": {},
    "600 steps of 80": {},
    "300 steps of 80": {},
}
TRAINING = {
    "joint and video twice, 28 passes": {"epochs": 28},
    "steps of 28": {"examples_per_step": 28},
    "growing batch": {"growing": 0.5},
    "29 passes": {"epochs": 29, "patience": None},
    "no dropout, 29 passes": {"epochs": 29, "patience": None},
    "600 steps of 80": {"examples_per_step": 80, "least_steps": 600, "most_steps": 600},
    "300 steps of 80": {"examples_per_step": 80, "least_steps": 300, "most_steps": 300},
}
"""Fields of the training's options that no setting sets."""


def without_dropout(folder: Path) -> Path:
    """A copy of the text start whose configuration has no dropout."""
    shutil.copytree(text_start(TEXT_STARTS[0]), folder, dirs_exist_ok=True)
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def figures(
    store: Store, options: PretrainOptions, truths: dict[str, Truth]
) -> tuple[dict[str, dict[str, Figure]], float]:
    """The figures of one model on each part of the videos that has a truth, `held out` or `fresh`, which came later; and the
    CPU seconds of the training."""
    with Catalogue(store.catalogue) as catalogue:
        codebook, videos = catalogue.current("codebook"), usable(catalogue)
    began = time.process_time()
    name, _ = pretrain(store, videos, codebook, options, "cpu", lambda *_: None)
    spent = time.process_time() - began
    learned, held_out = train_and_held_out(store, videos, codebook)
    parts = {"held out": held_out, "fresh": [v for v in videos if v not in learned and v not in held_out]}
    known = [read_material(store, codebook, v) for v in learned]
    trained = load_trained(store, name, codebook, "cpu")
    found = {}
    for part, truth in truths.items():
        judged = [read_material(store, codebook, v) for v in parts[part]]
        found[part] = evaluate(trained, known, judged, truth, lambda *_: None)
    return found, spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path, nargs="?", default=Path(__file__).parents[2] / "demo-store")
    parser.add_argument("--only", nargs="*", choices=OPTIONS, default=list(OPTIONS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--steps", type=int)
    parser.add_argument("--fresh", type=Path, help="truth.json of videos that came later, to evaluate on too")
    parser.add_argument("--masked-pairs", action="store_true", help="alignment is asked of masked pairs")
    given = parser.parse_args()
    truths = {"held out": read_truth(TRUTH)}
    if given.fresh:
        truths["fresh"] = read_truth(given.fresh)
    with tempfile.TemporaryDirectory() as aside:
        copy = Path(aside) / "store"
        shutil.copytree(given.store, copy, ignore=shutil.ignore_patterns("models", "indexes", "evaluations"))
        for seed in given.seeds:
            for name in given.only:
                options = Settings(size="demo", seed=seed, **OPTIONS[name]).pretrain
                changed = TRAINING.get(name, {})
                if given.steps:
                    changed = changed | {"least_steps": given.steps, "most_steps": given.steps}
                training = dataclasses.replace(options.training, **changed)
                options = dataclasses.replace(options, training=training)
                if given.masked_pairs:
                    masked = dataclasses.replace(options.examples, whole_pairs=False)
                    options = dataclasses.replace(options, examples=masked)
                if name.startswith("no dropout"):
                    start = without_dropout(Path(aside) / "no-dropout")
                    options = dataclasses.replace(options, text_start=str(start))
                found, spent = figures(Store(copy), options, truths)
                print(f"{name}, seed {seed}: {spent:.0f} CPU s", flush=True)
                for part, of_part in found.items():
                    shown = (f"{n} {f.value:.3f} ({f.low:.3f} to {f.high:.3f})" for n, f in of_part.items())
                    print(f"  {part}: " + ", ".join(shown), flush=True)


if __name__ == "__main__":
    main()
