"""Owns the command line: each command is a thin call of one function. Answers on standard output, all else on standard error."""

from __future__ import annotations

import contextvars
import dataclasses
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Annotated, Any, NoReturn

from cyclopts import App, CycloptsError, Parameter

from flows import progress
from flows.errors import FOR_PEOPLE
from flows.settings import DEFAULT_STORE, Imports, Settings, StoreOption
from multimodal.catalogue import Catalogue
from multimodal.imports import find_imports
from multimodal.library import find
from multimodal.store import InputError, Store, StoreLocked, out_of_space

BAD_INPUT, LOCKED = 2, 3
PREFECTS_OWN_LOGGERS = ("EventsWorker", "APILogWorker")
"""Those that PREFECT_LOGGING_LEVEL does not reach; they speak up when a machine is slow."""

JsonOption = Annotated[bool, Parameter(name="--json", help="One JSON document for programs.", negative=())]
NONE: tuple[Path, ...] = ()
Videos = Annotated[
    tuple[Path, ...], Parameter(help="Video files, or folders that are searched through.", negative=())
]
At = Annotated[float | None, Parameter(help="The second of the video that is meant.")]
Device = Annotated[str, Parameter(help="Where the model runs: cpu or cuda.")]

app = App(
    name="videobert",
    help="Turns a folder of narrated videos into a joint model of what is said and what is seen, and answers questions with it.",
    help_epilogue='First: `videobert run VIDEOS`. Then: `videobert search "TEXT"`. `videobert COMMAND --help` says more of each.',
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

        report = _flow(pipeline, list(videos), settings, imports)
    if json_:
        _print_json({"report": str(report), "figures": _figures(store)} | _status(store))
    else:
        _print_figures(store)
        print()
        _print_videos(store)
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

        _flow(ingest_with_workers, list(videos), settings, imports)
    status(settings.store, json_=json_)


@app.command
def codebook(settings: Settings = Settings(), *, json_: JsonOption = False) -> None:
    """Visual tokens from the features of the store; --refit fits a new codebook over all its videos."""
    with Store(settings.store, create=False).writing():
        from flows.codebook import make_tokens

        made = _flow(make_tokens, settings)
    if json_:
        _print_json({"codebook": made})
    else:
        print(made)


@app.command
def pretrain(settings: Settings = Settings(), *, json_: JsonOption = False) -> None:
    """The joint model, from its last checkpoint where a run was stopped."""
    with Store(settings.store, create=False).writing():
        from flows.pretrain import pretrain_model

        made = _flow(pretrain_model, settings)
    if json_:
        _print_json({"model": made})
    else:
        print(made)


@app.command
def index(settings: Settings = Settings(), *, json_: JsonOption = False) -> None:
    """Every moment of the store put where search finds it."""
    with Store(settings.store, create=False).writing():
        from flows.index import index_videos

        new = _flow(index_videos, settings)
    if json_:
        _print_json({"new": new})
    else:
        print(f"{new} videos were new to the index")


@app.command
def evaluate(settings: Settings = Settings(), *, json_: JsonOption = False) -> None:
    """What the model learned, on the videos held out, each figure with its 95 % interval and chance; and the report."""
    store = Store(settings.store, create=False)
    with store.writing():
        from flows.evaluate import evaluate_model

        report = _flow(evaluate_model, settings)
    if json_:
        _print_json(_figures(store))
    else:
        _print_figures(store)
        print(f"\nReport: {report}")


@app.command
def search(
    text: Annotated[str, Parameter(help="What is said or shown in the moment that you look for.")],
    *,
    store: StoreOption = DEFAULT_STORE,
    top: Annotated[int, Parameter(help="How many moments.")] = 5,
    device: Device = "cpu",
    json_: JsonOption = False,
) -> None:
    """The moments of all videos that a text calls for, best first."""
    from multimodal.answers.session import open_index, open_trained

    opened = Store(store, create=False)
    with Catalogue(opened.catalogue) as catalogue:
        hits = open_index(opened, catalogue, open_trained(opened, catalogue, device)).search(text, top)
    if json_:
        _print_json({"query": text, "hits": [dataclasses.asdict(h) for h in hits]})
        return
    for n, hit in enumerate(hits, 1):
        print(
            f"{n}. {hit.name} {_clock(hit.start)}–{_clock(hit.end)}  heard {hit.heard:.4f} + seen {hit.seen:.4f}  {hit.text or '(nobody speaks)'}"
        )


@app.command(name="next")
def next_(
    video: Annotated[str, Parameter(help="A video of the store: its name, path or digest.")],
    *,
    at: Annotated[float, Parameter(help="The second from which the coming clips are asked for.")],
    store: StoreOption = DEFAULT_STORE,
    top: Annotated[int, Parameter(help="How many visual tokens for each horizon.")] = 3,
    device: Device = "cpu",
    json_: JsonOption = False,
) -> None:
    """What comes next: the likeliest visual tokens 1.5, 3, 6 and 12 seconds ahead, with a picture of each."""
    from multimodal.answers.forecast import forecast
    from multimodal.answers.session import material, open_trained
    from multimodal.tokens import picture_of
    from multimodal.vocabulary import visual_name

    opened = Store(store, create=False)
    with Catalogue(opened.catalogue) as catalogue:
        trained = open_trained(opened, catalogue, device)
        asked = material(opened, catalogue, trained, video)
        horizons = forecast(trained, asked, at, top)

    def shown(token: int, probability: float) -> dict[str, Any]:
        picture = picture_of(opened, trained.codebook, token)
        return {"token": visual_name(token), "probability": probability, "picture": picture and str(picture)}

    found = [{"seconds": h.seconds, "tokens": [shown(*t) for t in h.tokens]} for h in horizons]
    if json_:
        _print_json({"video": asked.video.video, "at": at, "horizons": found})
        return
    for horizon in found:
        for token in horizon["tokens"]:
            print(
                f"+{horizon['seconds']:4.1f} s  {token['token']}  {token['probability']:6.1%}  {token['picture'] or 'no picture'}"
            )


@app.command
def caption(
    video: Annotated[str, Parameter(help="A video of the store: its name, path or digest.")],
    *,
    at: At = None,
    template: Annotated[
        str | None, Parameter(help="A sentence with [MASK] where words are to be found.")
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    device: Device = "cpu",
    json_: JsonOption = False,
) -> None:
    """What a video shows, in words: a caption for each of its moments, from what is seen alone."""
    from multimodal.answers import caption as captions
    from multimodal.answers.session import material, open_trained

    opened = Store(store, create=False)
    with Catalogue(opened.catalogue) as catalogue:
        trained = open_trained(opened, catalogue, device)
        asked = material(opened, catalogue, trained, video)
        found = captions.caption(trained, asked, at=at, template=template or captions.TEMPLATE)
    if json_:
        _print_json({"video": asked.video.video, "captions": [dataclasses.asdict(c) for c in found]})
        return
    for c in found:
        print(f"{_clock(c.start)}–{_clock(c.end)}  {c.score:.2f}  {c.text}")


@app.command
def status(store: StoreOption = DEFAULT_STORE, *, json_: JsonOption = False) -> None:
    """What the store holds: each video's state, and the reason where something is missing."""
    opened = Store(store, create=False)
    if json_:
        _print_json(_status(opened))
    else:
        _print_videos(opened)


def check_sources(videos: Sequence[Path], imports: Imports) -> None:
    """Raises :class:`InputError` before anything is made where there is nothing to take in."""
    if not videos and not imports.paths:
        raise InputError("VIDEOS: none given; name video files or a folder of them, or --import FILES")
    if imports.paths:
        find_imports(imports.paths, imports.kind)
    if videos:
        find(videos)


def _status(store: Store) -> dict[str, Any]:
    fields = ("video", "name", "state", "reason", "seconds", "clips", "sentences")
    with Catalogue(store.catalogue) as catalogue:
        videos = [{f: getattr(v, f) for f in fields} for v in catalogue.videos()]
        current = {kind: catalogue.current(kind) for kind in ("codebook", "model")}
        return {"videos": videos, **current, "runs": catalogue.runs()}


def _print_videos(store: Store) -> None:
    for v in _status(store)["videos"]:
        held = f"{v['seconds'] or 0:7.1f} s {v['clips'] or 0:4d} clips {v['sentences'] or 0:4d} sentences"
        print(f"{v['state']:<8}{held}  {v['name']}{'  (' + v['reason'] + ')' if v['reason'] else ''}")


def _figures(store: Store) -> dict[str, Any]:
    with Catalogue(store.catalogue) as catalogue:
        name = catalogue.current("evaluation")
    return json.loads((store.root / "evaluations" / name).read_text()) if name else {}


def _print_figures(store: Store) -> None:
    figures = _figures(store)
    if not figures:
        print("No figures: fewer than ten videos could be seen, so none was held out to judge by.")
        return
    print(
        f"{'On videos held out':<44}{'value':>7}  {'95 % interval':^15}{'chance':>7}{'× chance':>9}{'n':>6}"
    )
    for name, f in figures.items():
        ratio = f"{f['value'] / f['chance']:.1f}" if f["chance"] else "–"
        print(
            f"{name.replace('_', ' '):<44}{f['value']:7.3f}  {f['low']:6.3f} – {f['high']:5.3f} {f['chance']:7.3f}{ratio:>9}{f['n']:6d}"
        )


def _print_json(document: Any) -> None:
    print(json.dumps(document, ensure_ascii=False))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}:{rest:04.1f}"


def _flow(flow: Callable[..., Any], *args: Any) -> Any:
    """Runs a flow, on an embedded server where the user has set up none.

    The flow has a thread of its own: a signal then ends the process at once, whatever the flow waits for. That is safe,
    as what is stored is whole or absent.
    """
    import httpx

    from flows.server import ensure_server

    ensure_server()
    outcome: Future = Future()

    def work() -> None:
        try:
            outcome.set_result(flow(*args))
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            outcome.set_exception(error)

    threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True).start()
    try:
        return outcome.result()
    except httpx.TransportError as error:
        raise InputError(
            f"Prefect's server went away ({error}); start it and run again, what was done is kept"
        ) from error


class _Stopped(BaseException):
    """A signal asked us to stop."""


def _stop(number: int, _: object) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)
    raise _Stopped(number)


def main() -> None:
    """The command `videobert`: 0 done, 2 bad input, 3 the store is held by another, 130 and 143 for signals."""
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    for name in PREFECTS_OWN_LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        app(sys.argv[1:], exit_on_error=False, print_error=False)
        sys.stdout.flush()
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
    except _Stopped as stopped:
        progress.give_back_terminal()
        code = _complain("stopped; run again to go on", 128 + stopped.args[0])
        os._exit(code)
    sys.exit(code)


def _complain(error: object, code: int) -> int:
    print(f"videobert: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
    return code
