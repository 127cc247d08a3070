"""Files that ask for work without end, files that are away for a moment, and tries that are counted."""

import dataclasses
import os
from fractions import Fraction
from pathlib import Path

import av
import fragments
import numpy as np
import pytest

from multimodal.catalogue import Catalogue, Video
from multimodal.intake import ingest as ingestion
from multimodal.intake.ingest import ingest, is_up_to_date
from multimodal.intake.ingest_options import IngestOptions
from multimodal.intake.outcomes import outcome_of
from multimodal.intake.tries import LONGEST_REASON, MOST_TRIES, Outcome
from multimodal.library import LARGEST_FILE, file_state, register
from multimodal.store import Store, file_digest
from vision import readers

OPTIONS = IngestOptions(backbone="mobilenetv2")


def held(path: Path, times: list[float]) -> Path:
    """A small video whose frames are shown from these seconds on."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.time_base = 64, 48, Fraction(1, 1000)
        stream.codec_context.time_base = Fraction(1, 1000)
        for n, second in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 40 * n % 255, np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(second * 1000), Fraction(1, 1000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def clips_of(path: Path) -> tuple[list[float], readers.ReadReport]:
    found, work = [], readers.read_clips(path, side=32)
    while True:
        try:
            found.append(next(work).start)
        except StopIteration as end:
            return found, end.value


def test_a_frame_that_is_held_for_hours_is_a_minute_of_clips(tmp_path, monkeypatch):
    """39,000 s in a few kilobytes were 26,000 clips, and are again without the limit."""
    file = held(tmp_path / "held.mkv", [0.0, 0.5, 39_000.0, 39_000.5, 39_001.5])
    assert file.stat().st_size < 50_000
    starts, report = clips_of(file)
    assert 40 <= len(starts) <= 43 and starts[-1] > 38_990, "what comes after it is read"
    (note,) = report.notes
    assert "25" in note and "left out" in note and not report.problems
    monkeypatch.setattr(readers, "HELD_SECONDS", 1e9)
    assert next(readers.read_clips(file, side=32)).start == 0
    monkeypatch.setattr(readers, "HELD_SECONDS", 600.0)
    assert len(clips_of(file)[0]) > 390, "the control"


def test_a_slide_that_stands_for_a_minute_is_read_whole(tmp_path):
    starts, report = clips_of(held(tmp_path / "slides.mkv", [0.0, 55.0, 110.0, 112.0]))
    assert np.allclose(np.diff(starts), 1.5) and not report.notes


def video_of(file: Path) -> Video:
    return Video(file_digest(file), file.name, str(file), file.stat().st_size)


def nothing_stored(store: Store) -> bool:
    return not [f for room in ("transcripts", "features") for f in (store.root / room).glob("*")]


def test_a_file_that_is_away_is_tried_again_and_what_is_stored_of_it_stays(tmp_path):
    file = fragments.silent(tmp_path / "v.mov")
    video, seen, store = video_of(file), file_state(file), Store(tmp_path / "store")
    before = dataclasses.replace(video, state="done", features="f", clips=2, recipe="r")
    file.unlink()
    outcome = ingest(store, video, OPTIONS, "cpu", seen=seen)
    assert (outcome.state, outcome.recipe, outcome.tries) == ("waiting", None, 0)
    assert "No such file" in outcome.reason and "tries again" in outcome.reason
    kept = ingest(store, before, OPTIONS, "cpu", seen=seen).applied_to(before)
    assert (kept.state, kept.features, kept.clips, kept.recipe) == ("done", "f", 2, None)
    assert not is_up_to_date(store, kept, OPTIONS)


def test_a_file_that_was_overwritten_is_not_stored_under_the_digest_of_before(
    tmp_path, weights_or_skip, monkeypatch
):
    weights_or_skip("mobilenetv2-imagenet")
    file = fragments.silent(tmp_path / "v.mov")
    video, seen, store = video_of(file), file_state(file), Store(tmp_path / "store")
    decode = ingestion.features.extract

    def overwritten_meanwhile(*args, **kwargs):
        found = decode(*args, **kwargs)
        fragments.silent(file, "kitchen-005.mp4")
        return found

    monkeypatch.setattr(ingestion.features, "extract", overwritten_meanwhile)
    outcome = ingest(store, video, OPTIONS, "cpu", threads=1, seen=seen)
    assert outcome.recipe is None and "changed" in outcome.reason and nothing_stored(store)
    fragments.silent(file)
    careless = ingest(store, video, OPTIONS, "cpu", threads=1)
    assert careless.features and not nothing_stored(store), "the control: nobody looks again"


def test_an_error_of_the_disk_is_no_fault_of_the_file(tmp_path):
    """/proc/self/mem is a regular file whose first bytes cannot be read (EIO)."""
    away = Path("/proc/self/mem")
    video = Video("d" * 64, "v.mp4", str(away), 0)
    outcome = ingest(Store(tmp_path / "store"), video, OPTIONS, "cpu", seen=file_state(away))
    assert (outcome.recipe, outcome.tries) == (None, 0) and "Input/output error" in outcome.reason


def test_what_the_bytes_say_is_settled_at_once(tmp_path):
    file = tmp_path / "v.mp4"
    file.write_text("no video")
    video, store = video_of(file), Store(tmp_path / "store")
    outcome = ingest(store, video, OPTIONS, "cpu", seen=file_state(file))
    assert outcome.state == "refused" and is_up_to_date(store, outcome.applied_to(video), OPTIONS)


def test_a_decoder_that_fails_is_tried_twice_and_the_reason_says_how_to_go_on(tmp_path):
    file = fragments.silent(tmp_path / "v.mov")
    video, store = video_of(file), Store(tmp_path / "store")
    short = dataclasses.replace(OPTIONS, seconds=0.001)
    for tries in range(1, MOST_TRIES + 1):
        assert not is_up_to_date(store, video, short)
        video = ingest(store, video, short, "cpu", seen=file_state(file)).applied_to(video)
        assert video.tries == tries
    assert is_up_to_date(store, video, short) and "--reread" in video.reason
    assert not is_up_to_date(store, video, IngestOptions(backbone="s3d")), "other options are another try"


def test_an_error_of_ours_counts_as_a_try_and_its_reason_is_short(tmp_path):
    video = Video("d" * 64, "v.mp4", str(tmp_path / "v.mp4"), 1)

    def broken():
        raise KeyError("x" * 9_000_000)

    for _ in range(MOST_TRIES):
        video = outcome_of(broken, video, OPTIONS).applied_to(video)
    assert video.tries == MOST_TRIES and video.recipe and len(video.reason) < 1300


def test_a_reason_of_megabytes_is_cut():
    video = Video("d" * 64, "v.mp4", "/v.mp4", 1)
    long = Outcome(video.video, "partial", "nothing was recorded; " * 400_000).applied_to(video)
    assert len(long.reason) < LONGEST_REASON + 100 and long.reason.endswith("more characters")
    assert (
        Outcome(video.video, "partial", "x" * LONGEST_REASON).applied_to(video).reason == "x" * LONGEST_REASON
    )


@pytest.fixture
def catalogue(tmp_path):
    with Catalogue(Store(tmp_path / "store").catalogue) as opened:
        yield opened


def settled(file: Path, content: bytes) -> Path:
    """A file that was written a while ago."""
    file.write_bytes(content)
    os.utime(file, (1e9, 1e9))
    return file


def test_a_file_that_is_as_it_was_is_not_read_again(tmp_path, catalogue):
    """Content that changes behind the same size and time is seen with --reread alone, which is the control."""
    file = settled(tmp_path / "a.mp4", b"one")
    ((first,), _) = register(catalogue, [file])
    with file.open("r+b") as inside:
        inside.write(b"two")
    os.utime(file, (1e9, 1e9))
    ((again,), _) = register(catalogue, [file])
    assert again.video == first.video
    ((read,), _) = register(catalogue, [file], reread=True)
    assert read.video == file_digest(file) != first.video
    ((found,), _) = register(catalogue, [settled(tmp_path / "a.mp4", b"longer")])
    assert found.video == file_digest(file), "another size is read at once"


def test_a_file_that_was_just_written_is_read_again(tmp_path, catalogue):
    file = tmp_path / "a.mp4"
    file.write_bytes(b"one")
    register(catalogue, [file])
    assert catalogue.digests() == {}


def test_a_removed_video_leaves_no_digest_of_its_file(tmp_path, catalogue):
    ((video,), _) = register(catalogue, [settled(tmp_path / "a.mp4", b"one")])
    assert set(catalogue.digests().values()) == {video.video}
    catalogue.forget(video)
    assert catalogue.digests() == {}


@pytest.mark.parametrize("size", [100 << 30, LARGEST_FILE + 1])
def test_a_file_of_holes_and_one_too_large_are_refused_before_they_are_read(tmp_path, catalogue, size):
    """Reading them would take hours."""
    file = tmp_path / "sparse.mp4"
    with file.open("wb") as opened:
        opened.truncate(size)
    videos, (refused,) = register(catalogue, [file])
    assert not videos and str(size) in refused.reason and refused.state == "refused"
