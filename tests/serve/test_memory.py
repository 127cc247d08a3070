"""Freed memory goes back to the system: shown by what the kernel counts, with a careless control."""

import subprocess
import sys

import pytest

SCRIPT = """
import sys
from pathlib import Path
from multimodal.serve import memory

def resident():
    (kilobytes,) = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon")]
    return int(kilobytes) >> 10

freed = memory.FreedMemory()
before = resident()
blocks = [bytes(b"x" * 100_000) for _ in range(2_000)]
keeps = blocks[1::100]  # a block in use here and there, so that the heap cannot shrink from its end
held = resident()
del blocks
memory.SECONDS = 0.0 if sys.argv[1] == "due" else 3600.0
freed.give_back()
print(held - before, resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc and Linux's count of anonymous memory")
@pytest.mark.parametrize(("when", "is_back"), [("due", True), ("not yet due", False)])
def test_what_is_free_between_blocks_in_use_is_given_back(when, is_back):
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, when], capture_output=True, text=True, check=True, timeout=60
    )
    held, left = map(int, ended.stdout.split())
    assert held > 180
    assert (left < 60) == is_back
