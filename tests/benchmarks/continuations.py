"""Whole continuations of a known world: `python tests/benchmarks/continuations.py [SYSTEM…]`.

Draws a world of ``--videos`` to learn from, trains each system as `systems.py` does, reading ``--tokens``, and asks it how
likely it finds what comes in the 12 s after a moment: the sum of log p of each of the 8 clips, given the last clips before
it, as `next --rollout` draws them. Beside it the same by the world itself, from all clips of the video and from the last
five, which the models read. What the world has more, in the mean, is the divergence KL(world ‖ model) of the distributions
of whole continuations, in nats, with its 95 % interval over videos. ``--keep FOLDER``: that of `systems.py`, whose models are asked.
"""

import argparse
from pathlib import Path

import numpy as np
import systems
import torch

from flows.compare import named
from multimodal.answers.counts import Counts
from multimodal.answers.forecast import forecast_probabilities
from multimodal.answers.plain import NGrams
from multimodal.known_world.corpus import WORLD, read_world
from multimodal.known_world.inference import BestAnswers
from multimodal.library import Material, read_material, usable
from multimodal.segments import CONTEXT, HORIZONS
from multimodal.tokens import train_and_held_out

AHEAD = max(HORIZONS)
RESAMPLES = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("systems", nargs="*", default=["videobert", "gpt", "xlnet"])
    parser.add_argument("--videos", type=int, default=300)
    parser.add_argument("--questions", type=int, default=5, help="of each held-out video")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=300_000)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    with systems.kept(given.keep) as (folder, store, catalogue):
        codebook = systems.world_corpus(folder, store, catalogue, given.videos)
        videos, best = usable(catalogue), BestAnswers(read_world(folder / "corpus" / WORLD))
        learned, held_out = (
            [read_material(store, codebook, video) for video in part]
            for part in train_and_held_out(store, videos, codebook)
        )
        asked = questions(held_out, given.questions)
        world = by(lambda contexts: [best.next_tokens(c, [1])[0] for c in contexts], asked)
        found = {"the world, from the last clips": by(
            lambda contexts: [best.next_tokens(c[-CONTEXT:], [1])[0] for c in contexts], asked
        )}  # fmt: skip
        ngrams = NGrams(Counts.of(learned), best.world.visual)
        found["counted n-grams"] = by(
            lambda contexts: [ngrams.probabilities(c, [1], "")[0] for c in contexts], asked
        )
        for name in named(given.systems):
            options = systems.candidate(name, given.layers, given.hidden)
            trained = systems.trained_model(store, videos, codebook, options, given.tokens)
            found[name] = by(
                lambda contexts, trained=trained: (
                    forecast_probabilities(trained, contexts, 1)[:, 0].double().numpy()
                ),
                asked,
            )
    of_video = np.unique([m.video.video for m, _ in asked], return_inverse=True)[1]
    print(f"{len(asked)} continuations of {AHEAD} clips; by the world itself {-world.sum(1).mean():.2f} nats")
    for name, log_p in found.items():
        low, high = interval((world - log_p).sum(1), of_video)
        first = (world - log_p)[:, 0].mean()
        print(
            f"{name}: {(world - log_p).sum(1).mean():.2f} ({low:.2f} to {high:.2f}), first clip {first:.3f}"
        )


def questions(held_out: list[Material], count: int) -> list[tuple[Material, int]]:
    """Moments of each video, so many clips after its beginning, with 12 s after them."""
    random, found = np.random.default_rng(0), []
    for material in held_out:
        places = np.arange(CONTEXT, len(material.tokens) - AHEAD + 1)
        some = random.permutation(places)[:count]
        found += [(material, int(place)) for place in np.sort(some)]
    return found


def by(predict, asked: list[tuple[Material, int]]) -> np.ndarray:  # noqa: ANN001 - contexts to probabilities
    """float64 [questions, 8]: log p of each clip of what came, given those before it."""
    found = np.zeros((len(asked), AHEAD))
    for step in range(AHEAD):
        contexts = [material.tokens[: place + step].tolist() for material, place in asked]
        for row, (p, (material, place)) in enumerate(zip(predict(contexts), asked, strict=True)):
            found[row, step] = np.log(p[material.tokens[place + step]])
    return found


def interval(values: np.ndarray, of_video: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of the mean, by resampling videos."""
    sums, counts = np.bincount(of_video, values), np.bincount(of_video)
    rows = np.random.default_rng(0).integers(len(counts), size=(RESAMPLES, len(counts)))
    low, high = np.quantile(sums[rows].sum(1) / counts[rows].sum(1), (0.025, 0.975))
    return float(low), float(high)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
