"""Owns evaluation: what the model learned, on videos that it has not seen, each figure with its interval and chance.

Each kind of question has its file in :mod:`multimodal.scoring`. Nothing is drawn at random but the strangers of the
alignment test, the deals of the captions and the resamples of the intervals, which a seed fixes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from multimodal.inference.trained import Trained
from multimodal.library import Material
from multimodal.progress import Report
from multimodal.scoring.classes import classes
from multimodal.scoring.cloze import cloze
from multimodal.scoring.described import Described, caption_figures
from multimodal.scoring.forecasts import forecasts
from multimodal.scoring.intervals import Figure
from multimodal.scoring.pairs import pairs
from multimodal.scoring.references import Asked
from multimodal.scoring.sight import reference_sight, sight
from multimodal.scoring.truth import Truth
from multimodal.segments import Segment

Describe = Callable[[Sequence[Segment]], Sequence[str]]
"""Moments -> a caption of each, from what they show; their text is not to be looked at."""


def evaluate(
    trained: Trained,
    learned: Sequence[Material],
    held_out: Sequence[Material],
    truth: Truth | None,
    report: Report,
    seed: int = 0,
    *,
    references: Sequence[Asked] = (),
    describe: Describe | None = None,
    beside: Mapping[str, Describe] = MappingProxyType({}),
) -> dict[str, Figure]:
    """All figures on the held-out videos. ``learned`` gives the baselines: what is most frequent where the model learned.

    ``references`` are moments with people's sentences about them, which are searched for; ``describe`` makes the
    captions that are scored against them or, where there are none, against what is said in the held-out videos.
    ``beside`` are other ways to caption, by name, of which CIDEr alone is told (``caption_micro_cider_of_NAME``).
    Chance is a uniform guess; for cloze and next token always saying what is most frequent, for captions the same ones
    dealt out at random.
    """
    spoken = [s for m in held_out for s in m.spoken() if s.text]
    paired = [s for s in spoken if s.tokens]
    before = [s for m in learned for s in m.spoken() if s.text]
    stages: list[tuple[str, Callable[[], dict[str, Figure]]]] = [
        ("cloze", lambda: cloze(trained, paired, before, truth, seed)),
        ("alignment", lambda: pairs(trained, paired, seed)),
        ("next token", lambda: forecasts(trained, learned, held_out, seed)),
        ("search", lambda: sight(trained, paired, truth, seed)),
    ]
    if truth is not None:
        stages.append(("verbs and nouns", lambda: classes(trained, held_out, truth, seed)))
    if references:
        stages.append(("references", lambda: reference_sight(trained, references, seed)))
    if describe is not None:
        moments = references or [Asked(s, (s.text,)) for s in paired]
        against = "what people wrote" if references else "what is said there"
        stages.append(("captions", lambda: caption_figures(_described(moments, describe), against, seed)))
        for name, other in beside.items():
            stages.append(
                (
                    f"captions of {name}",
                    lambda n=name, d=other: _beside(n, _described(moments, d), against, seed),
                )
            )
    found: dict[str, Figure] = {}
    for done, (name, stage) in enumerate(stages):
        report(done, len(stages), name)
        found |= stage()
    report(len(stages), len(stages), "all figures")
    return found


def _beside(name: str, described: Sequence[Described], against: str, seed: int) -> dict[str, Figure]:
    figure = caption_figures(described, against, seed, with_meteor=False).get("caption_micro_cider")
    return {f"caption_micro_cider_of_{name}": figure} if figure else {}


def _described(moments: Sequence[Asked], describe: Describe) -> list[Described]:
    captions = describe([m.moment for m in moments])
    return [
        Described(m.moment.video, m.moment.start, caption, m.sentences)
        for m, caption in zip(moments, captions, strict=True)
    ]
