"""The flow `ingest`: a transcript and features of every video; one bad video never stops the others."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture

from flows import history, progress
from flows.answer_history import forget_removed
from flows.history import counted
from flows.importing import Imports
from flows.opened_run import OpenedRun, recorded_run
from flows.recorded_flow import recorded_flow
from flows.runners import Tell, running, videos_at_a_time
from flows.settings import Settings
from multimodal.catalogue import Video
from multimodal.disk import FileState
from multimodal.intake import speech_choice, watching
from multimodal.intake.confinement import require_confinement
from multimodal.intake.imports import find_imports, import_files
from multimodal.intake.ingest import Outcome, ingest, is_up_to_date
from multimodal.intake.ingest_options import IngestOptions
from multimodal.intake.outcomes import counts, outcome_of, usable_digests
from multimodal.library import find
from multimodal.removal import finish_removals
from multimodal.store import Store


@task(name="ingest video", task_run_name="ingest {video.video}", cache_policy=NO_CACHE, persist_result=False)
def ingest_video(video: Video, settings: Settings, seen: FileState | None, tell: Tell) -> Outcome:
    """One video into the store; only immutable files are written, so any machine that shares the store can do it.

    Prefect's history knows it by its digest: the name of a video that is removed is to be found nowhere.
    """
    require_confinement(
        settings.require_confinement
    )  # this machine may be another than the one that began the run
    store = Store(settings.store, create=False)
    return ingest(
        store, video, speech_choice.applied(store, video, settings.ingest), settings.torch_device,
        # videos that are ingested side by side share the cores among themselves
        threads=1 if videos_at_a_time(settings) > 1 else None,
        seen=seen,
        hook=lambda share, seconds: tell(video.video, share, seconds),
    )  # fmt: skip


@task(name="import", cache_policy=NO_CACHE, persist_result=False)
def import_from_files(run: OpenedRun, imports: Imports) -> list[Video]:
    """The videos that imported files speak of, without a file of their own."""
    with progress.stage("import", "videos") as report:
        files = find_imports(imports.paths, imports.kind)
        ended = import_files(run.store, run.catalogue, files, imports.options, report)
        report(len(ended), len(ended), counts(ended))
    return ended


@recorded_flow("ingest")
def ingest_videos(
    videos: list[Path], settings: Settings = Settings(), imports: Imports = Imports()
) -> list[str]:
    """Ingests videos and folders of them, and imports files; returns the digests of the videos that can be used.

    Raises :class:`~multimodal.store.InputError` where there is nothing to ingest or nothing of it can be used.
    """
    ended: list[Video] = []
    with recorded_run(settings, "ingest") as run:
        videos, imports = run.sources(videos, imports)
        finish_removals(run.store, run.catalogue)
        forget_removed(run.store, run.catalogue)
        if not videos:
            history.describe("ingest imported files", stage="ingest", store=run.store.root)
        if imports.paths:
            ended += import_from_files(run, imports)
        if videos or not imports.paths:
            ended += _ingest_files(run, videos)
    return usable_digests(ended, [*imports.paths, *videos])


def _ingest_files(run: OpenedRun, sources: list[Path]) -> list[Video]:
    """Every file found in ``sources``, as it ended."""
    found = find(sources, may_be_empty=True)
    if not found.files and not watching.held_before(run.catalogue, sources):
        find(sources)  # raises, and says what was found in place of videos
    with progress.stage("ingest", progress.video_progress.amount) as report:
        states: dict[str, FileState] = {}
        reread = run.settings.reread
        rest = watching.SECONDS_OF_REST
        looked = watching.look(run.catalogue, sources, found.files, rest=rest, reread=reread, states=states)
        options = {v.video: speech_choice.applied(run.store, v, run.settings.ingest) for v in looked.videos}
        left, ended = [], looked.left
        for v in looked.videos:
            again = reread and v.tries > 0
            (ended if not again and is_up_to_date(run.store, v, options[v.video]) else left).append(v)
        of = history.of_folders(sources)
        about = f"ingest {counted(len(found.files), 'video')}{of}, {len(left) or 'none'} to do"
        history.describe(about, stage="ingest", store=run.store.root)
        progress.video_progress.begin(report, {v.video: (v.name, v.bytes) for v in left})
        if left:
            ended += _ended(run, left, options, states)
        words = counts(ended) or "no video there"
        words += f"; {looked.changes}" if looked.changes else ""
        if found.skipped:
            words += f"; skipped {', '.join(f'{n} {ending}' for ending, n in sorted(found.skipped.items()))}"
        report(1, 1, words)
    if new := {v.video for v in left} | {v.video for v in ended if v.state == "waiting"}:
        history.table(
            "videos",
            history.outcomes(ended, new),
            f"{words}; `videobert status` names them.",
        )
    return ended


def _ended(
    run: OpenedRun, videos: list[Video], options: dict[str, IngestOptions], states: dict[str, FileState]
) -> list[Video]:
    """The videos as they ended, each recorded when it had."""
    ended: list[Video] = []
    # A process of a cluster has another working folder, which a relative path would begin at.
    settings = dataclasses.replace(run.settings, store=run.store.root)
    with running(settings, progress.video_progress.put) as side_by_side:
        under_way = {
            side_by_side.submit(ingest_video, video=v, settings=settings, seen=states.get(v.video)): v
            for v in videos
        }
        for group in as_they_end(list(under_way)):
            rows: list[Video] = []
            try:
                for future in group:
                    video = under_way[future]
                    result = functools.partial(side_by_side.result, future)
                    rows.append(outcome_of(result, video, options[video.video]).applied_to(video))
                    progress.video_progress.put(video.video, 1.0)
            finally:
                run.catalogue.record([], rows)
            ended += rows
    return ended


def as_they_end(futures: list[PrefectFuture[Outcome]]) -> Iterator[list[PrefectFuture[Outcome]]]:
    """The futures in groups: those that end while the caller commits a group are the next one.

    So a commit, whose sync takes milliseconds, is never waited for by more than it costs, and none is put off: what is
    lost by a kill is what one commit was writing.
    """
    done: SimpleQueue[PrefectFuture[Outcome]] = SimpleQueue()
    for future in futures:
        future.add_done_callback(done.put)
    left = len(futures)
    while left:
        group = [done.get()]
        while not done.empty():
            group.append(done.get())
        left -= len(group)
        yield group
