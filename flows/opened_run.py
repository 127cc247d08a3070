"""An opened run: the store's lock, its catalogue, the settings and the trained model, opened once for all stages.

A flow opens a run where none is open. Those that the pipeline calls, or a command runs, find the one that is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING

from flows.settings import Settings
from multimodal.catalogue import Catalogue, Video
from multimodal.store import Store

if TYPE_CHECKING:
    from multimodal.inference.trained import Trained

_open: ContextVar[OpenedRun | None] = ContextVar("_open", default=None)
"""Prefect takes JSON for parameters and gives each flow a context that it copies, so the run is handed on in there."""


class OpenedRun:
    """``settings`` are complete: where the caller gave none, those that the store was made with."""

    def __init__(self, store: Store, catalogue: Catalogue, settings: Settings):
        self.store, self.catalogue, self.settings = store, catalogue, settings
        self._trained: Trained | None = None

    @property
    def videos(self) -> list[Video]:
        """The videos that can be used, as the catalogue has them now."""
        from multimodal.library import usable

        return usable(self.catalogue)

    @property
    def trained(self) -> Trained:
        """The current model, verified and loaded at its first use.

        Raises :class:`~multimodal.store.InputError` where the store has none.
        """
        from multimodal.answers.session import open_trained

        if self._trained is None:
            self._trained = open_trained(self.store, self.catalogue, self.settings.torch_device)
        return self._trained

    def set_model(self, name: str, codebook: str) -> None:
        """Makes a model the current one; the one that was loaded is dropped."""
        self.catalogue.set_current("model", name)
        self.catalogue.set_current("model_codebook", codebook)
        self._trained = None


@contextlib.contextmanager
def open_run(settings: Settings, *, create: bool = True) -> Iterator[OpenedRun]:
    """The run that is open with these settings, or a new one that ends with the block.

    ``create`` makes the store where there is none. Raises :class:`~multimodal.store.StoreLocked` where another process
    writes to the store, :class:`~multimodal.store.InputError` where it or a file that the settings name cannot be used.
    """
    run = _open.get()
    if run is not None and run.settings == settings:
        yield run
        return
    store = Store(settings.store, create=create)
    with store.writing(), Catalogue(store.catalogue) as catalogue, settings.at(catalogue) as complete:
        run = OpenedRun(store, catalogue, complete)
        token = _open.set(run)
        try:
            yield run
            catalogue.keep_copy()
        finally:
            _open.reset(token)
