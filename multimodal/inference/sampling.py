"""Sampling from a distribution: temperature, nucleus, seed. No PyTorch here."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from multimodal.store import InputError


@dataclasses.dataclass(frozen=True)
class SamplingOptions:
    """Sampling at ``temperature`` (0: always the likeliest token) from the nucleus, the likeliest tokens that make up
    ``top_p`` (Holtzman et al. 2020). The same ``seed`` gives the same sample.

    Raises :class:`InputError` for a value out of its range.
    """

    temperature: float = 1.0
    top_p: float = 0.9
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise InputError(
                f"--temperature {self.temperature:g}: from 0 (always the likeliest) up; 1 draws as the model believes"
            )
        if not 0 < self.top_p <= 1:
            raise InputError(f"--top-p {self.top_p:g}: above 0 and at most 1, which draws from all tokens")
        if self.seed < 0:
            raise InputError(f"--seed {self.seed}: at least 0")


def sample(p: np.ndarray, options: SamplingOptions, random: np.random.Generator) -> int:
    """An index sampled from the distribution ``p`` as the options say."""
    shares = nucleus(p, options)
    place = np.searchsorted(shares.cumsum(), random.random(), side="right")
    # The sum may round to less than 1, and the random number fall beyond it.
    return int(min(place, shares.nonzero()[0][-1]))


def nucleus(p: np.ndarray, options: SamplingOptions) -> np.ndarray:
    """``p`` at the options' temperature, 0 outside the nucleus, normalised again.

    The nucleus is the smallest set of the likeliest places whose probabilities reach ``top_p``.
    """
    if options.temperature == 0:
        return (np.arange(len(p)) == p.argmax()).astype(np.float64)
    with np.errstate(divide="ignore"):
        log_p = np.log(p) / options.temperature
    shares = np.exp(log_p - log_p.max())
    shares /= shares.sum()
    order = np.argsort(-shares, kind="stable")
    before = shares[order].cumsum() - shares[order]
    shares[order[before >= options.top_p]] = 0
    return shares / shares.sum()
