"""The figures of a probe by layer: what is asked of each layer, and the names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

T = TypeVar("T")
VERB, NOUN, MODALITY, POSITION = "verb", "noun", "modality", "position"
PROPERTIES = (VERB, NOUN, MODALITY, POSITION)
PLACES = 16
"""Positions of a sequence that are told apart; later ones are not asked."""
PROBE = "probe_"


def probe_figure(what: str, layer: int) -> str:
    """The name of the figure of a property at a layer, 0 being the embeddings."""
    return f"{PROBE}{what}_at_layer_{layer}"


def by_layer(figures: Mapping[str, T], name_of: Callable[[int], str]) -> list[T]:
    """The figures of the layers in their order, as far as there are any."""
    return [figures[name] for name in map(name_of, range(len(figures))) if name in figures]
