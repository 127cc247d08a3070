"""A folder of 500 links to a few files, one of them bad, and to what is no file: it ends, and leaves and grows nothing."""

import os
import time

import fragments
import psutil
import pytest

from multimodal import library
from multimodal.catalogue import Catalogue
from multimodal.store import Store

LINKS = 500
CONTENTS = {
    "bad.mp4": (lambda path: path.write_text("not a video"), "refused"),
    "silent.mov": (fragments.silent, "partial"),
    "speechless.mp4": (fragments.speechless, "done"),
    "spoken.mkv": (fragments.spoken, "done"),
}
NO_FILES = {"fifo.mp4", "endless.mp4", "gone.mp4", "round.mp4"}
MOST_CHILDREN, MOST_FILES, MOST_BYTES = 3, 200, 3 << 30


@pytest.fixture
def folder(tmp_path):
    """`links/`: 500 links over four files, and beside them what is no file but is named like one."""
    kept, links = tmp_path / "kept", tmp_path / "links"
    kept.mkdir()
    links.mkdir()
    for name, (make, _) in CONTENTS.items():
        make(kept / name)
    names = list(CONTENTS)
    for n in range(LINKS):
        name = names[n % len(names)]
        (links / f"{n:03}-{name}").symlink_to(kept / name)
    os.mkfifo(links / "fifo.mp4")
    (links / "endless.mp4").symlink_to("/dev/zero")
    (links / "gone.mp4").symlink_to(tmp_path / "nowhere")
    (links / "round.mp4").symlink_to("round.mp4")
    (links / "up").symlink_to(tmp_path)
    return links


@pytest.mark.long
def test_it_ends_leaks_nothing_and_grows_no_memory(folder, home, tmp_path, weights_or_skip):
    for name in ("whisper-tiny.en", "mobilenetv2-imagenet"):
        weights_or_skip(name)
    store = tmp_path / "store"
    child = home.start(
        "ingest",
        folder,
        "--store",
        store,
        "--workers",
        2,
        "--backbone",
        "mobilenetv2",
        "--json",
        log=tmp_path / "log",
    )
    seen = []
    try:
        watched = psutil.Process(child.pid)
        due = time.monotonic() + 300
        while child.poll() is None:
            assert time.monotonic() < due, "it does not end"
            with_luck = (psutil.NoSuchProcess, psutil.AccessDenied)
            try:
                now = (len(watched.children(recursive=True)), watched.num_fds(), watched.memory_info().rss)
            except with_luck:
                continue
            seen.append(now)
            time.sleep(0.05)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == 0, (tmp_path / "log").read_text()
    children, files, memory = (max(column) for column in zip(*seen, strict=True))
    assert len(seen) > 20 and children >= 1, "what was counted is the run itself"
    assert children <= MOST_CHILDREN, f"{children} child processes at a time"
    assert files <= MOST_FILES, f"{files} files open at a time"
    assert memory <= MOST_BYTES, f"{memory >> 20} MiB"
    assert home.left_over() == set()
    with Catalogue(Store(store).catalogue) as catalogue:
        outcomes = {v.name: (v.state, v.reason) for v in catalogue.videos()}
    expected = {f"{n:03}-{name}": state for n, (name, (_, state)) in enumerate(CONTENTS.items())}
    assert {name: state for name, (state, _) in outcomes.items()} == expected | dict.fromkeys(
        NO_FILES, "refused"
    )
    assert all(name in outcomes[name][1] for name in NO_FILES), "each says why"
    assert "no regular file" in outcomes["fifo.mp4"][1] and "no regular file" in outcomes["endless.mp4"][1]
    assert len(list((store / "features").glob("*.safetensors"))) == 3


def test_a_file_is_read_once_however_many_links_lead_to_it(folder, tmp_path, monkeypatch):
    read = []
    digest = library.file_digest
    monkeypatch.setattr(library, "file_digest", lambda file: read.append(file) or digest(file))
    with Catalogue(Store(tmp_path / "store").catalogue) as catalogue:
        videos, unread = library.register(catalogue, library.find([folder]).files)
    assert len(read) == len(videos) == len(CONTENTS) and {v.name for v in unread} == NO_FILES
