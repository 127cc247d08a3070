"""Owns the questions of what comes next, at each horizon, against the most frequent token and a table of transitions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from multimodal.answers.forecast import horizon_probabilities
from multimodal.inference.trained import Trained
from multimodal.library import Material
from multimodal.scoring.intervals import Answers, Figure
from multimodal.segments import HORIZONS
from vision.clips import CLIP_SECONDS

BATCH = 128


def name_of(horizon: int) -> str:
    """``next_token`` for the very next clip, ``next_token_at_3_s`` … for those further ahead."""
    return "next_token" if horizon == 1 else f"next_token_at_{horizon * CLIP_SECONDS:g}_s"


class Transitions:
    """Which token most often follows which, ``ahead`` clips later, in some videos; of equals the one first met."""

    def __init__(self, materials: Sequence[Material], ahead: int, otherwise: int):
        follow: dict[int, Counter[int]] = {}
        for m in materials:
            tokens = m.tokens.tolist()
            for a, b in zip(tokens, tokens[ahead:], strict=False):
                follow.setdefault(a, Counter())[b] += 1
        self._likeliest = {a: counts.most_common(1)[0][0] for a, counts in follow.items()}
        self._otherwise = otherwise

    def __call__(self, token: int) -> int:
        return self._likeliest.get(token, self._otherwise)


def forecasts(
    trained: Trained, learned: Sequence[Material], held_out: Sequence[Material], seed: int = 0
) -> dict[str, Figure]:
    """``next_token…`` and ``next_token…_bigram_table``: the likeliest token is the one that comes, at each horizon.

    Asked at every clip of the held-out videos, from the clips up to it alone, just as `next` asks. Chance is always saying what is most frequent in ``learned``.
    """
    usual = Counter(int(t) for m in learned for t in m.tokens).most_common(1)
    otherwise = usual[0][0] if usual else -1
    tables = {h: Transitions(learned, h, otherwise) for h in HORIZONS}
    asked = [(m, i) for m in held_out for i in range(1, len(m.tokens))]
    found: dict[str, Answers] = {}
    for first in range(0, len(asked), BATCH):
        some = asked[first : first + BATCH]
        contexts = [m.tokens[:i].tolist() for m, i in some]
        guesses = horizon_probabilities(trained, contexts).argmax(-1).tolist()
        for (m, i), context, guess in zip(some, contexts, guesses, strict=True):
            for n, h in enumerate(HORIZONS):
                if i + h > len(m.tokens):
                    break
                comes, video = int(m.tokens[i + h - 1]), m.video.video
                chance = comes == otherwise
                found.setdefault(name_of(h), Answers()).add(video, guess[n] == comes, chance)
                found.setdefault(f"{name_of(h)}_bigram_table", Answers()).add(
                    video, tables[h](context[-1]) == comes, chance
                )
    return {name: answers.figure(seed) for name, answers in found.items()}
