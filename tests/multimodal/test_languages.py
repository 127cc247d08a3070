"""Search in the language of what is said: another form of a word, without accents, part of a sentence without spaces."""

import pytest
from tongues import NARRATIONS

from multimodal.answers.languages import guessed, is_stop_word, stems
from multimodal.answers.search import Index
from multimodal.segments import Segment
from multimodal.store import InputError

ENGLISH = (
    "First we peel the carrots with a knife.",
    "The oil is hot, so we fry the dice.",
    "This fur is not for eating, but the party of the year is.",
)


@pytest.fixture(scope="module", params=["told", "guessed"])
def library(request) -> Index:
    """All five narrations and an English one, their languages as the transcripts name them, or as the words show."""
    moments = [
        Segment(n.language, 5.0 * i, 5.0 * i + 4, text, ())
        for n in NARRATIONS
        for i, text in enumerate(n.sentences)
    ]
    moments += [Segment("en", 5.0 * i, 5.0 * i + 4, text, ()) for i, text in enumerate(ENGLISH)]
    told = {n.language: n.language for n in NARRATIONS} | {"en": "en"}
    names = [f"clip-{moment.video}" for moment in moments]
    return Index.of(None, names, moments, languages=told if request.param == "told" else {})


def best(library: Index, text: str) -> tuple[str, int] | None:
    hits = library.search(text)
    return (hits[0].video, round(hits[0].start / 5)) if hits else None


@pytest.mark.parametrize(
    ("language", "asked", "sentence"), [(n.language, *asked) for n in NARRATIONS for asked in n.asked]
)
def test_a_word_finds_its_sentence(library, language, asked, sentence):
    assert best(library, asked) == (language, sentence)


@pytest.mark.parametrize(
    ("text", "words", "ignored"),
    [
        ("wie schneide ich die Zwiebeln", ("schneide", "Zwiebeln"), ("wie", "ich", "die")),
        ("comment couper les oignons", ("couper", "oignons"), ("comment", "les")),
        ("how do we fry the dice", ("fry", "dice"), ("how", "do", "we", "the")),
    ],
)
def test_stop_words_of_the_question_s_language_have_no_weight(library, text, words, ignored):
    lookup = library.find(text).lookup
    assert lookup.query.words == words and lookup.query.ignored == ignored


@pytest.mark.parametrize("word", ["für", "die", "das"])
def test_a_stop_word_alone_is_not_looked_up_in_a_library_of_its_language(library, word):
    assert not library.find(f"{word} und").hits


def test_an_excluded_word_is_excluded_in_every_form(library):
    assert best(library, "Zwiebeln -Würfel") != ("de", 2)
    assert best(library, "Suppe") and best(library, "Suppe -Suppen") is None


@pytest.mark.parametrize("word", ["Knoblauch", "ail", "大蒜", "にんにく", "الثوم", "garlic"])
def test_what_nobody_says_is_not_found(library, word):
    try:
        assert best(library, word) is None
    except InputError:
        pytest.fail("a word is a question")


def test_english_is_stemmed_by_porter_alone_and_keeps_its_words(library):
    assert best(library, "peeling carrots") == ("en", 0)
    assert best(library, "frying") == ("en", 1)
    assert best(library, "fur") == ("en", 2), "the German stop word für has an accent"
    assert stems("carrots", "en") == ()


def test_languages_are_guessed_by_their_stop_words():
    for narration in NARRATIONS:
        expected = None if narration.language in ("zh", "ja") else narration.language
        assert guessed(narration.sentences) == expected
    assert guessed(ENGLISH) == "en" and guessed(["12 34"]) is None


def test_accents_make_another_word():
    assert is_stop_word("the") and not is_stop_word("thé")
    assert is_stop_word("für", "de") and not is_stop_word("für", "en")
