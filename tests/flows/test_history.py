"""What Prefect's page shows of a run: its name, tags, lines, a bar that moves, tables; and no video's name. A real server."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import fragments
import httpx
import imported_corpus
import pytest

from flows import history
from multimodal.catalogue import Video

SECRET = "a private talk"
FOLLOWED = """
import json, sys, time
from pathlib import Path
from flows import history, progress
history.SECONDS_BEFORE_BAR, history.SECONDS_BETWEEN_UPDATES = 0.2, 0.2
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.runtime import flow_run

@flow(name="steps")
def steps() -> list:
    history.describe("pretrain 20ff5b24", stage="pretrain", store=Path("/store"))
    seen = []
    with get_client(sync_client=True) as client, progress.stage("of-steps", "steps") as report:
        for step in range(1, 7):
            report(step, 6, f"loss {step}")
            time.sleep(0.5)
            bar = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["of-steps"])))
            seen.append([client.read_flow_run(flow_run.id).name, bar[0].data if bar else None])
    with get_client(sync_client=True) as client:
        (bar,) = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["of-steps"])))
        run = client.read_flow_run(flow_run.id)
        return [seen, [run.name, sorted(run.tags)], [bar.type, bar.data, bar.description]]
print(json.dumps(steps()))
"""

TRIMMED = """
import sys
from pathlib import Path
from flows import running
running.KEPT_RUNS = 1
running._trim_runs(running.tag_of(Path(sys.argv[1])))
"""


def asked(home, what: str, **filters) -> list[dict]:
    answer = httpx.post(f"{home.environment['PREFECT_API_URL']}/{what}/filter", json=filters)
    answer.raise_for_status()
    return answer.json()


def runs_of(home, store: Path) -> list[dict]:
    tagged = {"flow_runs": {"tags": {"all_": [f"store {store.resolve()}"]}}}
    return asked(home, "flow_runs", sort="START_TIME_ASC", **tagged)


def beside(home, what: str, run: dict) -> list[dict]:
    """What of a kind belongs to a run."""
    return [found for found in asked(home, what) if found["flow_run_id"] == run["id"]]


@pytest.fixture(scope="module")
def ingested(home, tmp_path_factory):
    """A store into which a folder of videos, all refused, and imported ones went, twice."""
    root = tmp_path_factory.mktemp("history")
    corpus = imported_corpus.write_corpus(root / "corpus", videos=3)
    (root / "lectures").mkdir()
    for name in (f"{SECRET}.mp4", "another.mp4"):
        (root / "lectures" / name).write_text(f"no video: {name}")
        fragments.at_rest(root / "lectures" / name)
    given = (root / "lectures", "--import", corpus, "--import-stride", 1.5, "--store", root / "store")
    for _ in range(2):
        ended = home.run("ingest", *given)
        assert ended.returncode == 0, ended.stderr
        assert SECRET in ended.stdout
    return root / "store"


def test_a_run_says_what_it_does(home, ingested):
    first, second = runs_of(home, ingested)
    assert [run["name"] for run in (first, second)] == [
        "ingest 2 videos of lectures, 2 to do", "ingest 2 videos of lectures, none to do",
    ]  # fmt: skip
    assert set(first["tags"]) == {"ingest", f"store {ingested.resolve()}"}
    lines = [line["message"] for line in beside(home, "logs", first)]
    assert any(line.startswith("ingest: 2 refused, ") for line in lines), lines
    assert any(line.startswith("import: 3 done, ") for line in lines), lines


def test_a_table_says_how_the_videos_ended_and_a_run_with_nothing_to_do_has_none(home, ingested):
    first, second = runs_of(home, ingested)
    (table,) = beside(home, "artifacts", first)
    assert (table["key"], table["type"]) == ("videos", "table")
    rows = json.loads(table["data"])
    assert sum(row["videos"] for row in rows) == 2
    assert all((row["run"], row["state"]) == ("this one", "refused") and row["reason"] for row in rows)
    assert beside(home, "artifacts", second) == []


def test_no_video_is_named_in_the_history(home, ingested):
    """Looked for in the whole database, with the folder's name as the control."""
    with sqlite3.connect(Path(home.environment["PREFECT_HOME"]) / "prefect.db") as db:
        told = "\n".join(db.iterdump())
    db.close()
    assert "of lectures" in told
    assert SECRET not in told


def test_old_runs_go_with_what_lies_beside_them(home, ingested):
    first, second = runs_of(home, ingested)
    assert beside(home, "artifacts", first)
    ended = subprocess.run(
        [sys.executable, "-c", TRIMMED, ingested], env=home.environment, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert [run["id"] for run in runs_of(home, ingested)] == [second["id"]]
    assert beside(home, "artifacts", first) == []


@pytest.mark.long
def test_a_bar_moves_and_the_name_with_it(home):
    ended = subprocess.run(
        [sys.executable, "-c", FOLLOWED], env=home.environment, capture_output=True, text=True, timeout=120, check=False
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    seen, (name, tags), bar = json.loads(ended.stdout.splitlines()[-1])
    names, shares = zip(*seen, strict=True)
    assert {f"pretrain 20ff5b24, {n} of 6 steps" for n in (2, 3, 4, 5)} & set(names)
    moved = [share for share in shares if share is not None]
    assert len(set(moved)) > 2 and moved == sorted(moved)
    assert (name, tags) == ("pretrain 20ff5b24", ["pretrain", "store /store"])
    assert bar == ["progress", 100.0, "6 of 6 steps"]


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("talk.mp4: moov atom not found", "moov atom not found"),
        ("captions of talk.en.vtt taken, talk.de.vtt passed over", "captions of ….en.vtt taken, ….de.vtt passed over"),
        ("/lectures/talk.mp4: permission denied", "permission denied"),
        ("he is talking", "he is talking"),
        ("the sound ends at 3 s (/other/place/file.wav)", "the sound ends at 3 s (file.wav)"),
    ],
)  # fmt: skip
def test_reasons_are_told_without_names(reason, told):
    assert history.without_names(reason, Video("d", "talk.mp4", "/lectures/talk.mp4", 1)) == told


def test_outcomes_are_counted_new_ones_first():
    def video(digest: str, state: str, reason: str) -> Video:
        return Video(digest, f"{digest}.mp4", f"/{digest}.mp4", 1, state, reason)

    found = history.outcomes(
        [video("a", "done", ""), *(video(d, "refused", f"{d}.mp4: no picture") for d in ("b", "c", "e"))], {"b", "c"}
    )  # fmt: skip
    assert found == [
        {"run": "this one", "state": "refused", "videos": 2, "reason": "no picture"},
        {"run": "earlier", "state": "done", "videos": 1, "reason": ""},
        {"run": "earlier", "state": "refused", "videos": 1, "reason": "no picture"},
    ]


def test_only_folders_are_named(tmp_path):
    (tmp_path / "lectures").mkdir()
    (tmp_path / "talk.mp4").touch()
    assert history.of_folders([tmp_path / "lectures"]) == " of lectures"
    assert history.of_folders([tmp_path / "lectures", tmp_path / "talk.mp4"]) == ""
