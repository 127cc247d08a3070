"""Beam search: the best sentences that a decoder gives, with a length penalty and no trigram twice.

Shapes: N sequences still written, B beams of each, L pieces so far, P pieces to choose from, C candidates of a sequence.
"""

from __future__ import annotations

import dataclasses

import torch

from multimodal.joint.caption_decoder import NextLogP


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


@torch.no_grad()
def beam_search(
    next_log_p: NextLogP, count: int, begin: int, end: int, longest: int, options: BeamOptions
) -> list[Written]:
    """For each of ``count`` sequences the sentence of the highest penalised log-probability that the beams meet.

    A sentence has at least one piece and at most ``longest``; one that long needs no end. With as many beams as there
    are sentences it is exhaustive (``tests/multimodal/test_beam_search.py``). A sequence whose best sentence cannot be
    beaten any more is written no further.
    """
    alpha = options.length_penalty
    best: list[Written | None] = [None] * count
    live = list(range(count))
    written_NBL, log_p_NB = torch.full((count, 1, 1), begin), torch.zeros(count, 1)
    kept_N, parent_NB = torch.arange(count), torch.zeros(count, 1, dtype=torch.long)
    for length in range(1, longest + 1):
        found_NBP = next_log_p(written_NBL, kept_N, parent_NB).cpu()
        found_NBP[..., begin] = -torch.inf
        if length == 1:
            found_NBP[..., end] = -torch.inf
        _bar_repeats(found_NBP, written_NBL, options.no_repeat)
        found_NBP += log_p_NB[..., None]
        pieces = found_NBP.shape[-1]
        # Of twice as many candidates as beams one a beam may end, and the others still fill the beams.
        candidates = min(2 * options.beams, pieces * found_NBP.shape[1])
        log_p_NC, place_NC = found_NBP.flatten(1).topk(candidates)
        beam_NC, piece_NC = place_NC // pieces, place_NC % pieces
        ends_NC = piece_NC == end
        before_NC = (~ends_NC).cumsum(1) - (~ends_NC).long()
        considered_NC = (before_NC < options.beams) & log_p_NC.isfinite()
        finished_NC = considered_NC if length == longest else considered_NC & ends_NC
        for n, c in finished_NC.nonzero().tolist():
            last = () if ends_NC[n, c] else (int(piece_NC[n, c]),)
            said = (*written_NBL[n, beam_NC[n, c], 1:].tolist(), *last)
            one, other = Written(said, float(log_p_NC[n, c]), length), best[live[n]]
            if other is None or one.ranked(alpha) > other.ranked(alpha):
                best[live[n]] = one
        if length == longest:
            break
        # The candidates that go on, best first; a beam without one has a log-probability of -inf and leads nowhere.
        goes_on_NC = considered_NC & ~ends_NC
        log_p_NC = log_p_NC.masked_fill(~goes_on_NC, -torch.inf)
        log_p_NB, chosen_NB = log_p_NC.topk(min(options.beams, candidates))
        parent_NB, piece_NB = beam_NC.gather(1, chosen_NB), piece_NC.gather(1, chosen_NB)
        reach_N = (log_p_NB[:, 0] / penalty(longest, alpha)).tolist()
        on = [
            reach > -torch.inf and (best[number] is None or best[number].ranked(alpha) < reach)
            for number, reach in zip(live, reach_N, strict=True)
        ]
        kept_N = torch.tensor(on).nonzero()[:, 0]
        if not len(kept_N):
            break
        live = [live[n] for n in kept_N.tolist()]
        parent_NB, log_p_NB = parent_NB[kept_N], log_p_NB[kept_N]
        before_NBL = written_NBL[kept_N[:, None], parent_NB]
        written_NBL = torch.cat([before_NBL, piece_NB[kept_N][..., None]], -1)
    assert all(one is not None for one in best)
    return best


def _bar_repeats(found_NBP: torch.Tensor, written_NBL: torch.Tensor, run: int) -> None:
    """Takes the probability of the pieces that would make a run of ``run`` pieces come a second time."""
    length = written_NBL.shape[-1]
    if run < 1 or length < run:
        return
    # Of each run that was written: whether all but its last piece are what was written last.
    windows = written_NBL.unfold(-1, run, 1)
    same_NBW = (windows[..., : run - 1] == written_NBL[..., None, length - run + 1 :]).all(-1)
    n, b, w = same_NBW.nonzero(as_tuple=True)
    found_NBP[n, b, windows[n, b, w, run - 1]] = -torch.inf
