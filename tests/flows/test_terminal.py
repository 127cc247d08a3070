"""A terminal is not steered by names, transcripts and reasons: every command shows their control characters."""

import ast
import json
import os
import re
from pathlib import Path

import pytest
from command import run_inside

from flows import printing, progress
from multimodal.catalogue import Catalogue, Video
from multimodal.intake.imports import find_imports, import_files
from multimodal.intake.options import ImportOptions
from multimodal.store import Store, write_whole
from speech import cues
from speech.control_characters import STEERING

TITLE, CLIPBOARD, LINK = "\x1b]0;owned\x07", "\x1b]52;c;cm0gLXJm\x07", "\x1b]8;;http://x\x1b\\"
EVIL = f"{TITLE}\x9b31m\u202egnp.\x08\x7f"
STEERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066\u2067]")
"""Written out again here: the oracle is not what is tested."""
FLOWS = Path(printing.__file__).parent


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """A store with a refused video of an evil name and reason, and an imported one whose captions are evil."""
    root = tmp_path_factory.mktemp("terminal")
    captions = root / "talk.vtt"
    captions.write_text(
        f"WEBVTT\n\n00:01.000 --> 00:05.000\nPeel {CLIPBOARD} the {LINK}carrot &#x202e; now{EVIL}.\n",
        encoding="utf-8",
    )
    opened = Store(root / "store")
    with Catalogue(opened.catalogue) as catalogue:
        import_files(opened, catalogue, find_imports([captions], None), ImportOptions(), lambda *_: None)
        catalogue.put(
            Video("e" * 64, f"{EVIL}\nvideo.mp4", f"/{EVIL}.mp4", 1, "refused", f"{EVIL}: no video")
        )
    return opened.root


def said(capsys, *arguments: object) -> str:
    ended = run_inside(capsys, *arguments)
    return ended.stdout + ended.stderr


CALLS = [
    ["status"],
    ["status", "--json"],
    ["search", "carrot"],
    ["search", "carrot", "--json"],
    ["transcript", "talk"],
    ["transcript", EVIL],
    ["doctor"],
]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: ascii(" ".join(call))[:24])
def test_no_command_steers_the_terminal(capsys, store, call):
    text = said(capsys, *call, "--store", store)
    assert text and not STEERS.search(text)


@pytest.mark.parametrize(
    "call", [["ingest", f"{EVIL}.mp4"], ["run", f"/nowhere/{EVIL}"], [f"{EVIL}"], ["status", f"--{EVIL}"]]
)
def test_no_error_line_steers_the_terminal(capsys, tmp_path, call):
    text = said(capsys, *call, "--store", tmp_path / "store")
    assert "\\x1b" in text and not STEERS.search(text)


def test_without_the_one_place_they_do(capsys, store, monkeypatch):
    monkeypatch.setattr(printing, "shown", lambda text: text)
    assert STEERS.search(said(capsys, "status", "--store", store)), "the control"


def test_what_is_shown_can_be_read_and_a_program_reads_the_name_as_it_is(capsys, store):
    line = next(line for line in said(capsys, "status", "--store", store).splitlines() if "refused" in line)
    assert r"\x1b]0;owned\x07\x9b31m\u202egnp.\x08\x7f" in line and r"\nvideo.mp4" in line
    names = [v["name"] for v in json.loads(said(capsys, "status", "--store", store, "--json"))["videos"]]
    assert f"{EVIL}\nvideo.mp4" in names


def test_progress_shows_them_too(capfd):
    with progress.stage(f"ingest{EVIL}", "videos") as report:
        report(1, 1, EVIL)
    assert not STEERS.search(capfd.readouterr().err)


def test_words_that_come_in_lose_them(store):
    text = next((store / "transcripts").glob("*.json")).read_text(encoding="utf-8")
    words = [s["text"] for s in json.loads(text)["sentences"]]
    assert words and not STEERS.search("".join(words)) and "carrot" in words[0]


def test_an_isolate_around_a_text_from_right_to_left_stays():
    assert printing.shown("\u2068שלום\u2069 1") == "\u2068שלום\u2069 1"
    assert cues.plain("שלום\u202e עולם") == "שלום עולם"


def test_what_steers_is_all_that_a_terminal_obeys():
    assert all(STEERING.fullmatch(chr(n)) for n in [*range(32), *range(127, 160)] if chr(n) not in "\t\n")


def test_nobody_prints_beside_the_one_place():
    wrong = []
    for file in FLOWS.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                wrong.append(file.name)
    assert set(wrong) == {"printing.py"}


def test_a_name_of_249_bytes_is_written_whole(tmp_path):
    """What marks a file that is being written made it longer than file systems admit."""
    name = "ü" * 122 + "a.vtt"
    assert len(os.fsencode(name)) == 249
    assert write_whole(tmp_path / name, b"x").read_bytes() == b"x"
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_name_that_begins_with_a_dash_is_told_how_to_be_written(capsys, tmp_path, monkeypatch):
    (tmp_path / "-i.mp4").write_text("no video")
    monkeypatch.chdir(tmp_path)
    ended = run_inside(capsys, "ingest", "-i.mp4", "--store", tmp_path / "store")
    assert ended.returncode == 2 and "-- -i.mp4" in ended.stderr
    ended = run_inside(capsys, "transcript", "--store", tmp_path / "store", "--", "-i.mp4")
    assert "no option" not in ended.stderr and "there is none" in ended.stderr
