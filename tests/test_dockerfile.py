"""The Dockerfile, without Docker: what it copies is there, its Python is admitted, and its steps are run in a folder."""

import fnmatch
import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import environments
import pytest
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NEED_ROOT = ("useradd", "install")
"""Programs of its steps that only root may run: here they note that they were called."""


def steps() -> list[tuple[str, str]]:
    """The instructions and what each is given, continued lines joined."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines)]


def given(instruction: str) -> list[str]:
    return [rest for name, rest in steps() if name == instruction]


def copies() -> list[tuple[list[str], str]]:
    """The sources and the target of each COPY."""
    return [(words[:-1], words[-1]) for words in map(str.split, given("COPY"))]


def variables() -> dict[str, str]:
    return dict(re.findall(r"(\w+)=(\S*)", " ".join(given("ENV"))))


def is_ignored(path: str) -> bool:
    """As .dockerignore says it: the last line that fits decides."""
    ignored = False
    for line in (ROOT / ".dockerignore").read_text().split():
        if fnmatch.fnmatch(path, line.removeprefix("!")):
            ignored = not line.startswith("!")
    return ignored


def test_what_it_copies_is_there_and_is_sent_to_the_builder():
    sources = [source for names, _ in copies() for source in names]
    assert [source for source in sources if not (ROOT / source).exists() or is_ignored(source)] == []
    packages = {folder.name for folder in ROOT.iterdir() if (folder / "py.typed").exists()}
    assert packages | {"pyproject.toml", "constraints.txt", PROJECT["readme"], "LICENSE"} <= {*sources}
    assert is_ignored(".git") and is_ignored("tests") and is_ignored(".venv")


def test_its_python_is_admitted_and_its_user_is_not_root():
    (image,) = given("FROM")
    version = re.fullmatch(r"python:(3\.\d+)-slim", image)[1]
    assert version in SpecifierSet(PROJECT["requires-python"])
    order = [name for name, _ in steps()]
    (user,) = given("USER")
    assert user not in ("root", "0") and any(
        f"useradd --uid 1000 --create-home {user}" in r for r in given("RUN")
    )
    assert order.index("USER") > max(n for n, name in enumerate(order) if name in ("RUN", "COPY"))


def test_its_command_and_its_variables_are_ours():
    (entry,) = map(json.loads, given("ENTRYPOINT"))
    assert entry[0] in PROJECT["scripts"]
    assert all(value.startswith("/data") for value in variables().values())
    sources = [file.read_text() for name in ("flows", "multimodal") for file in (ROOT / name).rglob("*.py")]
    for name in variables():
        assert name.startswith("PREFECT_") or any(f'"{name}"' in text for text in sources), name


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_its_steps_run_one_after_the_other(tmp_path):
    """Each RUN as a script in a folder that stands for the image's root, with the environment's Python in place of the image's."""
    root, place = tmp_path / "root", tmp_path / "python"
    environments.make(place)
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in NEED_ROOT:
        (programs / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {tmp_path}/called\n')
        (programs / name).chmod(0o755)
    environment = {
        k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIDEOBERT", "PREFECT"))
    }
    environment["PATH"] = f"{place / 'bin'}:{programs}:{environment['PATH']}"
    folder = root
    for name, rest in steps():
        if name == "WORKDIR":
            folder = root / rest.lstrip("/")
            folder.mkdir(parents=True, exist_ok=True)
        elif name == "ENV":
            environment |= {key: f"{root}{value}" for key, value in re.findall(r"(\w+)=(\S*)", rest)}
        elif name == "COPY":
            *sources, target = rest.split()
            for source in sources:
                _copy(ROOT / source, folder / target)
        elif name == "RUN":
            subprocess.run(["sh", "-e", "-c", rest], cwd=folder, env=environment, check=True)
    print("all extras with FAISS:", environments.weight(place))
    print("pip check:", environments.conflicts(place) or "nothing")
    called = (tmp_path / "called").read_text().splitlines()
    assert [line.split()[0] for line in called] == [*NEED_ROOT]
    (entry,) = map(json.loads, given("ENTRYPOINT"))
    (shown,) = map(json.loads, given("CMD"))
    ran = subprocess.run(
        [*entry, *shown], cwd=folder, env=environment, check=True, capture_output=True, text=True
    )
    assert "videobert" in ran.stdout
    checked = subprocess.run([*entry, "doctor", "--json"], cwd=folder, env=environment, check=False, capture_output=True, text=True)  # fmt: skip
    findings = json.loads(checked.stdout)["findings"]
    assert checked.returncode == 0 and not [f for f in findings if f["subject"] == "extras"], findings
    assert any(f"at {root}/data" in f["text"] for f in findings)


def _copy(source: Path, target: Path) -> None:
    """A file into a folder or a folder's content into one, links as links, as COPY does."""
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        target = target / source.name if target.is_dir() else target
        shutil.copy(source, target)
