"""What the page changes: uploads and their refusals, removal, sentences that are mended."""

import json
import os
import shutil
import subprocess
import sys
import time
import zipfile

import pytest

from multimodal import corrections
from multimodal.catalogue import Catalogue
from multimodal.intake import speech_choice
from multimodal.intake.ingest import whole_recipe
from multimodal.intake.ingest_options import IngestOptions
from multimodal.serve.options import Limits
from multimodal.store import InputError, Store

REGISTER = """
import dataclasses, sys
from pathlib import Path
from multimodal.catalogue import Catalogue
from multimodal.intake import speech_choice
from multimodal.intake.ingest import whole_recipe
from multimodal.intake.ingest_options import IngestOptions
from multimodal.library import register
from multimodal.store import Store
with Store(Path(sys.argv[2])).writing(), Catalogue(Store(Path(sys.argv[2])).catalogue) as catalogue:
    (video,), _ = register(catalogue, [Path(sys.argv[1])])
    print("ingest: half way", file=sys.stderr)
    catalogue.put(dataclasses.replace(video, state="partial", reason="no sound: nothing could be heard"))
"""
"""Takes a file in as `videobert ingest` does, without hearing or seeing anything, which takes longer than a test may."""


@pytest.fixture
def own(starting, sample, tmp_path):
    """A server of a copy of the store, which a test may change."""
    store = tmp_path / "store"
    shutil.copytree(sample.root, store)
    limits = Limits(upload=400_000, uploads_per_hour=8)
    return starting(
        store, limits=limits, ingest=lambda file, _: [[sys.executable, "-c", REGISTER, str(file), str(store)]]
    )


def test_an_upload_is_taken_in(own, sample, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    file = (sample.root.parent / "videos/kitchen-000.mp4").read_bytes() + b"\0" * 8
    answer = own.client.post("/api/videos", params={"name": "../../my film.mp4"}, content=file)
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert job["name"] == "_.._my film.mp4"
    for _ in range(600):
        (job,) = own.client.get("/api/uploads").json()["uploads"]
        if job["state"] not in ("waiting", "running"):
            break
        time.sleep(0.1)
    assert (job["state"], job["said"]) == ("done", "no sound: nothing could be heard")
    assert own.client.get(f"/api/videos/{job['video']}").json()["state"] == "partial"
    stored = own.store / "uploads" / job["video"] / job["name"]
    assert stored.read_bytes() == file and own.client.get(f"/api/media/{job['video']}").content == file
    again = own.client.post("/api/videos", params={"name": "again.mp4"}, content=file)
    assert again.status_code == 409 and "already" in again.json()["detail"]
    assert own.client.delete(f"/api/videos/{job['video']}").status_code == 200
    assert not stored.exists() and own.client.get(f"/api/media/{job['video']}").status_code == 404


def test_what_is_no_video_is_refused_and_says_why(own, tmp_path):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("x.txt", "x" * 1000)
    playlist = b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"
    for name, data, status in (
        ("a.mp4", archive.read_bytes(), 415),
        ("b.mp4", playlist, 415),
        ("c.zip", archive.read_bytes(), 415),
        ("d", b"x", 415),
        ("e.mp4", b"", 415),
        ("f.mp4", b"x" * 400_001, 413),
    ):
        answer = own.client.post("/api/videos", params={"name": name}, content=data)
        assert answer.status_code == status, (name, answer.text)
        assert answer.json()["detail"] and str(own.store) not in answer.text
    assert not [p for p in (own.store / "uploads").rglob("*") if p.is_file()]
    codes = [
        own.client.post("/api/videos", params={"name": "a.mp4"}, content=b"x").status_code for _ in range(6)
    ]
    assert codes[-1] == 429, "the rate is limited"


def test_a_mended_sentence_is_found_at_once_and_the_next_run_keeps_it(own):
    get = own.client.get
    video = get("/api/videos/kitchen-000").json()
    digest, was = video["video"], video["transcript"][2]["text"]
    address = f"/api/videos/{digest}/sentences/2"
    assert get("/api/search", params={"q": "rutabaga"}).json()["hits"] == []
    answer = own.client.put(address, json={"was": was, "text": "Let us wash the rutabaga before we go on."})
    assert answer.status_code == 200, answer.text
    assert (
        get(f"/api/videos/{digest}/transcript.txt").text.splitlines()[2]
        == "Let us wash the rutabaga before we go on."
    )
    (hit,) = [h for h in get("/api/search", params={"q": "rutabaga"}).json()["hits"] if h["heard"]]
    assert hit["video"] == digest and hit["start"] == video["transcript"][2]["start"]
    assert len(get(f"/api/videos/{digest}").json()["transcript"][2]["words"]) == 9
    late = own.client.put(address, json={"was": was, "text": "Late."})
    assert late.status_code == 400 and "by now" in late.json()["detail"]
    assert own.client.put(address, json={"was": was, "text": " ?! "}).status_code == 400
    assert (
        own.client.put(f"/api/videos/{digest}/sentences/99", json={"was": was, "text": "x"}).status_code
        == 400
    )

    # The next run makes its transcript anew, at the same address or another, and applies what was mended.
    store = Store(own.store)
    other = store.transcript(digest, "other")
    other.write_bytes(store.transcript(digest, "t").read_bytes())
    made = corrections.applied(store, digest, "other")
    assert made != "other"
    assert "rutabaga" in json.loads(store.transcript(digest, made).read_text())["sentences"][2]["text"]
    with Catalogue(store.catalogue) as catalogue:
        stored = catalogue.get(digest)
    back = corrections.correct(store, stored, 2, "Let us wash the rutabaga before we go on.", was)
    assert back.transcript == "t", "mended back, it is the transcript of before"


def test_a_run_that_writes_is_waited_for(own):
    digest = own.digest("kitchen-001.mp4")
    holding = f"""
import sys
from pathlib import Path
from multimodal.store import Store
with Store(Path({str(own.store)!r})).writing():
    print("held", flush=True)
    sys.stdin.read()
"""
    run = subprocess.Popen([sys.executable, "-c", holding], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                           env={"PYTHONPATH": ":".join(sys.path)})  # fmt: skip
    assert run.stdout.readline() == "held\n"
    answer = own.client.delete(f"/api/videos/{digest}")
    assert answer.status_code == 409 and "writes to it" in answer.json()["detail"]
    assert "process" in own.client.get("/library").text and str(run.pid) in own.client.get("/library").text
    run.stdin.close()
    run.wait()
    assert own.client.delete(f"/api/videos/{digest}").status_code == 200
    hits = own.client.get("/api/search", params={"q": "carrot"}).json()["hits"]
    assert hits and all(hit["video"] != digest for hit in hits)
    with (
        pytest.raises(InputError, match="not in this store"),
        Catalogue(Store(own.store).catalogue) as catalogue,
    ):
        catalogue.find(digest)


def ended(own, count: int = 1) -> dict:
    """The newest job, when all are through."""
    for _ in range(600):
        jobs = own.client.get("/api/uploads").json()["uploads"]
        if len(jobs) == count and all(job["state"] in ("done", "failed") for job in jobs):
            return jobs[0]
        time.sleep(0.1)
    raise AssertionError(jobs)


def test_a_folder_is_taken_in_only_where_the_operator_allowed_it(
    starting, own, sample, tmp_path, monkeypatch
):
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    assert own.client.get("/api/folders").json() == {"folders": []}
    assert own.client.post("/api/folders", json={"folder": "."}).status_code == 403, "none is named"
    films, beyond = tmp_path / "films", tmp_path / "beyond"
    for place in (films / "summer", beyond):
        place.mkdir(parents=True)
        (place / "film.mp4").write_bytes(
            (sample.root.parent / "videos/kitchen-000.mp4").read_bytes() + b"\0" * 9
        )
    (films / "link").symlink_to(beyond)
    command = [sys.executable, "-c", REGISTER]
    allowed = starting(
        own.store,
        folders=films,
        ingest=lambda file, _: [[*command, str(next(file.rglob("*.mp4"))), str(own.store)]],
    )
    assert allowed.client.get("/api/folders").json() == {"folders": ["summer"]}
    for folder in ("..", "../beyond", "/etc", str(beyond), "link", "summer/film.mp4", "nowhere", "\0"):
        answer = allowed.client.post("/api/folders", json={"folder": folder})
        assert answer.status_code == 404 and str(tmp_path) not in answer.text.replace(folder, ""), folder
    answer = allowed.client.post("/api/folders", json={"folder": "summer"})
    assert answer.status_code == 202 and answer.json()["name"] == "summer"
    assert ended(allowed)["state"] == "done"
    assert "film.mp4" in allowed.client.get("/library").text


@pytest.mark.long
def test_a_video_is_heard_by_another_model_or_in_another_language(own, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    store, digest = Store(own.store), own.digest("kitchen-000.mp4")
    with Catalogue(store.catalogue, read_only=True) as catalogue:
        video = catalogue.get(digest)
    address, options = f"/api/videos/{digest}/transcript", IngestOptions()
    assert speech_choice.applied(store, video, options) == options
    for wrong in ({"whisper": "grande"}, {"language": "xx"}, {"whisper": "../../etc/passwd"}):
        assert own.client.put(address, json=wrong).status_code in (400, 422), wrong
    assert own.client.put(address, json={"whisper": "base", "language": "de"}).status_code == 202
    chosen = speech_choice.applied(store, video, options)
    assert (chosen.whisper, chosen.language, chosen.backbone) == ("base", "de", options.backbone)
    assert whole_recipe(video, chosen) != whole_recipe(video, options), "so the next ingestion hears it anew"
    assert ended(own)["what"] == "transcript"
    assert own.client.put(address, json={}).status_code == 202, "as a run says"
    assert speech_choice.applied(store, video, options) == options
    ended(own, 2)
    assert own.client.put(address, json={"language": "fr"}).status_code == 202
    ended(own, 3)
    assert own.client.delete(f"/api/videos/{digest}").status_code == 200
    assert not speech_choice.choice_file(store, digest).exists()


RUN = """
import sys
from pathlib import Path
from flows.progress import of_store, stage
from multimodal.store import Store
store = Store(Path(sys.argv[1]))
with store.writing(), of_store(store.root), stage("pretrain", "steps") as report:
    report(3, 10, f"loss 1.25 {store.root}/models")
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_run_of_another_process_is_told_with_its_stage(own):
    assert own.client.get("/api/run").json()["process"] is None
    run = subprocess.Popen([sys.executable, "-c", RUN, str(own.store)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                           stderr=subprocess.DEVNULL, text=True, env=os.environ | {"PYTHONPATH": ":".join(sys.path)})  # fmt: skip
    assert run.stdout.readline() == "held\n"
    for _ in range(100):
        told = own.client.get("/api/run").json()
        if "3 of" in told["said"]:
            break
        time.sleep(0.1)
    assert (told["process"], told["stage"]) == (run.pid, "pretrain")
    assert "3 of 10 steps" in told["said"] and str(own.store) not in told["said"]
    assert "3 of 10 steps" in own.client.get("/library").text
    run.stdin.close()
    run.wait()
    assert own.client.get("/api/run").json()["process"] is None
    assert not list(own.store.glob(".run.json*"))
