"""Accuracy of the next tokens on held-out videos by the number of clips masked at once, beside counted n-grams.

`next` masks the clips up to a horizon; here each is also asked with the 8 coming clips masked together.
``python tests/benchmarks/forecast_masks.py [STORE]``; without STORE it takes what `make demo` leaves.
"""

import sys
from pathlib import Path

from multimodal.answers.counts import Counts
from multimodal.answers.forecast import forecast_probabilities
from multimodal.answers.plain import NGrams
from multimodal.answers.session import open_trained
from multimodal.catalogue import Catalogue
from multimodal.inference.trained import Trained
from multimodal.library import Material, read_material, usable
from multimodal.segments import HORIZONS
from multimodal.store import Store
from multimodal.tokens import train_and_held_out
from vision.clips import CLIP_SECONDS


def accuracy(trained: Trained, questions: list[tuple[Material, int]], horizon: int, masked: int) -> float:
    guesses = forecast_probabilities(trained, [m.tokens[:i].tolist() for m, i in questions], masked)[
        :, horizon - 1
    ].argmax(-1)
    right = [g == m.tokens[i + horizon - 1] for g, (m, i) in zip(guesses.tolist(), questions, strict=True)]
    return sum(right) / len(right)


def main() -> None:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[2] / "demo-store")
    if not root.is_dir():
        print(f"{root}: no store; run `make demo`, or name one")
        return
    store = Store(root, create=False)
    with Catalogue(store.catalogue) as catalogue:
        trained, videos = open_trained(store, catalogue, "cpu"), usable(catalogue)
        split = train_and_held_out(store, videos, trained.codebook)
        train_videos, held_out = ([read_material(store, trained.codebook, v) for v in part] for part in split)
    ngrams = NGrams(Counts.of(train_videos), trained.vocabulary.visual)
    print(f"{'ahead':>6}{'8 masked':>10}{'own masked':>12}{'table':>8}{'n':>6}")
    for h in HORIZONS:
        questions = [(m, i) for m in held_out for i in range(1, len(m.tokens)) if i + h <= len(m.tokens)]
        right = [
            ngrams.probabilities(m.tokens[:i].tolist(), [h])[0].argmax() == m.tokens[i + h - 1]
            for m, i in questions
        ]
        by_table = sum(right) / len(right)
        shares = [accuracy(trained, questions, h, masked) for masked in (max(HORIZONS), h)]
        print(f"{h * CLIP_SECONDS:5.1f}s{shares[0]:10.3f}{shares[1]:12.3f}{by_table:8.3f}{len(questions):6d}")


if __name__ == "__main__":
    main()
