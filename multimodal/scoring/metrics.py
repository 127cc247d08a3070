"""Evaluation of a model on held-out videos: all figures, each with its interval and chance.

Each kind of figure has its file in :mod:`multimodal.scoring`. A seed fixes the samples of questions, the negative pairs,
the shuffles of the captions and the resamples of the intervals.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from multimodal.answers.counts import Counts
from multimodal.inference.trained import Trained
from multimodal.known_world.inference import BestAnswers
from multimodal.library import Material
from multimodal.progress import Report
from multimodal.scoring.alignment import alignment_figures
from multimodal.scoring.caption_figures import Candidate, caption_figures, cider_difference
from multimodal.scoring.cloze import cloze_figures
from multimodal.scoring.intervals import Figure, sample_questions
from multimodal.scoring.next_token import next_token_figures
from multimodal.scoring.references import ReferencedMoment
from multimodal.scoring.truth import Truth
from multimodal.scoring.visual_search import reference_search_figures, search_figures
from multimodal.scoring.words_and_clips import imagined_clip_figures, said_word_figures
from multimodal.scoring.zero_shot import zero_shot_figures
from multimodal.segments import Segment

NEAREST = "nearest_neighbour"
"""The plain captions: the words of the nearest moment that was learned from."""
LEAVE_ONE_OUT = "each video by what is counted in the others"
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
    best: BestAnswers | None = None,
) -> dict[str, Figure]:
    """All figures on the held-out videos. ``train_videos`` are for the baselines alone, which count them.

    ``references``: moments with people's sentences about them, which are searched for. ``caption`` makes the captions that
    are scored against these or, where there are none, against the speech of the held-out videos; of ``other_captions``, by
    name, BLEU, ROUGE-L and CIDEr over all moments (``caption_micro_METRIC_of_NAME``), and what the others have more CIDEr
    than :data:`NEAREST`, the plain one. Chance is a uniform guess; for cloze, next token and imagined clips the most frequent
    answer, for captions the same captions shuffled. ``best``: the best possible answers where the videos are those of a
    known world; cloze, alignment, next token and search then have their limit, ``NAME_limit``. A figure is over at most
    :data:`multimodal.scoring.intervals.MOST_QUESTIONS` questions, a sample where there are more.
    """
    paired = [s for m in held_out for s in m.spoken() if s.text and s.tokens]
    train = [s for m in train_videos for s in m.spoken() if s.text]
    silent = [s for m in train_videos for s in m.moments() if not s.text]
    counts, choices = Counts.of(train_videos), trained.vocabulary.visual
    stages: list[tuple[str, Callable[[], dict[str, Figure]]]] = [
        ("cloze", lambda: cloze_figures(trained, paired, train, truth, seed, silent=silent, best=best)),
        ("alignment", lambda: alignment_figures(trained, paired, train, seed, best)),
        ("next token", lambda: next_token_figures(trained, counts, choices, held_out, seed, best)),
        ("search", lambda: search_figures(trained, paired, truth, seed, best)),
        ("words said", lambda: said_word_figures(trained, counts, choices, paired, seed)),
        ("clips called for", lambda: imagined_clip_figures(trained, counts, paired, seed)),
    ]
    if truth is not None:
        stages.append(("verbs and nouns", lambda: zero_shot_figures(trained, counts, held_out, truth, seed)))
    if references:
        stages.append(("references", lambda: reference_search_figures(trained, references, seed)))
    if caption is not None:
        methods = {"": caption} | dict(other_captions)
        stages.append(("captions", lambda: _caption_figures(methods, references, paired, seed)))
    found: dict[str, Figure] = {}
    for done, (name, stage) in enumerate(stages):
        report(done, len(stages), name)
        found |= stage()
    report(len(stages), len(stages), "all figures")
    return found


def plain_figures(
    videos: Sequence[Material], choices: int, nearest: CaptionFunction, seed: int = 0
) -> dict[str, Figure]:
    """The figures of the plain answers where no video is held out: each of ``videos`` is asked by the counts of the others.

    They say nothing of the model, which has learned from all of them. ``nearest``: the captions of :data:`NEAREST`.
    """
    counts = Counts.of(videos)
    paired = [s for m in videos for s in m.spoken() if s.text and s.tokens]
    found = next_token_figures(None, counts, choices, videos, seed)
    found |= said_word_figures(None, counts, choices, paired, seed)
    moments, _ = sample_questions([ReferencedMoment(s, (s.text,)) for s in paired], seed, what="moments")
    against = "what is said there"
    captions = caption_figures(_candidates(moments, nearest), against, seed, with_meteor=False)
    if captions:
        found[f"caption_micro_cider_of_{NEAREST}"] = captions["caption_micro_cider"]
    return {
        name: dataclasses.replace(figure, note="; ".join(filter(None, (LEAVE_ONE_OUT, figure.note))))
        for name, figure in found.items()
    }


def _caption_figures(
    methods: Mapping[str, CaptionFunction],
    references: Sequence[ReferencedMoment],
    paired: Sequence[Segment],
    seed: int,
) -> dict[str, Figure]:
    """All figures of the first of ``methods``, of the others those over all moments but METEOR, and the differences from
    :data:`NEAREST`."""
    all_moments = references or [ReferencedMoment(s, (s.text,)) for s in paired]
    moments, note = sample_questions(all_moments, seed, what="moments")
    against = "what people wrote" if references else "what is said there"
    against += f", {note}" if note else ""
    candidates = {name: _candidates(moments, method) for name, method in methods.items()}
    found = caption_figures(candidates[""], against, seed)
    cider = {"": "caption_micro_cider"} | {name: f"caption_micro_cider_of_{name}" for name in methods if name}
    for name in filter(None, methods):
        some = caption_figures(candidates[name], against, seed, with_meteor=False)
        found |= {
            f"{figure}_of_{name}": value
            for figure, value in some.items()
            if figure.startswith("caption_micro_") and figure != "caption_micro_meteor"
        }
    for name in methods.keys() - {NEAREST} if NEAREST in methods else ():
        if (more := cider_difference(candidates[name], candidates[NEAREST], seed)) is not None:
            found[f"{cider[name]}_minus_{NEAREST}"] = more
    return found


def _candidates(moments: Sequence[ReferencedMoment], caption: CaptionFunction) -> list[Candidate]:
    captions = caption([m.moment for m in moments])
    return [
        Candidate(m.moment.video, m.moment.start, text, m.sentences)
        for m, text in zip(moments, captions, strict=True)
    ]
