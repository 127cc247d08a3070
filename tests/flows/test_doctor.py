"""What `doctor` says of a sound store and of one that was harmed in each of its parts; and that its remedies are true."""

import fcntl
import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
from command import Home, run_inside
from harm import edited

HARMS = {
    # what is harmed                    how                        what is said of it
    "transcripts/*.json": (lambda p: p.write_text(p.read_text()[:-20]), "not as it was written"),
    "features/*.safetensors": (lambda p: p.unlink(), "is missing"),
    "codebooks/*/centroids.safetensors": (lambda p: flip(p), "centroids.safetensors not as written"),
    "models/*/step-*/model.safetensors": (lambda p: flip(p), "model.safetensors not as written"),
    "captioners/*/step-*/trainer.json": (lambda p: p.unlink(), "trainer.json not as written"),
    "tokens/*/*.parquet": (lambda p: p.write_bytes(b"PAR1 and no more"), "not as it was written"),
    "indexes/*/*.parquet": (lambda p: p.write_bytes(p.read_bytes()[:200]), "not as it was written"),
}
FOLDERS = ("codebooks", "models", "captioners")


def flip(path: Path) -> None:
    """One bit, in the middle: the size stays."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.fixture
def store(made, tmp_path) -> Path:
    return shutil.copytree(made.store, tmp_path / "store")


def examined(capsys, store: Path) -> tuple[int, dict[str, list[str]]]:
    """The exit status, and what is said in each state."""
    ended = run_inside(capsys, "doctor", "--store", store, "--json")
    document = json.loads(ended.stdout)
    assert document["sound"] == (ended.returncode == 0)
    found = document["findings"]
    return ended.returncode, {
        state: [f["text"] for f in found if f["state"] == state] for state in ("ok", "note", "broken")
    }


def test_a_sound_store_and_what_is_installed(capsys, store):
    status, said = examined(capsys, store)
    assert (status, said["broken"]) == (0, [])
    told = "\n".join(said["ok"])
    assert "prefect 3" in told and "multimodal from" in told and "cores" in told and "3 videos" in told
    ended = run_inside(capsys, "doctor", "--store", store)
    assert ended.returncode == 0 and len(ended.stdout.splitlines()) == sum(map(len, said.values()))


@pytest.mark.parametrize("at", HARMS)
def test_each_part_that_is_harmed_is_named(capsys, store, at):
    harm, words = HARMS[at]
    path = sorted(store.glob(at))[0]
    harm(path)
    status, said = examined(capsys, store)
    (fault,) = said["broken"]
    part = path.parent if at.split("/")[0] in FOLDERS else path
    assert status == 1 and fault.startswith(part.relative_to(store).as_posix()) and "run again" in fault
    assert words in fault


@pytest.mark.long
def test_what_was_taken_away_is_made_again(capsys, made, home, store):
    """The remedy that it names, carried out: one run, and the store is sound."""
    for at in HARMS:
        path = sorted(store.glob(at))[0]
        if at.startswith("captioners"):
            shutil.rmtree(path.parent)
        elif not at.startswith(FOLDERS):
            path.unlink()
    assert examined(capsys, store)[0] == 1
    ended = home.run("run", made.videos, "--store", store, "--json")
    assert ended.returncode == 0, ended.stderr
    assert examined(capsys, store)[1]["broken"] == []


def test_what_is_left_of_before_and_what_moved_is_noted(capsys, store):
    """What is superseded is told by what it is, not by its age: by the clock the stopped training is the oldest."""
    used = next(store.glob("models/*"))
    shutil.copytree(used, store / "models/0123456789ab")
    stopped = shutil.copytree(used, store / "models/ba9876543210")
    (trainer,) = stopped.glob("step-*/trainer.json")
    trainer.write_text(json.dumps(json.loads(trainer.read_text()) | {"steps": 9_999}))
    manifest = trainer.with_name("manifest.json")
    sums = json.loads(manifest.read_text())
    sums["files"][trainer.name] = hashlib.sha256(trainer.read_bytes()).hexdigest()
    manifest.write_text(json.dumps(sums))
    for path in stopped.rglob("*"):
        os.utime(path, (0, 0))
    with edited(store / "catalogue.sqlite") as catalogue:
        catalogue.execute("UPDATE videos SET path = '/nowhere/flower.mp4' WHERE name = 'flower.mp4'")
    _, said = examined(capsys, store)
    notes = "\n".join(said["note"])
    assert "models/0123456789ab" in notes and "models/ba" not in notes
    assert "(flower.mp4)" in notes


def test_no_store_one_that_is_held_and_one_that_is_none_of_ours(capsys, store, tmp_path):
    assert "there is none" in examined(capsys, tmp_path / "nowhere")[1]["note"][-1]
    with (store / ".lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status, said = examined(capsys, store)
    assert status == 0 and said["note"][-1].startswith("not checked: ")
    (store / "store.json").write_text("{}")
    status, said = examined(capsys, store)
    assert status == 1 and "store.json" in said["broken"][0]


def test_a_package_that_does_not_open_and_a_strange_room_are_named(tmp_path):
    """Real ones: a faiss that cannot be loaded, and another copy of our `speech` that comes first."""
    (tmp_path / "faiss").mkdir()
    (tmp_path / "faiss/__init__.py").write_text("raise ImportError('libfaiss.so: no such file')")
    shutil.copytree(Path(__file__).parents[2] / "speech", tmp_path / "speech")
    home = Home(tmp_path)
    home.environment["PYTHONPATH"] = f"{tmp_path}:{home.environment['PYTHONPATH']}"
    ended = home.run("doctor", "--store", tmp_path / "none", "--json")
    assert ended.returncode == 1
    broken = [f["text"] for f in json.loads(ended.stdout)["findings"] if f["state"] == "broken"]
    assert len(broken) == 2
    assert "faiss" in broken[0] and "libfaiss.so" in broken[0]
    assert f"speech from {tmp_path}" in broken[1]
