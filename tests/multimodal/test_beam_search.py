"""Beam search against all sentences of a made-up language."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from multimodal.inference.beam import BeamOptions, beam_search, penalty


def table(seed: int, pieces: int):
    """A made-up language: the next piece depends on the last two and on the moment."""
    log_p = torch.log_softmax(
        2 * torch.randn(3, pieces, pieces, pieces, generator=torch.Generator().manual_seed(seed)), -1
    )

    def after(written: torch.Tensor, moment: torch.Tensor) -> torch.Tensor:
        before = written[..., -2] if written.shape[-1] > 1 else torch.zeros_like(written[..., 0])
        return log_p[moment, before, written[..., -1]].clone()

    return after


def search(after, options, count=3, longest=5):
    """Beam search in a language: which of the moments are still written, it is told call by call."""
    live = torch.arange(count)

    def next_log_p(written, kept, parent):
        nonlocal live
        live = live[kept]
        assert parent.shape == written.shape[:2]
        return after(written, live[:, None])

    return beam_search(next_log_p, count, 0, 1, longest, options)


def every_sentence(after, moment: int, pieces: int, longest: int, options: BeamOptions) -> float:
    """The best penalised log-probability of all sentences: begin is 0, end is 1."""
    best = -math.inf
    for length in range(1, longest + 1):
        for ids in itertools.product(range(2, pieces), repeat=length):
            runs = [ids[i : i + options.no_repeat] for i in range(length - options.no_repeat + 1)]
            if len(set(runs)) < len(runs):
                continue
            total, written = 0.0, [0]
            for piece in [*ids, 1][:longest] if length == longest else [*ids, 1]:
                total += float(after(torch.tensor([written]), torch.tensor([moment]))[0, piece])
                written.append(piece)
            best = max(best, total / penalty(len(written) - 1, options.length_penalty))
    return best


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.6, 1.0]), st.sampled_from([2, 3]))
def test_with_many_beams_it_finds_the_best_of_all_sentences(seed, alpha, run):
    options = BeamOptions(beams=200, length_penalty=alpha, no_repeat=run)
    asked = table(seed, 4)
    found = search(asked, options)
    for moment, written in enumerate(found):
        assert written.ranked(alpha) == pytest.approx(every_sentence(asked, moment, 4, 5, options), abs=1e-4)


def test_one_beam_is_greedy_and_more_are_no_worse():
    asked = table(3, 12)
    one, four = (search(asked, BeamOptions(beams=b, no_repeat=0), longest=12) for b in (1, 4))
    for moment, written in enumerate(one):
        ids = [0]
        while len(ids) <= 12 and ids[-1] != 1:
            log_p = asked(torch.tensor([ids]), torch.tensor([moment]))[0]
            log_p[[0, 1] if len(ids) == 1 else [0]] = -torch.inf
            ids.append(int(log_p.argmax()))
        assert written.pieces == tuple(i for i in ids[1:] if i != 1)
    assert sum(w.ranked(0.6) for w in four) > sum(w.ranked(0.6) for w in one)


def test_no_trigram_comes_twice():
    def stuck(written, moment):
        log_p = torch.full((*written.shape[:2], 5), -5.0)
        log_p[..., 1] = -20.0
        return log_p.scatter(-1, 2 + (written[..., -1:] - 1) % 3, -0.1)

    for run, ends_early in ((3, True), (0, False)):
        (written,) = search(stuck, BeamOptions(no_repeat=run, length_penalty=1.0), 1, 20)
        runs = [written.pieces[i : i + 3] for i in range(len(written.pieces) - 2)]
        assert (len(set(runs)) == len(runs)) == ends_early, "without the rule it goes round"
