"""One real run of the whole pipeline, which the tests of this room share."""

import os
import pickle
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import fragments
import pytest
from filelock import FileLock

sys.path.insert(0, str(Path(__file__).parent / "helpers"))
sys.path.insert(0, str(Path(__file__).parents[1] / "multimodal/helpers"))

from command import Home, prefect_server  # noqa: E402


@pytest.fixture(scope="session")
def home(tmp_path_factory) -> Home:
    """Commands that find a Prefect server running."""
    folder = tmp_path_factory.mktemp("prefect")
    with prefect_server(folder) as url:
        yield Home(folder, url)


@dataclass(frozen=True)
class Made:
    """A folder of videos, the store made of it, and how the run ended that made it."""

    videos: Path
    store: Path
    ended: CompletedProcess


def _make(root: Path) -> None:
    folder = root / "videos"
    folder.mkdir(parents=True)
    shutil.copy2(fragments.spoken(folder / "command.mp4"), folder / "the same command.mp4")
    fragments.speechless(folder / "flower.mp4")
    (folder / "notes.txt").write_text("not a video")
    (folder / "broken.mp4").write_text("not a video either")
    fragments.at_rest(folder / "broken.mp4")
    home = Home(root / "prefect")
    ended = home.run(
        "run", folder, "--store", root / "store", "--epochs", 1, "--backbone", "mobilenetv2", "--json"
    )
    assert home.left_over() == set()
    (root / "ended.pickle").write_bytes(pickle.dumps(ended))


@pytest.fixture(scope="session")
def made(tmp_path_factory, weights_or_skip) -> Made:
    """Two videos of one content and two others, run once on Prefect's embedded server, with the quickest network.

    Of the processes that share out the tests one makes it, and each has a copy of the store.
    """
    for name in ("whisper-tiny.en", "mobilenetv2-imagenet", "minilm-l6"):
        weights_or_skip(name)
    own = tmp_path_factory.mktemp("made")
    shared = tmp_path_factory.getbasetemp()
    root = (shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared) / "made-once"
    with FileLock(root.with_suffix(".lock")):
        if not (root / "ended.pickle").exists():
            _make(root)
        store = shutil.copytree(root / "store", own / "store")
    return Made(root / "videos", store, pickle.loads((root / "ended.pickle").read_bytes()))
