"""Virtual environments of a test's own, into which the package is installed, and what they weigh."""

import os
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

OF_TORCH = ("torch", "triton", "nvidia")


def make(place: Path) -> Path:
    """A new environment of the Python that runs the tests; its folder of programs."""
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    return place / "bin"


def conflicts(place: Path) -> list[str]:
    """What `pip check` says of it, a line each; none where it finds nothing."""
    checked = [place / "bin/python", "-m", "pip", "check"]
    ended = subprocess.run(checked, capture_output=True, text=True, check=False)
    return ended.stdout.splitlines() if ended.returncode else []


def weight(place: Path) -> str:
    """The number of its packages and their megabytes, and how many of these PyTorch and its libraries for GPUs have."""
    (site,) = place.glob("lib/python*/site-packages")
    sizes = {folder.name: _megabytes(folder) for folder in site.iterdir()}
    torch = sum(sizes.get(name, 0) for name in OF_TORCH)
    count = len(list(distributions(path=[str(site)])))
    return f"{count} packages, {sum(sizes.values()):.0f} MB, of which PyTorch {torch:.0f}"


def _megabytes(path: Path) -> float:
    files = [Path(folder, name) for folder, _, names in os.walk(path) for name in names] or [path]
    return sum(file.lstat().st_size for file in files) / 1e6
