"""Owns the training loop: batches in a resumable order, the loss's terms weighted, AdamW, checkpoints, metrics."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from multimodal import checkpoints
from multimodal.checkpoints import Progress
from multimodal.examples import Batch, Examples, pack
from multimodal.model import JointBert
from multimodal.objective import LossWeights, losses
from multimodal.store import write_whole
from multimodal.vocabulary import Vocabulary

Report = Callable[[int, int, str], None]
"""Called with what is done, what there is to do, and a few words."""


class DivergedError(ArithmeticError):
    """The loss or its gradient is not a number; the weights were not touched by it."""


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """``items`` spoken segments and runs of tokens make a step. AdamW as in BERT: weight decay 0.01 but not on
    LayerNorm and biases, gradient clipped to 1.0, linear warm-up over ``warmup`` of the steps, then linear decay.

    ``epochs`` passes over the items are made, but at least ``least_steps`` and at most ``most_steps`` steps.
    ``precision`` is ``auto`` (bf16 where the processor multiplies it fast), ``bf16`` or ``fp32``.
    """

    items: int = 32
    epochs: int = 20
    least_steps: int = 200
    most_steps: int = 100_000
    learning_rate: float = 3e-4
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip: float = 1.0
    seed: int = 0
    precision: str = "auto"
    checkpoint_seconds: float = 60.0
    weights: LossWeights = LossWeights()

    def steps(self, items: int) -> int:
        asked = math.ceil(items / self.items) * self.epochs
        return min(max(asked, self.least_steps), self.most_steps)


def fast_bf16(device: torch.device) -> bool:
    """True where bf16 matrix products are fast: a GPU of compute capability 8 or more, a CPU with the instructions."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    return device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported() and _has_bf16_instructions()


def _has_bf16_instructions() -> bool:
    with contextlib.suppress(OSError):
        return any(flag in Path("/proc/cpuinfo").read_text() for flag in ("avx512_bf16", "amx_bf16"))
    return False


def precision(asked: str, device: torch.device) -> torch.dtype:
    return torch.bfloat16 if asked == "bf16" or (asked == "auto" and fast_bf16(device)) else torch.float32


def mixed(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Autocast to ``dtype``, or nothing for float32."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32, cache_enabled=False)


def train(
    root: Path,
    vocabulary: Vocabulary,
    begin: Callable[[], JointBert],
    examples: Examples,
    held_out: Examples | None,
    options: TrainingOptions,
    *,
    device: torch.device,
    card: dict[str, Any],
    report: Report,
) -> Path:
    """Trains in ``root`` until all steps are made, from the last checkpoint where there is one; returns the last one.

    ``begin`` makes the model of step 0. Metrics go to ``root/metrics.jsonl``, a line a step, each step once however
    often the run was stopped. Raises :class:`DivergedError` before a loss or gradient that is not finite does harm,
    :class:`~multimodal.store.InputError` where a file of the last checkpoint was changed.
    """
    root.mkdir(parents=True, exist_ok=True)
    last = checkpoints.latest(root)
    if last is not None:
        checkpoints.check(last)
        if checkpoints.read_progress(last).finished:
            return last
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))
    model = (begin() if last is None else JointBert.load(last)).to(device)
    optimizer = _optimizer(model, options)
    steps = options.steps(len(examples))
    at = Progress(0, steps, 0, 0) if last is None else checkpoints.resume(last, model, optimizer)
    metrics = root / "metrics.jsonl"
    _keep_steps(metrics, at.step)
    dtype = precision(options.precision, device)
    saved = began = time.monotonic()
    tokens = 0
    every = max(1, steps // 40)
    with metrics.open("a", encoding="utf-8") as log:
        for now, batch in _batches(examples, at, options.items):
            torch.manual_seed(hash((options.seed, now.step)) & 0x7FFFFFFF)
            terms = _step(model, optimizer, batch.to(device), options, dtype, now)
            line = {"step": now.step, "learning_rate": optimizer.param_groups[0]["lr"]} | terms
            if held_out and (now.step % every == 0 or now.finished):
                line["held_out"] = held_out_losses(model, held_out, device, dtype)
            log.write(json.dumps(line) + "\n")
            tokens += len(batch.ids_T)
            rate = tokens / (time.monotonic() - began)
            report(now.step, steps, f"loss {terms['loss']:.2f}, {rate:,.0f} tokens/s")
            if now.finished or time.monotonic() - saved > options.checkpoint_seconds:
                log.flush()
                os.fsync(log.fileno())
                last = checkpoints.save(root, model, vocabulary, optimizer, now, card)
                saved = time.monotonic()
    assert last is not None
    return last


def _batches(examples: Examples, at: Progress, items: int) -> Iterator[tuple[Progress, Batch]]:
    """The batches from ``at`` on, each with the place after it; a step may run over the end of an epoch."""
    epoch, cursor, order = at.epoch, at.cursor, examples.order(at.epoch)
    while not at.finished:
        inputs = []
        for _ in range(min(items, len(examples))):
            inputs += examples.draw(epoch, int(order[cursor]))
            cursor += 1
            if cursor == len(examples):
                epoch, cursor, order = epoch + 1, 0, examples.order(epoch + 1)
        at = Progress(at.step + 1, at.steps, epoch, cursor)
        yield at, pack(inputs)


def _step(
    model: JointBert,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    options: TrainingOptions,
    dtype: torch.dtype,
    at: Progress,
) -> dict[str, float]:
    """One update; returns the terms of the loss."""
    model.train()
    for group in optimizer.param_groups:
        group["lr"] = options.learning_rate * schedule(at.step, at.steps, options.warmup)
    with mixed(model.device, dtype):
        terms = losses(model, batch)
        loss = sum(
            (getattr(options.weights, name) * term for name, term in terms.items()),
            torch.zeros((), device=model.device),
        )
    if not torch.isfinite(loss):
        raise DivergedError(
            f"step {at.step}: the loss is {loss.item()}; lower the learning rate ({options.learning_rate}) and run again"
        )
    optimizer.zero_grad(set_to_none=True)
    if loss.requires_grad:
        loss.backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), options.clip)
    if not torch.isfinite(norm):
        raise DivergedError(
            f"step {at.step}: the gradient is {norm.item()}; lower the learning rate ({options.learning_rate}) and run again"
        )
    optimizer.step()
    return {"loss": loss.item()} | {name: term.item() for name, term in terms.items()}


def schedule(step: int, steps: int, warmup: float) -> float:
    """The learning rate's factor: linear up over ``warmup`` of the steps, then linear down to 0 after the last."""
    rise = max(1, round(warmup * steps))
    return min(step / rise, (steps + 1 - step) / (steps + 1 - rise))


@torch.no_grad()
def held_out_losses(
    model: JointBert, examples: Examples, device: torch.device, dtype: torch.dtype
) -> dict[str, float]:
    """The loss's terms on videos kept out of training, with the same masks each time."""
    model.eval()
    inputs = [i for item in range(len(examples)) for i in examples.draw(0, item)]
    with mixed(device, dtype):
        return {name: term.item() for name, term in losses(model, pack(inputs).to(device)).items()}


def _optimizer(model: JointBert, options: TrainingOptions) -> torch.optim.AdamW:
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": options.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=options.learning_rate, betas=(0.9, 0.999), eps=1e-6, fused=True)


def _keep_steps(metrics: Path, step: int) -> None:
    """Drops what a killed run wrote after its last checkpoint, and a line that it left half written."""
    if metrics.exists():
        lines = metrics.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        write_whole(metrics, "".join(kept).encode())
