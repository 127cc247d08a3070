"""What Prefect adds to the ingestion of short videos: `OMP_NUM_THREADS=1 python tests/benchmarks/flow_overhead.py [--videos 500]`.

The same videos of 3 s, drawn here, without sound, with MobileNetV2: once by the flow, with a Prefect server of its own, and once
by `multimodal.intake.ingest.ingest` in a loop. Each is a process of its own that has begun with one video more, so that no start
counts. Printed are the CPU seconds a video of each, with all child processes and the server, the ratio, and the memory of the
flow's process before and after.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/helpers")]

import fragments  # noqa: E402

RATE, SECONDS, SIDE = 20, 3, 128


def draw(path: Path, seed: int) -> None:
    """A square that moves over a colour, as H.264."""
    draws = np.random.default_rng(seed)
    ground, square, step = draws.integers(0, 255, 3), draws.integers(0, 255, 3), draws.integers(1, 4)
    with av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=Fraction(RATE))
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        for number in range(RATE * SECONDS):
            picture = np.broadcast_to(ground, (SIDE, SIDE, 3)).astype(np.uint8).copy()
            at = step * number % (SIDE - 32)
            picture[at : at + 32, at : at + 32] = square
            target.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        target.mux(stream.encode())
    fragments.at_rest(path)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def spent() -> float:
    """CPU seconds of this process and of all that it waited for."""
    own = os.times()
    return own.user + own.system + own.children_user + own.children_system


def server_spent(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def by_flow(first: Path, rest: Path, store: Path) -> str:
    from flows.ingest import ingest_videos
    from flows.settings import Settings

    settings = Settings(store=store, size="demo", backbone="mobilenetv2", workers=1)
    ingest_videos([first], settings)
    server = int(os.environ["SERVER"])
    before, served, held = spent(), server_spent(server), resident()
    ingest_videos([rest], settings)
    return f"{spent() - before + server_spent(server) - served} {held / 2**20:.0f} {resident() / 2**20:.0f}"


def by_loop(first: Path, rest: Path, store: Path) -> str:
    from flows.settings import Settings
    from multimodal.catalogue import Catalogue
    from multimodal.intake.ingest import ingest
    from multimodal.library import find, register
    from multimodal.store import Store

    settings, kept = Settings(size="demo", backbone="mobilenetv2"), Store(store)
    with Catalogue(kept.catalogue) as catalogue:

        def take(folder: Path) -> None:
            for video in register(catalogue, find([folder]).files)[0]:
                outcome = ingest(kept, video, settings.ingest, "cpu", threads=1)
                catalogue.record([], [outcome.applied_to(video)])

        take(first)
        before = spent()
        take(rest)
    return f"{spent() - before}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--videos", type=int, default=500)
    parser.add_argument("way", nargs="?")
    parser.add_argument("folders", nargs="*", type=Path)
    given = parser.parse_args()
    if given.way:
        print(globals()[f"by_{given.way}"](*given.folders))
        return
    sys.path.insert(0, str(ROOT / "tests/flows/helpers"))
    from command import prefect_server

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, count in (("first", 1), ("rest", given.videos)):
            (root / name).mkdir()
            for number in range(count):
                draw(root / name / f"{number}.mp4", number + 1_000_000 * (name == "first"))
        with prefect_server(root) as url:
            server = subprocess.run(
                ["pgrep", "-f", f"flows.server {url.split(':')[2].split('/')[0]}"], capture_output=True, text=True, check=True
            ).stdout.split()[0]  # fmt: skip
            found = {}
            for way in ("loop", "flow"):
                environment = os.environ | {
                    "PREFECT_API_URL": url,
                    "PREFECT_HOME": str(root),
                    "SERVER": server,
                }
                ended = subprocess.run(
                    [sys.executable, __file__, way, *(str(root / n) for n in ("first", "rest", way))],
                    env=environment, stdout=subprocess.PIPE, text=True, check=True,
                )  # fmt: skip
                found[way] = ended.stdout.split()
    seconds = {way: float(words[0]) / given.videos for way, words in found.items()}
    print(f"loop {seconds['loop']:.3f} CPU s a video, flow {seconds['flow']:.3f} with the server: ", end="")
    print(
        f"{seconds['flow'] / seconds['loop'] - 1:+.1%}; memory {found['flow'][1]} to {found['flow'][2]} MiB"
    )


if __name__ == "__main__":
    main()
