"""The flow `codebook`: visual tokens from the features of a store. A codebook is fitted once and kept until a refit."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from flows import history, progress
from flows.opened_run import OpenedRun, recorded_run
from flows.recorded_flow import recorded_flow
from flows.settings import Settings
from multimodal.catalogue import Video
from multimodal.codebook_in_use import codebook_to_use
from multimodal.copies import find_copies, told_copies, without_second_copies
from multimodal.library import split
from multimodal.tokens import encode_videos, fit_codebook, keep_split


@task(name="fit codebook", cache_policy=NO_CACHE, persist_result=False)
def fit(run: OpenedRun) -> str:
    """The digest of the codebook over all videos but those held out."""
    with progress.stage("codebook") as report:
        report(0, 1, "looking for copies")
        train, held_out = parts(run)
        codebook = fit_codebook(
            run.store, train, held_out, run.settings.tokens, report, run.settings.torch_device
        )
    run.catalogue.set_current("codebook", codebook)
    return codebook


def parts(run: OpenedRun) -> tuple[list[Video], list[Video]]:
    """The videos to learn from and those to hold out; copies of one are on one side."""
    copies, ignored = find_copies(run.store, run.videos), run.settings.copies == "ignore"
    if line := told_copies(copies, ignored):
        progress.say(f"codebook: {line}")
    videos = without_second_copies(run.videos, copies) if ignored else run.videos
    return split(videos, run.settings.split, () if ignored else copies)


@task(name="encode", cache_policy=NO_CACHE, persist_result=False)
def encode(run: OpenedRun, codebook: str) -> None:
    """The tokens of every video that has none yet; under an imported codebook also the split, once."""
    keep_split(run.store, codebook, lambda: parts(run))
    with progress.stage("tokens", "videos", names_videos=True) as report:
        encode_videos(run.store, codebook, run.videos, report)


@recorded_flow("codebook")
def make_tokens(settings: Settings = Settings()) -> str:
    """Visual tokens for every video of the store; returns the codebook's digest.

    The codebook in use is kept, also an imported one; ``refit`` fits a new one over all videos that the store holds by now.
    Raises :class:`~multimodal.store.InputError` where the features were made in another way since.
    """
    with recorded_run(settings, "codebook") as run:
        words = f"codebook of {history.counted(len(run.videos), 'video')}"
        history.describe(words, stage="codebook", store=run.store.root)
        current, refit = run.catalogue.current("codebook"), run.settings.refit
        codebook = codebook_to_use(run.store, current, run.videos, lambda: fit(run), refit=refit)
        encode(run, codebook)
        return codebook
