"""A catalogue of 300,000 videos with 50 million clips: opening it, `status`, and adding one, in CPU seconds and memory.

    python tests/benchmarks/large_catalogue.py [--videos 300000] [--clips 167]

The catalogue has a row a video; that of a clip lies in the video's own files. Each part runs in a process of its own.
"""

import argparse
import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from multimodal.catalogue import Catalogue, Video  # noqa: E402
from multimodal.store import Store  # noqa: E402

PARTS = ("nothing", "open to read", "one video by its name", "status", "status --json", "add one")


def video(n: int, clips: int) -> Video:
    digest = hashlib.sha256(n.to_bytes(8)).hexdigest()
    made = ("t" * 12, "f" * 12, "r" * 12)
    path = f"/videos/{digest[:2]}/video{n:06}.mp4"
    return Video(digest, f"video{n:06}.mp4", path, 1, "done", "", 1.5 * clips, clips, clips // 4, *made)


def part(name: str, folder: Path, count: int) -> None:
    store = Store(folder, create=False)
    if name.startswith("status"):
        from flows.cli import main

        sys.argv = ["videobert", *name.split(), "--store", str(folder)]
        with contextlib.suppress(SystemExit):
            main()
    elif name == "add one":
        with store.writing(), Catalogue(store.catalogue) as catalogue:
            catalogue.put(video(count, 167))
            catalogue.keep_copy()
    elif name != "nothing":
        with Catalogue(store.catalogue, read_only=True) as catalogue:
            if name != "open to read":
                assert catalogue.find(f"video{count - 1:06}").clips


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", type=int, default=300_000)
    parser.add_argument("--clips", type=int, default=167)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        part(given.part, given.folder, given.videos)
        return
    with tempfile.TemporaryDirectory() as temporary:
        store = Store(Path(temporary) / "store")
        with store.writing(), Catalogue(store.catalogue) as catalogue:
            catalogue.record([], [video(n, given.clips) for n in range(given.videos)])
        size = store.catalogue.stat().st_size / 1e6
        print(f"{given.videos:,} videos, {given.videos * given.clips:,} clips, {size:.0f} MB")
        for name in PARTS:
            began = time.monotonic()
            child = subprocess.Popen(
                [sys.executable, __file__, "--part", name, "--folder", str(store.root), "--videos", str(given.videos)],
                stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"},
            )  # fmt: skip
            _, status, used = os.wait4(child.pid, 0)
            assert status == 0, name
            print(
                f"{name}: {used.ru_utime + used.ru_stime:.2f} CPU s, {time.monotonic() - began:.1f} s, {used.ru_maxrss / 1024:.0f} MiB at most",
                flush=True,
            )


if __name__ == "__main__":
    main()
