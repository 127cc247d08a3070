"""Search by words of any script: characters where there are no spaces, marks that most texts leave out."""

import sqlite3

import pytest

from multimodal.answers import scripts
from multimodal.answers.lexical import QueryMatch, Words
from multimodal.answers.query import Query

TEXTS = {
    "zh": "首先，把胡萝卜切成薄片。",
    "zh2": "然后加入一勺盐，慢慢搅拌。",
    "ja": "まず、にんじんを薄く切ります。",
    "ja2": "フライパンで卵を焼きます。",
    "th": "หั่นแครอทเป็นชิ้นบาง",
    "ar": "أولاً، نُقَطِّعُ الجَزَرَ إلى شرائح رقيقة",
    "he": "קוֹדֶם חוֹתְכִים אֶת הַגֶּזֶר",
    "ko": "먼저 당근을 얇게 썰어 주세요",
    "de": "Zuerst schneiden wir die Möhren auf der Straße",
    "fr": "D'abord, on épluche la pêche et l'œuf",
    "el": "Πρώτα κόβουμε το καρότο",
    "ru": "Сначала порежьте ёлку и морковь",
    "en": "First, chop the carrot into thin slices.",
}


@pytest.fixture(scope="module")
def words() -> Words:
    made = Words.create(sqlite3.connect(":memory:"))
    made.add((i, text, None) for i, text in enumerate(TEXTS.values()))
    return made


def found(words: Words, text: str) -> list[str]:
    query = Query.of(text)
    match = QueryMatch.of(query, words, Words.create(sqlite3.connect(":memory:")), lambda word: True)
    return [list(TEXTS)[text[0]] for text in words.search(match, match.said)]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("胡萝卜", "zh"),
        ("怎么切胡萝卜", "zh"),  # as a question without spaces
        ("一勺盐", "zh2"),
        ("にんじん", "ja"),
        ("フライパン", "ja2"),
        ("ﾌﾗｲﾊﾟﾝ", "ja2"),  # in half width
        ("แครอท", "th"),
        ("الجزر", "ar"),
        ("الجَزَرَ", "ar"),
        ("اولا", "ar"),  # without the hamza
        ("הגזר", "he"),
        ("당근을", "ko"),
        ("당근", "ko"),  # as the beginning of a word
        ("mohren", "de"),
        ("strasse", "de"),
        ("STRAßE", "de"),
        ("peche", "fr"),
        ("καροτο", "el"),
        ("ΚΑΡΌΤΟ", "el"),
        ("елку", "ru"),
        ("Морковь", "ru"),
        ("carrots", "en"),
        ('"胡萝卜切成"', "zh"),
        ('"薄く切り"', "ja"),
    ],
)
def test_a_word_is_found_in_its_script(words, text, language):
    assert found(words, text)[:1] == [language]


@pytest.mark.parametrize(
    "text", ["西红柿", "番茄炒蛋怎么做", "トマト", "мясо", "طماطم", "עגבניה", "양파", "Zwiebel", '"切胡萝卜"']
)
def test_what_nobody_says_is_not_found(words, text):
    assert found(words, text) == []


def test_an_excluded_word_of_another_script_is_excluded(words):
    assert found(words, "盐 -搅拌") == []
    assert found(words, "盐 -胡萝卜") == ["zh2"]


def test_sounds_of_japanese_and_syllables_of_korean_stay_what_they_are():
    assert scripts.folded("が") != scripts.folded("か")
    assert scripts.folded("한국어") == "한국어"


@pytest.mark.parametrize("text", ["الجزر", "הגזר"])
def test_right_to_left_text_is_kept_apart(text):
    assert scripts.isolated(text) == f"\u2068{text}\u2069" and scripts.isolated("carrot") == "carrot"
