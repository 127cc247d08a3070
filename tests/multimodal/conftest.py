"""Puts the helpers within reach of the tests and of the processes they start."""

import os
import sys
from pathlib import Path

import pytest
import torch

HELPERS = Path(__file__).parent / "helpers"
sys.path.insert(0, str(HELPERS))


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """What is tested here is small: threads that wait for each other would cost more than they give."""
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


@pytest.fixture
def child_environment(monkeypatch) -> dict[str, str]:
    """The environment in which a child process finds the project and the helpers."""
    path = os.pathsep.join([str(Path(__file__).parents[2]), str(HELPERS)])
    monkeypatch.setenv("PYTHONPATH", path)
    return dict(os.environ)
