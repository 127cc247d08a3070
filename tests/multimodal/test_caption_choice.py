"""Captions of a video: which are taken, what is said of the others, and the transcript that is stored."""

import json
import os
from pathlib import Path

import fragments
import numpy as np
import pytest
from av.stream import Disposition

from multimodal.catalogue import Video
from multimodal.intake import caption_choice
from multimodal.intake.caption_choice import Choice, choose, not_taken
from multimodal.intake.ingest import ingest, is_up_to_date
from multimodal.intake.ingest_options import IngestOptions
from multimodal.intake.sandbox import Limits
from multimodal.library import find
from multimodal.segments import spoken_segments
from multimodal.store import Store, canonical_json, file_digest, recipe, write_whole
from speech.sentences import Transcript
from vision.clips import CLIP_SECONDS, clip_starts
from vision.media import probe

NONE = Disposition(0)


def srt(*texts: str) -> str:
    cues = (f"{n}\n00:00:0{n - 1},200 --> 00:00:0{n},000\n{text}\n\n" for n, text in enumerate(texts, 1))
    return "".join(cues)


def vtt(*texts: str, header: str = "") -> str:
    cues = (f"00:0{n}.200 --> 00:0{n + 1}.000\n{text}\n\n" for n, text in enumerate(texts))
    return f"WEBVTT{header}\n\n" + "".join(cues)


def chosen(video: Path, files: dict[str, str], language: str | None = None, english: bool = True) -> Choice:
    for name, text in files.items():
        (video.parent / name).write_text(text, encoding="utf-8")
    return choose(video, probe(video), language=language, english=english, limits=Limits())


def said(choice: Choice) -> list[str]:
    return [sentence["text"] for sentence in choice.transcript["sentences"]] if choice.transcript else []


@pytest.fixture
def film(tmp_path) -> Path:
    """A silent video of 3 s."""
    return fragments.silent(tmp_path / "films" / "film.mp4")


AUTOMATIC = vtt("peel<00:00:00.500><c> them</c>")


@pytest.mark.parametrize(
    ("files", "language", "english", "taken"),
    [
        ({"film.en.vtt": AUTOMATIC, "film.en-GB.srt": srt("By a person.")}, None, True, "film.en-GB.srt"),
        ({"film.en-orig.vtt": AUTOMATIC, "film.de.vtt": vtt("Ein Mensch.")}, None, False, "film.en-orig.vtt"),
        ({"film.de.vtt": vtt("Deutsch."), "film.en.srt": srt("English.")}, None, True, "film.en.srt"),
        ({"film.de.vtt": vtt("Deutsch."), "film.en.srt": srt("English.")}, "de", True, "film.de.vtt"),
        ({"film.de.vtt": vtt("Deutsch."), "film.srt": srt("Plain.")}, "en", True, "film.srt"),
        ({"film.de.vtt": vtt("Deutsch.")}, None, True, "film.de.vtt"),
        ({"film.en.forced.vtt": vtt("Forced."), "film.en.sdh.vtt": vtt("Sdh."), "film.en.srt": srt("Full.")}, None, True, "film.en.srt"),
        ({"film.vtt": vtt("x.jpg#xywh=0,0,1,1"), "film.srt": srt("Full.")}, None, True, "film.srt"),
        ({"film.vtt": "WEBVTT\n\nnothing", "film.srt": srt("Full.")}, None, True, "film.srt"),
        ({"film.vtt": vtt("[Music]"), "film.SRT": srt("Full.")}, None, True, "film.SRT"),
        ({"film.sub": "{5}{25}Said in the frames of the video."}, None, True, "film.sub"),
        ({"film.en.sbv": "0:00:00.200,0:00:01.000\nSaid.\n", "film.de.smi": "<SYNC Start=9><P>Gesagt."}, None, True, "film.en.sbv"),
        ({"film.ass": "[Events]\nDialogue: 0,0:00:00.20,0:00:01.00,D,,0,0,0,,Said.\n"}, None, True, "film.ass"),
    ],
)  # fmt: skip
def test_the_one_that_the_rule_names_is_taken(film, files, language, english, taken):
    choice = chosen(film, files, language, english)
    assert f"captions taken from {taken}" in choice.notes
    assert choice.transcript["source"]["file"] == taken and said(choice)
    assert not choice.problems
    passed = " ".join(note for note in choice.notes if "passed over" in note)
    assert all((name in passed) == (name != taken) for name in files)


@pytest.mark.parametrize(
    ("files", "language", "problems"),
    [
        ({"film.forced.vtt": vtt("Forced.")}, None, 0),
        ({"film.chapters.vtt": vtt("Peeling")}, None, 0),
        ({"film.en.vtt": vtt("x.png", "y.png")}, None, 0),
        ({"film.en.vtt": vtt("A translation.")}, "de", 0),
        ({"film.lrc": "[00:01.00]x"}, None, 0),
        ({"film.vtt": "no captions", "film.srt": ""}, None, 2),
    ],
)
def test_where_none_is_speech_nothing_is_taken_and_each_is_named(film, files, language, problems):
    choice = chosen(film, files, language)
    assert choice.transcript is None and len(choice.problems) == problems
    assert all(name in " ".join((*choice.problems, *choice.notes)) for name in files)


@pytest.mark.parametrize(
    ("name", "count", "told"),
    [
        ("onebad.srt", 2, "1 of 3 cues left out"),
        ("latesub.srt", 1, "1 cue past the video's end"),
        ("cp1252.srt", 2, "read as cp1252"),
        ("utf16.srt", 2, "read as utf-16"),
        ("sdh.srt", 2, "2 sound notes left out"),
        ("storyboard.vtt", 0, "2 thumbnails, no speech"),
        ("chapters.vtt", 0, "2 chapters, no speech"),
    ],
)
def test_what_is_left_out_of_the_captions_is_said(tmp_path, cases, name, count, told):
    film = fragments.silent(tmp_path / "film.mp4", seconds=9.5)
    film.with_suffix(Path(name).suffix).write_bytes((cases / name).read_bytes())
    choice = chosen(film, {})
    assert len(said(choice)) == count
    assert told in " ".join((*choice.problems, *choice.notes))
    assert bool(choice.problems) == (name == "onebad.srt"), "words are missing"


def test_many_that_are_passed_over_are_counted(film):
    others = {f"film.{code}.srt": srt("Words.") for code in ("de", "fr", "es", "it", "pl", "ru", "cs", "ja")}
    choice = chosen(film, {"film.en.srt": srt("Words.")} | others)
    assert said(choice) == ["Words."] and any("and 3 more" in note for note in choice.notes)


def test_text_streams_are_taken_and_pictures_of_text_are_not(tmp_path):
    film = fragments.captioned(
        tmp_path / "film.mkv",
        (srt("Nur das.", "Nur dies."), {"language": "ger"}, NONE),
        (srt("Forced."), {"language": "eng"}, Disposition.forced),
        (srt("<i>Peel</i> {\\an8}the carrots.", "Then chop."), {"language": "eng", "title": "English"}, NONE),
        (srt("[door] Peel."), {"language": "eng", "title": "English [SDH]"}, NONE),
    )
    choice = chosen(film, {})
    assert said(choice) == ["Peel the carrots.", "Then chop."]
    assert choice.transcript["language"] == "en"
    assert choice.transcript["source"] == {"kind": "captions", "stream": 3}
    sentences = choice.transcript["sentences"]
    assert [(s["start"], s["end"]) for s in sentences] == [(0.2, 1.0), (1.2, 2.0)]
    (note,) = (n for n in choice.notes if "passed over" in n)
    assert all(f"stream {n}" in note for n in (1, 2, 4))
    assert said(chosen(film, {}, "de")) == ["Nur das.", "Nur dies."]
    assert "stream 1" in not_taken(film, probe(film))[0]
    beside = chosen(film, {"film.en.ass": "[Events]\nDialogue: 0,0:00:00.20,0:00:01.00,D,,0,0,0,,Said.\n"})
    assert said(beside) == ["Said."], "a file beside the video comes before an equal stream in it"
    automatic = chosen(film, {"film.en.ass": "", "film.en.vtt": AUTOMATIC})
    assert said(automatic) == ["Peel the carrots.", "Then chop."], "people's before a recogniser's"


def test_captions_in_another_language_than_the_sound_are_told(film):
    choice = chosen(film, {"film.en-orig.vtt": "", "film.de.vtt": vtt("Eine Übersetzung.")})
    assert "captions taken from film.de.vtt: captions in German, speech in English" in choice.notes


def test_a_folder_a_dead_link_and_a_name_that_is_no_utf8_are_no_trouble(film):
    (film.parent / "film.en.vtt").mkdir()
    (film.parent / "film.de.vtt").symlink_to("nowhere")
    odd = film.parent / os.fsdecode(b"film.\xff.srt")
    odd.write_text(srt("Said."))
    choice = chosen(film, {})
    assert said(choice) == ["Said."]
    stored = canonical_json(
        [choice.transcript, choice.notes, caption_choice.identity(film, True), not_taken(film, probe(film))]
    )
    assert stored.encode() and "de.vtt" not in stored


def test_pictures_of_text_are_named_by_their_index(film):
    choice = chosen(film, {"film.sub": "\x00\x01", "film.idx": "# VobSub index file, v7"})
    assert choice.transcript is None and not choice.problems
    assert "film.idx" in choice.notes[0] and "film.sub" not in choice.notes[0]


def test_captions_beside_a_video_are_not_counted_as_skipped(film):
    for name in ("film.en.vtt", "FILM.SRT", "film.sub", "other.srt", "notes.txt"):
        (film.parent / name).touch()
    assert find([film.parent]).skipped == {".srt": 1, ".txt": 1}


def test_the_text_track_of_an_mp4_is_taken(tmp_path):
    film = fragments.with_mov_text(
        tmp_path / "film.mp4", [(0.5, 1.25, "Peel & chop."), (1.5, 2.5, "Stir it.")]
    )
    choice = chosen(film, {})
    assert [(s["start"], s["end"], s["text"]) for s in choice.transcript["sentences"]] == [
        (0.5, 1.25, "Peel & chop."),
        (1.5, 2.5, "Stir it."),
    ]


ASS = """[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour
Style: Default,Arial,16,&Hffffff
Style: Signs,Arial,16,&Hffffff

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Dialogue: 0,0:00:00.20,0:00:01.00,Default,Ann,0,0,0,,{\\i1}Peel{\\i0}, then\\Nstir it.
Dialogue: 0,0:00:00.50,0:00:01.00,Signs,,0,0,0,,{\\pos(1,2)}KITCHEN
Dialogue: 0,0:00:01.20,0:00:02.00,Default,,0,0,0,,Chop & wait.
"""
OF_FORMS = {
    "srt": srt("<i>Peel</i>, then\nstir it.", "Chop & wait."),
    "ass": ASS,
    "webvtt": vtt("<v Ann><i>Peel</i>, then\nstir it.", "Chop &amp; wait."),
}


@pytest.mark.parametrize("form", OF_FORMS)
def test_a_text_stream_of_any_form_counts_from_the_files_start(tmp_path, form):
    """In a part of a longer recording, whose clock goes on."""
    track = (OF_FORMS[form], {"language": "eng"}, NONE)
    choice = chosen(fragments.captioned(tmp_path / "film.mkv", track, form=form, begin=3600.0), {})
    assert [(s["start"], s["text"]) for s in choice.transcript["sentences"]] == [
        (0.2, "Peel, then stir it."),
        (1.2, "Chop & wait."),
    ]


def test_captions_that_were_not_asked_for_are_told(film):
    assert not not_taken(film, probe(film))
    assert caption_choice.identity(film, False) is None, "a video without captions keeps its recipe"
    before = caption_choice.identity(film, True)
    for name, text in {"film.de.VTT": vtt("Deutsch."), "film.forced.srt": srt("Forced.")}.items():
        (film.parent / name).write_text(text)
    (note,) = not_taken(film, probe(film))
    assert "film.de.VTT" in note and "--captions" in note and "forced" not in note
    assert caption_choice.identity(film, True) != before and caption_choice.identity(film, False)


def test_captions_in_an_older_store_keep_their_address_while_their_sentences_are_the_same(film, tmp_path):
    """A transcript's address is part of the address of each model that read it."""
    store = Store(tmp_path / "store")
    video = Video(file_digest(film), film.name, str(film), film.stat().st_size)
    choice = chosen(film, {"film.srt": srt("Peel.", "Chop.")})
    before = recipe(version=2, captions=file_digest(film.with_suffix(".srt")))
    old = store.transcript(video.video, before)
    write_whole(old, canonical_json(choice.transcript | {"notes": ["older"]}).encode())
    assert caption_choice.store_transcript(store, video, choice) == before
    write_whole(old, canonical_json(choice.transcript | {"sentences": []}).encode())
    made = caption_choice.store_transcript(store, video, choice)
    assert made != before and json.loads(store.transcript(video.video, made).read_text())["sentences"]


def test_ingestion_names_captions_in_the_reason(film, tmp_path, weights_or_skip):
    """A silent video with one bad cue: its words are those of the captions, and it is partial."""
    weights_or_skip("mobilenetv2-imagenet")
    store = Store(tmp_path / "store")
    video = Video(file_digest(film), film.name, str(film), film.stat().st_size)
    good = srt("First, peel.", "Then chop.")
    (film.parent / "film.en.srt").write_text(good + "3\n00:00:02,500 --> 00:00:02,100\nbad\n")
    options = IngestOptions(backbone="mobilenetv2", captions=True)
    outcome = ingest(store, video, options, "cpu", threads=1)
    assert (outcome.state, outcome.sentences, outcome.clips) == ("partial", 2, 2)
    assert "1 of 3 cues left out" in outcome.reason and "film.en.srt" in outcome.reason
    assert is_up_to_date(store, outcome.applied_to(video), options)
    (film.parent / "film.en.srt").write_text(good)
    assert not is_up_to_date(store, outcome.applied_to(video), options)
    whole = ingest(store, video, options, "cpu", threads=1)
    assert (whole.state, whole.sentences) == ("done", 2)
    unasked = ingest(store, video, IngestOptions(backbone="mobilenetv2"), "cpu", threads=1)
    assert unasked.state == "partial" and "film.en.srt (--captions takes them)" in unasked.reason


@pytest.mark.parametrize("name", ["congress", "dating", "var"])
def test_sentences_of_real_captions_meet_the_clips_shown_while_they_are_spoken(videos, name):
    video = videos / f"narrated/ds4200_{name}_screencast.mp4"
    media = probe(video)
    choice = choose(video, media, language=None, english=True, limits=Limits())
    assert choice.transcript["source"]["file"] == f"ds4200_{name}_screencast.en.vtt" and not choice.problems
    transcript = Transcript.from_dict(choice.transcript)
    starts = clip_starts(media.video.start, media.video.start + media.video.duration)
    segments = spoken_segments("v", transcript, starts, np.arange(len(starts)))
    met = [
        any(starts[c] < s.end and s.start < starts[c] + CLIP_SECONDS for c in segment.clips)
        for segment, s in zip(segments, transcript.sentences, strict=True)
    ]
    assert np.mean(met) >= 0.95
    moved = spoken_segments("v", transcript, starts + 3600, np.arange(len(starts)))
    assert not any(segment.clips for segment in moved), "the control"
