"""The flow `index`: the index of all moments of the store, which search reads."""

from __future__ import annotations

import dataclasses

from prefect import task
from prefect.cache_policies import NO_CACHE

from flows import history, progress
from flows.opened_run import OpenedRun, recorded_run
from flows.recorded_flow import recorded_flow
from flows.settings import Settings
from multimodal.answers.cache import update_cache
from multimodal.answers.counts import update_counts
from multimodal.answers.index import index
from multimodal.answers.token_names import update_token_names
from multimodal.answers.vectors import IndexStats
from multimodal.tokens import encode_videos, train_and_held_out


@dataclasses.dataclass(frozen=True)
class IndexUpdate:
    """``new``: videos that were new to the index. ``searched``: the index of each kind of vectors."""

    new: int
    searched: dict[str, IndexStats]


@task(name="index moments", cache_policy=NO_CACHE, persist_result=False)
def index_moments(run: OpenedRun) -> IndexUpdate:
    """Adds what is new to the index, updates the caches that are searched, names the tokens, and counts for plain answers."""
    with progress.stage("index", "videos", names_videos=True) as report:
        store, trained, videos = run.store, run.trained, run.videos
        encode_videos(store, trained.codebook, videos, report)
        new = index(store, trained, videos, report)
        searched = update_cache(store, trained, videos, report)
        train, _ = train_and_held_out(store, videos, trained.codebook)
        update_token_names(store, trained, train)
        update_counts(store, trained, train)
        return IndexUpdate(new, searched)


@recorded_flow("index")
def index_videos(settings: Settings = Settings()) -> IndexUpdate:
    """Puts every video into the index of the model that was trained last, which is in use from then on with its captioner.

    Raises :class:`~multimodal.store.InputError` where the store has no model.
    """
    with recorded_run(settings, "index") as run:
        words = f"index {history.counted(len(run.videos), 'video')}"
        history.describe(words, stage="index", store=run.store.root)
        update = index_moments(run)
        run.indexed()
        return update
