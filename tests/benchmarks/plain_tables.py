"""Owns the plain baselines of the learning study: what tables of counts find, asked the same questions as the model.

Counts come from the learned videos. Smoothed by ``ALPHA`` a cell. Words are word pieces, as the model reads them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from multimodal.joint.examples import content_places
from multimodal.joint.sequences import sequence
from multimodal.scoring.intervals import Answers
from multimodal.scoring.truth import Truth
from multimodal.segments import Segment
from multimodal.vocabulary import Vocabulary

ALPHA = 0.1
SURPRISE = 6.6
"""A word and a visual token belong together where their log-likelihood ratio is above this: 1 in 100 by chance (Dunning
1993). Without it the words that go with anything drown those that tell."""


class Tables:
    """Which word stands beside which, which visual token beside which, and which are met together in a segment."""

    def __init__(self, vocabulary: Vocabulary, learned: Sequence[Segment]):
        self.vocabulary, self.tokens = vocabulary, vocabulary.visual
        texts = [vocabulary.encode(s.text) for s in learned]
        self.words = sorted({w for text in texts for w in text})
        self.at = {w: i for i, w in enumerate(self.words)}
        ends = len(self.words)
        self.word_W = np.full(ends + 1, ALPHA)
        self.follows_WW = np.full((ends + 1, ends + 1), ALPHA)
        self.token_V = np.full(self.tokens + 1, ALPHA)
        self.follows_VV = np.full((self.tokens + 1, self.tokens + 1), ALPHA)
        self.together_WV = np.zeros((ends, self.tokens))
        for text, segment in zip(texts, learned, strict=True):
            words = [ends, *(self.at[w] for w in text), ends]
            shown = [self.tokens, *segment.tokens, self.tokens]
            np.add.at(self.word_W, words[1:], 1)
            np.add.at(self.follows_WW, (words[:-1], words[1:]), 1)
            np.add.at(self.token_V, shown[1:], 1)
            np.add.at(self.follows_VV, (shown[:-1], shown[1:]), 1)
            for w in set(words[1:-1]):
                self.together_WV[w, list(set(segment.tokens))] += 1
        expected_WV = self.together_WV.sum(1, keepdims=True) * self.together_WV.sum(0, keepdims=True)
        expected_WV /= self.together_WV.sum()
        expected_WV = np.maximum(expected_WV, ALPHA)
        more_WV = np.log(np.maximum(self.together_WV, ALPHA) / expected_WV)
        surprise_WV = 2 * (self.together_WV * more_WV - self.together_WV + expected_WV)
        self.pmi_WV = more_WV
        self.tied_WV = np.where((more_WV > 0) & (surprise_WV > SURPRISE), more_WV, 0.0)

    def word(
        self, text: Sequence[int], place: int, tokens: Sequence[int], among: Sequence[int] | None
    ) -> int:
        """The likeliest word piece at ``place`` by its neighbours and by what is shown (or nothing), of ``among``."""
        ends = len(self.words)
        before = self.at.get(text[place - 1], ends) if place else ends
        after = self.at.get(text[place + 1], ends) if place + 1 < len(text) else ends
        score_W = np.log(self.follows_WW[before, :ends]) + np.log(self.follows_WW[:ends, after])
        score_W = score_W - np.log(self.word_W[:ends])
        if len(tokens):
            score_W = score_W + self.pmi_WV[:, list(set(tokens))].sum(1)
        if among is not None:
            known = [self.at[w] for w in among if w in self.at]
            return self.words[max(known, key=lambda w: score_W[w])]
        return self.words[int(score_W.argmax())]

    def token(self, tokens: Sequence[int], place: int, text: Sequence[int]) -> int:
        """The likeliest visual token at ``place`` by its neighbours in the segment and by what is said (or nothing)."""
        before = tokens[place - 1] if place else self.tokens
        after = tokens[place + 1] if place + 1 < len(tokens) else self.tokens
        score_V = np.log(self.follows_VV[before, : self.tokens]) + np.log(
            self.follows_VV[: self.tokens, after]
        )
        score_V = score_V - np.log(self.token_V[: self.tokens])
        known = [self.at[w] for w in set(text) if w in self.at]
        return int((score_V + self.tied_WV[known].sum(0)).argmax())

    def fit(self, text: str, tokens: Sequence[int]) -> float:
        """How well a text goes with visual tokens: the pointwise mutual information of their pairs that are sure."""
        known = [self.at[w] for w in set(self.vocabulary.encode(text)) if w in self.at]
        return float(self.tied_WV[np.ix_(known, list(set(tokens)))].sum()) if known and len(tokens) else 0.0


def figures(
    vocabulary: Vocabulary,
    learned: Sequence[Segment],
    held_out: Sequence[Segment],
    truth: Truth,
    seed: int = 0,
) -> dict[str, Answers]:
    """The tables' answers on the held-out segments that have words and tokens, named as the model's figures are."""
    tables = Tables(vocabulary, learned)
    found: dict[str, Answers] = {}
    kinds = [[vocabulary.encode(n)[0] for n in names] for names in (truth.actions, truth.things)]
    for s in held_out:
        text = vocabulary.encode(s.text)
        ids, _ = sequence(vocabulary, text, None)
        for place in (p - 1 for p in content_places(vocabulary, ids)):
            among = next((kind for kind in kinds if text[place] in kind), None)
            for other, shown in (("with", s.tokens), ("without", ())):
                right = tables.word(text, place, shown, None) == text[place]
                found.setdefault(f"text_cloze_{other}_video", Answers()).add(s.video, right, 0)
                if among is not None:
                    right = tables.word(text, place, shown, among) == text[place]
                    name = f"action_and_thing_text_cloze_{other}_video"
                    found.setdefault(name, Answers()).add(s.video, right, 1 / len(among))
        for place, token in enumerate(s.tokens):
            for other, said in (("with", text), ("without", ())):
                found.setdefault(f"video_cloze_{other}_text", Answers()).add(
                    s.video, tables.token(s.tokens, place, said) == token, 0
                )
    found["alignment_accuracy"] = _alignment(tables, learned, held_out, seed)
    return found | _search(tables, held_out, truth)


def _pairs(segments: Sequence[Segment], seed: int) -> list[tuple[Segment, Segment]]:
    """Each segment with a stranger of another video that shows other tokens."""
    random, pairs = np.random.default_rng(seed), []
    for s in segments:
        others = [o for o in segments if o.video != s.video and o.tokens != s.tokens]
        if others:
            pairs.append((s, others[int(random.integers(len(others)))]))
    return pairs


def _alignment(tables: Tables, learned: Sequence[Segment], held_out: Sequence[Segment], seed: int) -> Answers:
    """Own or strange by the fit, parted where the learned pairs are best parted."""

    def fits(segments: Sequence[Segment]) -> np.ndarray:
        return np.array(
            [[tables.fit(s.text, s.tokens), tables.fit(s.text, o.tokens)] for s, o in _pairs(segments, seed)]
        )

    known = fits(learned)
    cuts = np.unique(known)
    best = max(cuts, key=lambda cut: (known[:, 0] > cut).mean() + (known[:, 1] <= cut).mean())
    found = Answers()
    for (s, _), (own, other) in zip(_pairs(held_out, seed), fits(held_out), strict=True):
        found.add(s.video, own > best, 0.5)
        found.add(s.video, other <= best, 0.5)
    return found


def _search(tables: Tables, held_out: Sequence[Segment], truth: Truth) -> dict[str, Answers]:
    """Each held-out sentence against the visual tokens of all held-out moments, in the order of the fit."""
    found: dict[str, Answers] = {}
    steps = [truth.at(s.video, s.start, s.end) for s in held_out]
    for i, s in enumerate(held_out):
        order = np.argsort([-tables.fit(s.text, o.tokens) for o in held_out], kind="stable")
        for k in (1, 5, 10):
            found.setdefault(f"search_recall_at_{k}", Answers()).add(
                s.video, i in order[:k], min(1.0, k / len(held_out))
            )
        if steps[i]:
            same = [bool(o) and (o.action, o.thing) == (steps[i].action, steps[i].thing) for o in steps]
            found.setdefault("search_first_10_show_the_same", Answers()).add(
                s.video, np.mean([same[j] for j in order[:10]]), np.mean(same)
            )
    return found
