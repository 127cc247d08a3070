"""The train step: micro-batches forward and backward, the gradient clipped, the weights moved; by any number of processes."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

import torch
from torch import nn

from multimodal.objectives.objective import Objective
from multimodal.store import InputError
from multimodal.training.batches import AnyBatch
from multimodal.training.checkpoints import Progress
from multimodal.training.distributed import (
    DistributedContext,
    OptimizerState,
    full_tensor,
    optimizer_state,
    set_optimizer_state,
)
from multimodal.training.optimizer import adamw, schedule
from multimodal.training.options import StepOptions
from multimodal.training.precision import autocast, choose_precision

MINIMUM_LOSSES = 16
"""Losses before which a loss spike cannot be told."""


class DivergedError(InputError):
    """The loss or its gradient is not finite, or there is a loss spike; no weight was moved by it."""

    def __init__(self, message: str, at: Progress):
        super().__init__(message)
        self.at = at


class Trainer:
    """An objective under training, its optimizer, and this process's part in it."""

    def __init__(self, objective: Objective, options: StepOptions, context: DistributedContext):
        self.objective, self.options, self.context = objective, options, context
        self.dtype = choose_precision(options.precision, objective.device)
        self.optimizer = self._adamw()
        self._wrapped: nn.Module = objective

    def _adamw(self) -> torch.optim.AdamW:
        o = self.options
        return adamw(
            self.objective.parameters(),
            o.learning_rate,
            o.weight_decay,
            o.beta2,
            o.epsilon,
            self.objective.depths,
        )

    def wrap(self) -> Trainer:
        """Joins the other processes; the optimizer's state goes along."""
        state = optimizer_state(self.objective.trained_parameters(), self.optimizer)
        self._wrapped = self.context.wrap(self.objective, self.objective.layers)
        self.optimizer = self._adamw()
        set_optimizer_state(self.objective.trained_parameters(), self.optimizer, state)
        return self

    def train_step(
        self, micro_batches: Sequence[AnyBatch], at: Progress, recent: Sequence[float] = ()
    ) -> dict[str, float]:
        """One update from this process's shard of each micro-batch; the loss and its terms over all of them.

        Raises :class:`DivergedError`, before a weight moves, where loss or gradient is not finite or the loss is a
        spike against the ``recent`` ones.
        """
        self.objective.train()
        for group in self.optimizer.param_groups:
            scale = self.objective.rate_scale(group["depth"], at.step / at.steps)
            group["lr"] = self.learning_rate(at) * scale
        self.optimizer.zero_grad(set_to_none=True)
        loss, terms = self._forward(micro_batches, at)
        self._check(loss, "loss", at, recent)
        norm = full_tensor(nn.utils.clip_grad_norm_(self.objective.parameters(), self.options.clip)).item()
        self._check(norm, "gradient", at)
        self.optimizer.step()
        self.objective.updated()
        return {"loss": loss} | terms

    def learning_rate(self, at: Progress) -> float:
        o = self.options
        return o.learning_rate * schedule(at.step, at.steps, o.warmup, o.final, at.early)

    @torch.no_grad()
    def evaluate(
        self, batches: Sequence[AnyBatch], done: Callable[[int], None] = lambda _: None
    ) -> dict[str, float]:
        """The loss's terms without dropout; ``done`` is told the number of batches so far."""
        self.objective.eval()
        return self._forward(batches, None, done)[1]

    def _forward(
        self,
        micro_batches: Sequence[AnyBatch],
        at: Progress | None,
        done: Callable[[int], None] = lambda _: None,
    ) -> tuple[float, dict[str, float]]:
        """The loss and its terms over all micro-batches and processes; with a place in the training, backward too."""
        device, context, objective = self.objective.device, self.context, self.objective
        counts_N = context.all_reduce(sum(objective.counts(batch) for batch in micro_batches).to(device))
        sums_N = torch.zeros(len(objective.names), device=device)
        for n, batch in enumerate(micro_batches):
            if at is not None:
                # Dropout is a function of the step, so that a resumed training draws the same.
                torch.manual_seed(hash((self.options.seed, at.step, n, context.rank)) & 0x7FFFFFFF)
            with context.gradient_accumulation(self._wrapped, last=n == len(micro_batches) - 1):
                with autocast(device, self.dtype):
                    loss, batch_sums_N = self._wrapped(batch.to(device), counts_N, context.gather)
                if at is not None:
                    # The processes average their gradients: what is wanted is the sum.
                    (loss * context.world_size).backward()
            sums_N += batch_sums_N
            done(n + 1)
        # A term that saw the rows of all processes was summed by each of them.
        sums_N[objective.over_all_processes.to(device)] /= context.world_size
        terms = objective.means(context.all_reduce(sums_N), counts_N)
        return objective.weighted(terms), terms

    def _check(self, value: float, name: str, at: Progress, recent: Sequence[float] = ()) -> None:
        remedy = f"begin a new model with a --learning-rate below {self.options.learning_rate:g}"
        if self.options.spike is None:
            remedy += ", or with --spike 3, which rolls back from such a step and skips its batches"
        if not math.isfinite(value):
            raise DivergedError(f"step {at.step}: the {name} is {value}; {remedy}", at)
        if self.options.spike is None or len(recent) < MINIMUM_LOSSES:
            return
        usual = statistics.median(recent)
        if value > self.options.spike * usual:
            message = f"step {at.step}: the {name} is {value:.4g}, {self.options.spike:g} times the usual {usual:.4g} and more; {remedy}"
            raise DivergedError(message, at)

    def state(self) -> tuple[dict[str, torch.Tensor], OptimizerState]:
        """Weights and optimizer state as a single process holds them, for a checkpoint. All processes must call it."""
        weights = {name: full_tensor(tensor) for name, tensor in self.objective.state_dict().items()}
        return weights, optimizer_state(self.objective.trained_parameters(), self.optimizer)
