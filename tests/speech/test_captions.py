"""Caption files as they are found, and the words that they carry."""

import difflib
import math
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speech import captions
from speech.caption_files import read
from speech.cues import INNER_TIME, Cue, plain, seconds_of, write_webvtt
from speech.errors import SpeechError

ROLL_UP = """WEBVTT
Kind: captions
Language: en

00:00:01.360 --> 00:00:03.750 align:start position:0%
\x20
welcome<00:00:01.680><c> to</c><00:00:01.839><c> our</c><00:00:03.040><c> kitchen</c>

00:00:03.750 --> 00:00:03.760 align:start position:0%
welcome to our kitchen
\x20

00:00:03.760 --> 00:00:05.269 align:start position:0%
welcome to our kitchen
yes

00:00:05.269 --> 00:00:05.279 align:start position:0%
yes
\x20

00:00:05.279 --> 00:00:06.869 align:start position:0%
yes
yes
"""


def words_of(cues) -> list:
    return [word for sentence in captions.transcript(cues, {}).sentences for word in sentence.words]


def test_roll_up_captions_give_each_word_once_at_its_own_time():
    words = words_of(read(ROLL_UP).cues)
    assert [word.text for word in words] == ["welcome", "to", "our", "kitchen", "yes", "yes"]
    assert [word.start for word in words] == [1.36, 1.68, 1.839, 3.04, 3.76, 5.279]
    assert all(word.probability is None and word.start < word.end for word in words)
    assert words[2].end < 3.04, "a word that only has a start does not last until the next after a pause"


def test_real_roll_up_captions_say_what_their_lines_of_one_say(videos):
    """Oracle: YouTube repeats a finished line alone in a cue of 10 ms, unless the picture is cleared after it."""
    cues = read(videos / "narrated/ds4200_dating_screencast.en.vtt").cues
    finished = " ".join(cue.text.strip() for cue in cues if cue.end - cue.start < 0.0101).split()
    words = words_of(cues)
    matcher = difflib.SequenceMatcher(None, finished, [word.text for word in words], autojunk=False)
    changes = [(kind, end - start) for kind, _, _, start, end in matcher.get_opcodes() if kind != "equal"]
    assert len(finished) > 390
    assert {kind for kind, _ in changes} == {"insert"}
    assert sum(count for _, count in changes) < 12
    stamps = {
        (seconds_of(stamp.groups()[:4]), stamp[5])
        for cue in cues
        for stamp in re.finditer(INNER_TIME.pattern + "<c> ([^<]+)</c>", cue.text)
    }
    assert stamps <= {(word.start, word.text) for word in words}


times = st.integers(0, 400 * 3600 * 1000)
lines = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="<>&{}"), min_size=1, max_size=30
)
vtt_lines = lines | st.sampled_from(["<i>slow</i> &amp; <v Ann>fast", "a<00:00:01.000><c> b</c>", " ", "12"])


@st.composite
def cue_lists(draw) -> list[Cue]:
    cues = []
    for _ in range(draw(st.integers(1, 6))):
        start, end = sorted([draw(times), draw(times)])
        cues.append(Cue(start / 1000, end / 1000, "\n".join(draw(st.lists(vtt_lines, max_size=3)))))
    return cues


@settings(max_examples=150, deadline=None)
@given(cue_lists())
def test_what_is_written_is_read_again(cues):
    assert read(write_webvtt(cues)).cues == tuple(cues)


def test_webvtt_with_everything_that_is_not_a_cue():
    text = (
        "\ufeffWEBVTT - a title\r\nKind: captions\r\n\r\nNOTE\r\nnot\r\nspoken\r\n\r\nSTYLE\r\n::cue { color: red }"
        "\r\n\r\nREGION\r\nid:one\r\n\r\nfirst\r\n01:02.500 --> 01:03.000 line:0\r\n<v Ann>Fish &amp; <i>chips</i>"
        "\r\n&gt;&gt; [Music]\u266a\r\n\r\n100:00:00.000-->100:00:01.000\r\n"
    )
    cues = read(text).cues
    assert [(cue.start, cue.end) for cue in cues] == [(62.5, 63.0), (360000.0, 360001.0)]
    transcript = captions.transcript(cues, {"kind": "captions"}, language="en")
    assert [sentence.text for sentence in transcript.sentences] == ["Fish & chips"]
    sounds, marks = transcript.notes
    assert sounds.startswith("1 ") and "punctuation" in marks
    assert (transcript.language, transcript.source) == ("en", {"kind": "captions"})


def test_roll_up_captions_are_cut_where_whisper_ends_sentences(videos):
    """The oracle: where the 21 sentences of Whisper tiny.en end in the same video. It reads the audio, captions have none."""
    ends = """trends app relationship apps group user mouseover it had had meetups app apps demand profiles offs
    users count offs visualization categories""".split()
    transcript = captions.transcript(read(videos / "narrated/ds4200_dating_screencast.en.vtt").cues, {})
    cut = [sentence.words[-1].text for sentence in transcript.sentences]
    right = sum(min(cut.count(word), ends.count(word)) for word in set(cut))
    assert right / len(cut) >= 0.9
    assert right / len(ends) >= 0.8
    assert "punctuation" in transcript.notes[-1]


def test_cues_that_begin_with_a_capital_begin_a_sentence_where_nothing_is_punctuated():
    cues = [Cue(0, 2, "We take the red box"), Cue(2, 4, "and open it"), Cue(4, 6, "It is full of nails")]
    texts = [sentence.text for sentence in captions.transcript(cues, {}).sentences]
    assert texts == ["We take the red box and open it", "It is full of nails"]


def test_srt_as_it_is_found():
    text = "1\n00:00:01,000 --> 00:00:02,000 X1:0\nA < B & C\n\nstill one\n\n\n2\n0:00:03.000 --> 0:00:04.000\n<i>D</i>\n"
    cues = read(text).cues
    assert [plain(cue.text) for cue in cues] == ["A < B & C\nstill one", "D"]
    assert [(cue.start, cue.end) for cue in cues] == [(1, 2), (3, 4)]


def test_words_are_spread_over_a_cue_that_has_no_word_times():
    words = words_of([Cue(10, 12, "a\nlonger word"), Cue(11, 13, "again")])
    assert [word.text for word in words] == ["a", "longer", "word", "again"]
    assert (words[0].start, words[2].end, words[3].start, words[3].end) == (10, 12, 11, 13)
    assert words[1].end - words[1].start > words[0].end - words[0].start


def test_the_same_line_said_twice_is_kept_where_nothing_rolls_up():
    cues = [Cue(0, 1, "Yes."), Cue(1, 2, "Yes."), *(Cue(n, n + 1, f"Line {n}.") for n in range(2, 8))]
    assert [word.text for word in words_of(cues)][:2] == ["Yes.", "Yes."]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "bad.vtt: "),
        ("hello\nthere\n", "bad.vtt, line 1: "),
        ("WEBVTT\n\n00:01.000 to 00:02.000\nx", "bad.vtt, line 3: '00:01.000 to 00:02.000'"),
        ("WEBVTT\n\n00:01.000 --> later\nx", "bad.vtt, line 3: '00:01.000 --> later'"),
        ("WEBVTT\n\na\n00:02.000 --> 00:01.000\nx", "bad.vtt, line 4: "),
        ("1\n00:61:01,000 --> 01:62:02,000\nx", "bad.vtt, line 2: .* 61 minutes"),
        ("1\n00:00:01,000 --> soon\nx", "bad.vtt, line 2: "),
    ],
)
def test_a_bad_file_is_refused_with_its_line(tmp_path, content, message):
    file = tmp_path / "bad.vtt"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SpeechError, match=message) as caught:
        read(file)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SpeechError, match=r"^gone\.srt: "):
        read(str(tmp_path / "gone.srt"))


@pytest.mark.parametrize(
    "cue",
    [Cue(0, 1, "a\n\nb"), Cue(0, 1, "a --> b"), Cue(2, 1, "a"), Cue(-1, 1, "a"), Cue(0, math.nan, "a")],
)
def test_a_cue_that_no_file_can_hold_is_not_written(cue):
    with pytest.raises(ValueError, match="text=|start="):
        write_webvtt([cue])


@settings(max_examples=200, deadline=None)
@given(
    st.text(max_size=200)
    | st.lists(st.sampled_from(["WEBVTT", "", "1", "00:01.000 --> 00:02.000", "x<c"])).map("\n".join)
)
def test_any_text_is_read_or_refused(text):
    try:
        cues = read(text + "\n").cues
    except SpeechError:
        return
    captions.transcript(cues, {})


@pytest.mark.parametrize(
    "line",
    ["<a" * 500_000, "." * 500_000 + "x", "[" * 500_000, "a " * 100_000, "&" * 500_000],
    ids=["tags", "marks", "brackets", "words", "entities"],
)
def test_a_hostile_line_is_read_in_linear_time(line):
    """A quadratic reader takes hours of CPU time here, this one a few seconds at most."""
    began = time.process_time()
    cues = read(f"WEBVTT\n\n00:01.000 --> 00:02.000 a{' ' * 300_000}b\n{line}\n").cues
    captions.transcript(cues, {})
    assert time.process_time() - began < 30
