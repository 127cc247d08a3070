"""Bytes of resident memory for a spoken segment with its share of runs: in flat arrays, and as Python objects and lists.

    python tests/benchmarks/segment_memory.py [SEGMENTS]

Each is measured in a process of its own over drawn segments (12 words, 3 visual tokens; a run of 16 tokens for every 5).
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/multimodal/helpers")]

import joint_samples  # noqa: E402

from multimodal.examples.segment_table import SegmentTable  # noqa: E402
from multimodal.segments import Segment  # noqa: E402

SENTENCES_A_VIDEO, TOKENS = 50, 4000


def spoken(count: int) -> Iterator[Segment]:
    draw, words = random.Random(0), "now let me show you how to cut the onion in a bowl slowly".split()
    for number in range(count):
        video, place = divmod(number, SENTENCES_A_VIDEO)
        tokens = tuple(draw.randrange(TOKENS) for _ in range(3))
        text = " ".join(draw.choices(words, k=12))
        clips = tuple(range(3 * place, 3 * place + 3))
        yield Segment(f"{video:064x}", 5.0 * place, 5.0 * place + 5, text, tokens, clips)


def runs(count: int) -> Iterator[Segment]:
    draw = random.Random(1)
    for number in range(count):
        tokens = tuple(draw.randrange(TOKENS) for _ in range(16))
        yield Segment(f"{number // 11:064x}", 0.0, 24.0, "", tokens, tuple(range(16)))


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def measure(form: str, count: int) -> None:
    vocabulary, before = joint_samples.vocabulary(TOKENS), resident()
    if form == "arrays":
        kept = SegmentTable(spoken(count), vocabulary), SegmentTable(runs(count // 5))
    else:
        segments = list(spoken(count))
        kept = segments, [vocabulary.encode(s.text) for s in segments], list(runs(count // 5))
    print(f"{form}: {(resident() - before) / len(kept[0]):.0f} bytes a spoken segment")


def main(count: str = "1000000", form: str = "") -> None:
    if form:
        measure(form, int(count))
        return
    for each in ("objects", "arrays"):
        subprocess.run([sys.executable, __file__, count, each], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
