"""Evaluation of a model on held-out videos: all figures, each with its interval and chance.

Each kind of figure has its file in :mod:`multimodal.scoring`. A seed fixes the samples of questions, the negative pairs,
the shuffles of the captions and the resamples of the intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from multimodal.inference.trained import Trained
from multimodal.library import Material
from multimodal.progress import Report
from multimodal.scoring.alignment import alignment_figures
from multimodal.scoring.caption_figures import Candidate, caption_figures
from multimodal.scoring.cloze import cloze_figures
from multimodal.scoring.intervals import Figure, sample_questions
from multimodal.scoring.next_token import next_token_figures
from multimodal.scoring.references import ReferencedMoment
from multimodal.scoring.truth import Truth
from multimodal.scoring.visual_search import reference_search_figures, search_figures
from multimodal.scoring.zero_shot import zero_shot_figures
from multimodal.segments import Segment

CaptionFunction = Callable[[Sequence[Segment]], Sequence[str]]
"""Moments -> a caption of each, from what they show; their text is not to be read."""


def evaluate(
    trained: Trained,
    train_videos: Sequence[Material],
    held_out: Sequence[Material],
    truth: Truth | None,
    report: Report,
    seed: int = 0,
    *,
    references: Sequence[ReferencedMoment] = (),
    caption: CaptionFunction | None = None,
    other_captions: Mapping[str, CaptionFunction] = MappingProxyType({}),
) -> dict[str, Figure]:
    """All figures on the held-out videos. ``train_videos`` are for the baselines alone, which count what is frequent.

    ``references``: moments with people's sentences about them, which are searched for. ``caption`` makes the captions that
    are scored against these or, where there are none, against the speech of the held-out videos; of ``other_captions``, by
    name, only CIDEr is computed (``caption_micro_cider_of_NAME``). Chance is a uniform guess; for cloze and next token the
    most frequent answer, for captions the same captions shuffled. A figure is over at most
    :data:`multimodal.scoring.intervals.MOST_QUESTIONS` questions, a sample where there are more.
    """
    paired = [s for m in held_out for s in m.spoken() if s.text and s.tokens]
    train = [s for m in train_videos for s in m.spoken() if s.text]
    stages: list[tuple[str, Callable[[], dict[str, Figure]]]] = [
        ("cloze", lambda: cloze_figures(trained, paired, train, truth, seed)),
        ("alignment", lambda: alignment_figures(trained, paired, seed)),
        ("next token", lambda: next_token_figures(trained, train_videos, held_out, seed)),
        ("search", lambda: search_figures(trained, paired, truth, seed)),
    ]
    if truth is not None:
        stages.append(("verbs and nouns", lambda: zero_shot_figures(trained, held_out, truth, seed)))
    if references:
        stages.append(("references", lambda: reference_search_figures(trained, references, seed)))
    if caption is not None:
        all_moments = references or [ReferencedMoment(s, (s.text,)) for s in paired]
        moments, note = sample_questions(all_moments, seed, what="moments")
        against = "what people wrote" if references else "what is said there"
        against += f", {note}" if note else ""
        stages.append(("captions", lambda: caption_figures(_candidates(moments, caption), against, seed)))
        for name, other in other_captions.items():

            def cider(name: str = name, other: CaptionFunction = other) -> dict[str, Figure]:
                figures = caption_figures(_candidates(moments, other), against, seed, with_meteor=False)
                figure = figures.get("caption_micro_cider")
                return {f"caption_micro_cider_of_{name}": figure} if figure else {}

            stages.append((f"captions of {name}", cider))
    found: dict[str, Figure] = {}
    for done, (name, stage) in enumerate(stages):
        report(done, len(stages), name)
        found |= stage()
    report(len(stages), len(stages), "all figures")
    return found


def _candidates(moments: Sequence[ReferencedMoment], caption: CaptionFunction) -> list[Candidate]:
    captions = caption([m.moment for m in moments])
    return [
        Candidate(m.moment.video, m.moment.start, text, m.sentences)
        for m, text in zip(moments, captions, strict=True)
    ]
