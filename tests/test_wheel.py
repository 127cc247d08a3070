"""The wheel: it holds every package and page, and what it holds runs without the source tree."""

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("vision", "speech", "multimodal", "flows")
SETUPTOOLS = version("setuptools")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built as `python -m build` builds it, from a copy of what it is made of, with the setuptools that is installed."""
    if int(SETUPTOOLS.split(".")[0]) < 77:
        pytest.skip(f"pyproject.toml needs setuptools 77 to build; {SETUPTOOLS} is installed")
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    program = "from setuptools.build_meta import build_wheel; build_wheel('dist')"
    subprocess.run([sys.executable, "-c", program], cwd=source, check=True, capture_output=True)
    (made,) = (source / "dist").glob("*.whl")
    return made


def test_it_holds_every_file_of_the_packages(wheel):
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = {
        file.relative_to(ROOT) for name in PACKAGES for file in (ROOT / name).rglob("*") if file.is_file()
    }
    assert held == {file.as_posix() for file in files if "__pycache__" not in file.parts}
    assert {"multimodal/examples/sampling.py", "multimodal/web/report.html"} <= held


def test_it_runs_apart_from_the_source(wheel, tmp_path):
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    scripts = next(site.glob("*.dist-info")).joinpath("entry_points.txt").read_text()
    assert "videobert = flows.cli:main" in scripts
    environment = os.environ | {"PYTHONPATH": str(site)}
    program = """
import sys
import flows.cli, multimodal, speech, vision
print(*(package.__file__ for package in (flows, multimodal, speech, vision)))
from multimodal import open_store
from multimodal.store import Store
Store(sys.argv[1])
assert open_store(sys.argv[1])._repr_html_()
sys.argv[1:] = ["--help"]
flows.cli.main()
"""
    ran = subprocess.run(
        [sys.executable, "-P", "-c", program, str(tmp_path / "store")],
        cwd=tmp_path, env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    places, *lines = ran.stdout.splitlines()
    assert len(places.split()) == 4 and all(Path(p).is_relative_to(site) for p in places.split())
    assert any("search" in line for line in lines)
