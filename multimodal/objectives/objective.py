"""The objective: what a model is trained for, as weighted terms whose sums and counts add up.

A step may be cut into micro-batches and divided among processes. Each part gives the sum of each term and the number of
its predictions; the loss is the weighted sum of the terms' means over the whole step, however it was cut.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from multimodal.examples.packing import Batch
from multimodal.store import InputError

T = TypeVar("T", float, torch.Tensor)
Gather = Callable[[torch.Tensor], torch.Tensor]
"""Concatenates the rows of all processes; gradients flow to this process's own rows alone."""
MODEL, TERMS = "model.", "terms."
"""The prefixes of the objective's parameters; checkpoints leave the first one out."""
TERM_FILE = "terms.safetensors"
"""Holds the parameters that terms own, where they own any, beside the model's files."""


def own_rows(rows: torch.Tensor) -> torch.Tensor:
    """The :data:`Gather` of a single process."""
    return rows


def predictions(batch: Batch, name: str) -> torch.Tensor:
    """The predictions asked of a term: int64 [n, 2], a position in T and the label; n may be 0."""
    found = batch.asks.get(name)
    return batch.lengths_S.new_zeros(0, 2) if found is None else found


class Term(nn.Module):
    """One or several columns of the loss, computed together. A term owns the parameters that the model does not have.

    ``names`` are its columns in ``metrics.jsonl``, of :mod:`multimodal.terms`. ``minimum_count``: a mean is reported from so
    many predictions on. ``over_all_processes``: the sum of each process covers the predictions of all. ``heads``: the model's
    own heads that it reads, by the beginnings of their parameters' names. ``superseded_heads``: those that no term reads any
    more where this one is.
    """

    names: tuple[str, ...]
    minimum_count = 1
    over_all_processes = False
    heads: tuple[str, ...] = ()
    superseded_heads: tuple[str, ...] = ()

    def begin(self, model: nn.Module) -> None:
        """The initialization of what it owns from the model's weights; at random it was initialized before."""

    def counts(self, batch: Batch) -> list[int]:
        """The number of predictions of each name."""
        return [len(predictions(batch, name)) for name in self.names]

    def forward(self, reading: object, batch: Batch, gather: Gather) -> torch.Tensor:
        """The sum of each name's loss over its predictions: [len(names)]. A sum over none is 0 with a gradient of 0."""
        raise NotImplementedError


class Objective(nn.Module):
    """A model under its terms. The training loop holds an objective, never a model.

    A subclass says how its model reads a batch (:meth:`read`) and which files its model is (:meth:`save_model`).
    """

    def __init__(self, model: nn.Module, terms: Sequence[Term], weights: Mapping[str, float]):
        super().__init__()
        self.model = model
        self.terms = nn.ModuleDict({term.names[0]: term for term in terms})
        self.names = tuple(name for term in terms for name in term.names)
        self.weights = {name: weights[name] for name in self.names}
        of_each = [term for term in terms for _ in term.names]
        self.minimum_counts = [term.minimum_count for term in of_each]
        self.over_all_processes = torch.tensor([term.over_all_processes for term in of_each])

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def layers(self) -> nn.ModuleList:
        """The layers that FSDP shards one by one."""
        raise NotImplementedError

    @property
    def depths(self) -> Mapping[nn.Parameter, int]:
        """How far below the heads a parameter lies, for rates of its own; 0 where it is not named."""
        return {}

    def rate_scale(self, depth: int, done: float) -> float:
        """The learning rate of a depth as a share of the step's, after so large a share of the steps."""
        return 1.0

    def updated(self) -> None:
        """Called after each update of the parameters."""

    def read(self, batch: Batch) -> object:
        """What the terms look at: the model's states for a batch."""
        raise NotImplementedError

    def counts(self, batch: Batch) -> torch.Tensor:
        """The number of predictions of each name, float64 [N]."""
        return torch.tensor(
            [count for term in self.terms.values() for count in term.counts(batch)], dtype=torch.float64
        )

    def forward(
        self, batch: Batch, counts_N: torch.Tensor, gather: Gather = own_rows
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """A micro-batch's share of the step's loss, and its sums [N]; ``counts_N`` are those of the whole step."""
        sums_N = self._sums(batch, gather)
        weights_N = counts_N.new_tensor([self.weights[name] for name in self.names])
        weights_N = (weights_N / counts_N.clamp_min(1)).to(sums_N)
        return sums_N @ weights_N, sums_N.detach()

    def means(self, sums_N: torch.Tensor, counts_N: torch.Tensor) -> dict[str, float]:
        """Each name's mean, of those with enough predictions."""
        return self._means(sums_N.tolist(), counts_N)

    def weighted(self, terms: Mapping[str, float]) -> float:
        """The loss of these terms' means."""
        return sum((self.weights[name] * value for name, value in terms.items()), 0.0)

    def losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        """The mean of each term that a batch asks for, with gradients."""
        return self._means(self._sums(batch, own_rows), self.counts(batch))

    def _sums(self, batch: Batch, gather: Gather) -> torch.Tensor:
        reading = self.read(batch)
        return torch.cat([term(reading, batch, gather) for term in self.terms.values()])

    def _means(self, sums: Iterable[T], counts_N: torch.Tensor) -> dict[str, T]:
        columns = zip(self.names, sums, counts_N.tolist(), self.minimum_counts, strict=True)
        return {name: total / count for name, total, count, minimum in columns if count >= minimum}

    def trained_parameters(self) -> dict[str, nn.Parameter]:
        """All parameters by the names that checkpoints give them: the model's own without a prefix."""
        return {name.removeprefix(MODEL): parameter for name, parameter in self.named_parameters()}

    def save(self, folder: Path, state: Mapping[str, torch.Tensor]) -> None:
        """Writes the model's files, and beside them the parameters that terms own. ``state`` is a whole state dict."""
        model = {name.removeprefix(MODEL): t for name, t in state.items() if name.startswith(MODEL)}
        terms = {name: t.detach().cpu().contiguous() for name, t in state.items() if name.startswith(TERMS)}
        self.save_model(folder, model)
        if terms:
            save_file(self.export_terms(terms, model), folder / TERM_FILE)

    def load(self, folder: Path) -> None:
        """The inverse of :meth:`save`. The model has its shape already.

        Raises :class:`InputError` where the terms own other parameters than those that were saved.
        """
        self.load_model(folder)
        self.load_terms(load_file(folder / TERM_FILE) if (folder / TERM_FILE).exists() else {}, folder)

    def load_terms(self, tensors: dict[str, torch.Tensor], folder: Path) -> None:
        """Puts the parameters that terms own, as the :data:`TERM_FILE` of ``folder`` holds them, into the terms.

        Raises :class:`InputError` where the terms own others.
        """
        own = {name for name in self.state_dict() if name.startswith(TERMS)}
        if tensors.keys() != own:
            other = sorted(tensors.keys() ^ own)[0]
            raise InputError(
                f"checkpoint {folder}: its terms are not those of this objective ({other}); begin anew"
            )
        self.load_state_dict(self.import_terms(tensors), strict=False)

    def export_terms(
        self, terms: dict[str, torch.Tensor], model: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """The terms' own parameters as they are stored, beside the ``model``'s."""
        return terms

    def import_terms(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The inverse of :meth:`export_terms`."""
        return tensors

    def save_model(self, folder: Path, state: Mapping[str, torch.Tensor]) -> None:
        """Writes the files of the model alone."""
        raise NotImplementedError

    def load_model(self, folder: Path) -> None:
        """Puts the weights of a model's files in place."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Reading:
    """What the joint BERT makes of a batch: states ``x_TH`` and the trained ``table`` that logits are tied to."""

    model: nn.Module
    x_TH: torch.Tensor
    table: torch.Tensor

    def cloze(self, position_M: torch.Tensor) -> torch.Tensor:
        """Logits over the vocabulary [M, V] at masked positions."""
        return self.model.cloze(self.x_TH.index_select(0, position_M), self.table)
