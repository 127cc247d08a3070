"""10,000 tiny videos, one in a hundred of them broken: every one is accounted for, in how many seconds and how much memory.

    python tests/benchmarks/tiny_videos.py [--videos 10000] [--files 0]

Features of one to three clips are imported, a file a video. ``--files`` adds so many video files that hold no video: each is
probed in a confined child of its own.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from multimodal.catalogue import Catalogue, Video  # noqa: E402
from multimodal.disk import FileState  # noqa: E402
from multimodal.intake.imports import find_imports, import_files  # noqa: E402
from multimodal.intake.ingest import ingest  # noqa: E402
from multimodal.intake.ingest_options import IngestOptions  # noqa: E402
from multimodal.intake.options import ImportOptions  # noqa: E402
from multimodal.library import find, register  # noqa: E402
from multimodal.store import Store  # noqa: E402

BROKEN = 100


def cpu_seconds() -> float:
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", type=int, default=10_000)
    parser.add_argument("--files", type=int, default=0)
    given = parser.parse_args()
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        corpus, files = Path(folder, "corpus"), Path(folder, "files")
        corpus.mkdir()
        files.mkdir()
        for n in range(given.videos):
            path = corpus / f"video{n:06}.npy"
            if n % BROKEN:
                np.save(path, random.normal(size=(1 + n % 3, 16)).astype(np.float32))
            else:
                path.write_bytes(b"no array")
        for n in range(given.files):
            (files / f"file{n:06}.mp4").write_bytes(b"no video" + n.to_bytes(8))
        store = Store(Path(folder, "store"))
        began, spent = time.monotonic(), cpu_seconds()
        with store.writing(), Catalogue(store.catalogue) as catalogue:
            import_files(
                store, catalogue, find_imports([corpus], None), ImportOptions(stride=1.5), lambda *_: None
            )
            states: dict[str, FileState] = {}
            videos: list[Video] = []
            if given.files:
                videos, _ = register(catalogue, find([files]).files, states=states)
            ended = [
                ingest(store, v, IngestOptions(), "cpu", seen=states.get(v.video)).applied_to(v)
                for v in videos
            ]
            catalogue.record([], ended)
            counted = Counter((v.state, Path(v.name).stem[:4]) for v in catalogue.videos())
        took, spent = time.monotonic() - began, cpu_seconds() - spent
    broken = -(-given.videos // BROKEN)
    assert counted == Counter(
        {("partial", "vide"): given.videos - broken, ("refused", "vide"): broken}
        | ({("refused", "file"): given.files} if given.files else {})
    ), counted
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{given.videos} imported, {broken} of them broken, and {given.files} files: each has its row; "
        f"{took:.0f} s, {spent:.0f} CPU s, {memory:.0f} MiB at most"
    )


if __name__ == "__main__":
    main()
