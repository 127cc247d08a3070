"""Copies of a video: remuxed and re-encoded ones are found, other videos of the same kitchen are none."""

from pathlib import Path

import av
import fragments
import pytest

from multimodal.catalogue import Video
from multimodal.copies import find_copies, told_copies, without_second_copies
from multimodal.intake import ingest
from multimodal.intake.ingest_options import IngestOptions
from multimodal.library import LEAST_TO_SPLIT, split
from multimodal.store import Store, file_digest

SECONDS = 6.0
"""Of each video: four clips. With 3 s the copy that was encoded again was not always found."""


def encoded_again(path: Path, source: Path, quality: int) -> Path:
    with av.open(str(source)) as original, av.open(str(path), "w") as target:
        picture = original.streams.video[0]
        stream = target.add_stream(
            "libx264", rate=picture.average_rate, options={"crf": str(quality), "preset": "fast"}
        )
        stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, "yuv420p"
        for frame in original.decode(picture):
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def library(tmp_path_factory, weights_or_skip) -> tuple[Store, list[Video]]:
    weights_or_skip("mobilenetv2-imagenet")
    root = tmp_path_factory.mktemp("copies")
    files = [
        fragments.silent(root / f"video-{n:02}.mp4", f"kitchen-{n:03}.mp4", SECONDS)
        for n in range(LEAST_TO_SPLIT + 1)
    ]
    files.append(fragments.silent(root / "remuxed.mkv", "kitchen-001.mp4", SECONDS))
    files.append(fragments.silent(root / "remuxed.mov", "kitchen-001.mp4", SECONDS))
    files.append(encoded_again(root / "small.mp4", files[2], 30))
    store, videos = Store(root / "store"), []
    for file in files:
        video = Video(file_digest(file), file.name, str(file), file.stat().st_size)
        outcome = ingest.ingest(store, video, IngestOptions(backbone="mobilenetv2"), "cpu", threads=1)
        videos.append(outcome.applied_to(video))
    return store, videos


def test_copies_are_found_and_nothing_else(library):
    found = {frozenset(video.name for video in group) for group in find_copies(*library)}
    assert found == {
        frozenset({"video-01.mp4", "remuxed.mkv", "remuxed.mov"}),
        frozenset({"video-02.mp4", "small.mp4"}),
    }


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6])
def test_copies_are_on_one_side_of_a_split(library, share):
    store, videos = library
    copies = find_copies(store, videos)
    train, held_out = split(videos, share, copies)
    assert train and held_out and len(train) + len(held_out) == len(videos)
    for group in copies:
        assert len({video in held_out for video in group}) == 1


def test_copies_do_not_make_a_library_large_enough_to_hold_any_out(library):
    store, videos = library
    copies = find_copies(store, videos)
    few = [v for v in videos if v.name not in ("video-09.mp4", "video-10.mp4")]
    assert len(few) >= LEAST_TO_SPLIT and split(few, 0.3, copies)[1] == []


def test_second_copies_can_be_left_out_and_are_named(library):
    store, videos = library
    copies = find_copies(store, videos)
    assert len(without_second_copies(videos, copies)) == LEAST_TO_SPLIT + 1
    assert "remuxed.mkv = remuxed.mov = video-01.mp4" in told_copies(copies, False) and not told_copies(
        [], True
    )
