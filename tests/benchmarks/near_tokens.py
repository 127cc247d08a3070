"""Which share of near tokens to read, by folds of a store's training videos: `python tests/benchmarks/near_tokens.py [STORE]`.

STORE holds a codebook over the sample corpus, as `make demo` leaves it in `demo-store`; its models are made in a copy. Each
fold of the videos that the codebook was fitted on is held out once; those that the store holds out are not looked at. The
codebook is that of all training videos. `--rates 0 0.15 0.3` are tried, `--folds 3`, `--only 0 1` takes some of them.
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
from multimodal.scoring.metrics import evaluate
from multimodal.scoring.truth import read_truth
from multimodal.store import Store
from multimodal.tokens import train_and_held_out
from multimodal.training.pretraining import pretrain

TRUTH = Path(__file__).parents[1] / "samples/truth.json"


def hold_out(store: Store, codebook: str, fold: int, folds: int) -> None:
    """Makes every ``folds``-th of the codebook's videos a held-out one, and forgets those that were."""
    file = store.codebook(codebook) / "codebook.json"
    description = json.loads(file.read_text())
    videos = sorted(description["videos"])
    description["held_out"] = [digest for digest, _ in videos[fold::folds]]
    description["videos"] = [video for n, video in enumerate(videos) if n % folds != fold]
    file.write_text(json.dumps(description))


def figures(store: Store, rate: float, seed: int) -> tuple[dict[str, float], float]:
    """The figures of one model, and the seconds of its training."""
    with Catalogue(store.catalogue) as catalogue:
        codebook, videos = catalogue.current("codebook"), usable(catalogue)
    options = Settings(size="demo", seed=seed, near_rate=rate).pretrain
    began = time.monotonic()
    name, _ = pretrain(store, videos, codebook, options, "cpu", lambda *_: None)
    spent = time.monotonic() - began
    parts = [
        [read_material(store, codebook, v) for v in part]
        for part in train_and_held_out(store, videos, codebook)
    ]
    trained = load_trained(store, name, codebook, "cpu")
    truth = dataclasses.replace(read_truth(TRUTH), held_out=frozenset(m.video.video for m in parts[1]))
    found = evaluate(trained, *parts, truth, lambda *_: None)
    return {figure: f.value for figure, f in found.items()}, spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path, nargs="?", default=Path(__file__).parents[2] / "demo-store")
    parser.add_argument("--rates", nargs="*", type=float, default=[0.0, 0.15, 0.3])
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--only", nargs="*", type=int)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    for fold in range(given.folds) if given.only is None else given.only:
        with tempfile.TemporaryDirectory() as aside:
            copy = Path(aside) / "store"
            shutil.copytree(
                given.store, copy, ignore=shutil.ignore_patterns("models", "indexes", "evaluations")
            )
            with Catalogue(Store(copy).catalogue) as catalogue:
                hold_out(Store(copy), catalogue.current("codebook"), fold, given.folds)
            for rate in given.rates:
                found, spent = figures(Store(copy), rate, given.seed)
                print(json.dumps({"fold": fold, "rate": rate, "seconds": round(spent)} | found), flush=True)


if __name__ == "__main__":
    main()
