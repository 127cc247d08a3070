"""Cloze figures: every word and every visual token masked by itself, with the other modality given and without it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from multimodal.inference.cloze import Question, guess, questions
from multimodal.inference.trained import Trained
from multimodal.known_world.inference import BestAnswers
from multimodal.scoring.cloze_counts import Row, cloze_by_counts
from multimodal.scoring.intervals import Figure, ScoredQuestions, difference, sample_questions
from multimodal.scoring.ranking import perplexity_figure
from multimodal.scoring.truth import Truth
from multimodal.segments import Segment
from multimodal.vocabulary import Vocabulary

PERPLEXITIES = {"text_cloze_without_video": "text_only", "video_cloze_without_text": "video_only",
                "text_cloze_with_video": "joint_words", "video_cloze_with_text": "joint_tokens"}  # fmt: skip
"""The end of a perplexity's name (``cloze_perplexity_…``) by the name of the accuracy of the same questions."""
OTHER_MODALITY = tuple(
    (f"{named}{kind}_cloze_with_{other}", f"{named}{kind}_cloze_without_{other}")
    for named, kind, other in (
        ("", "text", "video"),
        ("action_and_thing_", "text", "video"),
        ("", "video", "text"),
    )
)
"""The figures with the other modality, and the same questions without it."""


@dataclasses.dataclass(frozen=True)
class Hidden:
    """A cloze question of a ``video``: what is given of a segment, and which of it is hidden.

    ``text`` are word-piece ids, ``tokens`` visual tokens; both as the model reads them, empty where they are not given.
    ``place`` is that of the hidden one in its part. ``asked`` is the same as the model's sequence.
    """

    video: str
    text: tuple[int, ...]
    tokens: tuple[int, ...]
    visual: bool
    place: int
    asked: Question

    @classmethod
    def of(cls, vocabulary: Vocabulary, video: str, asked: Question) -> Hidden:
        ids, _, position = asked
        # [CLS] text [>] video [SEP]; a sequence of text alone has no [>]
        join = ids.index(vocabulary.join) if vocabulary.join in ids else len(ids) - 1
        visual = position > join
        return cls(
            video,
            tuple(ids[1:join]),
            tuple(i - vocabulary.first_visual for i in ids[join + 1 : -1]),
            visual,
            position - (join + 1 if visual else 1),
            asked,
        )

    @property
    def right(self) -> int:
        """The id of what is hidden."""
        return self.asked[0][self.asked[2]]


Answers = tuple[Sequence[int], Sequence[float]]
"""For each question the likeliest id of its modality, and log p of the right one."""


def cloze_figures(
    trained: Trained,
    paired: Sequence[Segment],
    train: Sequence[Segment],
    truth: Truth | None,
    seed: int = 0,
    *,
    silent: Sequence[Segment] = (),
    best: BestAnswers | None = None,
) -> dict[str, Figure]:
    """Accuracy and perplexity of the masked words and visual tokens of ``paired`` segments.

    The accuracy counts the likeliest id of the modality, the perplexity is over the whole vocabulary, as the loss is. The
    baselines know the ``train`` segments: chance is the accuracy of the most frequent id, and the perplexity of the
    frequencies. ``…_counts`` are the same questions by counts of ``train`` and of the ``silent`` moments
    (:mod:`multimodal.scoring.cloze_counts`), ``…_minus_counts`` the difference of the accuracies; ``WITH_minus_WITHOUT`` is
    that of a figure with the other modality from the one without it. With a truth also the accuracy over the words that
    name an action or a thing. With ``best`` answers each figure has its limit, ``…_limit``. A figure is over a sample of the
    questions where there are many (:func:`multimodal.scoring.intervals.sample_questions`), the same with the other modality
    as without it. A model that reads left to right fills no blanks, and has no such figures.
    """
    if trained.left_to_right:
        return {}
    vocabulary = trained.vocabulary
    if best is not None and any(len(vocabulary.encode(word)) != 1 for word in best.words):
        best = None  # The model is asked for pieces of words, the limit is about words.
    words = Counter(i for s in train for i in vocabulary.encode(s.text))
    tokens = Counter(vocabulary.first_visual + t for s in train for t in s.tokens)
    named = {vocabulary.encode(w)[0] for w in (*truth.actions, *truth.things)} if truth else set()
    baselines = {
        "text": _Baseline(words, len(vocabulary.words)),
        "video": _Baseline(tokens, vocabulary.visual),
        "action_and_thing": _Baseline({i: n for i, n in words.items() if i in named}, len(vocabulary.words)),
    }
    learned = {
        False: [Row(s.video, tuple(vocabulary.encode(s.text)), s.tokens) for s in train],
        True: [Row(s.video, s.tokens, tuple(vocabulary.encode(s.text))) for s in (*train, *silent)],
    }
    figures: dict[str, Figure] = {}
    of_model: dict[str, tuple[ScoredQuestions, str]] = {}
    for other in ("with", "without"):
        asked = [hidden for s in paired for hidden in _hidden(trained, s, other == "with")]
        kinds = {
            "text": [n for n, q in enumerate(asked) if not q.visual],
            "video": [n for n, q in enumerate(asked) if q.visual],
            "action_and_thing": [n for n, q in enumerate(asked) if q.right in named],
        }
        samples = {kind: sample_questions(some, seed) for kind, some in kinds.items()}
        # a question that is in two samples is asked once
        numbers = sorted({n for sample, _ in samples.values() for n in sample})
        some = [asked[n] for n in numbers]
        methods: dict[str, Answers] = {
            "": guess(trained, [q.asked for q in some]),
            "_counts": _counted(learned, vocabulary, some, seed),
        }
        if best is not None:
            methods["_limit"] = _best(best, vocabulary, some)
        of_number = {n: i for i, n in enumerate(numbers)}
        for kind, (sample, note) in samples.items():
            if not sample:
                continue
            name = f"video_cloze_{other}_text" if kind == "video" else f"text_cloze_{other}_video"
            places = [of_number[n] for n in sample]
            questions_, baseline = [some[i] for i in places], baselines[kind]
            name, named_alone = (f"{kind}_{name}", True) if kind == "action_and_thing" else (name, False)
            scored = {
                end: _scored(questions_, [likeliest[i] for i in places], baseline)
                for end, (likeliest, _) in methods.items()
            }
            of_model[name] = scored[""], note
            figures |= {f"{name}{end}": answers.figure(seed, note) for end, answers in scored.items()}
            figures[f"{name}_minus_counts"] = difference(scored[""], scored["_counts"], seed, note)
            for end, (_, log_p) in methods.items() if not named_alone else ():
                figures[f"cloze_perplexity_{PERPLEXITIES[name]}{end}"] = _perplexity(
                    questions_, [log_p[i] for i in places], baseline, seed, note
                )
    for name, without in OTHER_MODALITY:
        if name not in of_model or without not in of_model:
            continue
        (both, note), (alone, _) = of_model[name], of_model[without]
        # a sequence of both may be cut where one of them alone is not
        if both.videos == alone.videos:
            figures[f"{name}_minus_{without}"] = difference(both, alone, seed, note)
    return figures


def _hidden(trained: Trained, segment: Segment, with_other: bool) -> list[Hidden]:
    """The questions about a segment: each of its words, then each of its visual tokens."""
    text = trained.vocabulary.encode(segment.text)
    sequences = [(text, segment.tokens)] if with_other else [(text, None), (None, segment.tokens)]
    return [
        Hidden.of(trained.vocabulary, segment.video, asked)
        for text_ids, visual_ids in sequences
        for asked in questions(trained, text_ids, visual_ids)
    ]


def _scored(asked: Sequence[Hidden], likeliest: Sequence[int], baseline: _Baseline) -> ScoredQuestions:
    return ScoredQuestions(
        [float(found == q.right) for found, q in zip(likeliest, asked, strict=True)],
        [q.video for q in asked],
        [float(q.right == baseline.most_frequent) for q in asked],
    )


def _perplexity(
    asked: Sequence[Hidden], log_p: Sequence[float], baseline: _Baseline, seed: int, note: str
) -> Figure:
    chance = [float(np.log(baseline.probability(q.right))) for q in asked]
    return perplexity_figure(log_p, chance, [q.video for q in asked], baseline.choices, seed, note)


def _counted(
    learned: Mapping[bool, Sequence[Row]], vocabulary: Vocabulary, asked: Sequence[Hidden], seed: int
) -> Answers:
    """The answers by counts. ``learned``: what is counted for visual questions (true) and for words."""
    likeliest, log_p = [0] * len(asked), [0.0] * len(asked)
    for visual, choices, first in (
        (False, len(vocabulary.words), 0),
        (True, vocabulary.visual, vocabulary.first_visual),
    ):
        numbers = [n for n, q in enumerate(asked) if q.visual == visual]
        places = [
            (Row(q.video, q.tokens, q.text) if visual else Row(q.video, q.text, q.tokens), q.place)
            for q in (asked[n] for n in numbers)
        ]
        for n, symbol, p in zip(
            numbers, *cloze_by_counts(learned[visual], places, choices, seed), strict=True
        ):
            likeliest[n], log_p[n] = first + symbol, p
    return likeliest, log_p


def _best(best: BestAnswers, vocabulary: Vocabulary, asked: Sequence[Hidden]) -> Answers:
    """The best possible answers, where the videos are those of a known world."""
    ids_W = [vocabulary.encode(word)[0] for word in best.words]
    column = {i: n for n, i in enumerate(ids_W)}
    likeliest, log_p = [], []
    for q in asked:
        words = [vocabulary.spellings[i] for i in q.text]
        if q.visual:
            p = best.hidden_token(q.tokens, q.place, words)
            likeliest.append(vocabulary.first_visual + int(p.argmax()))
            right = q.tokens[q.place]
        else:
            p = best.hidden_word(words, q.place, q.tokens)
            likeliest.append(ids_W[int(p.argmax())])
            right = column.get(q.right, -1)
        log_p.append(float(np.log(p[right])) if right >= 0 and p[right] > 0 else -np.inf)
    return likeliest, log_p


@dataclasses.dataclass
class _Baseline:
    """Counts of ids in the training videos, out of ``choices`` ids."""

    counts: Mapping[int, int]
    choices: int

    def __post_init__(self) -> None:
        self.most_frequent = max(self.counts, key=self.counts.__getitem__, default=None)
        self.probability = witten_bell(self.counts, self.choices)


def witten_bell(counts: Mapping[int, int], choices: int) -> Callable[[int], float]:
    """The probability of each of ``choices`` ids by its count, smoothed (Witten and Bell 1991).

    N occurrences of T different ids leave T / (N + T) for all ids without an occurrence together.
    """
    total, kinds = sum(counts.values()), len(counts)
    unseen = choices - kinds
    for_unseen = kinds / (total + kinds) if unseen and total else float(not total)

    def probability(i: int) -> float:
        if counts.get(i):
            return (1 - for_unseen) * counts[i] / total
        return for_unseen / unseen

    return probability
