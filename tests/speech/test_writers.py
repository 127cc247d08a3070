"""Transcripts as files: whisper's own writers, and FFmpeg's readers of captions, say what is right."""

import io
import json
from fractions import Fraction
from pathlib import Path

import av
import pytest
from whisper.utils import get_writer

from speech import caption_files
from speech.imported import from_json, load
from speech.sentences import Sentence, Transcript, Word
from speech.writers import FORMATS, write

SAID = (
    (0.0, 1.25, "Now chop the carrot."),
    (1.25, 62.5, "It's\n«soft» – ½ & ½?"),
    (3601.0015, 3604.9996, "Café 日本語 now."),
    (3700.0, 3701.0, "3 < 4 > 2 --> done"),
)


def transcript(*rows: tuple[float, float, str]) -> Transcript:
    found = []
    for start, end, text in rows:
        texts = text.split()
        edges = [start + (end - start) * n / len(texts) for n in range(len(texts) + 1)]
        words = tuple(Word(a, b, t, 0.5) for t, a, b in zip(texts, edges, edges[1:], strict=False))
        found.append(Sentence(start, end, text, words))
    return Transcript("en", {"kind": "test"}, tuple(found))


def by_whisper(form: str, spoken: Transcript) -> str:
    """The file that openai-whisper writes of the same segments."""
    segments = [
        {"start": s.start, "end": s.end, "text": f" {' '.join(s.text.split())}"} for s in spoken.sentences
    ]
    out = io.StringIO()
    get_writer(form, "").write_result(
        {"segments": segments, "text": "", "language": "en"}, file=out, options={}
    )
    return out.getvalue()


def by_ffmpeg(path: Path) -> list[tuple[int, int, str]]:
    """Start and end in milliseconds and the text of each cue, as FFmpeg reads them."""
    with av.open(str(path)) as file:
        return [
            (packet.pts, packet.pts + packet.duration, subtitle.dialogue.decode())
            for packet in file.demux(subtitles=0)
            if packet.pts is not None and packet.time_base == Fraction(1, 1000)
            for subtitle in packet.decode()
        ]


@pytest.mark.parametrize("form", ["srt", "tsv", "txt"])
def test_as_whisper_writes_it(form):
    spoken = transcript(*SAID)
    assert write(spoken, form) == by_whisper(form, spoken)


@pytest.mark.parametrize("form", ["vtt", "srt"])
def test_a_player_reads_the_same_cues(tmp_path, form):
    """Of WebVTT each character; SRT has no way to write "-->" within a text, and whisper none to escape "<"."""
    spoken = transcript(*SAID[: 4 if form == "vtt" else 3])
    (tmp_path / f"ours.{form}").write_text(write(spoken, form), encoding="utf-8")
    read = by_ffmpeg(tmp_path / f"ours.{form}")
    assert read == [
        (round(1000 * s.start), round(1000 * s.end), " ".join(s.text.split())) for s in spoken.sentences
    ]
    plain = transcript(SAID[0], SAID[2])
    (tmp_path / f"ours.{form}").write_text(write(plain, form), encoding="utf-8")
    (tmp_path / f"theirs.{form}").write_text(by_whisper(form, plain), encoding="utf-8")
    assert by_ffmpeg(tmp_path / f"ours.{form}") == by_ffmpeg(tmp_path / f"theirs.{form}") != []


def test_what_is_markup_to_a_player_is_escaped(tmp_path):
    """The control: unescaped, as whisper writes it, FFmpeg drops a part of the text."""
    spoken = transcript((0.0, 1.0, "a <b>bold</b> claim & more"))
    for name, text in (("ours.vtt", write(spoken, "vtt")), ("theirs.vtt", by_whisper("vtt", spoken))):
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert by_ffmpeg(tmp_path / "ours.vtt")[0][2] == "a <b>bold</b> claim & more"
    assert by_ffmpeg(tmp_path / "theirs.vtt")[0][2] != "a <b>bold</b> claim & more"


def test_json_is_whispers():
    document = json.loads(write(transcript(*SAID), "json"))
    assert document["language"] == "en" and [s["id"] for s in document["segments"]] == [0, 1, 2, 3]
    first = document["segments"][0]
    assert (first["start"], first["end"], first["text"]) == SAID[0]
    assert "".join(w["word"] for w in first["words"]) == first["text"]
    assert {tuple(w) for w in first["words"]} == {("word", "start", "end", "probability")}
    without = Sentence(0.0, 1.0, "so", (Word(0.0, 1.0, "so"),))
    document = json.loads(write(Transcript(None, {}, (without,)), "json"))
    assert document["segments"][0]["words"] == [{"word": "so", "start": 0.0, "end": 1.0}]


def test_json_comes_back_as_it_was():
    spoken = transcript(*SAID[:1], *SAID[2:])
    back = from_json(load(write(spoken, "json")), {})
    assert [(s.start, s.end) for s in back.sentences] == [(s.start, s.end) for s in spoken.sentences]
    assert [w.text for s in back.sentences for w in s.words] == [
        w.text for s in spoken.sentences for w in s.words
    ]


@pytest.mark.parametrize("form", FORMATS)
def test_a_transcript_without_words_is_a_file_all_the_same(form):
    text = write(Transcript("en", {}, ()), form)
    assert {"vtt": "WEBVTT\n", "srt": "", "txt": "", "tsv": "start\tend\ttext\n"}.get(form, text) == text
    assert form != "json" or json.loads(text) == {"text": "", "language": "en", "segments": []}


def test_times_are_those_that_a_caption_file_can_hold():
    spoken = transcript(
        (-2.0, -1.0, "before"), (-0.5, 0.5, "across"), (1.0, 1.0, "no time"), (2.0, 3.0, "last")
    )
    cues = caption_files.read(write(spoken, "vtt")).cues
    assert [(c.start, c.end, c.text) for c in cues] == [(0.0, 0.5, "across"), (2.0, 3.0, "last")]
    assert write(spoken, "tsv").splitlines()[1] == "-2000\t-1000\tbefore", "a table can hold them"
