"""An opened run: the store's lock, its catalogue, the settings and the trained model, opened once for all stages.

A flow opens a run where none is open. Those that the pipeline calls, or a command runs, find the one that is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from flows import history
from flows.configuration import configured
from flows.errors import line_of
from flows.importing import Imports
from flows.progress import of_store
from flows.settings import Settings
from flows.stopping import stopped_at_once
from flows.training_processes import check_processes
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
        self.given: tuple[list[Path], Imports] = ([], Imports())
        """What a command ingests. Parameters of flows stand in Prefect's history, with names and paths."""
        self.task: Path | None = None
        """The file of labels that a command was given, for the same reason."""
        self.folder: Path | None = None
        """The folder that a model is exported to or imported from, for the same reason."""
        self.is_recorded = False
        """Whether a flow records it in the catalogue by now; the stages of the pipeline are parts of its record."""

    def sources(self, videos: list[Path], imports: Imports) -> tuple[list[Path], Imports]:
        """The parameters of a flow, or where it was given none what the command was given."""
        return (videos, imports) if videos or imports.paths else self.given

    @property
    def videos(self) -> list[Video]:
        """The videos that can be used, as the catalogue has them now."""
        from multimodal.library import usable

        return usable(self.catalogue)

    @property
    def trained(self) -> Trained:
        """The model that the stages work on, verified and loaded at its first use: the one that was trained last.

        Raises :class:`~multimodal.store.InputError` where the store has none.
        """
        from multimodal.answers.session import open_trained

        if self._trained is None:
            self._trained = open_trained(self.store, self.catalogue, self.settings.torch_device, newest=True)
        return self._trained

    @property
    def model_in_use(self) -> tuple[str | None, str | None]:
        """The name of the model that was trained last, and its codebook; nothing is loaded."""
        found = self._in_use("next_model", "next_model_codebook")
        return found if found[0] is not None else self._in_use("model", "model_codebook")

    def set_model(self, name: str, codebook: str) -> None:
        """Names the model that becomes the current one with its index; until then the one before answers."""
        if self._in_use("model", "model_codebook") == (name, codebook):
            name = codebook = None
        if self._in_use("next_model", "next_model_codebook") != (name, codebook):
            self.catalogue.set_together(
                {"next_model": name, "next_model_codebook": codebook, "next_captioner": None}
            )
        self._trained = None

    def set_captioner(self, name: str) -> None:
        """Makes a captioner the current one, where its model is, or else with its model."""
        newest = self.catalogue.current("next_model") is not None
        self.catalogue.set_current("next_captioner" if newest else "captioner", name)

    def indexed(self) -> None:
        """Makes the model that was indexed the current one together with its captioner, and removes the cache of the other."""
        from multimodal.answers.cache import remove_other_caches
        from multimodal.training.pieces import note_unknown_pieces

        model, codebook, captioner = self._in_use("next_model", "next_model_codebook", "next_captioner")
        if model is not None:
            none = dict.fromkeys(("next_model", "next_model_codebook", "next_captioner"))
            self.catalogue.set_together(
                {"model": model, "model_codebook": codebook, "captioner": captioner} | none
            )
        note_unknown_pieces(self.store, self.catalogue)
        remove_other_caches(self.store, self.trained)

    def _in_use(self, *kinds: str) -> tuple[str | None, ...]:
        return tuple(self.catalogue.current(kind) for kind in kinds)


@contextlib.contextmanager
def recorded_run(settings: Settings, flow: str, *, create: bool = True) -> Iterator[OpenedRun]:
    """As :func:`open_run`, for the body of a flow: the catalogue records its begin, its end, and what was done in words."""
    with open_run(settings, create=create) as run, history.collecting() as done:
        if run.is_recorded:
            yield run
            return
        with stopped_at_once(run.store.root), _record(run, flow, done):
            yield run


@contextlib.contextmanager
def _record(run: OpenedRun, flow: str, done: list[str]) -> Iterator[None]:
    number = run.catalogue.begin_run(flow, dataclasses.asdict(run.settings))
    run.is_recorded = True
    try:
        yield
    except Exception as error:
        why = line_of(error) or f"an unexpected {type(error).__name__}"
        with contextlib.suppress(sqlite3.Error):  # on a full disk the error itself is what is told
            run.catalogue.end_run(number, "failed", "; ".join([*done, " ".join(why.split())]))
        raise
    except BaseException:
        run.catalogue.end_run(number, "stopped", "; ".join(done))
        raise
    else:
        run.catalogue.end_run(number, "done", "; ".join(done) or history.NOTHING)
    finally:
        run.is_recorded = False


@contextlib.contextmanager
def open_run(settings: Settings, *, create: bool = True) -> Iterator[OpenedRun]:
    """The run that is open with these settings, or a new one that ends with the block, of the settings with what variables,
    the file beside the store and the store itself say where they say nothing.

    ``create`` makes the store where there is none. Raises :class:`~multimodal.store.StoreLocked` where another process
    writes to the store, :class:`~multimodal.store.InputError` where it or a file that the settings name cannot be used.
    """
    run = _open.get()
    if run is not None and run.settings == settings:
        yield run
        return
    settings = configured(settings)
    check_processes(settings)
    store = Store(settings.store, create=create)
    with (
        store.writing(),
        of_store(store.root),
        Catalogue(store.catalogue) as catalogue,
        settings.at(catalogue) as complete,
    ):
        run = OpenedRun(store, catalogue, complete)
        token = _open.set(run)
        try:
            yield run
            catalogue.keep_copy()
        finally:
            _open.reset(token)
