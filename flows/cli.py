"""The command line: each command calls one function. Answers go to standard output, all else to standard error.

Flows are imported by the command that runs one: Prefect and torch take seconds, and a help text needs neither.
"""

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
from typing import Annotated, Literal, NoReturn

from cyclopts import App, CycloptsError, Parameter

from flows import progress
from flows.deploy import deploy
from flows.doctor import doctor
from flows.errors import line_of
from flows.exports import export, import_model
from flows.heads import finetune
from flows.importing import Imports
from flows.opened_run import open_run
from flows.options import CHOICE
from flows.printing import JsonOption, print_figures, print_json, print_videos, put
from flows.questions import QUESTIONS, command
from flows.removal import remove
from flows.running import loading, record_stop, run_flow
from flows.runs import runs
from flows.serve import serve
from flows.settings import DEFAULT_STORE, Settings, StoreOption
from flows.students import distill
from flows.transcript import transcript
from flows.usage import check_whole, explain, setting_among
from multimodal.catalogue import Catalogue, status_document
from multimodal.extras import DISTRIBUTION, needing
from multimodal.store import InputError, Store, StoreLocked

BAD_INPUT, LOCKED = 2, 3
PREFIX = "videobert: "
SIGNALS = (signal.SIGINT, signal.SIGTERM)
PREFECTS_OWN_LOGGERS = ("EventsWorker", "APILogWorker")
"""Loggers that PREFECT_LOGGING_LEVEL does not reach; they warn when a machine is slow."""

NONE: tuple[Path, ...] = ()
Videos = Annotated[
    tuple[Path, ...],
    Parameter(help="Video files, or folders that are searched through.", negative=(), show_default=False),
]

Systems = Annotated[
    tuple[str, ...],
    Parameter(
        help="Systems by name (docs/systems.md); all where none is named.", negative=(), show_default=False
    ),
]

app = App(
    name="videobert",
    help="Turns a folder of narrated videos into a joint model of speech and picture, and answers questions with it.",
    help_epilogue='First: `videobert run VIDEOS`. Then: `videobert search "TEXT"`. `videobert COMMAND --help` says more of each.',
    version=partial(importlib.metadata.version, DISTRIBUTION),
    version_flags=["--version"],
    config=lambda _app, _commands, arguments: check_whole(arguments),
)


@app.command
@needing("ingest", "train")
def run(
    videos: Videos = NONE,
    *,
    settings: Settings = Settings(),
    imports: Imports = Imports(),
    json_: JsonOption = False,
) -> None:
    """Everything: ingest, codebook, pretrain, captioner, index, evaluate, report. A second run does only what is left."""
    check_sources(videos, imports, settings.store)
    with open_run(settings) as run:
        with loading():
            from flows.pipeline import pipeline
        from multimodal.web.results import read_evaluation

        run.given = list(videos), imports
        report = run_flow(run.settings.store, pipeline, [], run.settings)
        figures = read_evaluation(run.store, run.catalogue) or {}
        if json_:
            print_json({"report": str(report), "figures": figures} | status_document(run.catalogue))
            return
        print_figures(figures)
        put()
        print_videos(run.catalogue)
        put()
        put(f"Report: {report}")


@app.command
@needing("ingest")
def ingest(
    videos: Videos = NONE,
    *,
    settings: Settings = Settings(),
    imports: Imports = Imports(),
    json_: JsonOption = False,
) -> None:
    """Transcripts and features of videos, or (--import) features, transcripts and tokens that were made elsewhere."""
    check_sources(videos, imports, settings.store)
    with open_run(settings) as run:
        with loading():
            from flows.ingest import ingest_videos

        run.given = list(videos), imports
        run_flow(run.settings.store, ingest_videos, [], run.settings)
        print_status(run.catalogue, json_)


@app.command
@needing("train")
def codebook(*, settings: Settings = Settings(), json_: JsonOption = False) -> None:
    """Visual tokens from the features of the store; --refit fits a new codebook over all its videos."""
    with open_run(settings, create=False) as run:
        with loading():
            from flows.codebook import make_tokens
        from multimodal.codebook_in_use import out_of_date, remedy
        from multimodal.tokens import codebook_figures, load_codebook, summary

        digest = run_flow(run.settings.store, make_tokens, run.settings)
        fitted, old = load_codebook(run.store, digest), out_of_date(run.catalogue)
    progress.say(summary(fitted))
    if old:
        progress.say(remedy(old))
    if json_:
        print_json({"codebook": digest, **codebook_figures(fitted), "out_of_date": old})
    else:
        put(digest)


@app.command
@needing("train")
def pretrain(*, settings: Settings = Settings(), json_: JsonOption = False) -> None:
    """The joint model, from its last checkpoint where a run was stopped."""
    with open_run(settings, create=False) as run:
        with loading():
            from flows.pretrain import pretrain_model

        model = run_flow(run.settings.store, pretrain_model, run.settings)
    if json_:
        print_json({"model": model})
    else:
        put(model)


@app.command
@needing("train")
def captioner(*, settings: Settings = Settings(), json_: JsonOption = False) -> None:
    """The captioner, trained on the corpus' own sentences to write what the model sees."""
    with open_run(settings, create=False) as run:
        with loading():
            from flows.captioner import make_captioner

        made = run_flow(run.settings.store, make_captioner, run.settings)
    if json_:
        print_json({"captioner": made})
    else:
        put(made or "no captioner: nobody says anything while a clip is shown")


@app.command
@needing("flows")
def index(*, settings: Settings = Settings(), json_: JsonOption = False) -> None:
    """The index of every moment of the store, which search reads."""
    with open_run(settings, create=False) as run:
        with loading():
            from flows.index import index_videos

        update = run_flow(run.settings.store, index_videos, run.settings)
    if json_:
        print_json(dataclasses.asdict(update))
    else:
        put(f"{update.new} videos were new to the index")
        for kind, searched in update.searched.items():
            put(f"{kind:<6}{searched}")


@app.command
@needing("train")
def evaluate(*, settings: Settings = Settings(), json_: JsonOption = False) -> None:
    """The figures of the model on the held-out videos, each with its 95 % interval and chance; and the report."""
    with open_run(settings, create=False) as run:
        with loading():
            from flows.evaluate import evaluate_model
        from multimodal.web.results import read_evaluation

        report = run_flow(run.settings.store, evaluate_model, run.settings)
        figures = read_evaluation(run.store, run.catalogue) or {}
    if json_:
        print_json(figures)
    else:
        print_figures(figures)
        put()
        put(f"Report: {report}")


@app.command(name="compare")
@needing("train")
def compare_(
    systems: Systems = (),
    *,
    settings: Settings = Settings(),
    seeds: Annotated[int, Parameter(help="Runs of each system, with as many seeds.")] = 3,
    tokens: Annotated[
        int | None, Parameter(help="Budget of a run: the tokens that it reads and writes.")
    ] = None,
    seconds: Annotated[float | None, Parameter(help="Budget of a run: the seconds of its steps.")] = None,
    json_: JsonOption = False,
) -> None:
    """Systems of pretraining on the videos of the store, at an equal budget: one table, and a page with a picture.

    Without a budget each reads as many tokens as `pretrain` does. Runs that were made before are not made again."""
    with open_run(settings, create=False) as run:
        with loading():
            from flows.compare import compare_systems
        from multimodal.comparison.table import lines

        runs = run_flow(
            run.settings.store, compare_systems, list(systems), run.settings, seeds, tokens, seconds
        )
        page = run.store.comparison_page
    if json_:
        print_json({"page": str(page), "runs": [dataclasses.asdict(run) for run in runs]})
    else:
        for line in lines(runs):
            put(line)
        put()
        put(f"Page: {page}")


@app.command
def status(*, store: StoreOption = DEFAULT_STORE, json_: JsonOption = False) -> None:
    """What the store holds: each video's state, and the reason where something is missing."""
    with Catalogue(Store(store, create=False).catalogue, read_only=True) as catalogue:
        print_status(catalogue, json_)


def print_status(catalogue: Catalogue, as_json: bool) -> None:
    if as_json:
        print_json(status_document(catalogue))
    else:
        print_videos(catalogue)


app.command(needing("train")(finetune))
app.command(needing("flows")(export))
app.command(needing("flows")(import_model), name="import-model")
app.command(needing("train")(distill))
app.command(doctor)
app.command(remove)
app.command(transcript)
app.command(needing("serve")(serve))
app.command(needing("flows")(deploy))
app.command(runs)
for question in QUESTIONS:
    app.command(command(question), name=question.name)


@app.command(name="--install-completion")
def install_completion(
    *,
    shell: Annotated[
        Literal["bash", "zsh", "fish"] | None,
        Parameter(help="The shell; the one that this is typed in, where not given."),
        CHOICE,
    ] = None,
) -> None:
    """The tab key completes commands, options and choices in shells opened from now on. Again after an upgrade."""
    from cyclopts.completion.detect import ShellDetectionError

    try:
        path = app.install_completion(shell=shell)
    except ShellDetectionError as error:
        raise InputError("--shell: not given, and not known by $SHELL; name bash, zsh or fish") from error
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}; make it writable, or set HOME") from error
    put(f"{path}: open a new shell")


def check_sources(videos: Sequence[Path], imports: Imports, store: Path) -> None:
    """Raises :class:`InputError` before anything is made where there is nothing to ingest."""
    from multimodal.intake.imports import find_imports
    from multimodal.library import find

    if not videos and not imports.paths:
        raise InputError("VIDEOS: none given; name video files or a folder of them, or --import FILES")
    if imports.paths:
        find_imports(imports.paths, imports.kind)
    if remark := setting_among(videos, store):
        raise InputError(remark)
    if videos:
        # A store may know what lay in a folder that is empty now.
        find(videos, may_be_empty=(store / "catalogue.sqlite").exists())


def _ignore_signals() -> None:
    """Ignores further signals: the command has ended, or the first signal is ending it."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _stop(number: int, _: object) -> NoReturn:
    """Ends the process at once: each stored file is whole or absent, and child processes end with this one."""
    # No exception is raised, because the code that the signal interrupts could catch it, or wrap it in one of its own.
    # The message goes through os.write, because this thread may be in the middle of a write to sys.stderr.
    _ignore_signals()
    record_stop()
    progress.restore_terminal()
    os.write(sys.stderr.fileno(), f"{PREFIX}stopped; run again to go on\n".encode())
    os._exit(128 + number)


def main() -> None:
    """The command `videobert`. Exit status: 0 done, 1 nothing found, 2 bad input, 3 another process writes to the store, 130 and 143 signals."""
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    for name in PREFECTS_OWN_LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    for number in SIGNALS:
        signal.signal(number, _stop)
    try:
        status = app(sys.argv[1:], exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
        _ignore_signals()
        code = status or 0
    except StoreLocked as error:
        code = _print_error(error, LOCKED)
    except CycloptsError as error:
        code = _print_error(explain(app, error), BAD_INPUT)
    except BrokenPipeError:
        # whoever read our output has gone; Python would complain once more while it flushes
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 128 + signal.SIGPIPE
    except Exception as error:
        if (line := line_of(error)) is None:
            raise
        code = _print_error(line, BAD_INPUT)
    sys.exit(code)


def _print_error(error: object, code: int) -> int:
    put(f"{PREFIX}{' '.join(str(error).split())}", sys.stderr)
    return code
