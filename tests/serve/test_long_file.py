"""A file of two hours and a gigabyte is played by byte ranges: neither the server nor a jump to its end reads it whole."""

import resource
import time
from pathlib import Path

import av
import numpy as np
import pytest
import sample_store
from watching import advances

from multimodal.catalogue import Catalogue
from multimodal.store import Store

HOURS = 2
BYTES = 1 << 30
MOST_READ = 64 << 20


def two_hours(file: Path) -> Path:
    """Two hours of a picture a second, its index in front, and behind it what a real file has of pictures: bytes."""
    with av.open(str(file), "w", options={"movflags": "faststart"}) as written:
        stream = written.add_stream("libx264", rate=1)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, "yuv420p", 10
        stream.options = {"preset": "ultrafast", "tune": "zerolatency"}
        for second in range(HOURS * 3600):
            picture = np.full((48, 64, 3), second % 256, np.uint8)
            written.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        written.mux(stream.encode())
    size = file.stat().st_size
    with file.open("r+b") as padded:
        padded.seek(size)
        padded.write((BYTES - size).to_bytes(4, "big") + b"free")
        padded.truncate(BYTES)
    return file


@pytest.fixture(scope="module")
def long(starting, tmp_path_factory):
    folder = tmp_path_factory.mktemp("long")
    store = Store(folder / "store")
    with Catalogue(store.catalogue) as catalogue:
        said = [(0.0, 3.0, "It begins."), (7000.0, 7003.0, "It ends soon.")]
        sample_store.add(
            store, catalogue, two_hours(folder / "long.mp4"), said, np.zeros(0, int), seconds=HOURS * 3600.0
        )
    return starting(store.root)


def bytes_read() -> int:
    """By this process, of which the server is a thread; what the kernel holds counts too."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["rchar"])


def test_a_range_of_it_reads_that_range(long):
    address = f"/api/media/{long.digest('long.mp4')}"
    long.client.get(address, headers={"range": "bytes=0-9"})
    before, memory = bytes_read(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    part = long.client.get(address, headers={"range": f"bytes={BYTES // 2}-{BYTES // 2 + (1 << 20) - 1}"})
    assert (part.status_code, len(part.content)) == (206, 1 << 20)
    assert part.headers["content-range"].endswith(f"/{BYTES}")
    # The client reads it too, from its socket.
    assert bytes_read() - before < 6 << 20
    # A player opens the rest of the file and hangs up.
    with long.client.stream("GET", address, headers={"range": "bytes=1000-"}) as answer:
        next(answer.iter_bytes())
    time.sleep(0.5)  # time enough to read it whole
    assert bytes_read() - before < MOST_READ
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 64 << 10, "KiB"


def test_it_plays_near_its_end(long, opening):
    before = bytes_read()
    with opening(long.url) as page:
        page.goto(f"/video/{long.digest('long.mp4')}?t=7000")
        page.wait_for_function("() => document.getElementById('player').currentTime >= 6999")
        page.eval_on_selector("#player", "video => video.play()")
        advances(page, "#player", 7000.5)
        assert page.eval_on_selector("#player", "video => video.duration") == pytest.approx(7200, abs=2)
    assert bytes_read() - before < MOST_READ
