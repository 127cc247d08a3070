"""The README's own commands, run as they stand there on two of the sample videos; and, when asked for, `make demo`."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import fragments
import in_turn
import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SAMPLES = ROOT / "tests/samples"
VIDEOBERT = [sys.executable, "-m", "flows"]
SECONDS = 13.5
"""The second that the README asks about, and a clip."""


def commands() -> list[list[str]]:
    """The `videobert …` lines of the README's code blocks, without their comments."""
    lines = re.findall(r"^    (videobert .*)$", README, re.MULTILINE)
    return [shlex.split(line.split("  #")[0]) for line in lines]


@pytest.fixture(scope="module")
def story(tmp_path_factory, weights_or_skip) -> dict[str, str]:
    """Runs every command in turn, FOLDER being the beginnings of two sample videos; what each printed, by the command's first word."""
    for name in ("whisper-tiny.en", "i3d-kinetics-400", "minilm-l6"):
        weights_or_skip(name)
    home = tmp_path_factory.mktemp("story")
    folder = home / "videos"
    folder.mkdir()
    for number in (0, 1):
        name = f"kitchen-{number:03d}.mp4"
        fragments.cut(folder / name, name, SECONDS, ("video", "audio"))
    environment = os.environ | {
        "VIDEOBERT_STORE": str(home / "store"),
        "PREFECT_HOME": str(home / "prefect"),
        "PYTHONPATH": str(ROOT),
    }
    asked = []
    for command in commands():
        words = [word.replace("FOLDER", str(folder)).replace("VIDEO", "kitchen-001") for word in command[1:]]
        asked.append(words + (["--epochs", "2"] if words[0] == "run" else []))
    (serve,) = [words for words in asked if words[0] == "serve"]  # it answers until it is stopped
    asked.remove(serve)
    printed = in_turn.said(asked, environment, home)
    said = {words[0]: text for words, text in zip(asked, printed, strict=True)}
    command = [*VIDEOBERT, *serve, "--port", "0"]
    with subprocess.Popen(command, env=environment, cwd=home, stdout=subprocess.PIPE, text=True) as running:
        said["serve"] = running.stdout.readline()
        running.terminate()
    said["store"] = str(home / "store")
    return said


def test_the_readme_names_the_commands_that_matter():
    assert {command[1] for command in commands()} == {
        "run", "search", "caption", "next", "classify", "imagine", "chapters", "summarise", "transcript", "status", "doctor", "serve",
    }  # fmt: skip


def test_run_tells_each_outcome_and_where_the_report_is(story):
    assert len(re.findall(r"^done .* kitchen-00[01]\.mp4$", story["run"], re.MULTILINE)) == 2
    page = Path(re.search(r"^Report: (.*)$", story["run"], re.MULTILINE)[1]).read_text(encoding="utf-8")
    assert "kitchen-001" in page
    assert "data:image/jpeg;base64," in page


def test_answers_are_for_people(story):
    assert re.match(r"1\. kitchen-00[01]\.mp4 \d+:\d\d\.\d–\d+:\d\d\.\d", story["search"])
    assert re.match(r"\d+:\d\d\.\d–\d+:\d\d\.\d  (heard|as in kitchen-\S+ \S+)  \w+", story["caption"])
    assert re.search(r"^ok +store .*: 2 videos, .*, 0 broken$", story["doctor"], re.MULTILINE)
    assert len(re.findall(r"^\+ *(1\.5|3\.0|6\.0|12\.0) s  v\d{5}\b", story["next"], re.MULTILINE)) == 12


def test_the_page_says_where_it_is(story):
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\n", story["serve"])


def test_whisper_heard_what_is_said(story):
    truth = {v["file"]: v for v in json.loads((SAMPLES / "truth.json").read_text())["videos"]}
    heard = [json.loads(p.read_text()) for p in Path(story["store"]).glob("transcripts/*.json")]
    assert len(heard) == 2
    text = " ".join(s["text"].lower() for t in heard for s in t["sentences"])
    for number in (0, 1):
        steps = [s for s in truth[f"kitchen-{number:03d}.mp4"]["steps"] if s["end"] < SECONDS]
        assert len(steps) > 2
        for step in steps:
            assert step["action"] in text
            assert step["thing"] in text


@pytest.mark.skipif(
    "VIDEOBERT_SLOW" not in os.environ, reason="the whole demo takes minutes: `make story` runs it"
)
@pytest.mark.timeout(3000)
def test_make_demo_learns_what_the_readme_says(tmp_path):
    """`make demo` on the environment at hand: both modalities beat one, and every figure lies above chance."""
    store = tmp_path / "store"
    done = subprocess.run(
        ["make", "--silent", "demo", f"STORE={store}", f"VIDEOBERT={' '.join(VIDEOBERT)}", "VENV=" + str(Path(sys.executable).parents[1])],
        cwd=ROOT, capture_output=True, text=True, timeout=2900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (evaluation,) = (store / "evaluations").glob("*.json")
    figures = json.loads(evaluation.read_text())

    def above(name: str, times: float) -> bool:
        return figures[name]["value"] > times * figures[name]["chance"]

    assert figures["text_cloze_with_video"]["value"] > figures["text_cloze_without_video"]["value"]
    assert (
        figures["action_and_thing_text_cloze_with_video"]["low"]
        > figures["action_and_thing_text_cloze_without_video"]["high"]
    )
    assert figures["video_cloze_with_text"]["low"] > figures["video_cloze_without_text"]["value"]
    assert figures["alignment_accuracy"]["low"] > 0.5
    assert above("verb_zero_shot", 1.5)
    assert above("noun_zero_shot", 2)
    assert above("next_token", 3)
    assert above("search_recall_at_5", 2)
    assert done.stdout.count("videobert search") == 3
