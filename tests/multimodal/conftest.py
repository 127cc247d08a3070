"""Puts the helpers within reach of the tests and of the processes they start."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

HELPERS = Path(__file__).parent / "helpers"
sys.path.insert(0, str(HELPERS))

import joint_samples  # noqa: E402

from multimodal.examples.options import ExampleOptions  # noqa: E402
from multimodal.examples.sampling import Examples  # noqa: E402
from multimodal.inference.trained import Trained  # noqa: E402
from multimodal.joint.model import JointBert  # noqa: E402
from multimodal.training.loop import train  # noqa: E402


@contextlib.contextmanager
def single_thread() -> Iterator[None]:
    """What is tested here is small: threads that wait for each other would cost more than they give."""
    threads, wanted = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    if wanted is None:
        del os.environ["OMP_NUM_THREADS"]
    else:
        os.environ["OMP_NUM_THREADS"] = wanted


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    with single_thread():
        yield


@pytest.fixture(scope="session")
def learned(tmp_path_factory):
    """A model that read 24 small videos of 6 kinds of steps, whose words and tokens belong together."""
    root = tmp_path_factory.mktemp("learned")
    spoken, silent = joint_samples.segments(joint_samples.materials(24, kinds=6))
    examples = Examples.of(joint_samples.vocabulary(), spoken, silent, ExampleOptions(join_neighbours=0.0), 0)
    options = joint_samples.training(
        examples_per_step=27, least_steps=200, most_steps=200, learning_rate=4e-3, checkpoint_seconds=1e9
    )
    with single_thread():
        folder = train(root, joint_samples.objective(joint_samples.quick_model), examples, None, options,
                       device=torch.device("cpu"), card={}, report=lambda *_: None)  # fmt: skip
    return Trained("learned", folder, JointBert.load(folder), joint_samples.vocabulary(), "codebook")


@pytest.fixture
def child_environment(monkeypatch) -> dict[str, str]:
    """The environment in which a child process finds the project and the helpers."""
    path = os.pathsep.join([str(Path(__file__).parents[2]), str(HELPERS)])
    monkeypatch.setenv("PYTHONPATH", path)
    return dict(os.environ)


@pytest.fixture(scope="session")
def session_environment() -> dict[str, str]:
    """The same for a whole session."""
    path = os.pathsep.join([str(Path(__file__).parents[2]), str(HELPERS)])
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
