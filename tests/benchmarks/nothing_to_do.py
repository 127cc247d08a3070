"""An ingestion with nothing to do: the seconds that a library of so many files costs each night.

    python tests/benchmarks/nothing_to_do.py [--videos 30000] [--bytes 8192]

The files are made here, small and no videos, and registered once; the second time is measured, in CPU seconds and bytes read.
"""

import argparse
import dataclasses
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from multimodal.catalogue import Catalogue  # noqa: E402
from multimodal.intake.ingest import is_up_to_date, whole_recipe  # noqa: E402
from multimodal.intake.ingest_options import IngestOptions  # noqa: E402
from multimodal.library import find, register  # noqa: E402
from multimodal.store import Store  # noqa: E402


def bytes_read() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("rchar")).split()[1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--videos", type=int, default=30_000)
    parser.add_argument("--bytes", type=int, default=8192)
    given = parser.parse_args()
    options = IngestOptions()
    with tempfile.TemporaryDirectory() as folder:
        videos = Path(folder, "videos")
        videos.mkdir()
        for n in range(given.videos):
            file = videos / f"{n:06}.mp4"
            file.write_bytes(n.to_bytes(8, "little") + bytes(given.bytes - 8))
            os.utime(file, (1.7e9, 1.7e9))
        with Catalogue(Store(Path(folder, "store")).catalogue) as catalogue:
            registered, _ = register(catalogue, find([videos]).files)
            done = [
                dataclasses.replace(v, state="refused", reason="no video", recipe=whole_recipe(v, options))
                for v in registered
            ]
            catalogue.record([], done)
            store = Store(Path(folder, "store"))
            began, read = time.process_time(), bytes_read()
            registered, _ = register(catalogue, find([videos]).files)
            middle, read = time.process_time(), bytes_read() - read
            left = [v for v in registered if not is_up_to_date(store, v, options)]
            ended = time.process_time()
    assert not left
    print(
        f"{given.videos} files: registered again in {middle - began:.2f} CPU s, {read / 1e6:.1f} MB read; "
        f"{ended - middle:.2f} CPU s to see that each is up to date"
    )


if __name__ == "__main__":
    main()
