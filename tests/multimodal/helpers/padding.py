"""Examples as `transformers` wants them: a padded grid, with labels of -100 where nothing is asked."""

import torch

from multimodal.examples.packing import Example
from multimodal.objectives.pairs import IGNORED
from multimodal.terms import ALIGNMENT, JOINT, NEXT_SEGMENT, ORDER, TEXT, VIDEO


def labels(example: Example) -> list[int]:
    """The label at each position of a sequence, of whichever cloze term asks for it."""
    found = [IGNORED] * len(example.ids)
    for name in (TEXT, VIDEO, JOINT):
        for position, label in example.asks.get(name, ()):
            found[position] = label
    return found


def pair_label(example: Example) -> int:
    """Whether two parts belong together, of whichever pair task asks; -100 where none does."""
    asked = [example.asks[name] for name in (ALIGNMENT, NEXT_SEGMENT, ORDER) if name in example.asks]
    return asked[0][0][-1] if asked else IGNORED


def read(example: Example) -> list[int]:
    """The ids as they were before a corruption, as far as they are asked for."""
    return [
        token if label == IGNORED else label
        for token, label in zip(example.ids, labels(example), strict=True)
    ]


def padded(examples: list[Example], pad: int = 0) -> dict[str, torch.Tensor]:
    longest = max(len(example.ids) for example in examples)

    def grid(rows: list[list[int]], fill: int) -> torch.Tensor:
        return torch.tensor([row + [fill] * (longest - len(row)) for row in rows])

    return {
        "input_ids": grid([example.ids for example in examples], pad),
        "token_type_ids": grid([example.types for example in examples], 0),
        "attention_mask": grid([[1] * len(example.ids) for example in examples], 0),
        "labels": grid([labels(example) for example in examples], IGNORED),
        "next_sentence_label": torch.tensor([pair_label(example) for example in examples]),
    }
