"""The flow `ingest`: what can be sent to workers elsewhere."""

from concurrent.futures import Future
from pathlib import Path

import cloudpickle

from flows.ingest import as_they_end, ingest_video
from flows.settings import Settings
from multimodal.catalogue import Video


def test_the_task_and_what_it_takes_can_be_sent_to_another_machine():
    """Dask and Ray send them with cloudpickle."""
    video, settings = Video("0" * 64, "a.mp4", "/a.mp4", 1), Settings(store=Path("/store"), epochs=2)
    task, *arguments = cloudpickle.loads(cloudpickle.dumps((ingest_video, video, settings)))
    assert (task.name, arguments) == (ingest_video.name, [video, settings])


def test_what_ends_while_a_group_is_committed_is_the_next_group():
    """So ten thousand small videos are not ten thousand syncs, and none that ended waits for one that did not."""
    futures = [Future() for _ in range(5)]
    groups = as_they_end(futures)
    futures[2].set_result(None)
    assert next(groups) == [futures[2]]
    for n in (0, 4, 1):
        futures[n].set_result(None)
    assert next(groups) == [futures[0], futures[4], futures[1]]
    futures[3].set_result(None)
    assert list(groups) == [[futures[3]]]
