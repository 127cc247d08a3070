"""Figures of `classify` and `imagine` that need no truth: which words are said while clips are shown, and the other way.

The words of a moment are what is known of it in any library, so they stand in for a truth; the methods do not read them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from multimodal.answers.classify import first_words
from multimodal.answers.counts import Counts, stems
from multimodal.answers.plain import WordsAndTokens
from multimodal.answers.token_names import content_words
from multimodal.inference.cloze import blank_log_probabilities, template_ids, visual_probabilities
from multimodal.inference.trained import BATCH, Trained
from multimodal.scoring.intervals import Figure, ScoredQuestions, compared, sample_questions
from multimodal.segments import Segment
from multimodal.vocabulary import TEMPLATE

DRAWS = 20
"""Tries to find a word that is not said in a moment."""


def said_word_figures(
    trained: Trained | None, counts: Counts, choices: int, paired: Sequence[Segment], seed: int = 0
) -> dict[str, Figure]:
    """``said_word``, ``…_counts``, ``…_minus_counts``: is a word that is said in a moment ranked above one that is not?

    A question is a content word of a moment and one that is said in another video and not in this moment, drawn by the
    seed; both are ranked by the moment's visual tokens, as ``videobert classify`` ranks a list: the model at the
    template's blanks (the mean of the two), the counts by naive Bayes. Words of several pieces are left out. Chance is one
    half, and so is a method that knows no more than which words are frequent. ``trained``: as for the next token.
    """
    known = None if trained is None else set(trained.vocabulary.spellings)
    words = [[w for w in dict.fromkeys(content_words(s.text)) if not known or w in known] for s in paired]
    said = [(s, word) for s, some in zip(paired, words, strict=True) for word in some]
    stem = stems(word for _, word in said)
    own = {id(s): {stem[word] for word in some} for s, some in zip(paired, words, strict=True)}
    sampled, note = sample_questions(said, seed)
    random, asked = np.random.default_rng(seed), []
    for s, word in sampled:
        # a few draws find a word of another video in any library where there is one to speak of
        drawn = (said[int(i)] for i in random.integers(len(said), size=DRAWS))
        other = next((w for o, w in drawn if o.video != s.video and stem[w] not in own[id(s)]), None)
        if other is not None:
            asked.append((s, (word, other)))
    table, model, plain = WordsAndTokens(counts, choices), ScoredQuestions(), ScoredQuestions()
    for s, pair in asked:
        plain.add(s.video, _above(*(fit.score for fit in table.fits(pair, s.tokens, s.video))), 0.5)
    if trained is not None:
        for (s, _), pair in zip(asked, _blank_probabilities(trained, asked), strict=True):
            model.add(s.video, _above(*pair), 0.5)
    return compared("said_word", model, plain, seed, note)


def _above(right: float, wrong: float) -> float:
    return float(right > wrong) + float(right == wrong) / 2


def _blank_probabilities(
    trained: Trained, asked: Sequence[tuple[Segment, tuple[str, str]]]
) -> list[list[float]]:
    """For each moment the probability of both words at a blank of the template, the mean of the two blanks; by a model that
    reads left to right, as the first word behind each of two beginnings."""
    found = []
    for first in range(0, len(asked), BATCH):
        some = asked[first : first + BATCH]
        tokens = [s.tokens for s, _ in some]
        if trained.left_to_right:
            at_blanks = [
                torch.stack([by_start[n] for by_start in first_words(trained, tokens)])
                for n in range(len(some))
            ]
        else:
            at_blanks = blank_log_probabilities(
                trained, [template_ids(trained, TEMPLATE)] * len(some), tokens
            )
        for (_, pair), log_p_BV in zip(some, at_blanks, strict=True):
            pieces = [trained.vocabulary.encode(word)[0] for word in pair]
            found.append(torch.exp(log_p_BV[:, pieces]).mean(0).tolist())
    return found


def imagined_clip_figures(
    trained: Trained, counts: Counts, paired: Sequence[Segment], seed: int = 0
) -> dict[str, Figure]:
    """``imagined_clip``, ``…_counts``, ``…_minus_counts``: is the first clip that `imagine` calls for one that was shown?

    A question is a held-out sentence; right is a visual token of the clips that were shown while it was said. The
    counts' answer is the token that fits the words best by naive Bayes. Chance is the most frequent token that was learned.
    """
    choices = trained.vocabulary.visual
    asked, note = sample_questions(paired, seed, what="sentences")
    frequency_V = np.bincount(counts.clips.values, minlength=choices)
    if not frequency_V.any() or not asked:
        return {}
    table, usual = WordsAndTokens(counts, choices), int(frequency_V.argmax())
    p_NV = visual_probabilities(
        trained, [trained.vocabulary.encode(s.text) for s in asked], [[-1]] * len(asked),
        allowed=torch.from_numpy(frequency_V > 0),
    )  # fmt: skip
    model, plain = ScoredQuestions(), ScoredQuestions()
    for s, token in zip(asked, p_NV.argmax(-1).tolist(), strict=True):
        counted = table.shown_with(s.text, 1)
        model.add(s.video, token in s.tokens, usual in s.tokens)
        plain.add(s.video, bool({*counted} & {*s.tokens}), usual in s.tokens)
    return compared("imagined_clip", model, plain, seed, note)
