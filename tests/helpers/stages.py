"""All stages of a run as the pipeline calls them, on imported files and without a server: each in a copy of this process.

A copy starts at once, as all modules are loaded, and dies, runs out of space or waits by itself.
"""

import os
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

from flows.captioner import learn
from flows.codebook import encode, fit
from flows.errors import line_of
from flows.evaluate import figures, report_page
from flows.importing import Imports
from flows.index import index_moments
from flows.ingest import import_from_files
from flows.opened_run import OpenedRun, open_run
from flows.pretrain import train
from flows.settings import Settings
from multimodal.codebook_in_use import codebook_to_use
from multimodal.store import StoreLocked
from multimodal.tokens import current_codebook

CLIP = 1.5
DEFECT, REFUSED, LOCKED = 9, 2, 3
LONGEST = 300
"""Seconds after which a copy that hangs is ended by SIGALRM."""


def _import(run: OpenedRun) -> None:
    import_from_files.fn(run, run.given[1])


def _codebook(run: OpenedRun) -> None:
    current = run.catalogue.current("codebook")
    encode.fn(run, codebook_to_use(run.store, current, run.videos, lambda: fit.fn(run), refit=False))


def _pretrain(run: OpenedRun) -> None:
    codebook = current_codebook(run.store, run.catalogue)
    run.set_model(train.fn(run, codebook), codebook)


def _captioner(run: OpenedRun) -> None:
    run.set_captioner(learn.fn(run) or "")


def _index(run: OpenedRun) -> None:
    index_moments.fn(run)
    run.indexed()


def _evaluate(run: OpenedRun) -> None:
    figures.fn(run)
    report_page.fn(run)


STAGES: dict[str, Callable[[OpenedRun], None]] = {
    "import": _import,
    "codebook": _codebook,
    "pretrain": _pretrain,
    "captioner": _captioner,
    "index": _index,
    "evaluate": _evaluate,
}


def work(store: Path, corpus: Path, bert: Path, stages: tuple[str, ...] = tuple(STAGES)) -> None:
    """The stages, one after the other, under the store's lock."""
    settings = Settings(store=store, size="demo", epochs=1, text_start=str(bert))
    with open_run(settings) as run:
        run.given = [], Imports(paths=(corpus,), stride=CLIP)
        for stage in stages:
            STAGES[stage](run)


def start(do: Callable[[], None], log: Path, before: Callable[[], None] = lambda: None) -> int:
    """The number of a copy of this process that does it; what it says is in ``log``. ``before``: what is done to it first."""
    number = os.fork()
    if number:
        return number
    code = DEFECT
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        for caught in (signal.SIGINT, signal.SIGTERM):
            signal.signal(caught, signal.SIG_DFL)
        torch.set_num_threads(1)
        signal.alarm(LONGEST)
        before()
        do()
        code = 0
    except StoreLocked as error:
        code = LOCKED
        os.write(2, f"{error}\n".encode())
    except BaseException as error:
        line = line_of(error)
        if line is None:
            os.write(2, traceback.format_exc().encode())
        else:
            code = REFUSED
            os.write(2, f"{' '.join(line.split())}\n".encode())
    finally:
        os._exit(code)


def end(number: int) -> int:
    """How a copy ended: its status, or minus the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def run(do: Callable[[], None], log: Path, before: Callable[[], None] = lambda: None) -> tuple[int, str]:
    """The status, and the last line that was said."""
    status = end(start(do, log, before))
    lines = log.read_text(errors="replace").splitlines()
    assert "Traceback" not in "\n".join(lines), "\n".join(lines[-40:])
    return status, lines[-1] if lines else ""


def killed_at(
    do: Callable[[], None], log: Path, at: Callable[[], bool], how: int, after: float = 60.0
) -> int:
    """The status of a copy that gets the signal ``how`` as soon as ``at`` is true, or after so many seconds."""
    number, due = start(do, log), time.monotonic() + after
    while not at() and time.monotonic() < due:
        ended, status = os.waitpid(number, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    os.kill(number, how)
    return end(number)
