"""What Prefect's history keeps of an answer, and how it goes when a video of it is removed.

An answer names videos and shows pictures of them. A label of its run has their digests, so a removal finds it. Prefect keeps
events beside, for days, which nobody can delete: they hold what an artifact is made with, and the names of runs. So an
artifact is made empty and then filled, is emptied before it is deleted, and a run's name has a video by its digest.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows import answer_pictures, history
from flows.formatting import Document
from flows.questions import Question
from multimodal.catalogue import Catalogue
from multimodal.store import Store

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

VIDEOS = "videobert.videos"
"""The label of a run: the digests of the videos that its answer names or shows."""
PAGE = 200
"""Flow runs of an answer of the server."""
DIGITS = 8
SECOND = re.compile(r"@[\d:.]+$")


def tag_of(store: Path) -> str:
    """The tag of the runs that ask a store. Not that of those that write to it: there is one at a time of these."""
    return f"answers of {store.resolve()}"


def begin(question: str, text: str | None, store: Path) -> None:
    """Names the run of a question, and tags it."""
    history.tag(" ".join(filter(None, [question, text])), question, tag_of(store))


def keep(question: Question, given: dict[str, Any], document: Document) -> None:
    """Labels and names the run, and puts beside it what the command prints, notes first, with the pictures."""
    shown = question.pictures(document)
    notes = question.notes(document)
    lines = [line.replace("`", "'") for line in [*notes, *([""] if notes else []), *question.lines(document)]]
    pictures = answer_pictures.markdown(Store(given["store"], create=False), shown)
    text = "\n".join(["```text", *lines, "```", *(["", pictures] if pictures else [])])
    asked = [str(given[name]) for name in ("text", "like", "video") if given.get(name)]
    history.label({VIDEOS: " ".join(sorted(answer_pictures.videos_of(document, shown)))})
    history.rename(" ".join([question.name, *_subjects(given, document)]))
    history.markdown_without_event(question.name, text, " ".join(asked))


def _subjects(given: dict[str, Any], document: Document) -> Iterator[str]:
    """What is asked, with videos by the first digits of their digests."""
    if given.get("text"):
        yield given["text"]
    if like := document.get("like"):
        yield f"like {like['video'][:DIGITS]}@{like['at']:g}"
    if label := given.get("video"):
        second = SECOND.search(label)
        yield document["video"][:DIGITS] + (second[0] if second else "")


def forget_removed(store: Store, catalogue: Catalogue) -> int:
    """Deletes the runs, on the server of this process, whose answers name or show a removed video; returns their number.

    Runs that asked and got no answer go, too: their parameters may name it. Raises HTTPX's errors.
    """
    gone = {v.video for v in catalogue.forgotten()} - {v.video for v in catalogue.videos()}
    if not gone:
        return 0
    from prefect import get_client

    with get_client(sync_client=True) as client:
        found = [run for run in _runs(client, tag_of(store.root)) if _is_to_go(run, gone)]
        for run in found:
            history.delete_run(client, run.id)
    return len(found)


def _is_to_go(run: FlowRun, gone: Collection[str]) -> bool:
    if run.state is None or not run.state.is_final():
        return False
    videos = run.labels.get(VIDEOS)
    return videos is None or not set(str(videos).split()).isdisjoint(gone)


def _runs(client: SyncPrefectClient, tag: str) -> Iterator[FlowRun]:
    from prefect.client.schemas.filters import FlowRunFilter

    tagged, offset = FlowRunFilter.model_validate({"tags": {"all_": [tag]}}), 0
    while page := client.read_flow_runs(flow_run_filter=tagged, limit=PAGE, offset=offset):
        yield from page
        offset += len(page)
