"""Next-token figures: the visual token of a coming clip at each horizon, against the most frequent one and a bigram table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from multimodal.answers.forecast import horizon_probabilities
from multimodal.inference.trained import Trained
from multimodal.library import Material
from multimodal.scoring.intervals import Figure, ScoredQuestions, sample_questions
from multimodal.segments import HORIZONS
from vision.clips import CLIP_SECONDS

BATCH = 128


def figure_name(horizon: int) -> str:
    """``next_token`` for the very next clip, ``next_token_at_3_s`` … for those further ahead."""
    return "next_token" if horizon == 1 else f"next_token_at_{horizon * CLIP_SECONDS:g}_s"


class BigramTable:
    """The most frequent token ``ahead`` clips after each token in some videos; of equals the first that occurs.

    A token that occurs in none of them is followed by ``default``.
    """

    def __init__(self, materials: Sequence[Material], ahead: int, default: int):
        following: dict[int, Counter[int]] = {}
        for m in materials:
            tokens = m.tokens.tolist()
            for a, b in zip(tokens, tokens[ahead:], strict=False):
                following.setdefault(a, Counter())[b] += 1
        self._likeliest = {a: counts.most_common(1)[0][0] for a, counts in following.items()}
        self._default = default

    def __call__(self, token: int) -> int:
        return self._likeliest.get(token, self._default)


def next_token_figures(
    trained: Trained, train_videos: Sequence[Material], held_out: Sequence[Material], seed: int = 0
) -> dict[str, Figure]:
    """``next_token…`` and ``next_token…_bigram_table``: accuracy of the likeliest token at each horizon.

    A question is a clip of a held-out video, with the clips up to it as the context, as in ``videobert next``. Chance is
    the most frequent token of ``train_videos``. Of many clips a sample is asked.
    """
    frequent = Counter(int(t) for m in train_videos for t in m.tokens).most_common(1)
    default = frequent[0][0] if frequent else -1
    tables = {h: BigramTable(train_videos, h, default) for h in HORIZONS}
    clips, note = sample_questions([(m, i) for m in held_out for i in range(1, len(m.tokens))], seed)
    found: dict[str, ScoredQuestions] = {}
    for first in range(0, len(clips), BATCH):
        batch = clips[first : first + BATCH]
        contexts = [m.tokens[:i].tolist() for m, i in batch]
        guesses = horizon_probabilities(trained, contexts).argmax(-1).tolist()
        for (m, i), context, guess in zip(batch, contexts, guesses, strict=True):
            for n, h in enumerate(HORIZONS):
                if i + h > len(m.tokens):
                    break
                token, video = int(m.tokens[i + h - 1]), m.video.video
                chance, name = token == default, figure_name(h)
                found.setdefault(name, ScoredQuestions()).add(video, guess[n] == token, chance)
                found.setdefault(f"{name}_bigram_table", ScoredQuestions()).add(
                    video, tables[h](context[-1]) == token, chance
                )
    return {name: questions.figure(seed, note) for name, questions in found.items()}
