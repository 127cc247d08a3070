"""What the training loop adds and keeps: its curve against `transformers` on padded sequences, and the cost of its batches.

    OMP_NUM_THREADS=1 python tests/benchmarks/training_loop.py [curve|batches] [--steps 200]

`curve`: a 2 × 32 model on the small kitchen of the tests, no dropout, the same weights, masks and optimizer; how far the
losses are apart at most, in fp32 and in bf16. `batches`: CPU seconds of drawing and packing a step of 24 examples against
those of its train step at 6 × 384.
"""

import argparse
import dataclasses
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "multimodal/helpers"))

import curves  # noqa: E402
import joint_samples  # noqa: E402

from multimodal.examples.options import ExampleOptions  # noqa: E402
from multimodal.joint.model import JointBert  # noqa: E402
from multimodal.objectives.pretraining import PretrainingObjective  # noqa: E402
from multimodal.training import batches  # noqa: E402
from multimodal.training.checkpoints import Progress  # noqa: E402
from multimodal.training.distributed import SINGLE_PROCESS  # noqa: E402
from multimodal.training.options import StepOptions  # noqa: E402
from multimodal.training.train_step import Trainer  # noqa: E402


def curve(steps: int) -> None:
    examples = joint_samples.examples(wanted=ExampleOptions(join_neighbours=0.0))
    for precision in ("fp32", "bf16"):
        options = StepOptions(learning_rate=4e-3, precision=precision)
        with tempfile.TemporaryDirectory() as folder:
            ours, theirs = curves.both(
                joint_samples.quick_model(1), Path(folder), examples, steps, 6, options
            )
        apart = [abs(a - b) / b for a, b in zip(ours, theirs, strict=True)]
        print(
            f"{precision}: {steps} steps, loss {ours[0]:.3f} to {statistics.mean(ours[-10:]):.3f} (transformers in fp32 "
            f"{statistics.mean(theirs[-10:]):.3f}); apart at most {max(apart):.1e}, median {statistics.median(apart):.1e}"
        )


def cost() -> None:
    examples = joint_samples.examples(videos=100)
    shape = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
    options = dataclasses.replace(joint_samples.options(**shape), vocab_size=30_522 + 1 + 12**3)
    objective = PretrainingObjective(JointBert(options).init_weights(0), joint_samples.vocabulary())
    trainer = Trainer(objective, StepOptions(), SINGLE_PROCESS).wrap()
    drawn, trained = [], []
    coming = batches.steps(examples, Progress(0, 10, 0, 0), lambda step: 24, 1, SINGLE_PROCESS)
    for _ in range(8):
        began = time.process_time()
        now, micro_batches = next(coming)
        drawn.append(time.process_time() - began)
        trainer.train_step(micro_batches, now)
        trained.append(time.process_time() - began - drawn[-1])
    a, b = statistics.median(drawn), statistics.median(trained)
    tokens = micro_batches[0].tokens
    print(f"24 examples, {tokens} tokens: drawn and packed in {a * 1000:.1f} CPU ms, train step {b * 1000:.0f}: {a / b:.1%}")  # fmt: skip


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    asked.add_argument("what", nargs="?", choices=("curve", "batches"), help="both where not given")
    asked.add_argument("--steps", type=int, default=200)
    given = asked.parse_args()
    torch.set_num_threads(1)
    if given.what != "batches":
        curve(given.steps)
    if given.what != "curve":
        cost()


if __name__ == "__main__":
    main()
