"""Import of a corpus from two CSV files, captions and visual tokens: wall time, CPU time and syncs to the disk.

`python tests/benchmarks/import_speed.py [--videos 352] [--files] [--store FOLDER]`. With `--files` each video has a .npy
of 100 clips of 1,024 float32 and a .vtt; the corpus is then imported a second time, and beside it stands the peer that
reads each array and caption file and writes them again, without a check or a sync. The corpus has the shape of one that was
imported for real: 352 videos of about five minutes, a sentence every four seconds. The store lies in a temporary folder
unless `--store` names one on the disk to be measured.
"""

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from multimodal.catalogue import Catalogue
from multimodal.intake.imports import find_imports, import_files
from multimodal.intake.options import ImportOptions
from multimodal.store import Store
from speech import caption_files
from speech.cues import write_webvtt
from vision.clips import CLIP_SECONDS

SECONDS_A_VIDEO, SECONDS_A_SENTENCE, WORDS_A_SENTENCE, TOKENS = 300, 4, 10, 1728
CLIPS, WIDTH = 100, 1024
WORDS = "now take the onion and chop it very fine then add salt to a hot pan with some oil".split()


def write_corpus(folder: Path, videos: int) -> list[Path]:
    """`captions.csv` and `tokens.csv` of so many videos."""
    draw = np.random.default_rng(0)
    captions, tokens = ["video,start,end,text"], ["video,start,token"]
    for n in range(videos):
        for start in range(0, SECONDS_A_VIDEO, SECONDS_A_SENTENCE):
            words = " ".join(draw.choice(WORDS, WORDS_A_SENTENCE))
            captions.append(f'video{n:05},{start},{start + SECONDS_A_SENTENCE},"{words}, number {n}."')
        for clip in range(int(SECONDS_A_VIDEO / CLIP_SECONDS)):
            tokens.append(f"video{n:05},{clip * CLIP_SECONDS},{draw.integers(TOKENS)}")
    files = [folder / "captions.csv", folder / "tokens.csv"]
    for file, lines in zip(files, (captions, tokens), strict=True):
        file.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return files


def write_files(folder: Path, videos: int) -> list[Path]:
    """A .npy and a .vtt of each video."""
    draw = np.random.default_rng(0)
    values = draw.normal(size=(CLIPS, WIDTH)).astype(np.float32)
    for n in range(videos):
        values[0, 0] = n
        np.save(folder / f"video{n:05}.npy", values)
        lines = ["WEBVTT", ""]
        for start in range(0, int(CLIPS * CLIP_SECONDS), SECONDS_A_SENTENCE):
            clock = [f"00:{at // 60:02}:{at % 60:02}.000" for at in (start, start + SECONDS_A_SENTENCE)]
            words = " ".join(draw.choice(WORDS, WORDS_A_SENTENCE))
            lines += [" --> ".join(clock), f"{words}, number {n}.", ""]
        (folder / f"video{n:05}.vtt").write_text("\n".join(lines), encoding="utf-8")
    long_ago = time.time() - 3600
    for file in folder.iterdir():
        os.utime(file, (long_ago, long_ago))
    return [folder]


def rewrite(files: list[Path], folder: Path) -> None:
    """The peer: each file read, parsed and written."""
    folder.mkdir()
    for file in files:
        if file.suffix == ".npy":
            np.save(folder / file.name, np.load(file))
        else:
            cues = caption_files.read(file).cues
            (folder / file.name).write_text(write_webvtt(cues), encoding="utf-8")


def cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=352)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--files", action="store_true")
    given = parser.parse_args()
    syncs, sync = [0], os.fsync

    def counting(descriptor: int) -> None:
        syncs[0] += 1
        sync(descriptor)

    os.fsync = counting
    reports: list[tuple[int, int]] = []
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "corpus"
        made.mkdir()
        paths = (write_files if given.files else write_corpus)(made, given.videos)
        store = Store(given.store or Path(folder) / "store")
        for _ in range(1 + given.files):
            reports.clear()
            began, spent = time.monotonic(), cpu_seconds()
            files = find_imports(paths, None)
            with store.writing(), Catalogue(store.catalogue) as catalogue:
                ended = import_files(
                    store,
                    catalogue,
                    files,
                    ImportOptions(stride=CLIP_SECONDS),
                    lambda done, total, _: reports.append((done, total)),
                )
            wall, spent = time.monotonic() - began, cpu_seconds() - spent
            states = {state: sum(v.state == state for v in ended) for state in ("done", "partial", "refused")}
            memory = [
                resource.getrusage(w).ru_maxrss >> 10
                for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
            ]
            print(
                f"{given.videos} videos: {wall:.1f} s, {spent:.1f} s of CPU, {syncs[0]} syncs, {len(reports)} reports, "
                f"{states}, at most {memory} MB in this process and in a child"
            )
        if given.files:
            began, spent = time.monotonic(), cpu_seconds()
            rewrite(files, Path(folder) / "peer")
            print(f"peer: {time.monotonic() - began:.1f} s, {cpu_seconds() - spent:.1f} s of CPU")


if __name__ == "__main__":
    main()
