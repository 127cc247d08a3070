"""Terms of the loss: their names, as examples ask for them, ``--weights`` sets them, and metrics and charts show them."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class TermName:
    """The name of a term and its title for people."""

    name: str
    title: str


TEXT, VIDEO, JOINT, ALIGNMENT, NEXT_SEGMENT, ORDER, NEIGHBOUR, CONTRAST, CAPTION = (
    "text",
    "video",
    "joint",
    "alignment",
    "next_segment",
    "order",
    "neighbour",
    "contrast",
    "caption",
)
BOUNDARY, SHUFFLED, REPLACED, TASKS = "boundary", "shuffled", "replaced", "tasks"
LABEL, SPAN, CHOICE, DISTILLED = "label", "span", "choice", "distilled"
SOFT, COSINE, EMBEDDING, HIDDEN, ATTENTION, LOGITS = (
    "soft_targets",
    "cosine",
    "embedding",
    "hidden",
    "attention",
    "logits",
)
"""What a student is compared with its teacher by."""
TERM_NAMES = (
    TermName(TEXT, "cloze, text alone"),
    TermName(VIDEO, "cloze, video alone"),
    TermName(JOINT, "cloze, both"),
    TermName(ALIGNMENT, "alignment of words and video"),
    TermName(NEXT_SEGMENT, "segment that follows, or another"),
    TermName(ORDER, "order of two segments"),
    TermName(NEIGHBOUR, "next, previous or other segment"),
    TermName(CONTRAST, "contrast of text and video embeddings"),
    TermName(BOUNDARY, "tokens of a span from its boundaries"),
    TermName(SHUFFLED, "shuffled trigrams put back in order"),
    TermName(REPLACED, "replaced or original token"),
    TermName(TASKS, "tasks as text to text"),
    TermName(CAPTION, "next word piece of a caption"),
    TermName(LABEL, "label of a fine-tuning task"),
    TermName(SPAN, "start and end of an answer"),
    TermName(DISTILLED, "distance from the average of the steps before"),
    TermName(CHOICE, "sentence of a class among all"),
    TermName(SOFT, "soft targets of the teacher"),
    TermName(COSINE, "direction of the teacher's last states"),
    TermName(EMBEDDING, "the teacher's embeddings"),
    TermName(HIDDEN, "the teacher's hidden states"),
    TermName(ATTENTION, "the teacher's attention scores"),
    TermName(LOGITS, "the teacher's logits of a task"),
)
TITLES = {"loss": "weighted sum"} | {term.name: term.title for term in TERM_NAMES}
"""The titles of the columns of ``metrics.jsonl`` that hold losses, in the order in which they are shown."""
PRETRAINING_TERMS = (TEXT, VIDEO, JOINT, ALIGNMENT, CONTRAST)
"""The terms of VideoBERT's objective, and ``contrast``, which is ours, for search."""
DEFAULT_WEIGHTS = dict.fromkeys(
    (*PRETRAINING_TERMS, NEXT_SEGMENT, ORDER, NEIGHBOUR, BOUNDARY, SHUFFLED, TASKS), 1.0
) | {REPLACED: 50.0}
"""The weight of each term that a system of pretraining may have, where ``--weights`` does not give it."""
