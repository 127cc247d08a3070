"""Puts the running of commands within reach, and a Prefect server."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "flows/helpers"))
sys.path.insert(0, str(Path(__file__).parents[1] / "multimodal/helpers"))

from command import Home, prefect_server  # noqa: E402


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> str:
    """The address of a running Prefect server."""
    with prefect_server(tmp_path_factory.mktemp("prefect")) as url:
        yield url


@pytest.fixture
def home(tmp_path, server) -> Home:
    """Commands that find the server running; each test's can be told from others."""
    return Home(tmp_path, server)
