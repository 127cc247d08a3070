"""Names of visual tokens: the statistic against scipy, names against the truth and against chance, and how they are kept."""

import json
import random
from pathlib import Path

import joint_samples
import kitchen
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2_contingency

from multimodal.answers.token_names import (
    FILE,
    LEAST_MOMENTS,
    STOP_WORDS,
    log_likelihood_ratio,
    read_token_names,
    remove_token_names,
    telling_words,
    update_token_names,
)
from multimodal.catalogue import Catalogue
from multimodal.store import Store

TRUTH = json.loads((Path(__file__).parents[1] / "samples/truth.json").read_text(encoding="utf-8"))
STEPS = [s for v in TRUTH["videos"] if v["split"] == "train" for s in v["steps"]]


@given(st.lists(st.integers(1, 200), min_size=4, max_size=4))
def test_the_statistic_is_scipy_s(cells):
    both, first, second, neither = cells
    expected = chi2_contingency(
        [[both, first], [second, neither]], correction=False, lambda_="log-likelihood"
    )
    found = log_likelihood_ratio(
        np.array([float(both)]), np.array([float(both + first)]), np.array([float(both + second)]), sum(cells)
    )
    assert found[0] == pytest.approx(expected.statistic, abs=1e-6)


def test_names_by_hand():
    """Token 0 is shown while an onion is cut, token 1 always, token 2 too rarely."""
    moments = [({0, 1}, "now cut the onion")] * 6 + [({1}, "and so on with it")] * 30
    moments += [({1, 2}, "peel the leek")] * (LEAST_MOMENTS - 1)
    assert telling_words(moments) == {0: ("cut", "onion")}
    assert telling_words([]) == {} == telling_words([((), ""), ({3}, "")])


def moments_of_the_samples() -> list[tuple[set[int], str]]:
    """The sentences of the sample videos, each with the token of what is done and that of what it is done with."""
    kinds = [*TRUTH["actions"], *TRUTH["things"]]
    return [({kinds.index(s["action"]), kinds.index(s["thing"])}, s["sentence"]) for s in STEPS]


def test_the_samples_tokens_are_named_after_what_they_show():
    kinds = [*TRUTH["actions"], *TRUTH["things"]]
    names = telling_words(moments_of_the_samples())
    assert [names[i][0] for i in range(len(kinds))] == kinds


def test_shuffled_sentences_name_almost_nothing():
    moments = moments_of_the_samples()
    named = []
    for seed in range(20):
        texts = [text for _, text in moments]
        random.Random(seed).shuffle(texts)
        named.append(len(telling_words(zip((tokens for tokens, _ in moments), texts, strict=True))))
    assert np.mean(named) < 0.1 * len(telling_words(moments))


@given(st.lists(st.tuples(st.sets(st.integers(0, 5), max_size=3), st.text(max_size=20)), max_size=30))
def test_any_text_gives_words_that_were_said(moments):
    for token, words in telling_words(moments).items():
        assert 1 <= len(words) <= 2 and not STOP_WORDS.intersection(words)
        for word in words:
            assert sum(token in tokens and word in text.lower() for tokens, text in moments) >= LEAST_MOMENTS


def test_names_are_kept_until_what_they_were_made_from_changes(tmp_path):
    store, trained = Store(tmp_path / "store"), joint_samples.trained(tmp_path / "models")
    assert read_token_names(store, trained) == {}
    with Catalogue(store.catalogue) as catalogue:
        videos = [kitchen.put(store, catalogue, m) for m in kitchen.materials()[0]]
    update_token_names(store, trained, videos)
    names = read_token_names(store, trained)
    assert len(names) == kitchen.KINDS
    for token, name in names.items():
        action, thing = divmod(token, len(joint_samples.THINGS))
        assert set(name.split(", ")) <= {joint_samples.ACTIONS[action], joint_samples.THINGS[thing]}
    (file,) = store.caches.glob(f"*/{FILE}")
    written = file.stat()
    update_token_names(store, trained, videos[::-1])
    assert file.stat().st_mtime_ns == written.st_mtime_ns, "the same videos, nothing to do"
    update_token_names(store, trained, videos[:1])
    assert read_token_names(store, trained) == {}, "one video says too little"
    file.write_text("{")
    assert read_token_names(store, trained) == {}
    update_token_names(store, trained, videos)
    assert read_token_names(store, trained) == names
    remove_token_names(store)
    assert not file.exists()
