"""What was drawn: the modality of an example, its hidden tokens, and whether it is aligned."""

from multimodal.examples.packing import Example
from multimodal.terms import ALIGNMENT, CONTRAST, JOINT, TEXT, VIDEO

DUAL_ENCODER = "dual encoder"


def kind(example: Example) -> str:
    """``text``, ``video``, ``joint``, or one half of a dual-encoder pair."""
    for name, found in ((CONTRAST, DUAL_ENCODER), (TEXT, TEXT), (VIDEO, VIDEO)):
        if name in example.asks:
            return found
    return JOINT


def alignment(example: Example) -> int | None:
    """The label of the alignment head, ``None`` where it is not asked."""
    ((_, label),) = example.asks.get(ALIGNMENT, [(0, None)])
    return label


def hidden(example: Example) -> dict[int, int]:
    """The tokens asked for by a cloze term, by position."""
    return dict(asked for name in (TEXT, VIDEO, JOINT) for asked in example.asks.get(name, []))


def original(example: Example) -> list[int]:
    """The ids with the hidden tokens put back."""
    labels = hidden(example)
    return [labels.get(position, i) for position, i in enumerate(example.ids)]
