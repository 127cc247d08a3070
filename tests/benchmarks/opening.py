"""What sums cost: hashing a file, and opening a catalogue of many videos to read, with its sum and without.

python tests/benchmarks/opening.py [VIDEOS]
"""

import hashlib
import sys
import tempfile
import time
from pathlib import Path

from multimodal.catalogue import Catalogue, Video
from multimodal.catalogue_file import copies
from multimodal.sums import file_digest, sum_file

VIDEOS = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
MEGABYTES = 256


def seconds(work) -> float:
    """The least CPU seconds of three."""
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "file"
        file.write_bytes(bytes(MEGABYTES << 20))
        print(f"SHA-256: {MEGABYTES / seconds(lambda: file_digest(file)):,.0f} MB a CPU second")
        path = Path(folder) / "catalogue.sqlite"
        digests = (hashlib.sha256(str(n).encode()).hexdigest() for n in range(VIDEOS))
        with Catalogue(path) as catalogue:
            catalogue.record([], [
                Video(d, f"{d[:12]}.mp4", f"/videos/{d[:2]}/{d[:12]}.mp4", 1, "done", "", 60.0, 40, 9, "t" * 12, "f" * 12, "r" * 12)
                for d in digests
            ])  # fmt: skip
        size = path.stat().st_size / 1e6
        sealed = seconds(lambda: Catalogue(path, read_only=True).close())
        with Catalogue(path) as catalogue:
            copied = seconds(catalogue.keep_copy)
        print(
            f"{VIDEOS:,} videos, {size:.0f} MB, {len(copies(path))} copies, each made in {copied:.2f} CPU s"
        )
        closed = seconds(lambda: Catalogue(path).close())
        sum_file(path).unlink()
        unsealed = seconds(lambda: Catalogue(path, read_only=True).close())
        print(
            f"to read {sealed:.3f} CPU s, without its sum {unsealed:.3f}; to write, and sealed at the end {closed:.3f}"
        )


if __name__ == "__main__":
    main()
