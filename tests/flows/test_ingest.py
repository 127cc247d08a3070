"""The flow `ingest`: what can be sent to workers elsewhere."""

from pathlib import Path

import cloudpickle

from flows.ingest import ingest_video
from flows.settings import Settings
from multimodal.catalogue import Video


def test_the_task_and_what_it_takes_can_be_sent_to_another_machine():
    """Dask and Ray send them with cloudpickle."""
    video, settings = Video("0" * 64, "a.mp4", "/a.mp4", 1), Settings(store=Path("/store"), epochs=2)
    task, *arguments = cloudpickle.loads(cloudpickle.dumps((ingest_video, video, settings)))
    assert (task.name, arguments) == (ingest_video.name, [video, settings])
