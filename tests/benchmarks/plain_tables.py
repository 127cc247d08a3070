"""The plain baseline of the learning study: the model's questions answered by counts over the training videos.

It is told which words are actions and which things, and that a sentence names one of each. A moment is classified by naive
Bayes over the two, where a token also counts for those whose centroids are near its own. The rest are n-grams with backoff
(:mod:`ngrams`). All hyperparameters are chosen on the training videos. Words are word pieces, as the model reads them; a
sentence is counted with "an action" and "a thing" in place of the two.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from functools import partial

import numpy as np
from ngrams import Chosen, Context, Places, Row, before, choose, choose_ahead, folds, log_p, parts_of

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


def nearest(train: Sequence[Segment], s: Segment) -> Segment:
    """The training moment with the largest Jaccard similarity of its tokens to this one's; of equals the first."""
    tokens = set(s.tokens)
    return max(train, key=lambda o: len(tokens.intersection(o.tokens)) / len(tokens.union(o.tokens)))


class Names:
    """The names of actions and things in sentences. Kinds are in the order ACTION, THING."""

    def __init__(self, vocabulary: Vocabulary, truth: Truth):
        self.vocabulary = vocabulary
        self.kinds = [[vocabulary.encode(n)[0] for n in names] for names in (truth.actions, truth.things)]
        self.of = {word: (kind, i) for kind, words in enumerate(self.kinds) for i, word in enumerate(words)}

    def named(self, text: str) -> dict[int, int]:
        """Kind -> the number of its name in the sentence."""
        return dict(self.of[w] for w in self.vocabulary.encode(text) if w in self.of)

    def row(self, s: Segment) -> Row:
        """The segment's tokens, with the names in its sentence as contexts: thing, action, and both."""
        named = self.named(s.text)
        about = [(str(kind), named[kind]) for kind in (THING, ACTION) if kind in named]
        return Row(s.tokens, (*about, tuple(v for a in about for v in a)) if len(about) > 1 else tuple(about))


class NaiveBayes:
    """Naive Bayes with a uniform prior: the names of each kind given a moment's tokens.

    ``kernel_VV``: how much a token counts for each other (:func:`kernel`).
    """

    def __init__(self, names: Names, train: Sequence[Segment], kernel_VV: np.ndarray):
        self.names = names
        counts = [np.zeros((len(words), names.vocabulary.visual)) for words in names.kinds]
        for s in train:
            for kind, i in names.named(s.text).items():
                np.add.at(counts[kind][i], list(s.tokens), 1)
        self._log_p_KNV = []
        for counts_NV in counts:
            smoothed_NV = counts_NV @ kernel_VV + ALPHA
            self._log_p_KNV.append(np.log(smoothed_NV / smoothed_NV.sum(1, keepdims=True)))

        self._likeliest_KV = [log_p_NV.argmax(0) for log_p_NV in self._log_p_KNV]

    def pair(self, token: int) -> tuple[int, ...]:
        """The likeliest action and thing of one token."""
        return tuple(int(likeliest_V[token]) for likeliest_V in self._likeliest_KV)

    def log_p(self, tokens: Sequence[int]) -> list[np.ndarray]:
        """For each kind log p of its names [names] given the tokens, which may be none."""
        found = []
        for log_p_NV in self._log_p_KNV:
            score_N = log_p_NV[:, list(tokens)].sum(1)
            score_N -= score_N.max()
            found.append(score_N - np.log(np.exp(score_N).sum()))
        return found

    def fits(self, texts: Sequence[str], moments: Sequence[Sequence[int]]) -> np.ndarray:
        """float64 [texts, moments]: log p of the names in the sentence given the tokens."""
        log_p_MK = [self.log_p(tokens) for tokens in moments]
        named = [self.names.named(text) for text in texts]
        return np.array([[sum(p[kind][i] for kind, i in n.items()) for p in log_p_MK] for n in named])


def kernel(centroids_VD: np.ndarray, width: float) -> np.ndarray:
    """float64 [V, V]: exp(-distance² / (``width`` × that of nearest neighbours)); of width 0 each counts for itself alone."""
    if not width:
        return np.eye(len(centroids_VD))
    squares_V = (centroids_VD**2).sum(1)
    distance_VV = np.maximum(squares_V[:, None] + squares_V - 2 * centroids_VD @ centroids_VD.T, 0)
    np.fill_diagonal(distance_VV, np.inf)
    usual = distance_VV.min(1).mean()
    np.fill_diagonal(distance_VV, 0)
    return np.exp(-distance_VV / (width * usual))


def choose_bayes(
    names: Names, train_videos: Sequence[Material], centroids_VD: np.ndarray
) -> tuple[NaiveBayes, float]:
    """Naive Bayes with the likeliest width on the folds, and the threshold on the fit of positive pairs."""
    found: dict[float, tuple[float, np.ndarray]] = {}
    for width in WIDTHS:
        kernel_VV = kernel(centroids_VD, width)
        pairs = np.concatenate(
            [
                _positive_and_negative(NaiveBayes(names, paired(counted), kernel_VV), paired(held), 0)
                for counted, held in folds(train_videos)
            ]
        )
        found[width] = float(pairs[:, 0].mean()), pairs
    best = max(found, key=lambda width: found[width][0])
    pairs = found[best][1]
    cut = max(np.unique(pairs), key=lambda cut: (pairs[:, 0] > cut).mean() + (pairs[:, 1] <= cut).mean())
    return NaiveBayes(names, paired(train_videos), kernel(centroids_VD, best)), float(cut)


def _positive_and_negative(bayes: NaiveBayes, segments: Sequence[Segment], seed: int) -> np.ndarray:
    """float64 [N, 2]: the fit of each sentence to its own tokens and to those of a negative, drawn as for the model."""
    random, pairs = np.random.default_rng(seed), []
    for s in segments:
        others = [o for o in segments if o.video != s.video and o.tokens != s.tokens]
        pairs.append(bayes.fits([s.text], [s.tokens, others[int(random.integers(len(others)))].tokens])[0])
    return np.array(pairs)


def figures(
    vocabulary: Vocabulary,
    centroids_VD: np.ndarray,
    train_videos: Sequence[Material],
    held_out: Sequence[Material],
    truth: Truth,
    seed: int = 0,
) -> tuple[dict[str, Figure], NaiveBayes]:
    """The figures on the held-out videos, named as the model's, and the naive Bayes of some of them."""
    names = Names(vocabulary, truth)
    bayes, cut = choose_bayes(names, train_videos, centroids_VD)
    segments = paired(held_out)
    found = _tokens(names, train_videos, segments, seed) | _words(names, bayes, train_videos, segments, seed)
    fits = _positive_and_negative(bayes, segments, seed)
    videos = [s.video for s in segments]
    right = ScoredQuestions([float(r) for own, other in fits for r in (own > cut, other <= cut)],
                    [v for v in videos for _ in range(2)], [0.5] * fits.size)  # fmt: skip
    found["alignment_accuracy"] = right.figure(seed)
    found["alignment_auc"] = roc_auc(fits[:, 0], fits[:, 1], videos, videos, seed)
    found |= _search(bayes, segments, truth, seed) | _classes(bayes, held_out, truth, seed)
    return found | _next(bayes, train_videos, held_out, seed), bayes


def _tokens(
    names: Names, train_videos: Sequence[Material], segments: Sequence[Segment], seed: int
) -> dict[str, Figure]:
    """Cloze of each visual token."""
    choices = names.vocabulary.visual
    videos = [[names.row(s) for s in paired([m])] for m in train_videos]
    rows, about = [names.row(s) for s in segments], [s.video for s in segments for _ in s.tokens]
    counts = Counter(t for m in train_videos for s in paired([m]) for t in s.tokens)
    usual, most = witten_bell(counts, choices), max(counts, key=counts.get)
    found = {}
    for other, both in choose(choices, videos, LENGTHS).items():
        answered, likely = (
            (log_p(parts_N3V, chosen), right_N)
            for chosen in both
            for parts_N3V, right_N in [parts_of(_counted(choices, videos, chosen), rows)]
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
    names: Names, bayes: NaiveBayes, train_videos: Sequence[Material], segments: Sequence[Segment], seed: int
) -> dict[str, Figure]:
    """Cloze of each word: the word or kind of name by its neighbours, the name by the visual tokens."""
    vocabulary = names.vocabulary
    texts = [[vocabulary.encode(s.text) for s in paired([m])] for m in train_videos]
    number = {
        w: i + 2 for i, w in enumerate(sorted({w for t in texts for x in t for w in x} - set(names.of)))
    }
    choices = len(number) + 3  # the two kinds before them, after them all unseen words
    never = len(vocabulary.words) - len(number)

    def row(text: Sequence[int]) -> Row:
        return Row(tuple(names.of[w][0] if w in names.of else number.get(w, choices - 1) for w in text))

    videos = [[row(text) for text in video] for video in texts]
    counts = Counter(w for t in texts for x in t for w in x)
    usual, most = witten_bell(counts, len(vocabulary.words)), max(counts, key=counts.get)
    most_named = max(names.of, key=lambda w: counts[w])
    found: dict[str, ScoredQuestions] = {}
    log_ps: dict[str, list[tuple[float, float, str]]] = {}
    for measure, chosen in zip(("right", "log_p"), choose(choices, videos, LENGTHS)["without"], strict=True):
        places = _counted(choices, videos, chosen)
        for s in segments:
            text = vocabulary.encode(s.text)
            for other, tokens in (("with", s.tokens), ("without", ())):
                of_names, kind = bayes.log_p(tokens), f"text_cloze_{other}_video"
                for log_p_V, symbol, word in zip(
                    log_p(parts_of(places, [row(text)])[0], chosen), row(text).symbols, text, strict=True
                ):
                    if measure == "log_p":
                        more = of_names[symbol][names.of[word][1]] if word in names.of else 0.0
                        more = -np.log(never) if symbol == choices - 1 else more
                        at = (float(log_p_V[symbol] + more), float(np.log(usual(word))), s.video)
                        log_ps.setdefault(kind, []).append(at)
                        continue
                    log_p_V = log_p_V + np.pad([p.max() for p in of_names], (0, choices - 2))
                    right = log_p_V.argmax() == symbol < choices - 1
                    if word in names.of:
                        right &= of_names[symbol].argmax() == names.of[word][1]
                        answers = found.setdefault(f"action_and_thing_{kind}", ScoredQuestions())
                        answers.add(s.video, right, word == most_named)
                    found.setdefault(kind, ScoredQuestions()).add(s.video, right, word == most)
    made = {name: answers.figure(seed) for name, answers in found.items()}
    for kind, at in log_ps.items():
        ours, theirs, about = zip(*at, strict=True)
        made[f"cloze_perplexity_{PERPLEXITIES[kind]}"] = perplexity_figure(
            ours, theirs, about, len(vocabulary.words), seed
        )
    return made


def _search(bayes: NaiveBayes, segments: Sequence[Segment], truth: Truth, seed: int) -> dict[str, Figure]:
    """Search of each held-out sentence among the visual tokens of all held-out moments."""
    fits_NN = bayes.fits([s.text for s in segments], [s.tokens for s in segments])
    videos = [s.video for s in segments]
    found = retrieval_figures("search", fits_NN, np.eye(len(segments), dtype=bool), videos, seed)
    steps = [truth.at(s.video, s.start, s.end) for s in segments]
    same = np.array([[(a.action, a.thing) == (b.action, b.thing) for b in steps] for a in steps])
    shares = ScoredQuestions(precision_at(fits_NN, same, 10).tolist(), videos, same.mean(1).tolist())
    return found | {"search_first_10_show_the_same": shares.figure(seed)}


def _classes(bayes: NaiveBayes, held_out: Sequence[Material], truth: Truth, seed: int) -> dict[str, Figure]:
    """Zero-shot classification of each step, by its tokens and by none."""
    found: dict[str, ScoredQuestions] = {}
    for m in held_out:
        middle = m.starts + CLIP_SECONDS / 2
        for step in truth.steps[m.video.video]:
            tokens = m.tokens[(middle >= step.start) & (middle < step.end)].tolist()
            for suffix, given in (("", tokens), ("_without_video", ())):
                verb, noun = (int(p.argmax()) for p in bayes.log_p(given))
                for kind, right, of in (("verb", truth.actions[verb] == step.action, truth.actions),
                                        ("noun", truth.things[noun] == step.thing, truth.things)):  # fmt: skip
                    answers = found.setdefault(f"{kind}_zero_shot{suffix}", ScoredQuestions())
                    answers.add(m.video.video, right, 1 / len(of))
    return {name: answers.figure(seed) for name, answers in found.items()}


def _steps(bayes: NaiveBayes, most: int, run: Sequence[int], now: int) -> list[Context]:
    """The contexts of the next token: the last token's pair of names, its length in clips, the token; ``most`` of these."""
    pairs = [bayes.pair(token) for token in run[max(0, now - LONGEST_STEP) : now]]
    since = sum(1 for _ in itertools.takewhile(lambda pair: pair == pairs[-1], reversed(pairs)))
    known = ("pair", *pairs[-1], since, run[now - 1])
    return [known[:3], known[:4], known][:most]


def _next(
    bayes: NaiveBayes, train_videos: Sequence[Material], held_out: Sequence[Material], seed: int
) -> dict[str, Figure]:
    """The next token at each horizon, from the tokens before it or from the step that they show."""
    choices, runs = bayes.names.vocabulary.visual, [m.tokens.tolist() for m in train_videos]
    counts = Counter(t for run in runs for t in run)
    most, found = max(counts, key=counts.get), {}
    readings = [partial(before, length=length) for length in LENGTHS]
    readings += [partial(_steps, bayes, n) for n in (2, 3)]
    asked_runs = [m.tokens.tolist() for m in held_out]
    for ahead in HORIZONS:
        answers = ScoredQuestions()
        right = choose_ahead(choices, runs, ahead, readings).right(asked_runs)
        for m, run, some in zip(held_out, asked_runs, right, strict=True):
            for yes, comes in zip(some, run[ahead:], strict=True):
                answers.add(m.video.video, yes, comes == most)
        found[figure_name(ahead)] = answers.figure(seed)
    return found
