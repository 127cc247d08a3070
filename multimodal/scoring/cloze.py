"""Cloze figures: every word and every visual token masked by itself, with the other modality given and without it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from multimodal.inference.cloze import Question, guess, questions
from multimodal.inference.trained import Trained
from multimodal.scoring.intervals import Figure, ScoredQuestions, sample_questions
from multimodal.scoring.ranking import perplexity_figure
from multimodal.scoring.truth import Truth
from multimodal.segments import Segment

PERPLEXITIES = {"text_cloze_without_video": "text_only", "video_cloze_without_text": "video_only",
                "text_cloze_with_video": "joint_words", "video_cloze_with_text": "joint_tokens"}  # fmt: skip
"""The end of a perplexity's name (``cloze_perplexity_…``) by the name of the accuracy of the same questions."""


def cloze_figures(
    trained: Trained, paired: Sequence[Segment], train: Sequence[Segment], truth: Truth | None, seed: int = 0
) -> dict[str, Figure]:
    """Accuracy and perplexity of the masked words and visual tokens of ``paired`` segments.

    The accuracy counts the likeliest id of the modality, the perplexity is over the whole vocabulary, as the loss is. The
    baselines know the ``train`` segments: chance is the accuracy of the most frequent id, and the perplexity of the
    frequencies. With a truth also the accuracy over the words that name an action or a thing. A figure is over a sample of
    the questions where there are many (:func:`multimodal.scoring.intervals.sample_questions`), the same with the other
    modality as without it.
    """
    vocabulary = trained.vocabulary
    words = Counter(i for s in train for i in vocabulary.encode(s.text))
    tokens = Counter(vocabulary.first_visual + t for s in train for t in s.tokens)
    named = {vocabulary.encode(w)[0] for w in (*truth.actions, *truth.things)} if truth else set()
    baselines = {
        "text": _Baseline(words, len(vocabulary.words)),
        "video": _Baseline(tokens, vocabulary.visual),
        "action_and_thing": _Baseline({i: n for i, n in words.items() if i in named}, len(vocabulary.words)),
    }
    figures: dict[str, Figure] = {}
    for other in ("with", "without"):
        asked: list[Question] = []
        videos: list[str] = []
        for s in paired:
            text = vocabulary.encode(s.text)
            sequences = [(text, s.tokens)] if other == "with" else [(text, None), (None, s.tokens)]
            for text_ids, visual_ids in sequences:
                asked += questions(trained, text_ids, visual_ids)
            videos += [s.video] * (len(asked) - len(videos))
        right = [ids[place] for ids, _, place in asked]
        kinds = {
            "text": [n for n, i in enumerate(right) if i < vocabulary.first_visual],
            "video": [n for n, i in enumerate(right) if i >= vocabulary.first_visual],
            "action_and_thing": [n for n, i in enumerate(right) if i in named],
        }
        samples = {kind: sample_questions(some, seed) for kind, some in kinds.items()}
        # a question that is in two samples is asked once
        numbers = sorted({n for sample, _ in samples.values() for n in sample})
        likeliest, log_p = (
            dict(zip(numbers, found, strict=True)) for found in guess(trained, [asked[n] for n in numbers])
        )
        for kind, (sample, note) in samples.items():
            if not sample:
                continue
            baseline, of_videos = baselines[kind], [videos[n] for n in sample]
            name = f"video_cloze_{other}_text" if kind == "video" else f"text_cloze_{other}_video"
            scored = ScoredQuestions(
                [float(likeliest[n] == right[n]) for n in sample],
                of_videos,
                [float(right[n] == baseline.most_frequent) for n in sample],
            )
            accuracy = scored.figure(seed, note)
            if kind == "action_and_thing":
                figures[f"action_and_thing_{name}"] = accuracy
                continue
            figures[name] = accuracy
            chance = [float(np.log(baseline.probability(right[n]))) for n in sample]
            figures[f"cloze_perplexity_{PERPLEXITIES[name]}"] = perplexity_figure(
                [log_p[n] for n in sample], chance, of_videos, baseline.choices, seed, note
            )
    return figures


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
