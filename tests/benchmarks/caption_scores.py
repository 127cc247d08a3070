"""Caption scores beside pycocoevalcap's (BLEU, ROUGE-L, CIDEr together): CPU seconds, and the greatest difference.

2000 captions of 8 to 14 words with five references each out of 3000 words, one thread, rounds in turn.
``python tests/benchmarks/caption_scores.py``
"""

import statistics
import time

import numpy as np
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from multimodal.scoring.caption_metrics import corpus_scores

CAPTIONS, REFERENCES, ROUNDS = 2000, 5, 3


def theirs(candidates: list[list[str]], references: list[list[list[str]]]) -> dict[str, float]:
    ours = {i: [" ".join(c)] for i, c in enumerate(candidates)}
    people = {i: [" ".join(r) for r in rs] for i, rs in enumerate(references)}
    found = {f"bleu_{n}": s for n, s in enumerate(Bleu(4).compute_score(people, ours, verbose=0)[0], 1)}
    found["rouge_l"] = Rouge().compute_score(people, ours)[0]
    return found | {"cider": Cider().compute_score(people, ours)[0]}


def main() -> None:
    random = np.random.default_rng(0)

    def sentence() -> list[str]:
        words = np.minimum(random.zipf(1.4, int(random.integers(8, 15))), 3000)
        return [f"w{word}" for word in words.tolist()]

    references = [[sentence() for _ in range(REFERENCES)] for _ in range(CAPTIONS)]
    candidates = [[w if random.random() < 0.7 else "other" for w in rs[0]] for rs in references]
    took, found = {theirs: [], corpus_scores: []}, {}
    for _ in range(ROUNDS):
        for score, seconds in took.items():
            began = time.process_time()
            found[score] = score(candidates, references)
            seconds.append(time.process_time() - began)
    seconds = [statistics.median(s) for s in took.values()]
    apart = max(abs(found[theirs][name] - value) for name, value in found[corpus_scores].items())
    print(
        f"pycocoevalcap {seconds[0]:.2f} CPU s, ours {seconds[1]:.2f} CPU s: {seconds[0] / seconds[1]:.2f} times as fast"
    )
    print(f"greatest difference of a score: {apart:.1e}")


if __name__ == "__main__":
    main()
