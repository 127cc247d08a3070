"""Zero-shot figures: the verb and the noun of a step, classified from its visual tokens, where the truth is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from multimodal.answers.classify import classify
from multimodal.answers.counts import Counts
from multimodal.answers.plain import WordsAndTokens
from multimodal.inference.trained import Trained
from multimodal.library import Material
from multimodal.scoring.intervals import Figure, ScoredQuestions, compared, sample_questions
from multimodal.scoring.ranking import above_and_tied, recall_at
from multimodal.scoring.truth import Truth
from vision.clips import CLIP_SECONDS

TOPS = (1, 5)


def zero_shot_figures(
    trained: Trained, counts: Counts, held_out: Sequence[Material], truth: Truth, seed: int = 0
) -> dict[str, Figure]:
    """``verb_zero_shot``, ``noun_zero_shot`` and, of more than five names, the same ``_top_5``: accuracy by the blanks.

    A question is a step with the tokens of its clips; ``_without_video`` asks the template without a token, the language
    prior. ``_counts`` asks naive Bayes over ``counts``, a tie counting as the mean over its orders, and
    ``verb_and_noun_zero_shot…`` both kinds at once. Chance is a uniform guess. Of many steps a sample is asked.
    """
    steps = []
    for m in held_out:
        for step in truth.steps.get(m.video.video, ()):
            middle = m.starts + CLIP_SECONDS / 2
            tokens = m.tokens[(middle >= step.start) & (middle < step.end)].tolist()
            if tokens:
                steps.append((m.video.video, step, tokens))
    if not steps:
        return {}
    steps, note = sample_questions(steps, seed)
    found: dict[str, ScoredQuestions] = {}
    table = WordsAndTokens(counts, trained.vocabulary.visual)
    for suffix, given in (("", [tokens for *_, tokens in steps]), ("_without_video", [[] for _ in steps])):
        verbs, nouns = classify(trained, given, truth.actions, truth.things)
        for kind, names, log_ps in (("verb", truth.actions, verbs), ("noun", truth.things, nouns)):
            for (video, step, _), log_p in zip(steps, log_ps, strict=True):
                right = names.index(step.action if kind == "verb" else step.thing)
                above = int((log_p > log_p[right]).sum())
                for top in (t for t in TOPS if t == 1 or t < len(names)):
                    name = f"{kind}_zero_shot{'' if top == 1 else f'_top_{top}'}{suffix}"
                    found.setdefault(name, ScoredQuestions()).add(video, above < top, top / len(names))
    figures = {name: questions.figure(seed, note) for name, questions in found.items()}
    model, plain = ScoredQuestions(), ScoredQuestions()
    for kind, names in (("verb", truth.actions), ("noun", truth.things)):
        of_kind = ScoredQuestions()
        for video, step, tokens in steps:
            right = names.index(step.action if kind == "verb" else step.thing)
            scores = np.array([[fit.score for fit in table.fits(names, tokens, video)]])
            own = np.arange(len(names))[None] == right
            of_kind.add(video, float(recall_at(*above_and_tied(scores, own), 1)[0]), 1 / len(names))
        figures |= compared(f"{kind}_zero_shot", found[f"{kind}_zero_shot"], of_kind, seed, note)
        for both, some in ((model, found[f"{kind}_zero_shot"]), (plain, of_kind)):
            both.extend(some)
    return figures | compared("verb_and_noun_zero_shot", model, plain, seed, note)
