"""Training steps a second against `transformers.BertForPreTraining` on the same batches, in real tokens, padding not counted.

    OMP_NUM_THREADS=1 python tests/benchmarks/pretraining_speed.py --size small|base      CPU seconds, one thread
    python tests/benchmarks/pretraining_speed.py --device cuda --size base|paper          seconds on a GPU

A step is forward, backward, clipped gradient and AdamW. Lengths are uniform from 32 to 128, 15 % of the positions are
predicted, 51,259 tokens (BERT's words, [>] and 12^4 visual ones). The peers: eager attention in fp32, and SDPA in bf16 with
fused AdamW; both get the batch padded to its longest sequence. Rounds take turns. The last column is the share of a
measured bf16 matrix product rate that the needed work makes: 6 operations a weight and token, and attention.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import transformers

sys.path.insert(0, str(Path(__file__).parents[1] / "multimodal/helpers"))

from padding import padded  # noqa: E402

from flows import THREAD_DEFAULTS  # noqa: E402
from multimodal.examples.packing import Batch, Example, pack  # noqa: E402
from multimodal.joint.model import JointBert  # noqa: E402
from multimodal.joint.options import ModelOptions  # noqa: E402
from multimodal.objectives.pretraining import PretrainingObjective  # noqa: E402
from multimodal.terms import ALIGNMENT, JOINT  # noqa: E402
from multimodal.training.checkpoints import Progress  # noqa: E402
from multimodal.training.distributed import SINGLE_PROCESS  # noqa: E402
from multimodal.training.optimizer import BETA1, BETA2  # noqa: E402
from multimodal.training.options import (
    EPSILON,  # noqa: E402
    StepOptions,  # noqa: E402
)
from multimodal.training.train_step import Trainer  # noqa: E402
from multimodal.vocabulary import SPECIALS, Vocabulary  # noqa: E402

VOCABULARY = 30_522 + 1 + 12**4
SHAPES = {"small": (6, 384, 12), "base": (12, 768, 12), "paper": (24, 1024, 16)}
SEQUENCES = {("cpu", "small"): 16, ("cpu", "base"): 8, ("cuda", "base"): 128, ("cuda", "paper"): 128}
BATCHES = 2
BETAS = BETA1, BETA2
AT = Progress(1, 10, 0, 0)


def shape(size: str) -> dict[str, int]:
    layers, hidden, heads = SHAPES[size]
    return {"vocab_size": VOCABULARY, "num_hidden_layers": layers, "hidden_size": hidden,
            "num_attention_heads": heads, "intermediate_size": 4 * hidden}  # fmt: skip


def draw(sequences: int, seed: int) -> list[Example]:
    random, found = np.random.default_rng(seed), []
    for length in random.integers(32, 129, size=sequences).tolist():
        ids = random.integers(1000, VOCABULARY, size=length)
        positions = np.sort(1 + random.choice(length - 2, round(0.15 * length), replace=False))
        predicted = list(zip(positions.tolist(), ids[positions].tolist(), strict=True))
        ids[positions] = 103
        types = [0] * (length // 2) + [1] * (length - length // 2)
        asks = {JOINT: predicted, ALIGNMENT: [(0, int(random.integers(2)))]}
        found.append(Example(ids.tolist(), types, asks))
    return found


def ours(size: str, device: torch.device, batches: list[Batch], precision: str) -> Callable[[int], None]:
    model = JointBert(ModelOptions(**shape(size))).init_weights(0).to(device)
    objective = PretrainingObjective(model, Vocabulary(SPECIALS, VOCABULARY - len(SPECIALS) - 1))
    trainer = Trainer(objective, StepOptions(precision=precision), SINGLE_PROCESS).wrap()
    batches = [batch.to(device) for batch in batches]
    return lambda n: trainer.train_step([batches[n]], AT)


def theirs(size: str, device: torch.device, grids: list[dict], attention: str, bf16: bool) -> Callable[[int], None]:  # fmt: skip
    config = transformers.BertConfig(**shape(size), attn_implementation=attention)
    model = transformers.BertForPreTraining(config).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, BETAS, EPSILON, fused=bf16)

    def step(n: int) -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = model(**grids[n]).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def seconds(step: Callable[[int], None], n: int, device: torch.device) -> float:
    if device.type == "cpu":
        began = time.process_time()
        step(n)
        return time.process_time() - began
    torch.cuda.synchronize()
    began = time.perf_counter()
    step(n)
    torch.cuda.synchronize()
    return time.perf_counter() - began


def matrix_rate(device: torch.device) -> float:
    """Operations a second of a square bf16 matrix product."""
    side = 2048 if device.type == "cpu" else 8192
    x = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    return 2 * side**3 / min(seconds(lambda _: x @ x, 0, device) for _ in range(10))


def needed(size: str, examples: list[Example]) -> float:
    """Operations of a step that has no padding and makes logits only at predicted positions."""
    layers, hidden, _ = SHAPES[size]
    lengths = np.array([len(example.ids) for example in examples])
    asked = sum(len(example.asks[JOINT]) for example in examples)
    encoder = layers * (12 * hidden**2 * lengths.sum() + 2 * hidden * (lengths**2).sum())
    return float(6 * (encoder + asked * (hidden * VOCABULARY + hidden**2)))


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    asked.add_argument("--size", choices=SHAPES, default="small")
    asked.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    asked.add_argument("--rounds", type=int, default=5)
    given = asked.parse_args()
    device = torch.device(given.device)
    if given.device == "cpu":
        torch.set_num_threads(1)
    drawn = [draw(SEQUENCES[given.device, given.size], seed) for seed in range(BATCHES)]
    batches = [pack(examples) for examples in drawn]
    grids = [{name: rows.to(device) for name, rows in padded(examples).items()} for examples in drawn]
    tokens = [len(batch.ids_T) for batch in batches]
    print(f"{given.size} on {given.device}: {tokens} real tokens a step in {[tuple(g['input_ids'].shape) for g in grids]}, "
          f"the environment holds {THREAD_DEFAULTS}")  # fmt: skip
    steps = {
        "transformers, eager, fp32": theirs(given.size, device, grids, "eager", bf16=False),
        "transformers, sdpa, bf16, fused AdamW": theirs(given.size, device, grids, "sdpa", bf16=True),
        "ours, fp32": ours(given.size, device, batches, "fp32"),
        "ours, bf16": ours(given.size, device, batches, "bf16"),
    }
    took: dict[str, list[float]] = {name: [] for name in steps}
    rates, matrix = took | {}, []
    for step in steps.values():
        step(0)
    for turn in range(given.rounds):
        matrix.append(matrix_rate(device))
        for name, step in steps.items():
            took[name].append(seconds(step, turn % BATCHES, device))
    rates = {
        name: [tokens[turn % BATCHES] / s for turn, s in enumerate(found)] for name, found in took.items()
    }
    middle = {name: statistics.median(found) for name, found in rates.items()}
    work = statistics.mean(needed(given.size, examples) / pack(examples).tokens for examples in drawn)
    ceiling = statistics.median(matrix)
    print(f"bf16 matrix product: {ceiling / 1e9:.0f} billion operations a second")
    one, other = list(steps)[:2]
    for name, found in rates.items():
        print(
            f"{name:<40}{middle[name]:>10,.0f} tokens/s ({min(found):,.0f} to {max(found):,.0f})"
            f"{middle[name] / middle[one]:>7.2f} x fp32{middle[name] / middle[other]:>7.2f} x bf16"
            f"{middle[name] * work / ceiling:>8.1%}"
        )


if __name__ == "__main__":
    main()
