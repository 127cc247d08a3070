"""The loss of a training on packed sequences follows that of `transformers` on padded ones, step by step."""

import joint_samples
import pytest

from multimodal.joint.examples import ExampleOptions
from multimodal.training.updates import UpdateOptions

pytest.importorskip("transformers")
import curves  # noqa: E402

STEPS, ITEMS = 30, 6


def test_the_curve_is_that_of_transformers(tmp_path):
    examples = joint_samples.examples(wanted=ExampleOptions(join_neighbours=0.0))
    options = UpdateOptions(learning_rate=4e-3, precision="fp32")
    ours, theirs = curves.both(joint_samples.quick_model(1), tmp_path, examples, STEPS, ITEMS, options)
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert min(ours) < 0.8 * ours[0], "a curve that stays level would show nothing"
