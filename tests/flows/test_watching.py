"""A folder that is ingested again and again while files come, grow, get other names and go. Flow runs on a real server of Prefect."""

import json
import subprocess
import sys
from pathlib import Path

import fragments
import httpx
import pytest

from multimodal.catalogue import Catalogue
from multimodal.store import Store

pytestmark = pytest.mark.long
LOOKS = """
import json, os, sys, threading, time
from pathlib import Path
from flows.ingest import ingest_videos
from flows.settings import Settings
from multimodal.catalogue import Catalogue, status_document
from multimodal.intake import watching
folder, source, store = map(Path, sys.argv[1:])
watching.SECONDS_OF_REST = 1.5
settings = Settings(store=store, backbone="mobilenetv2")
content = source.read_bytes()

def ingested():
    ended = ingest_videos([folder], settings, return_state=True)
    with Catalogue(store / "catalogue.sqlite", read_only=True) as catalogue:
        rows = status_document(catalogue)["videos"]
        done = catalogue.runs()[-1]["done"]
    made = sorted(f"{p.name} {p.stat().st_mtime_ns}" for p in (store / "features").glob("*.safetensors"))
    found = sorted([r["name"], r["state"], r["gone"] is not None] for r in rows)
    looks.append([ended.type.value, found, done, made])

def copy(file):
    with file.open("wb", buffering=0) as target:
        while not stop.is_set():
            target.write(content[: len(content) // 40])
            time.sleep(0.3)
        target.seek(0)
        target.write(content)
        target.truncate()

looks, stop = [], threading.Event()
copying = threading.Thread(target=copy, args=(folder / "long.mov",), daemon=True)
copying.start()
ingested(), ingested()
stop.set(), copying.join()
ingested()
(folder / "talks").mkdir()
(folder / "long.mov").rename(folder / "talks/the talk.mov")
ingested()
kept = (folder / "talks/the talk.mov").read_bytes()
(folder / "talks/the talk.mov").unlink()
ingested()
(folder / "again.mov").write_bytes(kept)
ingested()
print(json.dumps(looks))
"""


@pytest.fixture(scope="module")
def looks(home, tmp_path_factory, weights_or_skip):
    weights_or_skip("mobilenetv2-imagenet")
    root = tmp_path_factory.mktemp("watched")
    source = fragments.silent(root / "source.mov")
    (root / "videos").mkdir()
    ended = subprocess.run(
        [sys.executable, "-c", LOOKS, root / "videos", source, root / "store"],
        env=home.environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return root, json.loads(ended.stdout.splitlines()[-1])


def test_a_folder_is_followed(looks):
    """Two runs while a copy goes on, one after it, one after a rename, one after a deletion, one after the file is back."""
    _, (first, second, whole, renamed, gone, back) = looks
    for state, videos, done, made in (first, second):
        assert (state, videos, made) == ("COMPLETED", [["long.mov", "waiting", False]], [])
        assert done.startswith("ingest: 1 waiting")
    assert whole[1] == [["long.mov", "partial", False]] and len(whole[3]) == 1
    assert renamed[1] == [["the talk.mov", "partial", False]] and "; 1 renamed" in renamed[2]
    assert gone[:2] == ["COMPLETED", [["the talk.mov", "partial", True]]] and "; 1 gone" in gone[2]
    assert back[1] == [["again.mov", "partial", False]] and "; 1 there again" in back[2]
    assert whole[3] == renamed[3] == gone[3] == back[3], "its features were made once"


def test_the_history_says_that_a_file_waits_and_not_its_name(home, looks):
    root, _ = looks
    url = home.environment["PREFECT_API_URL"]
    tagged = {"flow_runs": {"tags": {"all_": [f"store {(root / 'store').resolve()}"]}}}
    runs = httpx.post(f"{url}/flow_runs/filter", json=tagged | {"sort": "START_TIME_ASC"}).json()
    tables = [
        t for t in httpx.post(f"{url}/artifacts/filter", json={}).json() if t["flow_run_id"] == runs[0]["id"]
    ]
    ((row,),) = [json.loads(table["data"]) for table in tables if table["key"] == "videos"]
    assert (row["state"], row["videos"]) == ("waiting", 1) and "still being written" in row["reason"]
    assert "long" not in row["reason"]


def test_a_script_ingests_a_file_at_once_and_status_names_what_is_gone(home, looks, tmp_path):
    root, _ = looks
    file = fragments.silent(tmp_path / "one.mov", "kitchen-003.mp4")
    ended = home.run("ingest", file, "--store", root / "store", "--json")
    assert ended.returncode == 0, ended.stderr
    (row,) = [v for v in json.loads(ended.stdout)["videos"] if v["name"] == "one.mov"]
    assert (row["state"], row["gone"]) == ("partial", None)
    (root / "videos/again.mov").unlink()
    ended = home.run("ingest", root / "videos", "--store", root / "store")
    assert ended.returncode == 0, ended.stderr
    (line,) = [line for line in ended.stdout.splitlines() if "again.mov" in line]
    assert "its file is gone" in line
    with Catalogue(Store(root / "store").catalogue, read_only=True) as catalogue:
        assert catalogue.find("one").gone is None, "only what lay in the folder is looked for"


def test_a_folder_that_never_held_a_video_is_a_slip(home, looks, tmp_path):
    root, _ = looks
    ended = home.run("ingest", tmp_path, "--store", root / "store")
    assert ended.returncode == 2 and "no videos (found no file)" in ended.stderr
    assert not Path(tmp_path / "store").exists()
