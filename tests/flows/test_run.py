"""The whole job, run once for real: what a second run costs, what one new video costs, and what the answers look like."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import fragments
import pytest
import safetensors.numpy
from command import artefacts, contents, run_inside, stamps

NARRATED, TWICE, SILENT, BROKEN = "command.mp4", "the same command.mp4", "flower.mp4", "broken.mp4"
STAGES = ("weights", "ingest", "codebook", "tokens", "pretrain", "captioner", "index", "evaluate", "report")
WAITS = ("loading ", "starting ", "waiting ")
"""How the lines begin that say what a run waits for."""
VIDEO_FIELDS = {"video", "name", "state", "reason", "seconds", "clips", "sentences"}


@pytest.fixture
def answer(made, capsys):
    """What a command that only reads answers with `--json`."""

    def asked(*arguments) -> dict:
        ended = run_inside(capsys, *arguments, "--store", made.store, "--json")
        assert (ended.returncode, ended.stderr) == (0, "")
        return json.loads(ended.stdout)

    return asked


def by_name(status: dict) -> dict[str, dict]:
    return {v["name"]: v for v in status["videos"]}


def test_a_new_user_sees_the_stages_and_nothing_of_prefect(made):
    assert made.ended.returncode == 0, made.ended.stderr
    said = [line for line in made.ended.stderr.splitlines() if not line.startswith(WAITS)]
    assert [line.split()[0] for line in said if line.split()[0] in STAGES] == list(STAGES)
    assert all(line.split()[0].rstrip(":") in STAGES for line in said), made.ended.stderr


def test_run_answers_with_one_document(made):
    document = json.loads(made.ended.stdout)
    assert Path(document["report"]).is_file() and Path(document["report"]).name == "report.html"
    assert all(name.endswith(("_counts", "_nearest_neighbour")) for name in document["figures"]), (
        "none is held out"
    )
    assert set(by_name(document)) >= {SILENT, BROKEN}


def test_every_kind_of_artefact_is_there(made):
    kinds = {name.split("/")[0] for name in artefacts(made.store)}
    assert kinds == {
        "transcripts",
        "features",
        "codebooks",
        "tokens",
        "models",
        "captioners",
        "indexes",
        "evaluations",
    }
    assert (made.store / "report.html").stat().st_size > 1000


def test_each_video_has_its_outcome_and_one_content_is_ingested_once(answer):
    videos = answer("status")["videos"]
    assert all(set(v) >= VIDEO_FIELDS for v in videos)
    assert len(videos) == 3
    found = by_name({"videos": videos})
    (command,) = [v for name, v in found.items() if name in (NARRATED, TWICE)]
    assert (command["state"], command["clips"], command["reason"]) == ("done", 2, "")
    assert command["sentences"] >= 1 and command["seconds"] == pytest.approx(3, abs=0.1)
    assert (found[SILENT]["state"], found[SILENT]["reason"]) == ("done", "no speech found")
    assert found[BROKEN]["state"] == "refused" and BROKEN in found[BROKEN]["reason"]


def test_answers_have_the_fields_that_programs_rely_on(answer):
    found = answer("search", "season the banana")
    assert found["query"] == "season the banana"
    assert all(
        set(h) >= {"video", "name", "start", "end", "text", "score", "heard", "seen"} for h in found["hits"]
    )
    scores = [h["score"] for h in found["hits"]]
    assert scores == sorted(scores, reverse=True)
    assert found["hits"][0]["name"] in (NARRATED, TWICE)
    digest = by_name(answer("status"))[SILENT]["video"]

    forecast = answer("next", SILENT, "--at", "3")
    assert (forecast["video"], forecast["at"]) == (digest, 3)
    assert [h["seconds"] for h in forecast["horizons"]] == [1.5, 3, 6, 12]
    for token in (t for h in forecast["horizons"] for t in h["tokens"]):
        assert set(token) == {"token", "name", "probability", "picture"} and 0 <= token["probability"] <= 1
    assert forecast["quality"]["verdict"] == "unknown" and forecast["quality"]["method"] == "plain"

    captions = answer("caption", "flower", "--at", "1")
    assert captions["video"] == digest
    assert set(captions["captions"][0]) >= {"start", "end", "text", "score", "route"}


def test_answers_go_to_standard_output_and_nothing_else_does(home, made):
    ended = home.run("search", "flower", "--store", made.store)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("1. ")


def test_a_model_folder_is_what_others_can_open(made):
    (folder,) = (made.store / "models").glob("*/step-*")
    weights = safetensors.numpy.load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    assert weights["bert.embeddings.word_embeddings.weight"].shape[0] == config["vocab_size"]


def test_a_second_run_does_no_work_twice(home, made):
    """Nor does it need `--epochs 1` again: the store remembers what it was made with."""
    before = stamps(made.store)
    ended = home.run("run", made.videos, "--store", made.store)
    assert ended.returncode == 0, ended.stderr
    assert stamps(made.store) == before
    for stage in ("tokens", "pretrain", "captioner", "index", "evaluate"):
        (line,) = [x for x in ended.stderr.splitlines() if x.startswith(f"{stage} ")]
        assert line.endswith("nothing left to do")


COUNTED = """
import collections, json, sys
from flows.settings import Settings
from multimodal.catalogue import Catalogue
from multimodal.inference import trained
from multimodal.joint.model import JointBert

counts = collections.Counter()

def count(owner, name):
    counted = getattr(owner, name)
    def call(*arguments, **options):
        counts[name] += 1
        return counted(*arguments, **options)
    setattr(owner, name, call)

for owner, name in ((Settings, "at"), (Catalogue, "__init__"), (trained, "load_trained"), (JointBert, "load")):
    count(owner, name)
sys.argv = ["videobert", "run", *sys.argv[1:]]
from flows.cli import main
try:
    main()
finally:
    print(json.dumps(counts), file=sys.stderr)
"""


@pytest.mark.long
@pytest.mark.parametrize(
    "more", [pytest.param((), id="nothing to do"), pytest.param(("--seed", "7"), id="another model")]
)
def test_a_run_opens_everything_once(home, made, tmp_path, more):
    """The settings are completed, the catalogue checked, and the model verified and loaded once for all stages."""
    store = shutil.copytree(made.store, tmp_path / "store")
    command = [sys.executable, "-c", COUNTED, str(made.videos), "--store", str(store), *more]
    ended = subprocess.run(
        command, env=home.environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stderr.splitlines()[-1]) == {"at": 1, "__init__": 1, "load_trained": 1, "load": 1}


@pytest.mark.long
def test_one_new_video_costs_only_that_video(home, made, tmp_path):
    store, folder = tmp_path / "store", tmp_path / "videos"
    shutil.copytree(made.store, store)
    shutil.copytree(made.videos, folder)
    fragments.spoken(folder / "another.mp4", "kitchen-005.mp4")
    before, whole = stamps(store), contents(store)
    ended = home.run("run", folder, "--store", store, "--json")
    assert ended.returncode == 0, ended.stderr
    video = by_name(json.loads(ended.stdout))["another.mp4"]["video"]
    new = sorted(set(contents(store)) - set(whole))
    assert {name.split("/")[0] for name in new} == {"transcripts", "features", "tokens", "indexes"}
    assert len(new) == 4 and all(video in name for name in new)
    assert {name: stamp for name, stamp in stamps(store).items() if name not in new} == before

    hits = json.loads(home.run("search", "flip the tomato", "--store", store, "--json").stdout)["hits"]
    assert "another.mp4" in {h["name"] for h in hits}
