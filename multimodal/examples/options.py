"""Options of the training examples. No PyTorch here."""

from __future__ import annotations

import dataclasses

from multimodal.segments import CONTEXT, HORIZONS, SILENT_TOKENS
from multimodal.store import InputError

NEAR_RATE = 0.15
"""The ``near_rate`` that ``--corrupt near`` means where no other is given."""
TEXT_READ, VIDEO_READ, BOTH_READ = READS = ("text", "video", "both")
"""What a fine-tuned model reads of a moment: its words, its visual tokens, both."""
SEQUENCE, TOKEN, PAIR, SCORE, SPAN, DOCUMENT = KINDS = (
    "sequence",
    "token",
    "pair",
    "score",
    "span",
    "document",
)
"""The kinds of tasks of a fine-tuned model."""
LAST, MIX = LAYERS = ("last", "mix")
"""Which layers its head reads: the last one, or a learned mix of all."""
WINDOW, STRIDE = SILENT_TOKENS, SILENT_TOKENS // 2
"""Clips of a window over a whole video, as many as the model learned in a row, and between the starts of two."""


@dataclasses.dataclass(frozen=True)
class ExampleOptions:
    """What training examples are made like. Rates are probabilities from 0 to 1.

    ``mask``: share of the tokens that are chosen (BERT: 0.15), of which 80 % become [MASK], 10 % another token, 10 % stay.
    ``join_neighbours``: rate at which a sentence is read together with the one after it (VideoBERT, section 3.2).
    ``misaligned_rate``: rate at which an aligned pair is followed by its negative pair, the same words with the video of
    another segment. A negative pair asks for no token, since a foreign video says nothing about the hidden words, but it
    is masked all the same: else a mask would mean aligned. ``whole_pairs``: neither is masked, and cloze is asked of a
    masked sequence beside them. ``in_video_negative_rate``: share of the negative pairs whose
    video is from elsewhere in the same video, the others' is from another one; ``None``, as where there is none of the
    kind, takes any segment that shares no clip (:mod:`multimodal.examples.negatives`).
    ``subsample``: visual tokens are read at a random step of 1 to so many (VideoBERT, section 3.2: 5; 1 reads all) in
    joint examples, a negative pair's as its positive's, and in video-only examples with token masking; not with suffix
    masking, which forecasting reads in steps of a clip, and not in the dual encoder, which search reads whole.
    ``suffix_rate``: share of the video-only examples with suffix masking: the last tokens are masked together, as
    forecasting asks. ``longest``: tokens at most in a sequence, 16 at least. ``hard_negative_rate``: rate at which a
    segment's text and video embedding meet those of another segment of the same video: hard negatives for each other,
    alike in place, light and subject (Sentence-BERT, Reimers and Gurevych 2019). ``runs_per_spoken_segment``: video-only
    examples for each spoken segment. They are short and cheap; with fewer of them forecasts are worse after the same number
    of steps (docs/decisions.md).
    ``context``: clips at most that suffix masking leaves to go by; `next` reads as many. Beyond the usual :data:`CONTEXT`
    they may begin before the run.
    ``near_rate``: share of the visual tokens that are read and not asked for that are replaced by near ones of the codebook
    (:class:`~multimodal.examples.near_tokens.NearTokens`), in training alone.

    Raises :class:`InputError` for a value out of its range.
    """

    mask: float = 0.15
    join_neighbours: float = 0.2
    misaligned_rate: float = 1.0
    suffix_rate: float = 0.75
    longest: int = 128
    in_video_negative_rate: float | None = None
    subsample: int = 1
    hard_negative_rate: float = 0.5
    runs_per_spoken_segment: int = 4
    near_rate: float = 0.0
    context: int = CONTEXT
    whole_pairs: bool = False

    def __post_init__(self) -> None:
        most = self.longest - max(HORIZONS) - 3
        if not 1 <= self.context <= most:
            raise InputError(f"--context {self.context}: from 1 to {most} clips; {CONTEXT} is usual")
        rate = self.in_video_negative_rate
        if rate is not None and not 0 <= rate <= 1:
            raise InputError(
                f"--in-video-negative-rate {rate:g}: a share from 0 to 1; leave it out to take any segment"
            )
        if not 0 <= self.near_rate <= 1:
            raise InputError(
                f"--near-rate {self.near_rate:g}: a share from 0 to 1; 0 reads every visual token as it is"
            )
        if self.subsample < 1:
            raise InputError(
                f"--subsample {self.subsample}: at least 1, which reads every visual token; VideoBERT has 5"
            )
