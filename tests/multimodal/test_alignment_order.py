"""The alignment head's order of moments against the rule written out, with the probability of every pair computed anew."""

import joint_samples
import numpy as np
import pytest

from multimodal.answers.alignment import BLOCK, LEAST_ALIGNMENT, RERANKED, fitting, rerank
from multimodal.answers.fusion import Ranking
from multimodal.answers.moments import Moments
from multimodal.inference import embedding
from multimodal.inference.embedding import alignment_probability, embed_texts, embed_videos, rerank_scores


@pytest.fixture(scope="module")
def said():
    return [s for m in joint_samples.materials(12, seed=3) for s in m.spoken()]


@pytest.fixture(scope="module")
def moments(said) -> Moments:
    return Moments.of({s.video: s.video for s in said}, said, {})


@pytest.fixture(scope="module")
def asked(learned, said):
    """For each different sentence its ranking of all moments, and the head's probability of each moment."""
    vectors = embed_videos(learned, [s.tokens for s in said])
    found = []
    for text in dict.fromkeys(s.text for s in said):
        cosines = vectors @ embed_texts(learned, [text])[0]
        order = np.argsort(-cosines, kind="stable")
        probabilities = alignment_probability(learned, [text] * len(said), [s.tokens for s in said])
        found.append((text, Ranking.of(cosines[order], order), probabilities))
    return found


def showing(text: str):
    return lambda moment: (text, moment.tokens)


def scores_of(ranking: Ranking, probabilities: np.ndarray, ids: list[int]) -> np.ndarray:
    return rerank_scores(np.array([ranking.cosines[i] for i in ids], np.float32), probabilities[ids])


def test_the_first_ones_are_ordered_by_both_and_the_others_stay(learned, moments, asked):
    assert len(asked[0][1].order) > RERANKED
    for text, ranking, probabilities in asked:
        found = rerank(learned, moments, ranking, showing(text))
        first = found.order[:RERANKED].tolist()
        assert sorted(first) == sorted(ranking.order[:RERANKED].tolist()) == sorted(found.aligned)
        assert (np.diff(scores_of(ranking, probabilities, first)) < 0.05).all(), "falling"
        assert found.order[RERANKED:].tolist() == ranking.order[RERANKED:].tolist()


@pytest.mark.parametrize("wanted", [1, BLOCK, 1000])
def test_blocks_are_read_until_enough_fit_or_none_of_a_block_does(learned, moments, asked, wanted):
    pairs = [(ranking, showing(text)) for text, ranking, _ in asked]
    ends = []
    for (_, ranking, probabilities), found in zip(
        asked, fitting(learned, moments, pairs, [wanted] * len(asked)), strict=True
    ):
        right: list[int] = []
        for begin in range(0, RERANKED, BLOCK):
            block = ranking.order[begin : begin + BLOCK].tolist()
            fit = [i for i in block if probabilities[i] >= LEAST_ALIGNMENT]
            right += fit
            if not fit or len(right) >= wanted:
                break
        ends.append(begin)
        assert sorted(found.order.tolist()) == sorted(right)
        assert (np.diff(scores_of(ranking, probabilities, found.order.tolist())) < 0.05).all()
        assert len(found.aligned) == begin + BLOCK, "no more is read"
    assert min(ends) < RERANKED - BLOCK, "some end early"


def test_an_equal_pair_is_read_once(learned, moments, asked, said, monkeypatch):
    read = []
    real = embedding.alignment_probability

    def counted(trained, texts, tokens, **options):
        read.append(tokens)
        return real(trained, texts, tokens, **options)

    monkeypatch.setattr(embedding, "alignment_probability", counted)
    text, ranking, _ = asked[0]
    rerank(learned, moments, ranking, showing(text))
    shown = {said[i].tokens for i in ranking.order[:RERANKED].tolist()}
    assert len(read) == 1 and set(read[0]) == shown and len(read[0]) == len(shown) < RERANKED
