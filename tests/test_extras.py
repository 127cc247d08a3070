"""The plain install answers, and what needs an extra says which: with the packages of the extras made absent, and in a real environment."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import environments
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

sys.path.insert(0, str(Path(__file__).parent / "multimodal/helpers"))

import tiny_store  # noqa: E402

from multimodal.extras import DISTRIBUTION, EXTRAS  # noqa: E402

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LISTED = PROJECT["optional-dependencies"]
ANSWERED = {
    "search": ["chop"],
    "caption": ["kept@3"],
    "next": ["kept@3"],
    "classify": ["kept@3", "--verbs", "chop,wash", "--nouns", "carrot,egg"],
    "imagine": ["chop the carrot"],
    "chapters": ["kept"],
    "summarise": ["kept"],
    "transcript": ["kept"],
    "status": [],
    "runs": [],
    "predict": ["kept@3", "--head", "none"],
}
ASKS_FOR = {
    "ingest": ["ingest"],
    "run": ["ingest", "train"],
    **{name: ["train"] for name in ("codebook", "pretrain", "captioner", "evaluate", "compare", "distill")},
    **{name: ["flows"] for name in ("index", "deploy")},
    "serve": ["serve"],
}
MORE = {"ingest": ["/nowhere.mp4"], "run": ["/nowhere.mp4"]}
HEAVY = {
    "torchvision", "openai-whisper", "decord", "opencv-python-headless", "numba", "scipy", "scikit-learn", "av", "prefect",
}  # fmt: skip
"""What is left out for its weight; some small packages of an extra are there all the same, as others need them."""
LIGHT = """
import contextlib, importlib.metadata, io, json, sys
from importlib.machinery import PathFinder
modules, distributions, asked = json.loads(sys.argv[1])
class Light:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name in modules else PathFinder.find_spec(name, path, target)
    @staticmethod
    def find_distributions(context=importlib.metadata.DistributionFinder.Context()):
        return () if context.name in distributions else PathFinder.find_distributions(context)
sys.meta_path[sys.meta_path.index(PathFinder)] = Light
from flows.cli import main
from flows.settings import Settings
from multimodal import open_store
Settings(backbone="mobilenetv2", language="en").ingest  # a store remembers it, and each stage reads it
said = []
for arguments in asked:
    out, err, sys.argv = io.StringIO(), io.StringIO(), ["videobert", *arguments]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as ended:
            said.append([ended.code, out.getvalue(), err.getvalue()])
hits = [hit.text for hit in open_store(asked[0][-1]).search("chop")]
print(json.dumps([said, hits]))
"""


def listed(extra: str) -> list[Requirement]:
    """What an extra lists, with what the extras list that it names."""
    found = list(map(Requirement, LISTED[extra]))
    own = [needed for needed in found if needed.name == DISTRIBUTION]
    return [n for n in found if n not in own] + [n for o in own for e in o.extras for n in listed(e)]


def absent() -> set[str]:
    """The distributions that an extra of commands has and the plain install does not list."""
    plain = {Requirement(line).name for line in PROJECT["dependencies"]}
    return {needed.name for extra in EXTRAS for needed in listed(extra)} - plain


def asked(store: Path) -> dict[str, list[str]]:
    """Each command with its arguments; the store comes last, but for `deploy`, which has none."""
    of_store = [name for name in [*ANSWERED, *ASKS_FOR] if name != "deploy"]
    given = ANSWERED | MORE
    return {name: [name, *given.get(name, []), "--store", str(store)] for name in of_store} | {
        "deploy": ["deploy"]
    }


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return tiny_store.three_videos(tmp_path_factory.mktemp("light")).root


@pytest.fixture(scope="module")
def light(store, tmp_path_factory) -> dict[str, list]:
    """Status, output and errors of each command in one process, where nothing of the extras can be found; and what Python finds."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    made = "from setuptools.build_meta import prepare_metadata_for_build_wheel as make; make('site')"
    (source / "site").mkdir()
    subprocess.run([sys.executable, "-c", made], cwd=source, check=True, capture_output=True)
    names = {canonicalize_name(name) for name in absent()}
    modules = [
        module for module, of in packages_distributions().items() if {canonicalize_name(name) for name in of} <= names
    ]  # fmt: skip
    assert {"torchvision", "whisper", "cv2", "sklearn", "scipy", "av", "prefect", "fastapi"} <= {*modules}
    commands = asked(store)
    ran = subprocess.run(
        [sys.executable, "-c", LIGHT, json.dumps([modules, [*absent()], [*commands.values()]])],
        env=os.environ | {"PYTHONPATH": f"{source / 'site'}:{ROOT}"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
    said, hits = json.loads(ran.stdout)
    return dict(zip(commands, said, strict=True)) | {"python": hits}


@pytest.mark.parametrize("name", [name for name in ANSWERED if name != "predict"])
def test_the_plain_install_answers(light, name):
    status, out, err = light[name]
    assert status == 0 and "Traceback" not in err, err
    assert out or name == "runs"


def test_in_python_and_with_a_head_that_is_not_there(light):
    assert "chop the carrot" in light["python"]
    status, _, err = light["predict"]
    assert status == 2 and "--head none: not in store" in err


@pytest.mark.parametrize("name", ASKS_FOR)
def test_what_needs_an_extra_says_which_before_anything_else(light, name):
    status, out, err = light[name]
    extras = ASKS_FOR[name]
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert f"`videobert {name}` needs the extra" in err and f"'{DISTRIBUTION}[{','.join(extras)}]'" in err
    assert all(f"`{extra}`" in err for extra in extras)


def test_all_holds_every_extra_of_a_command():
    assert {needed.name for needed in listed("all")} == absent()
    lines = [line for name, lines in LISTED.items() if name not in ("cpu", "gpu") for line in lines]
    assert not [line for line in lines if line.startswith("faiss")], "its two builds exclude each other"


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_an_environment_of_the_plain_install(store, tmp_path):
    """A fresh one, from the package index: minutes, and 5 GB beside PyTorch's wheels for GPUs."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "constraints.txt"):
        shutil.copy(ROOT / name, source)
    for name in ("vision", "speech", "multimodal", "flows"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    place = tmp_path / "light"
    python = environments.make(place) / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--constraint", "constraints.txt", ".[cpu]"]
    subprocess.run(install, cwd=source, check=True)
    listed_there = subprocess.run([python, "-m", "pip", "freeze"], check=True, capture_output=True, text=True)
    there = {canonicalize_name(name) for name in re.findall(r"^([\w.-]+)", listed_there.stdout, re.M)}
    assert not there & HEAVY and absent() >= HEAVY
    print("plain install with FAISS:", environments.weight(place))
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    for name, arguments in asked(store).items():
        ended = subprocess.run(
            [place / "bin/videobert", *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "Traceback" not in ended.stderr, ended.stderr
        assert (ended.returncode == 0) == (name in ANSWERED and name != "predict"), (name, ended.stderr)
        assert ("needs the extra" in ended.stderr) == (name in ASKS_FOR), (name, ended.stderr)
    doctor = subprocess.run(
        [place / "bin/videobert", "doctor", "--store", store, "--json"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = json.loads(doctor.stdout)["findings"]
    assert not [f for f in found if f["state"] == "broken" and f["subject"] == "packages"], found
    noted = [f["text"] for f in found if f["subject"] == "extras"]
    assert len(noted) == len(EXTRAS) and all("pip install" in text for text in noted)
