"""What people may give by mistake: one clear line, exit status 2, nothing lost; and files that are hard to read."""

import contextlib
import json
import os
import sqlite3
import subprocess
from functools import partial
from pathlib import Path

import fragments
import pytest
import torch
from command import Home, run_inside
from harm import edited

from multimodal.catalogue import MIGRATIONS, Catalogue
from multimodal.library import find
from multimodal.store import InputError

NO_PICTURE, NO_SOUND = "no picture: nothing could be seen", "no sound: nothing could be heard"
AWKWARD = {
    "-video-with-dash-.mp4": ("partial", NO_SOUND),
    "audio_only.mov": ("partial", NO_PICTURE),
    "audio_only_speech.mp4": ("partial", NO_PICTURE),
    "av1_video.mkv": ("partial", NO_SOUND),
    "corrupted.mp4": ("partial", "damaged at second"),
    "counting_h264.mp4": ("partial", NO_SOUND),
    "failing_audio.mp4": ("partial", "the last 6.6 s of the sound are missing"),
    "h264_10bits.mp4": ("partial", NO_SOUND),
    "hevc_1080p.mp4": ("done", "no speech found"),
    "no_duration.webm": ("done", "no speech found"),
    "not_a_video.mp4": ("refused", "not a video or sound file"),
    "rot_270.mov": ("partial", NO_SOUND),
    "rot_90.mov": ("partial", NO_SOUND),
    "rotate_-90.mp4": ("done", "no speech found"),
    "sar_2x1.mp4": ("partial", NO_SOUND),
    "two_aac_tracks_no_video.mp4": ("refused", NO_PICTURE),
    "vfr_2fps_120tb.mov": ("done", ""),
    "vfr_57600tb.mp4": ("partial", NO_SOUND),
    "video_only.mov": ("partial", NO_SOUND),
}
"""Each file's state, and what its reason must say."""


@pytest.fixture
def alone(capsys):
    """Commands that end before any work begins."""
    return partial(run_inside, capsys)


PROGRESS = ("weights", "ingest", "codebook", "loading", "starting", "waiting")
"""How the lines of progress begin."""


def complains(ended: subprocess.CompletedProcess, *says: str) -> None:
    """One line on standard error (after those of stages that were done), that says all of `says`; status 2."""
    assert (ended.returncode, ended.stdout) == (2, ""), ended.stderr
    assert "Traceback" not in ended.stderr
    *stages, line = ended.stderr.splitlines()
    assert line.startswith("videobert: ") and all(s.split()[0].rstrip(":") in PROGRESS for s in stages)
    for part in says:
        assert part in line, line


def test_a_folder_without_videos(alone, tmp_path):
    folder = tmp_path / "holiday"
    folder.mkdir()
    complains(
        alone("run", folder, "--store", tmp_path / "store"), str(folder), "no videos", "no file", ".mp4"
    )
    (folder / "a.jpg").touch()
    (folder / "b.JPG").touch()
    complains(alone("run", folder, "--store", tmp_path / "store"), "2 .jpg")
    assert not (tmp_path / "store").exists()


def test_a_path_that_is_not_there(alone, tmp_path):
    complains(
        alone("ingest", tmp_path / "nowhere", "--store", tmp_path / "store"),
        f"{tmp_path}/nowhere: no such",
    )


def test_a_folder_that_cannot_be_read(tmp_path, monkeypatch):
    """Root may read everything, so the system's refusal is played; what `find` makes of it is real."""
    hidden = tmp_path / "videos/private"
    hidden.mkdir(parents=True)
    (tmp_path / "videos/a.mp4").touch()
    real = os.scandir

    def refusing(path):
        if Path(path) == hidden:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(InputError) as error:
        find([tmp_path / "videos"])
    assert str(error.value).startswith(f"{hidden}: ") and "Permission denied" in str(error.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder; played in the test above")
def test_a_folder_that_may_not_be_read(alone, tmp_path):
    folder = tmp_path / "private"
    folder.mkdir(mode=0)
    complains(alone("run", folder, "--store", tmp_path / "store"), str(folder), "cannot be read")


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--whisper", "giant", "tiny.en"),
        ("--backbone", "vgg", "i3d, s3d"),
        ("--size", "huge", "paper"),
        ("--language", "klingon", "such as en"),
        ("--held-out", "1.5", "below 1"),
    ],
)
def test_a_part_that_is_not_known(alone, tmp_path, option, value, says):
    (tmp_path / "a.mp4").touch()
    ended = alone("run", tmp_path, "--store", tmp_path / "store", option, value)
    complains(ended, option, value, says)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], ["VIDEOS: none given", "name video files"]),
        (["--import", "nowhere.npy"], ["--import nowhere.npy: no such file or folder"]),
        (["--import-stride", "1"], ["--import-stride 1.0: has no effect without --import FILE"]),
        (["--import", "a.npy", "--import-fps", "2", "--import-stride", "1"], ["--import-fps and --import-stride", "give one"]),
        (["--import", "a.npy", "--import-fps", "0"], ["--import-fps 0: must be from 0.001 to 1000"]),
        (["--import", "a.npy", "--import-kind", "words"], ["--import-kind", "words", "transcripts"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["run", "ingest"])
def test_imports_that_mean_nothing(alone, tmp_path, monkeypatch, command, arguments, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.npy").touch()
    complains(alone(command, *arguments, "--store", tmp_path / "store"), *says)
    assert not (tmp_path / "store").exists()


def test_a_store_from_a_newer_version(alone, tmp_path):
    store, video = tmp_path / "store", tmp_path / "a.mp4"
    video.touch()
    store.mkdir()
    (store / "store.json").write_text('{"format": 99}')
    for command in (["run", video], ["status"], ["search", "x"]):
        complains(alone(*command, "--store", store), str(store), "format 99 is newer", "upgrade")
    (store / "store.json").write_text('{"format": 1}')
    Catalogue(store / "catalogue.sqlite").close()
    with edited(store / "catalogue.sqlite") as db:
        db.execute("INSERT INTO migrations VALUES ('_create_dreams')")
    known = len(MIGRATIONS)
    complains(
        alone("status", "--store", store),
        "catalogue.sqlite",
        f"version {known + 1}",
        f"newer than this program's {known}",
        "upgrade",
    )
    assert sorted(p.name for p in store.iterdir()) == ["catalogue.sqlite", "store.json"]


def test_a_file_that_is_text(home, tmp_path):
    (tmp_path / "talk.mp4").write_text("Dear diary")
    fragments.at_rest(tmp_path / "talk.mp4")
    ended = home.run("run", tmp_path / "talk.mp4", "--store", tmp_path / "store")
    complains(ended, "talk.mp4: not a video or sound file", "no video can be used")
    ended = home.run("status", "--store", tmp_path / "store", "--json")
    (video,) = json.loads(ended.stdout)["videos"]
    assert (video["name"], video["state"]) == ("talk.mp4", "refused")


@pytest.fixture(scope="module")
def silent_store(tmp_path_factory, weights_or_skip, server) -> tuple[Home, Path, Path]:
    """A store with one video, which has no sound."""
    weights_or_skip("mobilenetv2-imagenet")
    root = tmp_path_factory.mktemp("silent")
    fragments.silent(root / "silent.mov")
    home = Home(root, server)
    ended = home.run(
        "ingest", root / "silent.mov", "--store", root / "store", "--backbone", "mobilenetv2", "--json"
    )
    assert ended.returncode == 0, ended.stderr
    (video,) = json.loads(ended.stdout)["videos"]
    assert (video["state"], video["reason"], video["clips"]) == ("partial", NO_SOUND, 2)
    return home, root / "silent.mov", root / "store"


def settings_of(store: Path) -> str:
    with contextlib.closing(sqlite3.connect(store / "catalogue.sqlite")) as db:
        ((settings,),) = db.execute("SELECT value FROM current WHERE kind = 'settings'")
    return settings


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(["--device", "cuda"], ["--device cuda", "no GPU"], id="no GPU", marks=pytest.mark.skipif(
            torch.cuda.is_available(), reason="there is a GPU")),
        pytest.param(["--truth", "MOV"], ["--truth", "not a truth file"], id="no truth file"),
        pytest.param(["--whisper", "large-v1"], ["--whisper large-v1", "cannot be had"], id="no weights"),
    ],
)  # fmt: skip
def test_what_cannot_be_had_here_costs_nothing(silent_store, tmp_path, arguments, says, monkeypatch):
    home, mov, store = silent_store
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setitem(
            home.environment, name, "http://127.0.0.1:9"
        )  # where nothing answers: nothing is fetched
    monkeypatch.setitem(home.environment, "no_proxy", "127.0.0.1,localhost")
    spoken = fragments.spoken(tmp_path / "spoken.mp4")
    before = {
        p: p.stat().st_mtime_ns for kind in ("features", "transcripts") for p in store.glob(f"{kind}/*")
    }
    given, settings = [str(mov) if a == "MOV" else a for a in arguments], settings_of(store)
    complains(home.run("ingest", spoken, "--store", store, *given), *says)
    assert (
        before.items()
        <= {
            p: p.stat().st_mtime_ns for k in ("features", "transcripts") for p in store.glob(f"{k}/*")
        }.items()
    )
    assert settings_of(store) == settings


@pytest.mark.parametrize("command", ["pretrain", "search"])
def test_a_stage_before_its_time_names_what_is_missing(silent_store, command):
    home, _, store = silent_store
    ended = home.run(command, *(["x"] if command == "search" else []), "--store", store)
    complains(ended, str(store), "has no", "videobert ")


@pytest.mark.long
def test_every_awkward_file_has_its_outcome_in_words(videos, home, tmp_path):
    ended = home.run(
        "ingest",
        videos / "awkward",
        "--backbone",
        "mobilenetv2",
        "--store",
        tmp_path / "store",
        "--json",
    )
    assert ended.returncode == 0, ended.stderr
    found = {v["name"]: v for v in json.loads(ended.stdout)["videos"]}
    assert set(found) == set(AWKWARD)
    for name, (state, says) in AWKWARD.items():
        assert found[name]["state"] == state and says in found[name]["reason"], found[name]
        assert "unexpected" not in found[name]["reason"] and "\n" not in found[name]["reason"]
    assert "Traceback" not in ended.stderr
