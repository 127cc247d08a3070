"""Words become sentences, none lost; a transcript's JSON is checked field by field."""

import json
import math
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speech.errors import SpeechError
from speech.sentences import (
    Sentence,
    SentenceOptions,
    Transcript,
    Word,
    read_transcript,
    sentences,
    text_of,
)


def spoken(text: str, *, pauses: dict[int, float] | None = None) -> list[Word]:
    """The words of `text`, 0.3 s each with 0.1 s between, and `pauses` more seconds after the n-th."""
    words, time = [], 0.0
    for n, part in enumerate(text.split()):
        words.append(Word(time, time + 0.3, part))
        time += 0.4 + (pauses or {}).get(n, 0.0)
    return words


def texts(words, options=None) -> list[str]:
    return [sentence.text for sentence in sentences(words, options)]


@pytest.mark.parametrize(
    "expected",
    [
        ["Break two eggs.", "Is the pan hot?", "Yes!", "Pour."],
        ["It weighs 3.5 pounds.", "Dr. Smith, e.g., ate it at 9 a.m. in Boston."],
        ["Mr. and Mrs. Jones of the U.S. Army left.", "Then we go."],
        ["Add eggs, flour, etc. and stir.", "We used eggs, etc.", "Now stir."],
        ["See Fig. 2 on vol. 3.", "She said no.", "He went."],
        ['He said "Stop!"', "Then it stopped.", "(It did.)", "Good."],
        ["Well... that is it.", "End…", "Go."],
        ["Steps are these.", "1. Open the box.", "2. Close it."],
        ["The version is 3.", "It works."],
    ],
)
def test_marks_end_sentences_and_abbreviations_do_not(expected):
    assert texts(spoken(" ".join(expected))) == expected


def test_words_without_marks_are_cut_at_pauses():
    words = spoken("so first open the box now we take the red one out", pauses={4: 0.9, 8: 0.3})
    assert texts(words) == ["so first open the box", "now we take the red one out"]


def test_a_pause_within_a_marked_sentence_ends_it_only_when_long():
    assert len(texts(spoken("We take the red box now and open it.", pauses={4: 0.9}))) == 1
    assert len(texts(spoken("We take the red box now and open it.", pauses={4: 2.5}))) == 2


def test_a_long_run_is_cut_after_a_comma_before_anywhere_else():
    words = spoken(" ".join(["word"] * 17 + ["then,"] + ["word"] * 20))
    assert [len(sentence.words) for sentence in sentences(words)] == [18, 20]


def test_scripts_without_spaces_are_joined_without_them():
    words = [Word(0, 1, "今日は"), Word(1, 2, "AI"), Word(2, 3, "です"), Word(3, 4, "ね")]
    assert text_of(words) == "今日は AI ですね"


@st.composite
def word_lists(draw) -> list[Word]:
    time, words = draw(st.floats(-5, 100)), []
    for _ in range(draw(st.integers(0, 60))):
        start = time + draw(st.sampled_from([0, 0, 0.05, 0.3, 0.8, 2.5]))
        end = start + draw(st.floats(0, 1.5))
        text = draw(st.sampled_from(["go", "Then", "3.5", "Dr.", "end.", "no?", "a,", "…", "U.S.", "今日は"]))
        words.append(Word(start, end, text, draw(st.none() | st.floats(0, 1))))
        time = draw(st.sampled_from([start, end]))
    return words


@settings(max_examples=60, deadline=None)
@given(word_lists(), st.integers(6, 20), st.floats(1, 30))
def test_no_word_is_lost_and_no_sentence_too_long(words, most_words, most_seconds):
    options = SentenceOptions(most_words=most_words, most_seconds=most_seconds)
    cut = sentences(words, options)
    assert [word for sentence in cut for word in sentence.words] == words
    for sentence in cut:
        assert sentence.words
        assert sentence.start == sentence.words[0].start
        assert sentence.end == max(word.end for word in sentence.words)
        assert len(sentence.words) <= most_words
        assert sentence.text == text_of(sentence.words)
    starts = [sentence.start for sentence in cut]
    assert starts == sorted(starts)


def test_a_hundred_thousand_words_without_marks_are_cut():
    cut = sentences([Word(n * 0.3, n * 0.3 + 0.2, "word") for n in range(100_000)])
    assert max(len(sentence.words) for sentence in cut) <= SentenceOptions().most_words
    assert sum(len(sentence.words) for sentence in cut) == 100_000


@settings(max_examples=40, deadline=None)
@given(word_lists(), st.none() | st.text(), st.lists(st.text()))
def test_a_transcript_survives_json(tmp_path_factory, words, language, notes):
    transcript = Transcript(language, {"kind": "whisper", "n": 1}, sentences(words), tuple(notes))
    stored = json.dumps(transcript.to_dict())
    assert Transcript.from_dict(json.loads(stored)) == transcript
    file = tmp_path_factory.getbasetemp() / "transcript.json"
    file.write_text(stored)
    assert read_transcript(file) == transcript


def document() -> dict:
    word = {"start": 1.0, "end": 2.0, "text": "Hello.", "probability": 0.9}
    sentence = {"start": 1.0, "end": 2.0, "text": "Hello.", "words": [word]}
    return {"language": "en", "source": {"kind": "whisper"}, "sentences": [sentence]}


def test_the_json_is_what_the_design_says_and_may_have_more_fields():
    data = document()
    data["extra"] = data["sentences"][0]["words"][0]["speaker"] = "later"
    transcript = Transcript.from_dict(data)
    word = Word(1.0, 2.0, "Hello.", 0.9)
    assert transcript == Transcript("en", {"kind": "whisper"}, (Sentence(1.0, 2.0, "Hello.", (word,)),))
    assert transcript.to_dict() == document() | {"notes": []}


BROKEN = [
    ((), [], "transcript", "[]"),
    (("language",), 5, "language", "5"),
    (("source",), None, "source", "None"),
    (("sentences",), {}, "sentences", "{}"),
    (("sentences", 0), 7, "sentences[0]", "7"),
    (("sentences", 0, "text"), None, "sentences[0].text", "None"),
    (("sentences", 0, "start"), "1", "sentences[0].start", "'1'"),
    (("sentences", 0, "start"), True, "sentences[0].start", "True"),
    (("sentences", 0, "start"), 3.0, "sentences[0]", "3"),
    (("sentences", 0, "end"), math.nan, "sentences[0].end", "nan"),
    (("sentences", 0, "end"), 10**400, "sentences[0].end", "0000"),
    (("sentences", 0, "words", 0, "end"), math.inf, "sentences[0].words[0].end", "inf"),
    (("sentences", 0, "words", 0, "end"), 0.5, "sentences[0].words[0]", "0.5"),
    (("sentences", 0, "words", 0, "probability"), 1.5, "sentences[0].words[0].probability", "1.5"),
    (("sentences", 0, "words", 0, "text"), ["x"] * 99, "sentences[0].words[0].text", "['x', 'x'"),
    (("notes",), [1], "notes[0]", "1"),
]


@pytest.mark.parametrize(("path", "value", "place", "shown"), BROKEN)
def test_a_broken_field_and_its_value_are_named(tmp_path, path, value, place, shown):
    data = document()
    if path:
        holder = data
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = value
    else:
        data = value
    file = tmp_path / "t.json"
    file.write_text(json.dumps(data))
    for read, source in ((Transcript.from_dict, data), (read_transcript, file)):
        with pytest.raises(SpeechError) as caught:
            read(source)
        message = str(caught.value)
        assert place in message and (shown in message or value == 10**400)
        assert len(message) < 200 and "\n" not in message
    assert message.startswith("t.json: ")


@pytest.mark.parametrize("missing", ["source", "sentences"])
def test_a_missing_field_is_named(missing):
    data = document()
    del data[missing]
    with pytest.raises(SpeechError, match=f"'{missing}'"):
        Transcript.from_dict(data)


def test_sentences_and_words_must_be_in_order():
    data = document()
    data["sentences"].append({"start": 0.5, "end": 2.0, "text": "", "words": []})
    with pytest.raises(SpeechError, match=r"sentences\[1\].*0\.5"):
        Transcript.from_dict(data)


@pytest.mark.parametrize("content", [b"", b"{", b"[[[", b"\xff", b'{"sentences": [{"start": 1'])
def test_a_stored_transcript_that_is_cut_off_is_told_by_its_name(tmp_path, content):
    file = tmp_path / "t.json"
    file.write_bytes(content)
    with pytest.raises(SpeechError, match=r"^t\.json: ") as caught:
        read_transcript(file)
    assert "\n" not in str(caught.value)


def test_transcripts_and_checkpoints_are_had_without_torch():
    command = "import sys, speech.sentences, speech.checkpoints, speech.captions, speech.imported; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0


@pytest.mark.parametrize("wrong", [{"pause": 0}, {"most_words": 5}, {"most_seconds": math.nan}])
def test_options_that_cannot_be_followed_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SentenceOptions(**wrong)
