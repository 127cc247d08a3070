"""Owns the cloze questions: each word, and each visual token, covered alone, with the other modality given and without it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from multimodal.inference.cloze import Question, guess, questions
from multimodal.inference.trained import Trained
from multimodal.scoring.intervals import Answers, Figure
from multimodal.scoring.ranking import perplexity
from multimodal.scoring.truth import Truth
from multimodal.segments import Segment

REGIMES = {"text_cloze_without_video": "text_only", "video_cloze_without_text": "video_only",
           "text_cloze_with_video": "joint_words", "video_cloze_with_text": "joint_tokens"}  # fmt: skip
"""The regime that each kind of question is of."""


def cloze(
    trained: Trained, paired: Sequence[Segment], before: Sequence[Segment], truth: Truth | None, seed: int = 0
) -> dict[str, Figure]:
    """Accuracy (``KIND``) and perplexity (``cloze_perplexity_REGIME``) over the words and tokens of ``paired`` segments.

    ``before`` is what the model learned from, which the baselines know: always saying what is most frequent, and its
    frequencies. A guess is the likeliest of its modality; a perplexity is over the whole vocabulary, as the loss is.
    With the truth known, also the words that name an action or a thing, by themselves.
    """
    vocabulary = trained.vocabulary
    words = Counter(i for s in before for i in vocabulary.encode(s.text))
    tokens = Counter(vocabulary.first_visual + t for s in before for t in s.tokens)
    usual = {i for counter in (words, tokens) for i, _ in counter.most_common(1)}
    named = {vocabulary.encode(w)[0] for w in (*truth.actions, *truth.things)} if truth else set()
    most = {i for i, _ in Counter({i: n for i, n in words.items() if i in named}).most_common(1)}
    choices = {"text": len(vocabulary.words), "video": vocabulary.visual}
    usual_p = {"text": frequencies(words, choices["text"]), "video": frequencies(tokens, choices["video"])}
    found: dict[str, Answers] = {}
    surprise: dict[str, list[tuple[float, float]]] = {}
    for other in ("with", "without"):
        queries: list[Question] = []
        of_video: list[str] = []
        for s in paired:
            text = vocabulary.encode(s.text)
            shapes = [(text, s.tokens)] if other == "with" else [(text, None), (None, s.tokens)]
            for shape in shapes:
                queries += questions(trained, *shape)
                of_video += [s.video] * (len(queries) - len(of_video))
        for (ids, _, place), likeliest, log_p, video in zip(
            queries, *guess(trained, queries), of_video, strict=True
        ):
            right = ids[place]
            asked, given = ("video", "text") if right >= vocabulary.first_visual else ("text", "video")
            kind = f"{asked}_cloze_{other}_{given}"
            found.setdefault(kind, Answers()).add(video, likeliest == right, right in usual)
            surprise.setdefault(kind, []).append((log_p, float(np.log(usual_p[asked](right)))))
            if right in named:
                found.setdefault(f"action_and_thing_{kind}", Answers()).add(
                    video, likeliest == right, right in most
                )
    figures = {name: answers.figure(seed) for name, answers in found.items()}
    for kind, pairs in surprise.items():
        ours, theirs = zip(*pairs, strict=True)
        figures[f"cloze_perplexity_{REGIMES[kind]}"] = perplexity(
            ours, theirs, found[kind].video, choices[kind.split("_")[0]], seed
        )
    return figures


def frequencies(counts: Mapping[int, int], choices: int):
    """The probability of each id by how often it was met, with some left for the ids never met (Witten and Bell 1991).

    N occurrences of T ids leave T / (N + T) for all that were never met together.
    """
    total, kinds = sum(counts.values()), len(counts)
    never = choices - kinds
    for_these = kinds / (total + kinds) if never and total else float(not total)

    def probability(i: int) -> float:
        if counts.get(i):
            return (1 - for_these) * counts[i] / total
        return for_these / never

    return probability
