"""Names of visual tokens against the truth: how often a token's name holds the action or the thing that it mostly shows.

``python tests/benchmarks/token_names.py TRUTH [STORE]``; without STORE it takes what `make demo` leaves. Chance is the same
count with the sentences shuffled among the moments, the mean of twenty shuffles.
"""

import random
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

from multimodal.answers.token_names import telling_words
from multimodal.catalogue import Catalogue
from multimodal.library import read_material, usable
from multimodal.scoring.truth import read_truth
from multimodal.store import Store
from multimodal.tokens import current_codebook, train_and_held_out
from vision.clips import CLIP_SECONDS

SHUFFLES = 20


def main() -> None:
    if len(sys.argv) < 2:
        print("TRUTH: a truth.json, such as tests/samples/truth.json")
        return
    truth = read_truth(Path(sys.argv[1]))
    store = Store(Path(sys.argv[2] if len(sys.argv) > 2 else "demo-store"), create=False)
    with Catalogue(store.catalogue) as catalogue:
        codebook = current_codebook(store, catalogue)
        train, _ = train_and_held_out(store, usable(catalogue), codebook)
    materials = [read_material(store, codebook, v) for v in train]
    moments = [(s.tokens, s.text) for m in materials for s in m.spoken() if s.tokens]
    shown: dict[int, Counter[str]] = {}
    for m in materials:
        for start, token in zip(m.starts.tolist(), m.tokens.tolist(), strict=True):
            step = truth.at(m.video.video, start, start + CLIP_SECONDS)
            if step is not None:
                shown.setdefault(token, Counter()).update((step.action, step.thing))
    true = {token: {word for word, _ in counts.most_common(2)} for token, counts in shown.items()}

    def counts(names: dict[int, tuple[str, ...]]) -> list[int]:
        words = {token: set(names.get(token, ())) for token in true}
        right = [words[t] & true[t] for t in true]
        return [sum(map(bool, words.values())), sum(map(bool, right)), sum(len(r) == 2 for r in right)]

    began = time.perf_counter()
    named = counts(telling_words(moments))
    seconds = time.perf_counter() - began
    chance = []
    for seed in range(SHUFFLES):
        texts = [text for _, text in moments]
        random.Random(seed).shuffle(texts)
        pairs = zip((tokens for tokens, _ in moments), texts, strict=True)
        chance.append(counts(telling_words(pairs)))
    print(f"{len(moments)} moments of {len(materials)} videos, {len(true)} tokens; {1e3 * seconds:.1f} ms")
    kinds = ("with a name", "whose name holds the action or the thing", "whose name holds both")
    for what, found, by_chance in zip(kinds, named, np.mean(chance, 0), strict=True):
        print(f"tokens {what}: {found}, shuffled {by_chance:.2f}")


if __name__ == "__main__":
    main()
