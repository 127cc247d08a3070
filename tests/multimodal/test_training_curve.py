"""The loss of a training on packed sequences follows that of `transformers` on padded ones, step by step; in bf16 nearly."""

import joint_samples
import pytest
import torch

from multimodal.examples.options import ExampleOptions
from multimodal.training.options import StepOptions

pytest.importorskip("transformers")
import curves  # noqa: E402

STEPS, EXAMPLES = 30, 6
BF16 = 0.005
"""The share by which a loss in bf16 may be off; measured: 0.0018 at most."""


def test_the_curve_is_that_of_transformers(tmp_path):
    examples = joint_samples.examples(wanted=ExampleOptions(join_neighbours=0.0))
    options = StepOptions(learning_rate=4e-3, precision="fp32")
    ours, theirs = curves.both(joint_samples.quick_model(1), tmp_path, examples, STEPS, EXAMPLES, options)
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert min(ours) < 0.8 * ours[0], "a curve that stays level would show nothing"


def test_the_curve_in_bf16_is_nearly_that_of_transformers_in_fp32(tmp_path):
    examples = joint_samples.examples(wanted=ExampleOptions(join_neighbours=0.0))
    options = StepOptions(learning_rate=4e-3, precision="bf16")
    model = joint_samples.quick_model(1)
    multiplied = set()
    layer = model.bert["encoder"]["layer"][0].output.dense
    layer.register_forward_hook(lambda _, given, made: multiplied.add(made.dtype))
    ours, theirs = curves.both(model, tmp_path, examples, STEPS, EXAMPLES, options)
    assert multiplied == {torch.bfloat16} and layer.weight.dtype == torch.float32
    assert ours == pytest.approx(theirs, rel=BF16) and ours != pytest.approx(theirs, rel=1e-5)
    assert min(ours) < 0.8 * ours[0]
