"""Owns the zero-shot questions: which verb and which noun a moment shows, where the truth is known."""

from __future__ import annotations

from collections.abc import Sequence

from multimodal.answers.classify import classify
from multimodal.inference.trained import Trained
from multimodal.library import Material
from multimodal.scoring.intervals import Answers, Figure
from multimodal.scoring.truth import Truth
from vision.clips import CLIP_SECONDS

TOPS = (1, 5)


def classes(trained: Trained, held_out: Sequence[Material], truth: Truth, seed: int = 0) -> dict[str, Figure]:
    """``verb_zero_shot``, ``noun_zero_shot`` and the same ``_top_5`` (of more than five names), from each step's tokens.

    By the template's blanks; ``_without_video`` is the language prior, the same template with no token. Chance is a
    uniform guess.
    """
    asked = []
    for m in held_out:
        for step in truth.steps.get(m.video.video, ()):
            middle = m.starts + CLIP_SECONDS / 2
            tokens = m.tokens[(middle >= step.start) & (middle < step.end)].tolist()
            if tokens:
                asked.append((m.video.video, step, tokens))
    if not asked:
        return {}
    found: dict[str, Answers] = {}
    for suffix, given in (("", [t for _, _, t in asked]), ("_without_video", [[] for _ in asked])):
        verbs, nouns = classify(trained, given, truth.actions, truth.things)
        for kind, names, log_ps in (("verb", truth.actions, verbs), ("noun", truth.things, nouns)):
            for (video, step, _), log_p in zip(asked, log_ps, strict=True):
                right = names.index(step.action if kind == "verb" else step.thing)
                above = int((log_p > log_p[right]).sum())
                for top in (t for t in TOPS if t == 1 or t < len(names)):
                    name = f"{kind}_zero_shot{'' if top == 1 else f'_top_{top}'}{suffix}"
                    found.setdefault(name, Answers()).add(video, above < top, top / len(names))
    return {name: answers.figure(seed) for name, answers in found.items()}
