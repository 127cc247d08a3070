"""Owns beam search: the best sentences that a decoder gives, with a length penalty and no trigram twice."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch


@dataclasses.dataclass(frozen=True)
class BeamOptions:
    """``beams`` sentences are followed at a time. ``length_penalty``: the α of Wu et al. 2016 (section 7), 0 for none.
    ``no_repeat``: no so many pieces in a row come twice."""

    beams: int = 4
    length_penalty: float = 0.6
    no_repeat: int = 3


@dataclasses.dataclass(frozen=True)
class Written:
    """``pieces`` without the marks of begin and end; ``log_p`` of all of them and the end, ``count`` of what it sums."""

    pieces: tuple[int, ...]
    log_p: float
    count: int

    def ranked(self, alpha: float) -> float:
        return self.log_p / penalty(self.count, alpha)


def penalty(length: int, alpha: float) -> float:
    return ((5 + length) / 6) ** alpha


NextLogP = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Log-probabilities [R, P] of the next piece, of what is written [R, L] and the moment [R] that each row is about."""


@torch.no_grad()
def beam_search(
    next_log_p: NextLogP, count: int, begin: int, end: int, longest: int, options: BeamOptions
) -> list[Written]:
    """For each of ``count`` moments the sentence of the highest penalised log-probability that the beams meet.

    A sentence has at least one piece and at most ``longest``; one that long needs no end. With as many beams as there
    are sentences it is exhaustive (``tests/multimodal/test_captioner.py``).
    """
    alpha, beams = options.length_penalty, options.beams
    live: list[list[tuple[float, list[int]]]] = [[(0.0, [begin])] for _ in range(count)]
    done: list[list[Written]] = [[] for _ in range(count)]
    for length in range(1, longest + 1):
        rows = [(moment, log_p, ids) for moment, some in enumerate(live) for log_p, ids in some]
        if not rows:
            break
        found = next_log_p(torch.tensor([r[2] for r in rows]), torch.tensor([r[0] for r in rows])).cpu()
        found[:, begin] = -torch.inf
        if length == 1:
            found[:, end] = -torch.inf
        for row, (_, _, ids) in enumerate(rows):
            found[row, _barred(ids, options.no_repeat)] = -torch.inf
        found += torch.tensor([r[1] for r in rows])[:, None]
        first = 0
        for moment in range(count):
            some = rows[first : first + len(live[moment])]
            table = found[first : first + len(some)]
            first += len(some)
            live[moment] = []
            if not some:
                continue
            best, where = table.flatten().topk(min(2 * beams, table.numel()))
            for log_p, place in zip(best.tolist(), where.tolist(), strict=True):
                if log_p == -torch.inf or len(live[moment]) == beams:
                    break
                ids, piece = some[place // table.shape[1]][2], place % table.shape[1]
                if piece == end:
                    done[moment].append(Written(tuple(ids[1:]), log_p, length))
                elif length == longest:
                    done[moment].append(Written((*ids[1:], piece), log_p, length))
                else:
                    live[moment].append((log_p, [*ids, piece]))
            if done[moment] and live[moment]:
                reach = live[moment][0][0] / penalty(longest, alpha)
                if max(w.ranked(alpha) for w in done[moment]) >= reach:
                    live[moment] = []
    return [max(some, key=lambda w: w.ranked(alpha)) for some in done]


def _barred(ids: list[int], run: int) -> list[int]:
    """The pieces that would make a run of ``run`` pieces come a second time."""
    last = ids[len(ids) - run + 1 :]
    return [
        ids[i + run - 1]
        for i in range(len(ids) - run + 1)
        if ids[i : i + run - 1] == last and len(last) == run - 1
    ]
