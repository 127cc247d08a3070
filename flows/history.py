"""What a flow run says in Prefect's history: its name, its tags, log lines, a bar that moves, and tables.

Nothing here names a video, and no path is told that the run's parameters do not hold: a removed video's name is to be found
nowhere, and `videobert remove` does not reach the history of a server. Outside of a flow run nothing is said.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import re
import sys
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from multimodal.catalogue import Video
from multimodal.names import listed

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.context import FlowRunContext

SECONDS_BEFORE_BAR = 5.0
"""A stage that ends earlier gets no bar: most stages of a run with nothing to do last milliseconds."""
SECONDS_BETWEEN_UPDATES = 10.0
"""An update is two requests of a few milliseconds each, which is a thousandth of the time."""
LONGEST_NAME = 100
MOST_ROWS = 200
MOST_FOLDERS = 2
PART = "part"
"""The tag of the runs of stages that a deployed run of all stages starts."""
HIDDEN = "…"
NOTHING = "nothing left to do"
_done: ContextVar[list[str] | None] = ContextVar("_done", default=None)


class Followed(Protocol):
    """A stage whose progress is told."""

    name: str
    done: float
    total: float

    def amounts(self) -> str: ...
    def left(self) -> str: ...


def _run() -> FlowRunContext | None:
    """The flow run of this thread; ``None`` where none is, and before anything imported Prefect."""
    context = sys.modules.get("prefect.context")
    return context.FlowRunContext.get() if context else None


def is_kept() -> bool:
    """Whether this thread's work is a flow run."""
    return _run() is not None


def is_deployed() -> bool:
    """Whether a worker runs this thread's flow: the run, or the one that it is a part of, is that of a deployment."""
    return (context := _run()) is not None and context.flow_run.deployment_id is not None


@contextlib.contextmanager
def parts() -> Iterator[None]:
    """Flow runs that begin in the block are tagged :data:`PART` where a worker runs this one."""
    if not is_deployed():
        yield
        return
    from prefect import tags

    with tags(PART):
        yield


def identity() -> str:
    """The identifier of the flow run."""
    context = _run()
    assert context is not None
    return str(context.flow_run.id)


def describe(words: str, *, stage: str, store: Path) -> None:
    """Names the flow run and tags it with its stage and its store, in one request."""
    tag(words, stage, f"store {store.resolve()}")


def tag(words: str, *tags: str) -> None:
    """Names the flow run and adds tags to it, in one request."""
    if (context := _run()) is None:
        return
    run = context.flow_run
    run.name, run.tags = shortened(words), sorted({*run.tags, *tags})
    context.client.update_flow_run(run.id, name=run.name, tags=run.tags)


def rename(words: str) -> None:
    """Gives the flow run another name."""
    if (context := _run()) is not None:
        context.flow_run.name = shortened(words)
        context.client.set_flow_run_name(context.flow_run.id, context.flow_run.name)


def shortened(words: str) -> str:
    """The words as a run's name."""
    return words if len(words) <= LONGEST_NAME else f"{words[: LONGEST_NAME - 1]}{HIDDEN}"


@contextlib.contextmanager
def collecting() -> Iterator[list[str]]:
    """Gives the lines that :func:`did` is told in the block; a block inside of another adds to its lines."""
    lines = _done.get()
    if lines is not None:
        yield lines
        return
    token = _done.set(found := [])
    try:
        yield found
    finally:
        _done.reset(token)


def did(line: str) -> None:
    """Says what a stage did: a log line, and a part of what the store's catalogue keeps of the run."""
    if (lines := _done.get()) is not None:
        lines.append(line)
    log(line)


def log(line: str) -> None:
    """A log line of the flow run. The embedded server of a command gets none: it ends with the command."""
    sender()(line)


def sender() -> Callable[[str], None]:
    """What sends log lines of this thread's flow run, from any thread."""
    if (context := _run()) is None:
        return lambda _: None
    from flows.server import is_embedded

    if is_embedded():
        return lambda _: None
    run = context.flow_run
    told = {"flow_run_id": str(run.id), "flow_run_name": run.name, "flow_name": context.flow.name}
    return lambda line: _logger().info(line, extra=told)


def flush() -> None:
    """Sends the log lines that wait to be sent."""
    for handler in _logger().handlers:
        handler.flush()


@functools.cache
def _logger() -> logging.Logger:
    """Goes to the server alone, whatever Prefect's own level is: a person at a terminal is told by :mod:`flows.progress`."""
    from prefect.logging.handlers import APILogHandler

    logger = logging.getLogger("prefect.flow_runs.videobert")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(APILogHandler())
    return logger


def table(key: str, rows: Sequence[dict[str, Any]], about: str) -> None:
    """A table beside the flow run, of :data:`MOST_ROWS` rows at most."""
    if _run() is None:
        return
    from prefect.artifacts import create_table_artifact

    more = f" The first {MOST_ROWS} of {len(rows)} rows." if len(rows) > MOST_ROWS else ""
    create_table_artifact(list(rows[:MOST_ROWS]), key=key, description=about + more)


def markdown(key: str, text: str, about: str) -> None:
    """A text with pictures beside the flow run."""
    if _run() is None:
        return
    from prefect.artifacts import create_markdown_artifact

    create_markdown_artifact(text, key=key, description=about)


def markdown_without_event(key: str, text: str, about: str) -> None:
    """The same, and no event of Prefect's has the text: the artifact is made empty, then filled."""
    if (context := _run()) is None:
        return
    from prefect.client.schemas.actions import ArtifactCreate

    made = context.client.create_artifact(
        ArtifactCreate(key=key, type="markdown", data="", flow_run_id=context.flow_run.id)
    )
    fill_artifact(context.client, made.id, text, about)


def fill_artifact(client: SyncPrefectClient, artifact: UUID, text: str, about: str) -> None:
    """Replaces what an artifact holds. Prefect's own function sends an event with the text beside."""
    filled = {"data": text, "description": about}
    client.request("PATCH", "/artifacts/{id}", path_params={"id": artifact}, json=filled).raise_for_status()


def delete_run(client: SyncPrefectClient, run: UUID) -> None:
    """Deletes a flow run with its task runs and its artifacts, which are emptied first: Prefect's event of an artifact that goes
    holds what was in it."""
    from prefect.client.schemas.filters import FlowRunFilter

    own = FlowRunFilter.model_validate({"id": {"any_": [run]}})
    for artifact in client.read_artifacts(flow_run_filter=own):
        fill_artifact(client, artifact.id, "", "")
        client.delete_artifact(artifact.id)
    client.delete_flow_run(run)


def label(labels: dict[str, str]) -> None:
    """Labels the flow run; no page shows these."""
    if (context := _run()) is not None:
        context.client.update_flow_run_labels(context.flow_run.id, labels)


def follower(stage: Followed) -> Callable[[threading.Event], None] | None:
    """The work of a thread that shows the stage's progress as a bar and in the flow run's name, until its event is set;
    ``None`` outside of a flow run. The words of the stage are left out, as they may name a video.
    """
    if (context := _run()) is None:
        return None
    from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate

    client, run = context.client, context.flow_run

    def values() -> tuple[str, dict[str, Any]]:
        words = ", ".join(filter(None, [stage.amounts(), stage.left()]))
        share = min(1.0, stage.done / stage.total)
        return words, {"data": round(100 * share, 1), "description": words}

    def show(stopped: threading.Event) -> None:
        # Where the server is gone, what the flow itself asks of it tells so.
        if not stopped.wait(SECONDS_BEFORE_BAR):
            with contextlib.suppress(Exception):
                follow(stopped)

    def follow(stopped: threading.Event) -> None:
        bar, last = None, ""
        while True:
            words, shown = values() if stage.total else ("", {})
            if bar is None and shown:
                made = ArtifactCreate(key=stage.name, type="progress", flow_run_id=run.id, **shown)
                bar = client.create_artifact(made).id
            elif words != last:
                client.update_artifact(bar, ArtifactUpdate(**shown))
            if words != last:
                client.set_flow_run_name(run.id, shortened(f"{run.name}, {stage.amounts()}"))
                last = words
            if stopped.wait(SECONDS_BETWEEN_UPDATES):
                break
        if bar is not None:
            client.update_artifact(bar, ArtifactUpdate(data=100.0, description=stage.amounts()))
            client.set_flow_run_name(run.id, run.name)

    return show


def counted(number: int, what: str) -> str:
    """``1 video``, ``2 videos``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def of_folders(sources: Sequence[Path]) -> str:
    """`` of lectures``: the names of the folders; nothing where a file is among them, whose name is that of a video."""
    names = [path.absolute().name for path in sources]
    if not names or not all(path.is_dir() for path in sources):
        return ""
    return f" of {listed(names, MOST_FOLDERS)}"


def without_names(text: str, video: Video) -> str:
    """The text without the video's name and without paths."""
    from multimodal.serve.problems import without_paths

    for name in (video.path, video.name, Path(video.name).stem):
        if name:
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", HIDDEN, text)
    return without_paths(text).removeprefix(f"{HIDDEN}: ")


def outcomes(videos: Sequence[Video], new: Collection[str]) -> list[dict[str, Any]]:
    """Rows of a table: how many videos ended in which state for which reason, those of the digests ``new`` first."""
    found = Counter((v.video not in new, v.state, without_names(v.reason, v)) for v in videos)
    return [
        {"run": "earlier" if earlier else "this one", "state": state, "videos": number, "reason": reason}
        for (earlier, state, reason), number in sorted(found.items(), key=lambda f: (f[0][0], -f[1], f[0]))
    ]


def figures(evaluated: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a table: each figure of an evaluation beside chance and counts, under its question."""
    from multimodal.web.results import results_by_task

    rows = []
    for task, questions in results_by_task(evaluated):
        for question in questions:
            for f in question.figures:
                rows.append(
                    {
                        "task": task, "question": question.title, "given": f.given, "value": f.formatted(f.value),
                        "95 %": f"{f.formatted(f.low)} – {f.formatted(f.high)}", "chance": f.formatted(f.chance),
                        "counts": "" if f.counts is None else f.formatted(f.counts), "asked": f.n, "verdict": f.verdict,
                    }
                )  # fmt: skip
    return rows
