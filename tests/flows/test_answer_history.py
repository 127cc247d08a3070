"""Pictures of answers in Prefect's history, and a removed video that is to be found nowhere there. A real server."""

import base64
import io
import json
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_store
from PIL import Image

from flows import answer_pictures
from multimodal.catalogue import Catalogue
from multimodal.store import Store

SECRET = "nobody may know"
ASK = """
import json, sys
from pathlib import Path
from flows.answers import caption, imagine, next_, search
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
store, secret = Path(sys.argv[1]), sys.argv[2]
asked = [search("chop the carrot", store=store), caption(secret, store=store), caption("b@2", store=store),
         next_(f"{secret}@3", store=store), imagine("wash the egg", store=store)]
caption(f"{secret}@999", store=store, return_state=True)
with get_client(sync_client=True) as client:
    runs = client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate({"tags": {"all_": [f"answers of {store}"]}}))
    found = [[run.name, run.state_name, client.read_artifacts(flow_run_filter=FlowRunFilter.model_validate({"id": {"any_": [run.id]}}))] for run in runs]
print(json.dumps([[name, state, [a.data for a in artifacts]] for name, state, artifacts in found]))
"""
PICTURE = re.compile(r"!\[([^\]]+)\]\(data:image/jpeg;base64,([^)]+)\)")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    """Two videos of a store; one of them is to be removed."""
    folder = tmp_path_factory.mktemp("answers").resolve()
    store, said = Store(folder / "store"), ["chop the carrot", "wash the egg"]
    with Catalogue(store.catalogue) as catalogue:
        for name, clips in ((SECRET, [0, 1] * 3), ("b", [1, 2] * 3)):
            tiny_store.add(store, catalogue, tiny_store.paint(folder / f"{name}.mp4", clips), clips, said)
        tiny_store.finish(store, catalogue, [])
    return store


def dump(home) -> str:
    with sqlite3.connect(Path(home.environment["PREFECT_HOME"]) / "prefect.db") as db:
        told = "\n".join(db.iterdump())
    db.close()
    return told


@pytest.mark.long
def test_answers_show_pictures_until_their_video_is_removed(home, store):
    ended = subprocess.run(
        [sys.executable, "-c", ASK, str(store.root), SECRET], env=home.environment, capture_output=True, text=True, timeout=180, check=False
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    runs = {name: (state, artifacts) for name, state, artifacts in json.loads(ended.stdout.splitlines()[-1])}
    with Catalogue(store.catalogue, read_only=True) as catalogue:
        secret, other = (catalogue.find(name).video for name in (SECRET, "b"))
    named = {f"{digest[:8]}": digest for digest in (secret, other)}
    assert set(runs) == {
        "search chop the carrot", "imagine wash the egg", "caption",
        f"caption {secret[:8]}", f"caption {other[:8]}@2", f"next {secret[:8]}@3",
    }, named  # fmt: skip
    assert runs["caption"] == ("Failed", [])
    for name, (_, artifacts) in runs.items():
        if name != "caption":
            (text,) = artifacts
            pictures = PICTURE.findall(text)
            assert 0 < len(pictures) <= answer_pictures.MOST and len(text) < 80_000
            for _, picture in pictures:
                shown = Image.open(io.BytesIO(base64.b64decode(picture)))
                assert shown.format == "JPEG" and max(shown.size) <= answer_pictures.SIDE
            assert SECRET not in text.partition("```\n\n")[2], "words beneath pictures name no video"
    assert SECRET in dump(home)

    removed = home.run("remove", SECRET, "--store", store.root)
    assert removed.returncode == 0 and "runs of questions deleted" in removed.stdout, removed
    left = dump(home)
    lines = [line for line in left.splitlines() if SECRET in line]
    assert all(line.startswith('INSERT INTO "event') and "outside the video" in line for line in lines), (
        "but for the message of the run that failed, which Prefect's events keep for 7 days"
    )
    assert f"caption {other[:8]}@2" in left, "what does not show it stays"


def test_a_token_expected_at_several_horizons_is_shown_once():
    def token(name: str) -> dict:
        return {"token": name, "picture": f"/c/pictures/{name}.jpg"}

    horizons = [
        {"seconds": s, "tokens": [token("v00001"), token(f"v0000{n}")]} for n, s in ((2, 1.5), (3, 3.0))
    ]
    shown = answer_pictures.of_forecast({"video": "d", "at": 6.0, "horizons": horizons})
    assert [one.words for one in shown] == [
        "now, 0:06.0", "v00001: +1.5, +3 s", "v00002: +1.5 s", "v00003: +3 s",
    ]  # fmt: skip
