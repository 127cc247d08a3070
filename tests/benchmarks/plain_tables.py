"""Owns the plain baseline of the learning study: what counts of the learned videos find, asked the same as the model.

It is told which words are actions and which things, and that a sentence names one of each; it reads a moment by naive
Bayes over the two, where a token also counts for those whose centroids lie near its own. The rest are backed-off n-grams (:mod:`ngrams`). Whatever can be set is set on the learned videos.
Words are word pieces, as the model reads them; a sentence is counted with "an action" and "a thing" in place of the two.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from functools import partial

import numpy as np
from ngrams import Chosen, Context, Places, Row, asked, before, choose, choose_ahead, folds, log_p

from multimodal.library import Material
from multimodal.scoring.cloze import PERPLEXITIES, witten_bell
from multimodal.scoring.intervals import Figure, ScoredQuestions
from multimodal.scoring.next_token import figure_name
from multimodal.scoring.ranking import perplexity_figure, precision_at, retrieval_figures, roc_auc
from multimodal.scoring.truth import Truth
from multimodal.segments import HORIZONS, Segment
from multimodal.vocabulary import Vocabulary
from vision.clips import CLIP_SECONDS

LENGTHS = (1, 2, 3, 4)
WIDTHS = (0.0, 0.5, 1.0, 2.0, 4.0)
ALPHA = 0.01
LONGEST_STEP = 4
ACTION, THING = 0, 1


def paired(materials: Sequence[Material]) -> list[Segment]:
    return [s for m in materials for s in m.spoken() if s.text and s.tokens]


def nearest(learned: Sequence[Segment], s: Segment) -> Segment:
    """The learned moment that shares the largest part of its tokens with this one (Jaccard); of equals the first."""
    shown = set(s.tokens)
    return max(learned, key=lambda o: len(shown.intersection(o.tokens)) / len(shown.union(o.tokens)))


class Names:
    """Which action and which thing sentences name and moments show. Kinds stand in the order ACTION, THING."""

    def __init__(self, vocabulary: Vocabulary, truth: Truth):
        self.vocabulary = vocabulary
        self.kinds = [[vocabulary.encode(n)[0] for n in names] for names in (truth.actions, truth.things)]
        self.of = {word: (kind, i) for kind, words in enumerate(self.kinds) for i, word in enumerate(words)}

    def named(self, text: str) -> dict[int, int]:
        """Kind -> number of its name in the sentence."""
        return dict(self.of[w] for w in self.vocabulary.encode(text) if w in self.of)

    def row(self, s: Segment) -> Row:
        """The segment's tokens, with what its sentence names: thing, action, and both."""
        named = self.named(s.text)
        about = [(str(kind), named[kind]) for kind in (THING, ACTION) if kind in named]
        return Row(s.tokens, (*about, tuple(v for a in about for v in a)) if len(about) > 1 else tuple(about))


class Shown:
    """Naive Bayes: which name a moment's tokens go with, of each kind by itself, all names being equally likely before.

    ``near_VV``: how much a token counts for each other (:func:`near`).
    """

    def __init__(self, names: Names, learned: Sequence[Segment], near_VV: np.ndarray):
        self.names = names
        shown = [np.zeros((len(words), names.vocabulary.visual)) for words in names.kinds]
        for s in learned:
            for kind, i in names.named(s.text).items():
                np.add.at(shown[kind][i], list(s.tokens), 1)
        self._log_p_KNV = []
        for counts_NV in shown:
            near_NV = counts_NV @ near_VV + ALPHA
            self._log_p_KNV.append(np.log(near_NV / near_NV.sum(1, keepdims=True)))

        self._likeliest_KV = [log_p_NV.argmax(0) for log_p_NV in self._log_p_KNV]

    def pair(self, token: int) -> tuple[int, ...]:
        """The likeliest action and thing of one token."""
        return tuple(int(likeliest_V[token]) for likeliest_V in self._likeliest_KV)

    def log_p(self, tokens: Sequence[int]) -> list[np.ndarray]:
        """For each kind log p of its names [names] given the tokens, or given none."""
        found = []
        for log_p_NV in self._log_p_KNV:
            score_N = log_p_NV[:, list(tokens)].sum(1)
            score_N -= score_N.max()
            found.append(score_N - np.log(np.exp(score_N).sum()))
        return found

    def fits(self, texts: Sequence[str], moments: Sequence[Sequence[int]]) -> np.ndarray:
        """float64 [texts, moments]: log p of what the sentence names given the tokens."""
        log_p_MK = [self.log_p(tokens) for tokens in moments]
        named = [self.names.named(text) for text in texts]
        return np.array([[sum(p[kind][i] for kind, i in n.items()) for p in log_p_MK] for n in named])


def near(centroids_VD: np.ndarray, width: float) -> np.ndarray:
    """float64 [V, V]: exp(-distance² / (``width`` × that of nearest neighbours)); of width 0 each counts for itself alone."""
    if not width:
        return np.eye(len(centroids_VD))
    squares_V = (centroids_VD**2).sum(1)
    distance_VV = np.maximum(squares_V[:, None] + squares_V - 2 * centroids_VD @ centroids_VD.T, 0)
    np.fill_diagonal(distance_VV, np.inf)
    usual = distance_VV.min(1).mean()
    np.fill_diagonal(distance_VV, 0)
    return np.exp(-distance_VV / (width * usual))


def choose_shown(names: Names, learned: Sequence[Material], centroids_VD: np.ndarray) -> tuple[Shown, float]:
    """Naive Bayes with the width that is likeliest on the folds, and the least fit of a pair that belongs together."""
    found: dict[float, tuple[float, np.ndarray]] = {}
    for width in WIDTHS:
        near_VV = near(centroids_VD, width)
        pairs = np.concatenate(
            [
                _own_and_strange(Shown(names, paired(counted), near_VV), paired(held), 0)
                for counted, held in folds(learned)
            ]
        )
        found[width] = float(pairs[:, 0].mean()), pairs
    best = max(found, key=lambda width: found[width][0])
    pairs = found[best][1]
    cut = max(np.unique(pairs), key=lambda cut: (pairs[:, 0] > cut).mean() + (pairs[:, 1] <= cut).mean())
    return Shown(names, paired(learned), near(centroids_VD, best)), float(cut)


def _own_and_strange(shown: Shown, segments: Sequence[Segment], seed: int) -> np.ndarray:
    """float64 [N, 2]: the fit of each sentence to its own tokens and to a stranger's, drawn as for the model."""
    random, pairs = np.random.default_rng(seed), []
    for s in segments:
        others = [o for o in segments if o.video != s.video and o.tokens != s.tokens]
        pairs.append(shown.fits([s.text], [s.tokens, others[int(random.integers(len(others)))].tokens])[0])
    return np.array(pairs)


def figures(
    vocabulary: Vocabulary,
    centroids_VD: np.ndarray,
    learned: Sequence[Material],
    held_out: Sequence[Material],
    truth: Truth,
    seed: int = 0,
) -> tuple[dict[str, Figure], Shown]:
    """The answers on the held-out videos, named as the model's figures are, and the naive Bayes that gave some."""
    names = Names(vocabulary, truth)
    shown, cut = choose_shown(names, learned, centroids_VD)
    segments = paired(held_out)
    found = _tokens(names, learned, segments, seed) | _words(names, shown, learned, segments, seed)
    fits = _own_and_strange(shown, segments, seed)
    videos = [s.video for s in segments]
    right = ScoredQuestions([float(r) for own, other in fits for r in (own > cut, other <= cut)],
                    [v for v in videos for _ in range(2)], [0.5] * fits.size)  # fmt: skip
    found["alignment_accuracy"] = right.figure(seed)
    found["alignment_auc"] = roc_auc(fits[:, 0], fits[:, 1], videos, videos, seed)
    found |= _search(shown, segments, truth, seed) | _classes(shown, held_out, truth, seed)
    return found | _next(shown, learned, held_out, seed), shown


def _tokens(
    names: Names, learned: Sequence[Material], segments: Sequence[Segment], seed: int
) -> dict[str, Figure]:
    """Each visual token covered alone."""
    choices = names.vocabulary.visual
    videos = [[names.row(s) for s in paired([m])] for m in learned]
    rows, about = [names.row(s) for s in segments], [s.video for s in segments for _ in s.tokens]
    counts = Counter(t for m in learned for s in paired([m]) for t in s.tokens)
    usual, most = witten_bell(counts, choices), max(counts, key=counts.get)
    found = {}
    for other, both in choose(choices, videos, LENGTHS).items():
        answered, likely = (
            (log_p(parts_N3V, chosen), right_N)
            for chosen in both
            for parts_N3V, right_N in [asked(_counted(choices, videos, chosen), rows)]
        )
        kind = f"video_cloze_{other}_text"
        right = (answered[0].argmax(1) == answered[1]).tolist()
        found[kind] = ScoredQuestions(right, about, (answered[1] == most).tolist()).figure(seed)
        log_p_N = likely[0][np.arange(len(right)), likely[1]].tolist()
        chance = [float(np.log(usual(t))) for t in likely[1].tolist()]
        found[f"cloze_perplexity_{PERPLEXITIES[kind]}"] = perplexity_figure(
            log_p_N, chance, about, choices, seed
        )
    return found


def _counted(choices: int, videos: Sequence[Sequence[Row]], chosen: Chosen) -> Places:
    return Places(choices, [r for rows in videos for r in rows], chosen.length, chosen.discount)


def _words(
    names: Names, shown: Shown, learned: Sequence[Material], segments: Sequence[Segment], seed: int
) -> dict[str, Figure]:
    """Each word covered alone: which word or kind of name its neighbours call for, and which name by what is shown."""
    vocabulary = names.vocabulary
    texts = [[vocabulary.encode(s.text) for s in paired([m])] for m in learned]
    number = {
        w: i + 2 for i, w in enumerate(sorted({w for t in texts for x in t for w in x} - set(names.of)))
    }
    choices = len(number) + 3  # the kinds before them, after them whatever was never met
    never = len(vocabulary.words) - len(number)

    def row(text: Sequence[int]) -> Row:
        return Row(tuple(names.of[w][0] if w in names.of else number.get(w, choices - 1) for w in text))

    videos = [[row(text) for text in video] for video in texts]
    counts = Counter(w for t in texts for x in t for w in x)
    usual, most = witten_bell(counts, len(vocabulary.words)), max(counts, key=counts.get)
    most_named = max(names.of, key=lambda w: counts[w])
    found: dict[str, ScoredQuestions] = {}
    surprise: dict[str, list[tuple[float, float, str]]] = {}
    for measure, chosen in zip(("right", "log_p"), choose(choices, videos, LENGTHS)["without"], strict=True):
        places = _counted(choices, videos, chosen)
        for s in segments:
            text = vocabulary.encode(s.text)
            for other, tokens in (("with", s.tokens), ("without", ())):
                of_names, kind = shown.log_p(tokens), f"text_cloze_{other}_video"
                for log_p_V, symbol, word in zip(
                    log_p(asked(places, [row(text)])[0], chosen), row(text).symbols, text, strict=True
                ):
                    if measure == "log_p":
                        more = of_names[symbol][names.of[word][1]] if word in names.of else 0.0
                        more = -np.log(never) if symbol == choices - 1 else more
                        at = (float(log_p_V[symbol] + more), float(np.log(usual(word))), s.video)
                        surprise.setdefault(kind, []).append(at)
                        continue
                    log_p_V = log_p_V + np.pad([p.max() for p in of_names], (0, choices - 2))
                    right = log_p_V.argmax() == symbol < choices - 1
                    if word in names.of:
                        right &= of_names[symbol].argmax() == names.of[word][1]
                        answers = found.setdefault(f"action_and_thing_{kind}", ScoredQuestions())
                        answers.add(s.video, right, word == most_named)
                    found.setdefault(kind, ScoredQuestions()).add(s.video, right, word == most)
    made = {name: answers.figure(seed) for name, answers in found.items()}
    for kind, at in surprise.items():
        ours, theirs, about = zip(*at, strict=True)
        made[f"cloze_perplexity_{PERPLEXITIES[kind]}"] = perplexity_figure(
            ours, theirs, about, len(vocabulary.words), seed
        )
    return made


def _search(shown: Shown, segments: Sequence[Segment], truth: Truth, seed: int) -> dict[str, Figure]:
    """Each held-out sentence against the visual tokens of all held-out moments."""
    fits_NN = shown.fits([s.text for s in segments], [s.tokens for s in segments])
    videos = [s.video for s in segments]
    found = retrieval_figures("search", fits_NN, np.eye(len(segments), dtype=bool), videos, seed)
    steps = [truth.at(s.video, s.start, s.end) for s in segments]
    same = np.array([[(a.action, a.thing) == (b.action, b.thing) for b in steps] for a in steps])
    shares = ScoredQuestions(precision_at(fits_NN, same, 10).tolist(), videos, same.mean(1).tolist())
    return found | {"search_first_10_show_the_same": shares.figure(seed)}


def _classes(shown: Shown, held_out: Sequence[Material], truth: Truth, seed: int) -> dict[str, Figure]:
    """The likeliest verb and noun of each step by the tokens that it shows, and by none."""
    found: dict[str, ScoredQuestions] = {}
    for m in held_out:
        middle = m.starts + CLIP_SECONDS / 2
        for step in truth.steps[m.video.video]:
            tokens = m.tokens[(middle >= step.start) & (middle < step.end)].tolist()
            for suffix, given in (("", tokens), ("_without_video", ())):
                verb, noun = (int(p.argmax()) for p in shown.log_p(given))
                for kind, right, of in (("verb", truth.actions[verb] == step.action, truth.actions),
                                        ("noun", truth.things[noun] == step.thing, truth.things)):  # fmt: skip
                    answers = found.setdefault(f"{kind}_zero_shot{suffix}", ScoredQuestions())
                    answers.add(m.video.video, right, 1 / len(of))
    return {name: answers.figure(seed) for name, answers in found.items()}


def _steps(shown: Shown, most: int, run: Sequence[int], now: int) -> list[Context]:
    """The pair of names that the last token shows, how many clips it has been shown, and the token; ``most`` of these."""
    pairs = [shown.pair(token) for token in run[max(0, now - LONGEST_STEP) : now]]
    since = sum(1 for _ in itertools.takewhile(lambda pair: pair == pairs[-1], reversed(pairs)))
    known = ("pair", *pairs[-1], since, run[now - 1])
    return [known[:3], known[:4], known][:most]


def _next(
    shown: Shown, learned: Sequence[Material], held_out: Sequence[Material], seed: int
) -> dict[str, Figure]:
    """What comes next at each horizon, from the clips up to it alone: by their tokens, or by the step that they show."""
    choices, runs = shown.names.vocabulary.visual, [m.tokens.tolist() for m in learned]
    counts = Counter(t for run in runs for t in run)
    most, found = max(counts, key=counts.get), {}
    readings = [partial(before, length=length) for length in LENGTHS]
    readings += [partial(_steps, shown, n) for n in (2, 3)]
    asked_runs = [m.tokens.tolist() for m in held_out]
    for ahead in HORIZONS:
        answers = ScoredQuestions()
        right = choose_ahead(choices, runs, ahead, readings).right(asked_runs)
        for m, run, some in zip(held_out, asked_runs, right, strict=True):
            for yes, comes in zip(some, run[ahead:], strict=True):
                answers.add(m.video.video, yes, comes == most)
        found[figure_name(ahead)] = answers.figure(seed)
    return found
