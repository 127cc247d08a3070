"""Owns one update: the parts of a step forward and backward, the gradient clipped, the weights moved; by any number of processes."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence

import torch
from torch import nn

from multimodal.examples.packing import Batch
from multimodal.joint.model import JointBert
from multimodal.objectives.objective import TERMS, LossWeights, Objective, counts, means
from multimodal.store import InputError
from multimodal.training.checkpoints import Progress
from multimodal.training.distributed import DistributedContext, optimizer_state, set_optimizer_state, whole
from multimodal.training.optimizer import adamw, schedule
from multimodal.training.precision import PRECISIONS, mixed, precision

LEAST_LOSSES = 16
"""Before so many losses there is no telling a spike."""


class DivergedError(ArithmeticError):
    """The loss or its gradient is not a number, or the loss has a spike; the weights were not touched by it."""

    def __init__(self, message: str, at: Progress):
        super().__init__(message)
        self.at = at


@dataclasses.dataclass(frozen=True)
class UpdateOptions:
    """AdamW as in BERT: weight decay 0.01 but not on LayerNorm and biases, gradient clipped to 1.0, linear warm-up over
    ``warmup`` of the steps, then linear decay to ``final`` of the peak (0 in the paper).

    ``precision`` is ``auto`` (bf16 where the processor multiplies it fast), ``bf16`` or ``fp32``. ``spike``: how many
    times the median of the losses before it is a loss too many; see
    :class:`~multimodal.training.loop.TrainingOptions`. Raises :class:`InputError` for a value out of its range.
    """

    learning_rate: float = 3e-4
    warmup: float = 0.1
    final: float = 0.0
    weight_decay: float = 0.01
    clip: float = 1.0
    seed: int = 0
    precision: str = "auto"
    spike: float | None = None
    weights: LossWeights = LossWeights()

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < math.inf:
            raise InputError(
                f"--learning-rate {self.learning_rate:g}: a number above 0; leave it out to let the size choose"
            )
        if not 0 <= self.warmup <= 1:
            raise InputError(f"warmup {self.warmup:g}: a share from 0 to 1 of the steps; 0.1 is BERT's")
        if not 0 <= self.final <= 1:
            raise InputError(
                f"--final-rate {self.final:g}: a share from 0 to 1 of the peak; 0.1 keeps a tenth"
            )
        if not 0 <= self.weight_decay < math.inf:
            raise InputError(f"weight_decay {self.weight_decay:g}: 0 or more; 0.01 is BERT's")
        if not self.clip > 0:
            raise InputError(f"clip {self.clip:g}: more than 0; 1 is BERT's")
        if self.precision not in PRECISIONS:
            raise InputError(f"precision {self.precision}: one of {', '.join(PRECISIONS)}")
        if self.spike is not None and not self.spike > 1:
            raise InputError(
                f"--spike {self.spike:g}: more than 1, as it is how many times the usual loss is too much; 3 is a good choice"
            )


class Trainer:
    """A model under training, its optimizer, and this process's part in it."""

    def __init__(self, model: JointBert, options: UpdateOptions, processes: DistributedContext):
        self.model, self.options, self.processes = model, options, processes
        self.dtype = precision(options.precision, model.device)
        self.optimizer = adamw(model, options.learning_rate, options.weight_decay)
        self._objective: nn.Module = Objective(model, options.weights)

    def join(self) -> Trainer:
        """Takes up work with the other processes; the optimizer's state goes along."""
        state = optimizer_state(self.model, self.optimizer)
        self._objective = self.processes.wrap(self._objective, self.model.bert["encoder"]["layer"])
        self.optimizer = adamw(self.model, self.options.learning_rate, self.options.weight_decay)
        set_optimizer_state(self.model, self.optimizer, state)
        return self

    def update(self, parts: Sequence[Batch], at: Progress, recent: Sequence[float] = ()) -> dict[str, float]:
        """One update from this process's share of each part of a step; returns the loss and its terms over all of them.

        Raises :class:`DivergedError`, before a weight moves, where loss or gradient is not finite or the loss is a
        spike against the ``recent`` ones.
        """
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(at)
        self.optimizer.zero_grad(set_to_none=True)
        loss, terms = self._forward(parts, at)
        self._check(loss, "loss", at, recent)
        norm = whole(nn.utils.clip_grad_norm_(self.model.parameters(), self.options.clip)).item()
        self._check(norm, "gradient", at)
        self.optimizer.step()
        return {"loss": loss} | terms

    def rate(self, at: Progress) -> float:
        o = self.options
        return o.learning_rate * schedule(at.step, at.steps, o.warmup, o.final)

    @torch.no_grad()
    def losses(self, parts: Sequence[Batch]) -> dict[str, float]:
        """The loss's terms with no dropout."""
        self.model.eval()
        return self._forward(parts, None)[1]

    def _forward(self, parts: Sequence[Batch], at: Progress | None) -> tuple[float, dict[str, float]]:
        """The loss and its terms over all parts and processes; with a place in the training, backward too."""
        device, processes = self.model.device, self.processes
        counts_5 = processes.total(sum(counts(part) for part in parts).to(device))
        sums_5 = torch.zeros(len(TERMS), device=device)
        for n, part in enumerate(parts):
            if at is not None:
                torch.manual_seed(hash((self.options.seed, at.step, n, processes.rank)) & 0x7FFFFFFF)
            with processes.adding_up(self._objective, last=n == len(parts) - 1):
                with mixed(device, self.dtype):
                    loss, found_5 = self._objective(part.to(device), counts_5, processes.gather)
                if at is not None:
                    (loss * processes.count).backward()
            sums_5 += found_5
        sums_5[TERMS.index("contrast")] /= processes.count
        terms = means(processes.total(sums_5), counts_5)
        weights = dataclasses.asdict(self.options.weights)
        return sum((weights[name] * value for name, value in terms.items()), 0.0), terms

    def _check(self, value: float, name: str, at: Progress, recent: Sequence[float] = ()) -> None:
        remedy = f"begin a new model with a --learning-rate below {self.options.learning_rate:g}"
        if self.options.spike is None:
            remedy += ", or with --spike 3, which goes back from such a step and passes over its batches"
        if not math.isfinite(value):
            raise DivergedError(f"step {at.step}: the {name} is {value}; {remedy}", at)
        if self.options.spike is None or len(recent) < LEAST_LOSSES:
            return
        usual = statistics.median(recent)
        if value > self.options.spike * usual:
            message = f"step {at.step}: the {name} is {value:.4g}, {self.options.spike:g} times the usual {usual:.4g} and more; {remedy}"
            raise DivergedError(message, at)

    def alone(self) -> tuple[JointBert, torch.optim.Optimizer]:
        """Model and optimizer as one process has them, to be written down. All processes must ask."""
        if not (self.processes.sharded and self.processes.count > 1):
            return self.model, self.optimizer
        weights = {name: whole(tensor) for name, tensor in self.model.state_dict().items()}
        with torch.device("meta"):
            model = JointBert(self.model.options)
        model.load_state_dict(weights, assign=True)
        optimizer = adamw(model, self.options.learning_rate, self.options.weight_decay)
        set_optimizer_state(model, optimizer, optimizer_state(self.model, self.optimizer))
        return model, optimizer
