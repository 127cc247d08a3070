"""What is on disk is there whole or not at all, and has one writer."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from multimodal import store as store_module
from multimodal.disk import out_of_space, part_of
from multimodal.store import (
    FORMAT_VERSION,
    FileBatch,
    InputError,
    Store,
    StoreLocked,
    canonical_json,
    changed_files,
    file_digest,
    is_published,
    publish_folder,
    recipe,
    write_whole,
)
from multimodal.sums import is_as_written, sum_file


def python(code: str, environment: dict, *arguments: object, **options) -> subprocess.Popen:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, **options)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.fixture
def full_disk(tmp_path):
    """A disk of 256 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place], capture_output=True, text=True
    )
    if mount.returncode:
        pytest.skip(f"no small disk can be mounted: {mount.stderr.strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


def test_write_whole(tmp_path):
    path = write_whole(tmp_path / "deep" / "er" / "file", b"one")
    assert path.read_bytes() == b"one"
    write_whole(path, b"two")
    assert path.read_bytes() == b"two" and names(path.parent) == ["file"]


def test_the_files_of_a_batch_are_there_together_or_not_at_all(tmp_path, monkeypatch):
    batch, files = FileBatch(), [tmp_path / "in" / name for name in "abc"]
    for file in files:
        batch.write(file, file.name.encode())
        assert not file.exists() and batch.readable(file).read_bytes() == file.name.encode()
    batch.write(files[0], b"again")
    batch.publish()
    assert [file.read_bytes() for file in files] == [b"again", b"b", b"c"] and len(
        names(tmp_path / "in")
    ) == 3
    assert batch.readable(files[0]) == files[0]
    batch.write(files[0], b"new")
    batch.discard()
    assert files[0].read_bytes() == b"again" and len(names(tmp_path / "in")) == 3
    batch.publish()
    batch.write(files[1], b"new")
    with monkeypatch.context() as broken, pytest.raises(OSError):
        broken.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        batch.publish()
    assert files[1].read_bytes() == b"b", "nothing gets its name before all are on the disk"


def test_a_full_disk_leaves_the_old_file(full_disk):
    path = write_whole(full_disk / "file", b"old" * 1000)
    with pytest.raises(OSError) as error:
        write_whole(path, os.urandom(1 << 20))
    assert out_of_space(error.value)
    assert path.read_bytes() == b"old" * 1000 and names(full_disk) == ["file"]


def test_a_full_disk_publishes_no_folder(full_disk):
    with pytest.raises(OSError) as error, publish_folder(full_disk / "made") as beside:
        (beside / "small").write_bytes(b"x")
        (beside / "large").write_bytes(os.urandom(1 << 20))
    assert out_of_space(error.value) and names(full_disk) == []


def test_a_store_on_a_full_disk_says_so(full_disk):
    with (full_disk / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError):
        while True:
            filler.write(bytes(4096))
    with pytest.raises(InputError, match="No space"):
        Store(full_disk / "store")


def test_a_file_that_may_not_grow_leaves_the_old_one(tmp_path):
    path = write_whole(tmp_path / "file", b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(OSError) as error:
            write_whole(path, bytes(1 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert out_of_space(error.value)
    assert path.read_bytes() == b"old" and names(tmp_path) == ["file"]


def test_a_write_killed_in_the_middle_leaves_the_old_file(tmp_path, child_environment):
    store = Store(tmp_path)
    path = write_whole(store.transcript("v", "r"), b"old")
    killed = python(
        """
        import os, signal, sys
        from pathlib import Path
        from multimodal.store import write_whole
        os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
        write_whole(Path(sys.argv[1]), b"new" * 1000)
        """,
        child_environment, path,
    )  # fmt: skip
    assert killed.wait(30) == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert len(names(path.parent)) == 2
    with store.writing():
        assert names(path.parent) == [path.name]


def test_a_published_file_is_read_by_whom_its_folder_is(tmp_path):
    """safetensors makes files for their owner alone, which the worker of another user could not read."""
    tensors = {"a": np.zeros(1)}
    safetensors.numpy.save_file(tensors, tmp_path / "control")
    assert (tmp_path / "control").stat().st_mode & 0o077 == 0, "the control"
    for mask, mode in ((0o022, 0o644), (0o077, 0o600), (0o007, 0o660)):
        before = os.umask(mask)
        try:
            with publish_folder(tmp_path / f"{mask}") as beside:
                (beside / "in").mkdir()
                safetensors.numpy.save_file(tensors, beside / "in" / "a")
        finally:
            os.umask(before)
        assert (tmp_path / f"{mask}" / "in" / "a").stat().st_mode & 0o777 == mode


def test_a_folder_is_published_with_the_digest_of_each_file(tmp_path):
    with publish_folder(tmp_path / "made") as beside:
        (beside / "in").mkdir()
        (beside / "in" / "a").write_bytes(b"a")
        (beside / "b").write_bytes(b"b")
        assert not (tmp_path / "made").exists()
    folder = tmp_path / "made"
    assert is_published(folder) and names(tmp_path) == ["made"]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest == {"files": {"b": file_digest(folder / "b"), "in/a": file_digest(folder / "in" / "a")}}
    assert changed_files(folder) == []
    (folder / "in" / "a").write_bytes(b"c")
    (folder / "b").unlink()
    assert changed_files(folder) == ["b", "in/a"]


def test_an_error_publishes_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), publish_folder(tmp_path / "made") as beside:
        (beside / "a").write_bytes(b"a")
        _ = 1 / 0
    assert names(tmp_path) == []


def test_what_is_published_stays_and_what_is_half_made_goes(tmp_path):
    for folder in ("whole", "half"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a").write_text("old")
    write_whole(tmp_path / "whole" / "manifest.json", b'{"files": {}}')
    for folder in ("whole", "half"):
        with publish_folder(tmp_path / folder) as beside:
            (beside / "a").write_text("new")
    assert (tmp_path / "whole" / "a").read_text() == "old", "an address names its content"
    assert (tmp_path / "half" / "a").read_text() == "new"
    assert names(tmp_path) == ["half", "whole"]


HOLD = """
import sys, time
from pathlib import Path
from multimodal.store import Store
with Store(Path(sys.argv[1])).writing():
    print("held", flush=True)
    time.sleep(60)
"""


def test_one_process_writes(tmp_path, child_environment):
    holder = python(HOLD, child_environment, tmp_path)
    try:
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(StoreLocked, match=f"process {holder.pid}"),
            Store(tmp_path).writing(),
        ):
            pass
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    with Store(tmp_path).writing(), Store(tmp_path).writing():
        assert (tmp_path / ".lock").read_text().split()[0] == str(os.getpid())
        second = python(HOLD, child_environment, tmp_path, stderr=subprocess.PIPE)
        _, complaint = second.communicate(timeout=30)
        assert second.returncode == 1 and f"process {os.getpid()}" in complaint
    third = python(HOLD, child_environment, tmp_path)
    assert third.stdout.readline() == "held\n", "given back"
    third.kill()
    third.wait()
    third.stdout.close()


def test_what_killed_writers_left_is_swept(tmp_path):
    store = Store(tmp_path)
    keep = write_whole(store.tokens("c", "v"), b"x")
    (store.codebook("c") / ".step.12.part" / "pictures").mkdir(parents=True)
    (store.codebook("c") / ".step.12.part" / ".manifest.json.12.part").write_text("x")
    (keep.parent / ".v.parquet.12.part").write_text("x")
    (tmp_path / ".store.json.9.part").write_text("x")
    (tmp_path / "mine.part").write_text("not ours")
    with store.writing():
        assert not list(tmp_path.glob("**/.*.part"))
    assert keep.read_bytes() == b"x" and (tmp_path / "mine.part").exists()


def test_a_newer_store_is_refused_and_left_alone(tmp_path):
    (tmp_path / "store.json").write_text(f'{{"format": {FORMAT_VERSION + 1}}}')
    with pytest.raises(InputError, match="format 2"):
        Store(tmp_path)
    assert names(tmp_path) == ["store.json"]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "1", '{"format": "x"}', '{"format": null}', '{"format": []}', "\0\xff"]
)
def test_a_strange_store_file_is_refused(tmp_path, text):
    (tmp_path / "store.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"store\.json"):
        Store(tmp_path)


def test_a_folder_that_cannot_be_made_or_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Not a directory"):
        Store(tmp_path / "file" / "store")
    with pytest.raises(InputError, match="File exists"):
        Store(tmp_path / "file")
    (tmp_path / "store" / "store.json").mkdir(parents=True)
    with pytest.raises(InputError, match=r"store\.json.*Is a directory"):
        Store(tmp_path / "store")
    if Path("/proc/self").exists():
        with pytest.raises(InputError, match="/proc/store"):
            Store(Path("/proc/store"))


def test_no_store_is_made_where_one_is_only_asked(tmp_path):
    with pytest.raises(InputError, match="none: "):
        Store(tmp_path / "none", create=False)
    assert names(tmp_path) == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_a_recipe_does_not_hang_on_order(parts):
    turned = dict(reversed(list(parts.items())))
    assert canonical_json(parts) == canonical_json(turned)
    assert json.loads(canonical_json(parts)) == parts


def test_a_recipe_changes_with_its_parts():
    assert recipe(a=1, b="x") == recipe(b="x", a=1) != recipe(a=2, b="x")
    assert len(recipe(a=1)) == 12


def test_processes_of_two_machines_write_beside_each_other(tmp_path, monkeypatch):
    """Two containers have the same numbers of processes."""
    mine = part_of(tmp_path / "a.json")
    assert part_of(tmp_path / "a.json") == mine
    monkeypatch.setattr(socket, "gethostname", lambda: "another")
    assert part_of(tmp_path / "a.json") != mine


def test_a_store_that_two_make_at_once_is_whole_where_one_holds_it_first(tmp_path, monkeypatch):
    root, synced = tmp_path / "store", store_module.sync

    def other_first(path: Path) -> None:
        monkeypatch.setattr(store_module, "sync", synced)
        code = "import sys; from multimodal.store import Store\nwith Store(sys.argv[1]).writing(): pass"
        subprocess.run([sys.executable, "-c", code, root], check=True)
        synced(path)

    monkeypatch.setattr(store_module, "SYNC_THREADS", 1)
    monkeypatch.setattr(store_module, "sync", other_first)
    Store(root)
    assert sum_file(root / "store.json").exists() and is_as_written(root / "store.json")
    assert not list(root.glob(".*.part"))
