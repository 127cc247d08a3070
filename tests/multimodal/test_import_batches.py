"""An import is written in batches: killed at any moment it is whole or absent, and its progress counts videos."""

import os
import signal
from pathlib import Path

import pytest

from multimodal.catalogue import Catalogue, Video
from multimodal.intake import import_batches
from multimodal.intake.imports import find_imports, import_files
from multimodal.intake.options import ImportOptions
from multimodal.library import read_imported_tokens, read_transcript
from multimodal.removal import remove
from multimodal.store import Store

VIDEOS = [f"v{n}" for n in range(5)]


@pytest.fixture
def files(tmp_path) -> list[Path]:
    """Two tables of five videos, tokens and words, and words of the first video in a file of its own."""
    tables = {"tokens.csv": ("token", "3"), "words.csv": ("text", "Peel the carrot.")}
    for name, (column, value) in tables.items():
        rows = [f"{video},{1.5 * n},{value}" for video in VIDEOS for n in range(4)]
        (tmp_path / name).write_text("\n".join([f"video,start,{column}", *rows, ""]), encoding="utf-8")
    (tmp_path / "other.vtt").write_text("WEBVTT\n\n00:01.000 --> 00:02.000\nStir it.\n", encoding="utf-8")
    files = find_imports([tmp_path / name for name in (*tables, "other.vtt")], None)
    for file in files:
        written_long_ago(file)
    return files


def written_long_ago(file: Path) -> None:
    os.utime(file, (1e9, 1e9))


def imported(store: Store, files: list[Path], report=lambda *_: None) -> list[Video]:
    """What the catalogue holds after the import."""
    with store.writing(), Catalogue(store.catalogue) as catalogue:
        import_files(store, catalogue, files, ImportOptions(), report)
        return catalogue.videos()


def test_progress_counts_videos_and_knows_the_rest_after_the_first_table(tmp_path, files):
    store = Store(tmp_path / "store")
    assert reports(store, files)[1:] == [(n, 11) for n in range(1, 12)]


def reports(store: Store, files: list[Path]) -> list[tuple[int, int]]:
    seen = []
    imported(store, files, lambda done, total, _: seen.append((done, total)))
    return seen


def test_files_that_are_as_they_were_are_not_read_again(tmp_path, files):
    store = Store(tmp_path / "store")
    first = imported(store, files)
    assert reports(store, files) == [(11, 11)], "all is done at the first report, and nothing follows"
    words, other = files[2], files[1]
    assert (words.name, other.name) == ("words.csv", "other.vtt")
    other.write_text("WEBVTT\n\n00:01.000 --> 00:02.000\nBake it.\n", encoding="utf-8")
    written_long_ago(other)
    assert reports(store, files) == [(10, 11), (11, 11)], "another content of the same size and time"
    changed = {v.name: v for v in imported(store, files)}
    assert [v.name for v in first if changed[v.name] != v] == ["other"]
    assert reports(store, files) == [(11, 11)]
    store.transcript(changed["v3"].video, changed["v3"].transcript).unlink()
    assert len(reports(store, files)) == 6, "a table is read again where anything of it is missing"
    assert read_transcript(store, changed["v3"]).sentences


def test_a_file_that_may_still_change_or_was_refused_is_read_again(tmp_path, files):
    store = Store(tmp_path / "store")
    os.utime(files[0])
    bad = tmp_path / "bad.vtt"
    bad.write_text("no captions", encoding="utf-8")
    written_long_ago(bad)
    for _ in range(2):
        seen = reports(store, [*files, bad])
    assert seen[0][0] == 6 and seen[-1] == (12, 12)


def test_a_removed_video_leaves_no_name_and_comes_again(tmp_path, files):
    store = Store(tmp_path / "store")
    imported(store, files)
    with store.writing(), Catalogue(store.catalogue) as catalogue:
        remove(store, catalogue, ["v2", "other"])
        assert catalogue.imported() == []
    assert len(imported(store, files)) == 6


@pytest.mark.parametrize("first", [0, *(pytest.param(n, marks=pytest.mark.long) for n in (1, 2))])
def test_an_import_killed_at_any_step_is_whole_or_absent_and_again_completes(
    tmp_path, files, monkeypatch, first
):
    """A chain of imports into one store, each killed some steps later: at a sync, a rename or the catalogue."""
    monkeypatch.setattr(import_batches, "BATCH_VIDEOS", 2)
    wanted = imported(Store(tmp_path / "uninterrupted"), files)
    store, kills = Store(tmp_path / "store"), 0
    for steps in range(first, 90, 3):
        ended = killed(store, files, steps)
        assert ended in (0, -signal.SIGKILL)
        kills += ended != 0
        with store.writing(), Catalogue(store.catalogue) as catalogue:
            assert not list(store.root.glob("**/.*.part"))
            for video in catalogue.videos():
                assert video.transcript is None or read_transcript(store, video).sentences
                assert video.features is None or read_imported_tokens(store, video) is not None
        if ended == 0:
            break
    assert kills >= 3 and imported(store, files) == wanted
    assert reports(store, files) == [(11, 11)]


def killed(store: Store, files: list[Path], steps: int) -> int:
    """Imports in a child process that is killed after so many steps; returns how the child ended."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        left = iter(range(steps))
        for owner, name in ((os, "fsync"), (Path, "rename"), (Catalogue, "record")):
            original = getattr(owner, name)

            def counted(*arguments: object, original=original) -> object:
                if next(left, None) is None:
                    os.kill(os.getpid(), signal.SIGKILL)
                return original(*arguments)

            setattr(owner, name, counted)
        imported(store, files)
        os._exit(0)
    finally:
        os._exit(1)
    raise AssertionError("not reached")
