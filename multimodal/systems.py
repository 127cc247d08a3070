"""Systems: the published pre-training methods as rows of one table. No PyTorch here.

A row says what is hidden, which pairs of segments are told apart, how sequences are filled, what the network shares.
Each part has an option of its own that overrides the row. docs/systems.md names the papers.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from multimodal.names import did_you_mean
from multimodal.store import InputError
from multimodal.terms import (
    ALIGNMENT,
    BOUNDARY,
    CONTRAST,
    JOINT,
    NEIGHBOUR,
    NEXT_SEGMENT,
    ORDER,
    REPLACED,
    SHUFFLED,
    TASKS,
    TEXT,
    VIDEO,
)

NONE = "none"
VIDEOBERT = "videobert"
WORDPIECE, BYTE_BPE = "wordpiece", "byte-bpe"
NOISES, SENTINELS = "noises", "sentinels"
"""What is hidden by the systems that have a decoder: BART's noises, T5's sentinels."""
BIDIRECTIONAL, LEFT_TO_RIGHT, PERMUTATION = "bidirectional", "left-to-right", "permutation"
PAIR_TASKS: dict[str, frozenset[str]] = {
    "alignment": frozenset({ALIGNMENT}),
    "next-segment": frozenset({NEXT_SEGMENT}),
    "order": frozenset({ORDER}),
    "neighbour": frozenset({NEIGHBOUR}),
    NONE: frozenset(),
}
"""The terms of the loss of each pair task."""
EXTRA_TERMS: dict[str, frozenset[str]] = {NONE: frozenset()} | {
    name: frozenset({name}) for name in (BOUNDARY, SHUFFLED, REPLACED)
}
"""The terms of the loss that a system may add."""


def _part(default: Any, option: str, *choices: str) -> Any:
    """A part of a system, the option that overrides it, and the values that it may have; none given: any number."""
    return dataclasses.field(default=default, metadata={"option": option, "choices": choices})


@dataclasses.dataclass(frozen=True)
class System:
    """One row: the parts in which a system differs from VideoBERT, whose parts are the defaults.

    ``mask_unit``: what is hidden together (:data:`multimodal.examples.corruptions.CORRUPTIONS`). ``masking``: ``dynamic``
    draws anew in each epoch, ``static`` repeats ten drawings. ``pair_task``: what is asked of two segments, or of words and
    video. ``sequences``: a segment, perhaps with its neighbour, or as many of a video as fit (``full``). ``tokenizer``: what
    words are cut into. ``share_layers`` and ``embedding_size``: what the network shares and factorises
    (:class:`multimodal.joint.options.ModelOptions`). ``extra_terms``: what is asked beside cloze, pair task and contrast.
    ``generator``: the width of ELECTRA's generator, as a share of the model's. ``attention``: which tokens a token sees
    (:data:`multimodal.examples.orders.ORDERS`): all, those before it (GPT), or those before it in a permutation (XLNet).

    Raises :class:`InputError` for a value that a part does not know, and for parts that cannot work together.
    """

    name: str = VIDEOBERT
    mask_unit: str = _part(
        "tokens", "--mask-unit", "tokens", "n-grams", "spans", "phrases", NOISES, SENTINELS
    )
    masking: str = _part("dynamic", "--masking", "dynamic", "static")
    pair_task: str = _part("alignment", "--pair-task", *PAIR_TASKS)
    sequences: str = _part("segments", "--sequences", "segments", "full")
    tokenizer: str = _part(WORDPIECE, "--tokenizer", WORDPIECE, BYTE_BPE)
    share_layers: str = _part(NONE, "--share-layers", NONE, "attention", "feed-forward", "all")
    embedding_size: int = _part(0, "--embedding-size")
    extra_terms: str = _part(NONE, "--extra-terms", *EXTRA_TERMS)
    generator: str = _part("1/4", "--generator", "1/4", "1/3", "1/2")
    attention: str = _part(BIDIRECTIONAL, "--attention", BIDIRECTIONAL, LEFT_TO_RIGHT, PERMUTATION)

    def __post_init__(self) -> None:
        for part in PARTS.values():
            option, choices, value = (
                part.metadata["option"],
                part.metadata["choices"],
                getattr(self, part.name),
            )
            if choices and value not in choices:
                near = did_you_mean(str(value), choices)
                raise InputError(f"{option} {value}: not known{near}; choose one of {', '.join(choices)}")
            if not choices and value < 0:
                raise InputError(f"{option} {value}: 0 or more; 0 turns it off")
        for one, its_values, other, allowed, why in NEEDS:
            if getattr(self, one) in its_values and getattr(self, other) not in allowed:
                said = [f"{PARTS[name].metadata['option']} {getattr(self, name)}" for name in (one, other)]
                raise InputError(
                    f"{said[0]} with {said[1]} (--system {self.name}): {why}; change one of the two"
                )

    @property
    def shares(self) -> bool:
        """Whether layers are one, so that they cannot begin as those of a BERT."""
        return self.share_layers != NONE

    @property
    def left_to_right(self) -> bool:
        """Whether it fills no blanks: it sees what stands before a place, and nothing after it."""
        return self.attention == LEFT_TO_RIGHT

    @property
    def has_decoder(self) -> bool:
        """Whether a decoder writes what is hidden."""
        return self.mask_unit in (NOISES, SENTINELS)

    @property
    def fits_a_bert(self) -> bool:
        """Whether it can begin with a BERT's layers and word pieces."""
        return not self.shares and self.tokenizer == WORDPIECE

    def narrowed(self, hidden: int) -> System:
        """The system in a network ``hidden`` wide: where the row's own factorised table would be no smaller, half of that width."""
        row = SYSTEMS.get(self.name, self)
        if self.embedding_size < hidden or self.embedding_size != row.embedding_size:
            return self
        return dataclasses.replace(self, embedding_size=hidden // 2)

    def check_width(self, hidden: int) -> None:
        """Raises :class:`InputError` where a factorised table would be no smaller than the network is wide."""
        if self.embedding_size >= hidden:
            raise InputError(
                f"--embedding-size {self.embedding_size}: below {hidden}, the width of the network; 0 leaves the table whole"
            )

    @property
    def network(self) -> dict[str, Any]:
        """What it sets of the options of a network."""
        return {"share_layers": self.share_layers, "embedding_size": self.embedding_size}

    @property
    def terms(self) -> frozenset[str]:
        """The names of the terms of its loss."""
        cloze = frozenset({TEXT, VIDEO, JOINT})
        written = frozenset({TASKS}) if self.has_decoder else frozenset()
        return cloze | PAIR_TASKS[self.pair_task] | EXTRA_TERMS[self.extra_terms] | written | {CONTRAST}


PARTS = {field.name: field for field in dataclasses.fields(System) if "option" in field.metadata}
NEEDS: tuple[tuple[str, frozenset[str], str, frozenset[str], str], ...] = (
    (
        "sequences",
        frozenset({"full"}),
        "pair_task",
        frozenset({NONE}),
        "a sequence that is filled with segments is no pair",
    ),
    ("generator", frozenset({"1/3", "1/2"}), "extra_terms", frozenset({REPLACED}), "no generator is trained"),
    (
        "attention",
        frozenset({LEFT_TO_RIGHT}),
        "mask_unit",
        frozenset({"tokens"}),
        "nothing is hidden, each token predicts the next",
    ),
    (
        "attention",
        frozenset({LEFT_TO_RIGHT}),
        "pair_task",
        frozenset({NONE}),
        "[CLS] stands first and sees neither part",
    ),
    (
        "attention",
        frozenset({LEFT_TO_RIGHT, PERMUTATION}),
        "extra_terms",
        frozenset({NONE}),
        "it is asked beside masks, of which there are none",
    ),
    (
        "mask_unit",
        frozenset({NOISES, SENTINELS}),
        "attention",
        frozenset({BIDIRECTIONAL}),
        "the encoder sees all, and the decoder has an order of its own",
    ),
    (
        "mask_unit",
        frozenset({NOISES, SENTINELS}),
        "extra_terms",
        frozenset({NONE}),
        "it is asked of masked tokens, and what is hidden is written by a decoder",
    ),
)
"""Parts that cannot work together: where the first has one of these values, the other needs one of those, and why."""
SYSTEMS = {
    row.name: row
    for row in (
        System(),
        System("bert", masking="static", pair_task="next-segment"),
        System("roberta", pair_task=NONE, sequences="full", tokenizer=BYTE_BPE),
        System("albert", mask_unit="n-grams", pair_task="order", share_layers="all", embedding_size=128),
        System("spanbert", mask_unit="spans", extra_terms=BOUNDARY),
        System("ernie", mask_unit="phrases"),
        System("structbert", pair_task="neighbour", extra_terms=SHUFFLED),
        System("electra", extra_terms=REPLACED),
        System("t5", mask_unit=SENTINELS, pair_task=NONE),
        System("bart", mask_unit=NOISES),
        System("gpt", pair_task=NONE, attention=LEFT_TO_RIGHT),
        System("xlnet", attention=PERMUTATION),
    )
}


def system(name: str) -> System:
    """The row of a name. Raises :class:`InputError` where there is none."""
    if name not in SYSTEMS:
        near = did_you_mean(name, SYSTEMS)
        raise InputError(f"--system {name}: not known{near}; choose one of {', '.join(SYSTEMS)}")
    return SYSTEMS[name]
