"""Real videos and weights, which may be absent, and the helpers of all rooms."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# A forked copy of a process whose OpenMP has threads waits for them for ever; and there is a process of tests for each core.
os.environ.setdefault("OMP_NUM_THREADS", "1")
VIDEOS = Path(__file__).parents[1].parent / "shared/videos"
CASES = VIDEOS.parent / "cases"
sys.path.insert(0, str(Path(__file__).parent / "helpers"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that take long are left to `make test-long`."""
    if "VIDEOBERT_LONG" not in os.environ:
        skipped = pytest.mark.skip(reason="takes long: `make test-long` runs it")
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(skipped)


def absent(what: str, message: str) -> NoReturn:
    """Skips the test, or fails it where VIDEOBERT_REQUIRE names what is absent."""
    if what in os.environ.get("VIDEOBERT_REQUIRE", ""):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def require() -> Callable[[str, str], NoReturn]:
    """`require(what, message)`: a skip with its reason, or a failure where the run must have `what`."""
    return absent


@pytest.fixture(scope="session")
def videos() -> Path:
    """The folder of real videos."""
    if not VIDEOS.is_dir():
        absent("videos", f"no real videos at {VIDEOS.resolve()}")
    return VIDEOS


@pytest.fixture(scope="session")
def cases() -> Path:
    """The folder of small inputs on which the product was wrong."""
    if not CASES.is_dir():
        absent("cases", f"no small inputs at {CASES.resolve()}")
    return CASES


@pytest.fixture(scope="session")
def weights_or_skip() -> Callable[[str], Path]:
    """`weights_or_skip(name)`: the path of pretrained weights."""
    from multimodal.store import InputError
    from multimodal.weights.fetching import fetch

    def fetched(name: str) -> Path:
        try:
            return fetch(name)
        except InputError as error:
            absent("weights", f"no place answers: {error}")

    return fetched
