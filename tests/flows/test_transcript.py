"""The command `transcript`: what is written, under which names, and what is refused."""

import json

import pytest
from command import run_inside

from multimodal.catalogue import Catalogue, Video
from multimodal.store import Store, write_whole
from speech import caption_files
from speech.sentences import Sentence, Transcript, Word


@pytest.fixture
def store(tmp_path):
    """Two talks of one stem in two folders, two of one name, one without a word, one refused, and an imported one with a
    label that is no file's name."""
    made = Store(tmp_path / "store")
    named = {
        "a": "talks/talk.mp4", "b": "talks/Talk.mkv", "c": "one/demo.mp4", "d": "two/demo.mp4", "e": "talks/hum.mp4",
        "f": "talks/broken.mp4", "0": "", "1": "talks/kitchen.mp4",
    }  # fmt: skip
    with Catalogue(made.catalogue) as catalogue:
        for digit, path in named.items():
            digest, state = digit * 64, "refused" if digit == "f" else "done"
            name = path.rpartition("/")[2] or "../../etc/passwd"
            word = Word(0.5, 1.0, f"said{digit}", 0.5)
            spoken = () if digit == "e" else (Sentence(0.5, 1.0, f"said{digit}", (word,)),)
            if digit != "f":
                text = json.dumps(Transcript("en", {"kind": "test"}, spoken).to_dict())
                write_whole(made.transcript(digest, "t"), text.encode())
            catalogue.put(
                Video(digest, name, path and str(tmp_path / path), 1, state, "not a video" if digit == "f" else "",
                      1.5, 1, len(spoken), None if digit == "f" else "t")
            )  # fmt: skip
    for folder in ("talks", "one", "two"):
        (tmp_path / folder).mkdir()
    return made


def written(folder) -> dict[str, str]:
    """What the caption files of a folder say, by name."""
    return {
        path.name: " ".join(cue.text for cue in caption_files.read(path).cues)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_one_video_goes_to_standard_output(store, capsys):
    ended = run_inside(capsys, "transcript", "kitchen", "--store", store.root)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == "WEBVTT\n\n00:00:00.500 --> 00:00:01.000\nsaid1\n"
    ended = run_inside(capsys, "transcript", "KITCH", "--to", "json", "--store", store.root)
    assert json.loads(ended.stdout)["text"] == "said1"


def test_all_videos_go_into_a_folder_each_under_a_name_of_its_own(store, capsys, tmp_path):
    ended = run_inside(capsys, "transcript", "--out", tmp_path / "out", "--store", store.root)
    assert ended.returncode == 0
    assert written(tmp_path / "out") == {
        "Talk.mkv.vtt": "saidb", "talk.mp4.vtt": "saida", "demo.mp4.cccccccccccc.vtt": "saidc",
        "demo.mp4.dddddddddddd.vtt": "saidd", "hum.vtt": "", "kitchen.vtt": "said1", "passwd.vtt": "said0",
    }  # fmt: skip
    assert sorted(ended.stdout.split()) == sorted(str(p) for p in (tmp_path / "out").iterdir())
    refused, silent = sorted(ended.stderr.splitlines())[::-1]
    assert "broken.mp4" in refused and "not a video" in refused and "hum.mp4" in silent
    assert {p.name for p in tmp_path.iterdir()} == {"store", "talks", "one", "two", "out"}


def test_a_folder_means_its_videos_and_names_stay_as_among_all(store, capsys, tmp_path):
    ended = run_inside(
        capsys, "transcript", tmp_path / "one", "kitchen", "--out", tmp_path / "out", "--to", "srt", "--store", store.root
    )  # fmt: skip
    assert ended.returncode == 0 and set(written(tmp_path / "out")) == {
        "demo.mp4.cccccccccccc.srt",
        "kitchen.srt",
    }
    (tmp_path / "empty").mkdir()
    ended = run_inside(
        capsys, "transcript", tmp_path / "empty", "--out", tmp_path / "out", "--store", store.root
    )
    assert ended.returncode == 2 and str(tmp_path / "empty") in ended.stderr


def test_a_file_of_somebody_else_is_not_replaced(store, capsys, tmp_path):
    ask = ("transcript", "kitchen.mp4", "talk.mp4", "--out", tmp_path / "talks", "--store", store.root)
    own = tmp_path / "talks" / "talk.mp4.vtt"
    own.write_text("my own captions")
    ended = run_inside(capsys, *ask)
    assert ended.returncode == 2 and str(own) in ended.stderr and "--overwrite" in ended.stderr
    assert {p.name for p in (tmp_path / "talks").iterdir()} == {own.name}, "nothing was written"
    assert own.read_text() == "my own captions"
    assert run_inside(capsys, *ask, "--overwrite").returncode == 0
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "talks").iterdir()}
    assert "saida" in own.read_text() and len(before) == 2
    assert run_inside(capsys, *ask).returncode == 0, "the same again replaces nothing that differs"


def test_one_file_says_its_format(store, capsys, tmp_path):
    file = tmp_path / "kitchen.tsv"
    ended = run_inside(capsys, "transcript", "kitchen", "--out", file, "--store", store.root)
    assert ended.stdout == f"{file}\n" and file.read_text() == "start\tend\ttext\n500\t1000\tsaid1\n"
    file.write_text("mine")
    assert run_inside(capsys, "transcript", "kitchen", "--out", file, "--store", store.root).returncode == 2
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--out FOLDER"),
        (["kitchen", "TALK"], "talk.mp4"),
        (["kitchen", "hum"], "--out FOLDER"),
        (["broken"], "not a video"),
        (["nobody"], "nobody"),
        (["kitchn.mp4"], "kitchen.mp4"),
        (["kitchen", "--to", "doc"], "--to doc"),
        (["kitchen", "--out", "x.srt", "--to", "vtt"], ".vtt"),
        (["kitchen", "--out", "nowhere/x.srt"], "nowhere"),
    ],
)
def test_what_cannot_be_written_is_one_line(store, capsys, arguments, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended = run_inside(capsys, "transcript", *arguments, "--store", store.root)
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("videobert: ") and says in line
