"""The library: files registered as videos, their data read back, and no PyTorch loaded for it."""

import json
import math
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import joint_samples
import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from multimodal.catalogue import Catalogue, Video
from multimodal.library import (
    LEAST_HELD_OUT,
    LEAST_TO_SPLIT,
    find,
    read_features,
    read_material,
    read_transcript,
    register,
    split,
    tokens_table,
    usable,
)
from multimodal.store import InputError, Store, canonical_json, file_digest


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def catalogue(store):
    with Catalogue(store.catalogue) as db:
        yield db


def test_folders_are_searched_through_and_files_taken_as_they_are(tmp_path):
    for name in ("b.mp4", "a.MKV", "deep/er/c.webm", "deep/notes.txt", "deep/README", "z.srt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = find([tmp_path])
    assert [f.relative_to(tmp_path).as_posix() for f in found.files] == ["a.MKV", "b.mp4", "deep/er/c.webm"]
    assert found.skipped == {".txt": 1, ".srt": 1, "no ending": 1}
    assert find([tmp_path / "deep" / "notes.txt"]).files == (tmp_path / "deep" / "notes.txt",)


def test_nothing_to_find_is_said_in_words(tmp_path):
    with pytest.raises(InputError, match="VIDEOS"):
        find([])
    with pytest.raises(InputError, match="none: "):
        find([tmp_path / "none"])
    with pytest.raises(InputError, match="no file"):
        find([tmp_path])
    (tmp_path / "a.txt").touch()
    with pytest.raises(InputError, match=r"1 \.txt"):
        find([tmp_path])


def test_one_content_is_one_video(tmp_path, catalogue):
    for name, content in (("a.mp4", b"x"), ("b.mp4", b"x"), ("c.mp4", b"y")):
        (tmp_path / name).write_bytes(content)
    files = [tmp_path / n for n in ("a.mp4", "b.mp4", "c.mp4", "gone.mp4")]
    videos, unread = register(catalogue, files)
    assert [v.name for v in videos] == ["a.mp4", "c.mp4"]
    assert [v.video for v in videos] == [file_digest(files[0]), file_digest(files[2])]
    (refused,) = unread
    assert (refused.state, refused.name) == (
        "refused",
        "gone.mp4",
    ) and "cannot be read (No such file" in refused.reason
    assert {v.name for v in catalogue.videos()} == {"a.mp4", "c.mp4", "gone.mp4"}


def test_a_name_that_is_not_utf8_is_refused_and_stops_nothing(tmp_path, catalogue):
    strange, good = Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.mp4")), tmp_path / "caf\u00e9.mp4"
    for path in (strange, good):
        path.write_bytes(path.name.encode(errors="replace"))
    videos, (refused,) = register(catalogue, find([tmp_path]).files)
    assert [v.name for v in videos] == ["caf\u00e9.mp4"]
    assert refused.state == "refused" and refused.reason.startswith("caf\ufffd.mp4: ")
    assert {v.state for v in catalogue.videos()} == {"new", "refused"}


def test_a_file_that_moved_keeps_what_is_known(tmp_path, catalogue):
    (tmp_path / "a.mp4").write_bytes(b"x")
    ((video,), _) = register(catalogue, [tmp_path / "a.mp4"])
    catalogue.put(Video(video.video, "a.mp4", video.path, 1, "done", "", 3.0, 2, 1, "t", "f"))
    (tmp_path / "a.mp4").rename(tmp_path / "new.mp4")
    ((again,), _) = register(catalogue, [tmp_path / "new.mp4"])
    assert (again.name, again.path) == ("new.mp4", str(tmp_path / "new.mp4"))
    assert (again.state, again.clips, again.transcript) == ("done", 2, "t")
    assert usable(catalogue) == [again]


videos = st.lists(st.text("0123456789abcdef", min_size=64, max_size=64), unique=True, max_size=40).map(
    lambda digests: [Video(d, d[:4], f"/{d}", 1, "done", clips=3) for d in digests]
)


@given(videos, st.floats(0.0, 0.9))
def test_a_split_is_by_content(found, share):
    learned, held_out = split(found, share)
    assert sorted(v.video for v in learned + held_out) == sorted(v.video for v in found)
    enough = max(LEAST_HELD_OUT, math.ceil(share * len(found)))
    assert len(held_out) == (enough if share and len(found) >= LEAST_TO_SPLIT else 0)
    assert {v.video for v in held_out} == {v.video for v in split(found[::-1], share)[1]}


def test_a_split_by_name():
    found = [Video(c * 64, c, c, 1, "done", clips=1) for c in "abc"]
    learned, held_out = split(found, frozenset({"b" * 64, "e" * 64}))
    assert ([v.name for v in learned], [v.name for v in held_out]) == (["a", "c"], ["b"])


def test_what_was_stored_is_read_back(store):
    sample = joint_samples.materials(1)[0]
    video = Video(**(vars(sample.video) | {"transcript": "t1", "features": "f1"}))
    path = store.transcript(video.video, "t1")
    path.parent.mkdir()
    path.write_text(canonical_json(sample.transcript.to_dict() | {"problems": []}))
    values = np.random.default_rng(0).random((18, 1024)).astype(np.float16)
    store.features(video.video, "f1").parent.mkdir()
    safetensors.numpy.save_file(
        {"values": values, "starts": sample.starts}, store.features(video.video, "f1")
    )
    store.tokens("c", video.video).parent.mkdir(parents=True)
    pq.write_table(tokens_table(sample.starts, sample.tokens), store.tokens("c", video.video))
    assert read_transcript(store, video) == sample.transcript
    found, starts = read_features(store, video)
    assert np.array_equal(found, values) and np.array_equal(starts, sample.starts)
    material = read_material(store, "c", video)
    assert np.array_equal(material.tokens, sample.tokens) and material.spoken() == sample.spoken()
    assert [m.tokens for m in material.silent()] == [m.tokens for m in sample.silent()]
    assert json.loads(path.read_text())["language"] == "en"


def test_a_video_without_sound_or_picture(store):
    video = Video("a" * 64, "a.mp4", "/a.mp4", 1, "partial")
    assert read_transcript(store, video).sentences == ()
    assert [len(a) for a in read_features(store, video)] == [0, 0]
    material = read_material(store, "c", video)
    assert material.moments() == material.spoken() == material.silent() == []


def test_a_command_that_only_reads_the_catalogue_loads_no_pytorch(tmp_path):
    """PyTorch, Whisper and Prefect take seconds to import."""
    Store(tmp_path / "store")
    code = """
        import sys
        import multimodal.catalogue, multimodal.library, multimodal.segments, multimodal.store, multimodal.vocabulary
        from flows import cli
        cli.app(["status", "--store", sys.argv[1]], exit_on_error=False, result_action="return_value")
        print(sorted({"torch", "whisper", "prefect", "av", "cv2"} & set(sys.modules)), file=sys.stderr)
    """
    root = str(Path(__file__).parents[2])
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), tmp_path / "store"],
        env=os.environ | {"PYTHONPATH": root}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr.splitlines()[-1:]) == (0, ["[]"]), ended.stderr
