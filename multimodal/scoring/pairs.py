"""Owns the questions of the alignment head: does this sentence belong to this picture?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from multimodal.inference.embedding import alignment_probability
from multimodal.inference.trained import Trained
from multimodal.scoring.intervals import Answers, Figure
from multimodal.scoring.ranking import area_under_curve
from multimodal.segments import Segment


def pairs(trained: Trained, paired: Sequence[Segment], seed: int = 0) -> dict[str, Figure]:
    """``alignment_accuracy`` (is the probability above one half?) and ``alignment_auc`` (is it above a stranger's?).

    Each sentence is asked with its own tokens and with those of a stranger: another video's segment that shows other
    tokens, drawn by the seed.
    """
    random, accuracy = np.random.default_rng(seed), Answers()
    strangers = [[o for o in paired if o.video != s.video and o.tokens != s.tokens] for s in paired]
    asked = [
        (s, others[int(random.integers(len(others)))])
        for s, others in zip(paired, strangers, strict=True)
        if others
    ]
    if not asked:
        return {}
    own = alignment_probability(trained, [s.text for s, _ in asked], [s.tokens for s, _ in asked])
    other = alignment_probability(trained, [s.text for s, _ in asked], [o.tokens for _, o in asked])
    videos = [s.video for s, _ in asked]
    for video, yes, no in zip(videos, own, other, strict=True):
        accuracy.add(video, yes > 0.5, 0.5)
        accuracy.add(video, no <= 0.5, 0.5)
    return {
        "alignment_accuracy": accuracy.figure(seed),
        "alignment_auc": area_under_curve(own, other, videos, videos, seed),
    }
