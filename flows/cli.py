"""Owns the command line: each command is a thin call of one function. Answers on standard output, all else on standard error."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import logging
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, NoReturn

from cyclopts import App, CycloptsError, Parameter

from flows import DISTRIBUTION, progress
from flows.doctor import doctor
from flows.errors import FOR_PEOPLE
from flows.importing import Imports
from flows.printing import JsonOption, figures, print_figures, print_json, print_videos, status_of
from flows.questions import QUESTIONS, command
from flows.removal import remove
from flows.running import record_stop, run_flow
from flows.settings import DEFAULT_STORE, Settings, StoreOption
from multimodal.intake.imports import find_imports
from multimodal.library import find
from multimodal.store import InputError, Store, StoreLocked, out_of_space

BAD_INPUT, LOCKED = 2, 3
COMPLAINT = "videobert: "
SIGNALS = (signal.SIGINT, signal.SIGTERM)
PREFECTS_OWN_LOGGERS = ("EventsWorker", "APILogWorker")
"""Those that PREFECT_LOGGING_LEVEL does not reach; they speak up when a machine is slow."""

NONE: tuple[Path, ...] = ()
Videos = Annotated[
    tuple[Path, ...], Parameter(help="Video files, or folders that are searched through.", negative=())
]

app = App(
    name="videobert",
    help="Turns a folder of narrated videos into a joint model of what is said and what is seen, and answers questions with it.",
    help_epilogue='First: `videobert run VIDEOS`. Then: `videobert search "TEXT"`. `videobert COMMAND --help` says more of each.',
    version=partial(importlib.metadata.version, DISTRIBUTION),
    version_flags=["--version"],
)


@app.command
def run(
    videos: Videos = NONE,
    settings: Settings = Settings(),
    imports: Imports = Imports(),
    *,
    json_: JsonOption = False,
) -> None:
    """Everything: ingest, codebook, pretrain, index, evaluate, report. A second run does only what is left."""
    check_sources(videos, imports)
    store = Store(settings.store)
    with store.writing():
        from flows.pipeline import pipeline

        report = run_flow(settings.store, pipeline, list(videos), settings, imports)
    if json_:
        print_json({"report": str(report), "figures": figures(store)} | status_of(store))
    else:
        print_figures(store)
        print()
        print_videos(store)
        print(f"\nReport: {report}")


@app.command
def ingest(
    videos: Videos = NONE,
    settings: Settings = Settings(),
    imports: Imports = Imports(),
    *,
    json_: JsonOption = False,
) -> None:
    """Transcripts and features of videos, or (--import) features, transcripts and tokens that were made elsewhere."""
    check_sources(videos, imports)
    with Store(settings.store).writing():
        from flows.ingest import ingest_with_workers

        run_flow(settings.store, ingest_with_workers, list(videos), settings, imports)
    status(settings.store, json_=json_)


@app.command
def codebook(settings: Settings = Settings(), *, json_: JsonOption = False) -> None:
    """Visual tokens from the features of the store; --refit fits a new codebook over all its videos."""
    store = Store(settings.store, create=False)
    with store.writing():
        from flows.codebook import make_tokens, out_of_date, remedy
        from multimodal.tokens import codebook_figures, load_codebook, summary

        made = run_flow(settings.store, make_tokens, settings)
    fitted, old = load_codebook(store, made), out_of_date(store)
    progress.say(summary(fitted))
    if old:
        progress.say(remedy(old))
    if json_:
        print_json({"codebook": made, **codebook_figures(fitted), "out_of_date": old})
    else:
        print(made)


@app.command
def pretrain(settings: Settings = Settings(), *, json_: JsonOption = False) -> None:
    """The joint model, from its last checkpoint where a run was stopped."""
    with Store(settings.store, create=False).writing():
        from flows.pretrain import pretrain_model

        made = run_flow(settings.store, pretrain_model, settings)
    if json_:
        print_json({"model": made})
    else:
        print(made)


@app.command
def captioner(settings: Settings = Settings(), *, json_: JsonOption = False) -> None:
    """The captioner: learns from the corpus' own sentences to write what the model sees."""
    with Store(settings.store, create=False).writing():
        from flows.captioner import make_captioner

        made = run_flow(settings.store, make_captioner, settings)
    if json_:
        print_json({"captioner": made})
    else:
        print(made or "no captioner: nobody says anything while a clip is shown")


@app.command
def index(settings: Settings = Settings(), *, json_: JsonOption = False) -> None:
    """Every moment of the store put where search finds it."""
    with Store(settings.store, create=False).writing():
        from flows.index import index_videos

        made = run_flow(settings.store, index_videos, settings)
    if json_:
        print_json(dataclasses.asdict(made))
    else:
        print(f"{made.new} videos were new to the index")
        for kind, standing in made.searched.items():
            print(f"{kind:<6}{standing}")


@app.command
def evaluate(settings: Settings = Settings(), *, json_: JsonOption = False) -> None:
    """What the model learned, on the videos held out, each figure with its 95 % interval and chance; and the report."""
    store = Store(settings.store, create=False)
    with store.writing():
        from flows.evaluate import evaluate_model

        report = run_flow(settings.store, evaluate_model, settings)
    if json_:
        print_json(figures(store))
    else:
        print_figures(store)
        print(f"\nReport: {report}")


@app.command
def status(store: StoreOption = DEFAULT_STORE, *, json_: JsonOption = False) -> None:
    """What the store holds: each video's state, and the reason where something is missing."""
    opened = Store(store, create=False)
    if json_:
        print_json(status_of(opened))
    else:
        print_videos(opened)


app.command(doctor)
app.command(remove)
for question in QUESTIONS:
    app.command(command(question), name=question.name)


def check_sources(videos: Sequence[Path], imports: Imports) -> None:
    """Raises :class:`InputError` before anything is made where there is nothing to take in."""
    if not videos and not imports.paths:
        raise InputError("VIDEOS: none given; name video files or a folder of them, or --import FILES")
    if imports.paths:
        find_imports(imports.paths, imports.kind)
    if videos:
        find(videos)


def _be_deaf() -> None:
    """From here on a signal changes nothing: all is done and said, or another has ended us."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _stop(number: int, _: object) -> NoReturn:
    """Ends the process at once: what is stored is whole or absent, and what the process started ends with it.

    Nothing is raised: the code that the signal meets could catch it, or wrap it in an error of its own. Nor is anything
    printed through a stream that this thread may be in the middle of.
    """
    _be_deaf()
    record_stop()
    progress.give_back_terminal()
    os.write(sys.stderr.fileno(), f"{COMPLAINT}stopped; run again to go on\n".encode())
    os._exit(128 + number)


def main() -> None:
    """The command `videobert`: 0 done, 2 bad input, 3 the store is held by another, 130 and 143 for signals."""
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    for name in PREFECTS_OWN_LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    for number in SIGNALS:
        signal.signal(number, _stop)
    try:
        app(sys.argv[1:], exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
        _be_deaf()
        code = 0
    except StoreLocked as error:
        code = _complain(error, LOCKED)
    except (*FOR_PEOPLE, CycloptsError) as error:
        code = _complain(error, BAD_INPUT)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 128 + signal.SIGPIPE
    except Exception as error:
        if not out_of_space(error):
            raise
        code = _complain(
            f"disk full: {error}; free some space and run again, what was done is kept", BAD_INPUT
        )
    sys.exit(code)


def _complain(error: object, code: int) -> int:
    print(f"{COMPLAINT}{' '.join(str(error).split())}", file=sys.stderr, flush=True)
    return code
