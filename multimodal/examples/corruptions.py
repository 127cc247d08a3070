"""The corruptions by their names: what a system hides together."""

from __future__ import annotations

from collections.abc import Callable

from multimodal.examples.collocations import collocations
from multimodal.examples.corruption import Corruption, mask_tokens
from multimodal.examples.denoising import Denoising
from multimodal.examples.segment_table import SegmentTable
from multimodal.examples.sentinels import mask_sentinels
from multimodal.examples.units import PhraseMasking, mask_ngrams, mask_spans
from multimodal.systems import NOISES, SENTINELS
from multimodal.vocabulary import Vocabulary

CORRUPTIONS: dict[str, Callable[[Vocabulary, SegmentTable], Corruption]] = {
    "tokens": lambda vocabulary, spoken: mask_tokens,
    "n-grams": lambda vocabulary, spoken: mask_ngrams,
    "spans": lambda vocabulary, spoken: mask_spans,
    "phrases": lambda vocabulary, spoken: PhraseMasking(collocations(vocabulary, spoken.sentences())),
    NOISES: Denoising.of,
    SENTINELS: lambda vocabulary, spoken: mask_sentinels,
}
"""By the ``mask_unit`` of a system: the corruption, made from the spoken segments that are learned from."""
