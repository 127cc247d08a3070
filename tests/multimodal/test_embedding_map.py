"""The map of words and visual tokens: a word is near the tokens that it is said beside, tokens have the labels of a task."""

from xml.etree import ElementTree

import joint_samples
import kitchen
import numpy as np

from multimodal.catalogue import Catalogue
from multimodal.finetuning.judged import labelled_tokens
from multimodal.library import usable
from multimodal.store import Store
from multimodal.web import report
from multimodal.web.embedding_map import MOST_WORDS, EmbeddingMap, embedding_map

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


def test_a_map_on_the_page_escapes_what_was_said():
    found = EmbeddingMap((("<i>cut", 0.1, 0.2),), ((3, 0.5, 0.5), (4, 1.0, 0.0)))
    drawn = report._environment().get_template("maps.html").module
    page = ElementTree.fromstring(
        str(drawn.words_and_tokens(found, {3: "<i>cut, onion"}, {3: 120}, {3: "a & b"}))
    )
    first, second = page.findall("circle")
    assert first.find("title").text == "v00003: <i>cut, onion; a & b" and "hsl(120" in first.get("style")
    assert second.find("title").text == "v00004" and second.get("style") is None
    assert (first.get("cx"), first.get("cy"), second.get("cx")) == ("50.0", "30.0", "100.0")
    assert [text.text for text in page.findall("text")] == ["<i>cut"]


def test_a_map_has_places_enough_and_not_too_many_words(learned):
    assert embedding_map(learned, list(range(16)), {}) is None, "no token has a name"
    assert embedding_map(learned, [0], NAMES) is None
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
    # a moment too short to hold a clip's middle has the clip that it overlaps most, as a head reads it
    short = answers[0] | {"end": answers[0]["start"] + 0.4}
    assert list(labelled_tokens(store, trained, videos, ACTIONS, [short]).values()) == [short["true"]]
