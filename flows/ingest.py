"""The flow `ingest`: every video becomes a transcript and features; one bad video never stops the others."""

from __future__ import annotations

import logging
import os
from collections import Counter
from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import as_completed
from prefect.task_runners import ThreadPoolTaskRunner

from flows import progress
from flows.errors import PART_MISSING
from flows.importing import Imports
from flows.settings import Settings
from multimodal.catalogue import Catalogue, Video
from multimodal.intake.imports import find_imports, import_files
from multimodal.intake.ingest import Outcome, ingest, is_up_to_date
from multimodal.library import VideoFiles, find, register
from multimodal.removal import finish_removals
from multimodal.store import InputError, Store, out_of_space

REASONS_TOLD = 3
log = logging.getLogger(__name__)


@task(name="ingest video", task_run_name="ingest {video.name}", cache_policy=NO_CACHE, persist_result=False)
def ingest_video(video: Video, settings: Settings) -> Outcome:
    """One video into the store; only immutable files are written, so any machine that shares the store can do it."""
    workers = settings.max_workers
    return ingest(
        Store(settings.store), video, settings.ingest, settings.torch_device,
        threads=1 if workers > 1 else None, hook=lambda share: progress.shares.put(video.video, video.name, share),
    )  # fmt: skip


@task(name="import", cache_policy=NO_CACHE, persist_result=False)
def import_from_files(imports: Imports, settings: Settings) -> list[Video]:
    """The videos that files made elsewhere speak of, without a file of their own."""
    store = Store(settings.store)
    with Catalogue(store.catalogue) as catalogue, progress.stage("import") as report:
        files = find_imports(imports.paths, imports.kind)
        ended = import_files(store, catalogue, files, imports.options, report)
        report(len(files), len(files), _counted(ended))
    return ended


@flow(name="ingest", task_runner=ThreadPoolTaskRunner(max_workers=os.cpu_count()))
def ingest_videos(
    videos: list[Path], settings: Settings = Settings(), imports: Imports = Imports()
) -> list[str]:
    """Takes in videos and folders of them, and what was made elsewhere; returns the digests of those that can be used.

    Raises :class:`InputError` where there is nothing to take in or nothing of it can be used.
    """
    store = Store(settings.store)
    ended: list[Video] = []
    with store.writing(), Catalogue(store.catalogue) as catalogue, settings.at(catalogue) as settings:
        finish_removals(store, catalogue)
        if imports.paths:
            ended += import_from_files(imports, settings)
        if videos or not imports.paths:
            ended += _ingest_files(find(videos), store, catalogue, settings)
    used = [v.video for v in ended if v.state != "refused"]
    if not used:
        reasons = "; ".join(v.reason for v in ended[:REASONS_TOLD])
        more = f"; and {len(ended) - REASONS_TOLD} more" if len(ended) > REASONS_TOLD else ""
        given = ", ".join(map(str, [*imports.paths, *videos]))
        raise InputError(f"{given}: no video can be used ({reasons}{more}); give at least one that plays")
    return used


def _ingest_files(found: VideoFiles, store: Store, catalogue: Catalogue, settings: Settings) -> list[Video]:
    """Every file found, as it ended."""
    with progress.stage("ingest") as report:
        registered, unread = register(catalogue, found.files)
        left = [v for v in registered if not is_up_to_date(store, v, settings.ingest)]
        ended = [*unread, *(v for v in registered if v not in left)]
        progress.shares.begin(report, len(left))
        waiting = {ingest_video.submit(video, settings): video for video in left}
        for future in as_completed(list(waiting)):
            video = waiting[future]
            ended.append(_outcome(future, video).applied_to(video))
            catalogue.put(ended[-1])
            progress.shares.put(video.video, video.name, 1.0)
        words = _counted(ended)
        if found.skipped:
            words += f"; skipped {', '.join(f'{n} {ending}' for ending, n in sorted(found.skipped.items()))}"
        report(len(left), len(left), words)
    return ended


def _counted(ended: list[Video]) -> str:
    counts = Counter(v.state for v in ended)
    return ", ".join(f"{counts[state]} {state}" for state in ("done", "partial", "refused") if counts[state])


def ingest_with_workers(videos: list[Path], settings: Settings, imports: Imports = Imports()) -> list[str]:
    """The flow with as many videos at a time as the settings say."""
    runner = ThreadPoolTaskRunner(max_workers=settings.max_workers)
    return ingest_videos.with_options(task_runner=runner)(videos, settings, imports)


def _outcome(future, video: Video) -> Outcome:
    """What became of the video; a mistake of ours in one video is written down and does not stop the others."""
    try:
        return future.result(raise_on_failure=True)
    except PART_MISSING:
        raise
    except Exception as error:
        if out_of_space(error):
            raise
        log.exception("%s: could not be ingested", video.name)
        return Outcome(video.video, "refused", f"{video.name}: an unexpected {type(error).__name__}: {error}")
