"""Properties that hold for any input: times, captions, ids, old catalogues, what is shown. `make hostile` tries fifty times as many."""

import contextlib
import dataclasses
import os
import sqlite3
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.printing import shown
from multimodal.catalogue import MIGRATIONS, Catalogue, Video
from multimodal.vocabulary import SPECIALS, Vocabulary
from speech import caption_files, captions
from speech.control_characters import STEERING, without_controls
from speech.cues import Cue, clock_of, plain, seconds_of, write_webvtt
from speech.errors import SpeechError
from speech.text_encoding import decode
from vision.clips import CLIP_SECONDS, FRAMES_PER_CLIP, MIN_TAIL_SECONDS, clip_starts, frame_times

EXAMPLES = 2000 if os.environ.get("VIDEOBERT_HOSTILE") else 40
often = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
seldom = settings(often, max_examples=EXAMPLES // 10)
"""For what writes and syncs files."""
SECONDS = st.floats(0, 12 * 3600)
PIECES = st.sampled_from(
    ["WEBVTT", "\n", "\n\n", "00:01.000 --> 00:02.000", "1", "-->", "<v a>", "<00:00:01.500>", "&#27;", "&#x202e;", "\x1b[31m",
     "\x9b", "NOTE", "STYLE", "::cue {", "}", "\u2028", "\r", "{\\an8}", "[music]", "♪", "NAME:", "Dialogue:", "\0"]
)  # fmt: skip
TEXTS = st.lists(st.one_of(PIECES, st.text(max_size=8)), max_size=30).map("".join)


@often
@given(SECONDS)
def test_a_time_stamp_gives_its_time_back(seconds):
    hours, minutes, rest = clock_of(seconds).split(":")
    whole, fraction = rest.split(".")
    assert abs(seconds_of([hours, minutes, whole, fraction]) - seconds) <= 0.0005 + 1e-9


@often
@given(SECONDS, st.floats(0, 12 * 3600))
def test_clips_follow_one_another_within_the_picture(start, length):
    starts = clip_starts(start, start + length)
    assert len(starts) >= 1 and starts[0] == start
    assert all(abs(b - a - CLIP_SECONDS) < 1e-6 for a, b in zip(starts, starts[1:], strict=False))
    if len(starts) > 1:
        assert start + length - starts[-1] >= MIN_TAIL_SECONDS - 1e-5
    assert start + length - starts[-1] < CLIP_SECONDS + MIN_TAIL_SECONDS + 1e-5
    times = frame_times(starts)
    assert times.shape == (len(starts), FRAMES_PER_CLIP) and (times[:, -1] - starts < CLIP_SECONDS).all()


@often
@given(
    st.lists(
        st.tuples(SECONDS, st.floats(0, 100), st.text(st.characters(categories=["L", "Zs"]), min_size=1)),
        max_size=8,
    )
)
def test_captions_that_were_written_are_read_as_they_were(rows):
    cues = sorted(
        (Cue(round(s, 3), round(s + d, 3), " ".join(t.split())) for s, d, t in rows if t.split()),
        key=lambda cue: cue.start,
    )
    if not cues:
        return
    found = caption_files.read(write_webvtt(cues) + "\n")
    if found.kind == "speech":
        assert [(c.start, c.end, c.text) for c in found.cues] == [(c.start, c.end, c.text) for c in cues]


@often
@given(TEXTS)
def test_any_text_is_captions_or_refused_in_a_line_and_its_words_steer_nothing(text):
    try:
        found = caption_files.read(f"WEBVTT\n\n00:00.500 --> 00:01.000\nx\n\n{text}\n")
    except SpeechError as error:
        assert "\n" not in str(error)
        return
    said = captions.transcript(found.cues, {})
    assert not any(STEERING.search(s.text) for s in said.sentences)
    assert all(s.start <= s.end for s in said.sentences)
    assert all(a.start <= b.start for a, b in zip(said.sentences, said.sentences[1:], strict=False))


@often
@given(st.binary(max_size=200))
def test_any_bytes_are_text_of_some_encoding_or_refused(data):
    try:
        text, note = decode(data)
    except UnicodeError:
        return
    assert isinstance(text, str) and "\n" not in note


@often
@given(st.text())
def test_what_is_shown_steers_nothing_and_nothing_else_changes(text):
    line = shown(text)
    assert not STEERING.search(line) and "\n" not in line
    if not STEERING.search(text) and "\n" not in text:
        assert line == text
    assert without_controls(without_controls(text)) == without_controls(text)
    assert not STEERING.search(plain(text))


@often
@given(st.sets(st.text(min_size=1), max_size=20), st.integers(1, 5000), st.integers(0, 200))
def test_each_id_belongs_to_one_space(words, visual, sentinels):
    vocabulary = Vocabulary((*SPECIALS, *sorted(words - set(SPECIALS))), visual, sentinels=sentinels)
    spaces = [
        *range(len(vocabulary.words)),
        vocabulary.join,
        *range(vocabulary.size)[vocabulary.visual_ids],
        *(vocabulary.sentinel(n) for n in range(sentinels)),
    ]
    assert sorted(spaces) == list(range(vocabulary.size))


@seldom
@given(
    st.integers(1, len(MIGRATIONS)),
    st.lists(st.tuples(st.text(), st.text(), st.integers(0, 2**62), st.text()), max_size=4),
)
def test_a_catalogue_of_any_version_keeps_what_it_holds(version, rows):
    videos = {
        f"{n:064x}": Video(f"{n:064x}", name, path, size, "refused", reason)
        for n, (name, path, size, reason) in enumerate(rows)
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "catalogue.sqlite"
        with contextlib.closing(sqlite3.connect(path)) as db, db:
            db.execute("CREATE TABLE migrations (name TEXT PRIMARY KEY)")
            for step in MIGRATIONS[:version]:
                step(db)
                db.execute("INSERT INTO migrations VALUES (?)", (step.__name__,))
            db.executemany(
                "INSERT INTO videos (video, name, path, bytes, state, reason) VALUES (?, ?, ?, ?, ?, ?)",
                [dataclasses.astuple(video)[:6] for video in videos.values()],
            )
        before = path.read_bytes()
        with Catalogue(path, read_only=True) as catalogue:
            assert {v.video: v for v in catalogue.videos()} == videos
        assert path.read_bytes() == before
        with Catalogue(path) as catalogue:
            assert {v.video: v for v in catalogue.videos()} == videos
