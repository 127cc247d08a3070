"""The map of words and visual tokens: a word is near the tokens that it is said beside, tokens have the labels of a task."""

import joint_samples
import kitchen
import numpy as np

from multimodal.catalogue import Catalogue
from multimodal.library import usable
from multimodal.store import Store
from multimodal.web.embedding_map import LEAST_PLACES, MOST_WORDS, embedding_map
from multimodal.web.tasks import labelled_tokens

ACTIONS, THINGS = joint_samples.ACTIONS, joint_samples.THINGS
NAMES = {
    action * len(THINGS) + thing: f"{ACTIONS[action]}, {THINGS[thing]}"
    for action in range(len(ACTIONS))
    for thing in range(len(THINGS))
}


def test_a_word_is_near_its_tokens(learned):
    tokens = list(range(joint_samples.VISUAL))
    found = embedding_map(learned, tokens, NAMES)
    assert [token for token, *_ in found.tokens] == tokens
    assert {word for word, *_ in found.words} == {*ACTIONS, *THINGS}
    place = {name: np.array(xy) for name, *xy in (*found.words, *found.tokens)}
    assert all((xy >= 0).all() and (xy <= 1).all() for xy in place.values())
    own, others = [], []
    for word, *_ in found.words:
        for token in tokens:
            (own if word in NAMES[token] else others).append(np.linalg.norm(place[word] - place[token]))
    assert np.mean(own) < 0.85 * np.mean(others)
    assert found == embedding_map(learned, tokens, NAMES)


def test_a_map_has_places_enough_and_not_too_many_words(learned):
    assert embedding_map(learned, list(range(16)), {}) is None, "no token has a name"
    assert embedding_map(learned, [0], NAMES) is None and LEAST_PLACES > 3
    assert embedding_map(learned, [], {}) is None
    many = {token: ", ".join(f"word{token}x{n}" for n in range(9)) for token in range(16)}
    assert len(embedding_map(learned, list(range(16)), many).words) == MOST_WORDS


def test_a_token_has_the_label_that_its_moments_have_most_often(learned, tmp_path):
    store = Store(tmp_path / "store")
    trained = kitchen.fill(store, learned)
    _, others = kitchen.materials()
    with Catalogue(store.catalogue) as catalogue:
        videos = {video.video: video for video in usable(catalogue)}
    answers = [
        {"video": m.video.video, "start": s.start, "end": s.end, "true": s.text.split()[1], "said": "nothing"}
        for m in others
        for s in m.transcript.sentences
    ]
    found = labelled_tokens(store, trained, videos, ACTIONS, answers)
    assert found and all(label == ACTIONS[token // len(THINGS)] for token, label in found.items())
    assert {t for m in others for t in m.tokens.tolist()} == set(found)
    # one that is of no class, and one that is said once of a token that has another label three times
    stray = answers[0] | {"true": "cut, peel"}
    once = answers[0] | {"end": answers[0]["start"] + 1.5, "true": "wash"}
    assert labelled_tokens(store, trained, videos, ACTIONS, [*answers, stray, once]) == found
    assert labelled_tokens(store, trained, videos, ACTIONS, [stray]) == {}
