"""Zero-shot names of one, two and three word pieces scored by the mean over their pieces and by the sum.

A small model is trained on things whose names have 1, 1, 2 and 3 pieces, each as often; then each (action, thing) is
classified. The sum prefers the short names.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "multimodal/helpers"))

import joint_samples  # noqa: E402

from multimodal.answers.classify import classify  # noqa: E402
from multimodal.examples.options import ExampleOptions  # noqa: E402
from multimodal.examples.sampling import Examples  # noqa: E402
from multimodal.inference.trained import Trained  # noqa: E402
from multimodal.joint.model import JointBert  # noqa: E402
from multimodal.library import Material  # noqa: E402
from multimodal.objectives.pretraining import PretrainingObjective  # noqa: E402
from multimodal.training.loop import train  # noqa: E402
from multimodal.vocabulary import Vocabulary  # noqa: E402

THINGS = ("onion", "carrot", "basil", "zucchini")
PIECES = torch.tensor([1, 1, 2, 3])
VOCABULARY = Vocabulary(
    (*joint_samples.WORDS, *joint_samples.ACTIONS, "onion", "carrot", "ba", "##sil", "zuc", "##chi", "##ni"), 16
)  # fmt: skip


def material(video: str, steps: list[tuple[int, int]]) -> Material:
    found = joint_samples.material(video, steps)
    said = tuple(
        dataclasses.replace(s, text=f"now {joint_samples.ACTIONS[a]} the {THINGS[t]}.")
        for s, (a, t) in zip(found.transcript.sentences, steps, strict=True)
    )
    return dataclasses.replace(found, transcript=dataclasses.replace(found.transcript, sentences=said))


def pretrained(root: Path, steps: int, seed: int) -> Trained:
    random = np.random.default_rng(seed)
    every = [(a, t) for a in range(4) for t in range(4)]
    videos = [material(f"{n:064x}", [every[i] for i in random.permutation(16)[:6]]) for n in range(24)]
    spoken, silent = [s for m in videos for s in m.spoken()], [s for m in videos for s in m.silent()]
    examples = Examples.of(VOCABULARY, spoken, silent, ExampleOptions(join_neighbours=0.0, mask=0.3), seed)

    def begin(_: Path | None) -> PretrainingObjective:
        shape = joint_samples.options(
            vocab_size=VOCABULARY.size, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
        )
        quick = JointBert(shape).init_weights(seed)
        for module in quick.modules():
            if isinstance(module, torch.nn.Linear):
                module.weight.data *= 8
        return PretrainingObjective(quick, VOCABULARY)

    options = joint_samples.training(
        examples_per_step=16, least_steps=steps, most_steps=steps, learning_rate=4e-3, checkpoint_seconds=1e9
    )
    folder = train(
        root, begin, examples, None, options, device=torch.device("cpu"), card={}, report=lambda *_: None
    )
    return Trained("names", folder, JointBert.load(folder), VOCABULARY, "codebook")


def main() -> None:
    torch.set_num_threads(1)
    own = torch.arange(16) % 4
    for steps in (120, 200, 300):
        for seed in (0, 1, 2):
            began = time.process_time()
            with tempfile.TemporaryDirectory() as folder:
                trained = pretrained(Path(folder), steps, seed)
            _, mean = classify(trained, [[k] * 3 for k in range(16)], [], THINGS)
            for rule, scores in (("mean", mean), ("sum", mean * PIECES)):
                best = scores.argmax(1)
                by_name = [f"{float((best[own == t] == t).float().mean()):.2f}" for t in range(4)]
                print(
                    f"{steps} steps, seed {seed}, {rule:<4}: right {float((best == own).float().mean()):.2f}, "
                    f"by name {' '.join(by_name)}, chosen {np.bincount(best, minlength=4)}  ({time.process_time() - began:.1f} CPU s)"
                )


if __name__ == "__main__":
    main()
