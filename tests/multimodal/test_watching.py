"""Folders that are looked through again: files that grow wait, other names keep what is known, what is gone is marked."""

import dataclasses
import hashlib
import os
import shutil
import threading
import time
from pathlib import Path

import pytest

from multimodal import library
from multimodal.catalogue import Catalogue
from multimodal.intake import watching
from multimodal.intake.outcomes import usable_digests
from multimodal.intake.watching import held_before, look
from multimodal.library import find, usable
from multimodal.store import InputError, Store


@pytest.fixture
def catalogue(tmp_path):
    with Catalogue(Store(tmp_path / "store").catalogue) as db:
        yield db


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "videos").mkdir()
    return tmp_path / "videos"


def old(file: Path, content: bytes = b"x") -> Path:
    """A file that was written a while ago."""
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    os.utime(file, (1e9, 1e9))
    return file


def looked(catalogue, folder: Path, rest: float = watching.SECONDS_OF_REST) -> watching.Look:
    return look(catalogue, [folder], find([folder], may_be_empty=True).files, rest=rest)


def learned(catalogue, found: watching.Look) -> None:
    """As if the videos had been ingested."""
    for video in found.videos:
        catalogue.put(
            dataclasses.replace(video, state="done", clips=2, transcript="t", features="f", recipe="r")
        )


def test_a_copy_in_slow_pieces_is_left_until_it_is_whole(catalogue, folder):
    """Two looks while it goes on, and one after it; the piece that is there at a look never becomes a video."""
    pieces = [bytes([n]) * 1000 for n in range(12)]

    def copy() -> None:
        with (folder / "long.mp4").open("wb", buffering=0) as file:
            for piece in pieces:
                file.write(piece)
                time.sleep(0.1)

    old(folder / "ready.mp4")
    copying = threading.Thread(target=copy)
    copying.start()
    time.sleep(0.05)
    for _ in range(2):
        found = looked(catalogue, folder, rest=0.3)
        assert [v.name for v in found.videos] == ["ready.mp4"], "the others are not held up"
        ((waiting,),) = (found.left,)
        assert (waiting.name, waiting.state) == ("long.mp4", "waiting") and 0 < waiting.bytes < 12_000
        assert "still being written" in waiting.reason
        assert catalogue.videos(["waiting"]) == [waiting]
        assert usable_digests([waiting], [folder]) == [], "nothing to do yet is no error"
    copying.join()
    found = looked(catalogue, folder, rest=0.3)
    whole = hashlib.sha256(b"".join(pieces)).hexdigest()
    assert {v.name: v.video for v in found.videos}["long.mp4"] == whole and not found.left
    assert {v.video for v in catalogue.videos()} == {v.video for v in found.videos}


def test_a_file_that_is_named_is_taken_at_once(catalogue, folder, monkeypatch):
    file = folder / "a.mp4"
    file.write_bytes(b"a")
    waited: list[float] = []
    monkeypatch.setattr(watching.time, "sleep", waited.append)
    assert [v.name for v in look(catalogue, [file], [file], rest=5.0).videos] == ["a.mp4"] and not waited
    (folder / "b.mp4").write_bytes(b"b")
    assert {v.name for v in looked(catalogue, folder, rest=5.0).videos} == {"a.mp4", "b.mp4"}
    assert len(waited) == 1, "the control: one of a folder"


def test_a_file_that_changes_while_it_is_read_waits(catalogue, folder, monkeypatch):
    file = old(folder / "a.mp4")
    read = library.file_digest

    def digest(path: Path) -> str:
        found = read(path)
        with path.open("ab") as more:
            more.write(b"y")
        return found

    monkeypatch.setattr(library, "file_digest", digest)
    found = looked(catalogue, folder)
    assert not found.videos and [v.state for v in found.left] == ["waiting"]
    monkeypatch.setattr(library, "file_digest", read)
    os.utime(file, (1e9, 1e9))
    assert [v.video for v in looked(catalogue, folder).videos] == [read(file)]
    assert len(catalogue.videos()) == 1


def test_old_files_and_those_that_were_read_before_are_not_waited_for(catalogue, folder, monkeypatch):
    old(folder / "a.mp4")
    monkeypatch.setattr(watching.time, "sleep", lambda _: pytest.fail("waited"))
    (video,) = looked(catalogue, folder).videos
    young = folder / "young.mp4"
    young.write_bytes(b"y")
    state = library.file_state(young)
    catalogue.keep_digests({state: library.file_digest(young)})
    assert len(looked(catalogue, folder).videos) == 2
    (folder / "other.mp4").write_bytes(b"z")
    with pytest.raises(pytest.fail.Exception, match="waited"):
        looked(catalogue, folder)


def test_another_name_or_folder_keeps_what_is_known_and_is_not_read(catalogue, folder, monkeypatch):
    file = old(folder / "a.mp4")
    learned(catalogue, looked(catalogue, folder))
    monkeypatch.setattr(library, "file_digest", lambda _: pytest.fail("read again"))
    for to in (folder / "b.mp4", folder / "deeper" / "b.mp4"):
        to.parent.mkdir(exist_ok=True)
        file = file.rename(to)
        found = looked(catalogue, folder)
        assert found.changes == "1 renamed"
        (video,) = catalogue.videos()
        assert (video.name, video.path, video.state, video.features) == (to.name, str(to), "done", "f")
    assert looked(catalogue, folder).changes == ""


def test_a_copy_under_another_name_leaves_the_name_as_it_was(catalogue, folder):
    file = old(folder / "b.mp4")
    looked(catalogue, folder)
    shutil.copy2(file, folder / "a.mp4")
    assert looked(catalogue, folder).changes == ""
    assert [v.name for v in catalogue.videos()] == ["b.mp4"]
    file.unlink()
    assert looked(catalogue, folder).changes == "1 renamed"
    assert [v.name for v in catalogue.videos()] == ["a.mp4"]


def test_what_is_gone_is_marked_and_keeps_what_was_learned_until_it_is_back(catalogue, folder):
    file, other = old(folder / "a.mp4"), old(folder / "b.mp4", b"other")
    learned(catalogue, looked(catalogue, folder))
    before = catalogue.find("a.mp4")
    file.unlink()
    assert looked(catalogue, folder).changes == "1 gone"
    marked = catalogue.find("a.mp4")
    assert marked.gone and dataclasses.replace(marked, gone=None) == before
    assert marked in usable(catalogue) and not catalogue.find("b.mp4").gone
    assert looked(catalogue, folder).changes == "" and catalogue.find("a.mp4") == marked, "said once"
    old(file)
    assert looked(catalogue, folder).changes == "1 there again"
    assert catalogue.find("a.mp4") == before
    # A folder that was emptied is no slip, one that never held a video is.
    file.unlink(), other.unlink()
    assert held_before(catalogue, [folder]) and looked(catalogue, folder).changes == "2 gone"
    assert not held_before(catalogue, [folder.parent / "other"])
    with pytest.raises(InputError, match="no videos"):
        find([folder])


def test_only_what_lay_in_the_folders_can_be_gone(catalogue, folder, tmp_path):
    for file in (old(tmp_path / "videos-2" / "a.mp4"), old(folder / "b.mp4", b"b")):
        learned(catalogue, looked(catalogue, file.parent))
        file.unlink()
    assert looked(catalogue, folder).changes == "1 gone"
    assert [v.name for v in catalogue.videos() if v.gone] == ["b.mp4"]
    # An ending that no folder is searched for: the file was given by itself.
    strange = old(folder / "c.dat", b"c")
    look(catalogue, [strange], [strange], rest=0)
    assert looked(catalogue, folder).changes == ""


def test_another_content_under_the_same_name_is_another_video(catalogue, folder):
    file = old(folder / "a.mp4")
    learned(catalogue, looked(catalogue, folder))
    (first,) = catalogue.videos()
    found = looked(catalogue, old(file, b"another").parent)
    assert found.changes == "1 gone"
    (second,) = found.videos
    assert second.video != first.video and second.state == "new"
    for label in ("a.mp4", "a", str(file)):
        assert catalogue.find(label) == second
    assert catalogue.find(first.video).gone
    with pytest.raises(InputError, match="2 videos fit"):
        catalogue.find("a.mp4", exact=True, unfinished=True)
    # The same again while nothing was learned of what lies there: it leaves nothing behind.
    looked(catalogue, old(file, b"a third").parent)
    assert sorted(v.state for v in catalogue.videos()) == ["done", "new"]


def test_a_note_that_a_file_could_not_be_read_goes_with_its_cause(catalogue, folder):
    os.mkfifo(folder / "a.mp4")
    os.mkfifo(folder / "b.mp4")
    found = looked(catalogue, folder)
    assert [v.state for v in found.left] == ["refused", "refused"]
    for name in ("a.mp4", "b.mp4"):
        (folder / name).unlink()
    old(folder / "a.mp4")
    assert looked(catalogue, folder).changes == ""
    assert [(v.name, v.state) for v in catalogue.videos()] == [("a.mp4", "new")]
