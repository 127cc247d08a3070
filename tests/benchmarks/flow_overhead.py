"""What Prefect adds to the ingestion of short videos: `OMP_NUM_THREADS=1 python tests/benchmarks/flow_overhead.py [--videos 500]`.

The same videos of 3 s, drawn here: once by the flow, with a Prefect server of its own, and once by a plain pool of as many threads
that calls `multimodal.intake.ingest.ingest`. ``--silent`` is the least work that a video can be, no sound and MobileNetV2; without
it they have the sound of a sample's first seconds and are ingested with the defaults, Whisper and I3D. Each way is a process of its
own that has begun with one video more, so that no start counts. ``--pool N`` gives the pool only the first N. Printed are the CPU
seconds a video of each, with all child processes, and of the server, the ratio, how the videos ended, and the most memory of the
flow's process in each fifth of its time.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/helpers"), str(ROOT / "tests/flows/helpers")]

import fragments  # noqa: E402
from command import prefect_server  # noqa: E402

from flows.settings import Settings  # noqa: E402
from multimodal.catalogue import Catalogue  # noqa: E402
from multimodal.intake.ingest import ingest  # noqa: E402
from multimodal.library import find, register  # noqa: E402
from multimodal.machine import cores  # noqa: E402
from multimodal.store import Store  # noqa: E402

RATE, SECONDS, SIDE = 20, 3, 128


def draw(path: Path, seed: int, spoken: bool) -> None:
    """A square that moves over a colour, as H.264; ``spoken``: with the first seconds of a sample's sound."""
    draws = np.random.default_rng(seed)
    ground, square, step = draws.integers(0, 255, 3), draws.integers(0, 255, 3), draws.integers(1, 4)
    with (
        av.open(str(fragments.SAMPLES / f"kitchen-00{seed % 10}.mp4")) as sample,
        av.open(str(path), "w") as target,
    ):
        stream = target.add_stream("libx264", rate=Fraction(RATE))
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        sound = target.add_stream_from_template(sample.streams.audio[0]) if spoken else None
        for number in range(RATE * SECONDS):
            picture = np.broadcast_to(ground, (SIDE, SIDE, 3)).astype(np.uint8).copy()
            at = step * number % (SIDE - 32)
            picture[at : at + 32, at : at + 32] = square
            target.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        target.mux(stream.encode())
        for packet in fragments.first_packets(sample, SECONDS, sample.streams.audio[0]) if spoken else ():
            packet.stream = sound
            target.mux(packet)
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


def settings_of(given: argparse.Namespace, store: Path) -> Settings:
    return Settings(
        store=store, size="demo", workers=given.workers, backbone="mobilenetv2" if given.silent else None
    )


def by_flow(given: argparse.Namespace, first: Path, rest: Path, store: Path) -> dict[str, Any]:
    from flows.ingest import ingest_videos

    settings, held, ended = settings_of(given, store), [], threading.Event()

    def look() -> None:
        while not ended.wait(1):
            held.append(resident() / 2**20)

    ingest_videos([first], settings)
    server = int(os.environ["SERVER"])
    before, served = spent(), server_spent(server)
    threading.Thread(target=look).start()
    try:
        ingest_videos([rest], settings)
    finally:
        ended.set()
    own, servers = spent() - before, server_spent(server) - served
    with Catalogue(Store(store).catalogue) as catalogue:
        states = Counter(video.state for video in catalogue.videos())
    return {"own": own, "server": servers, "states": states, "MiB": list(map(max, np.array_split(held, 5)))}


def by_pool(given: argparse.Namespace, first: Path, rest: Path, store: Path) -> dict[str, Any]:
    settings, kept = settings_of(given, store), Store(store)
    threads = 1 if given.workers > 1 else None
    with Catalogue(kept.catalogue) as catalogue, ThreadPoolExecutor(given.workers) as pool:

        def take(files: list[Path]) -> None:
            videos = register(catalogue, files)[0]
            outcomes = pool.map(lambda v: ingest(kept, v, settings.ingest, "cpu", threads=threads), videos)
            for video, outcome in zip(videos, outcomes, strict=True):
                catalogue.record([], [outcome.applied_to(video)])

        take(find([first]).files)
        before = spent()
        take(sorted(find([rest]).files)[: given.pool])
    return {"own": spent() - before}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--videos", type=int, default=500)
    parser.add_argument("--pool", type=int, help="videos of the pool; all")
    parser.add_argument("--workers", type=int, default=cores(), help="videos at a time; one a core")
    parser.add_argument("--silent", action="store_true", help="no sound, MobileNetV2")
    parser.add_argument("--way", choices=("pool", "flow"), help=argparse.SUPPRESS)
    parser.add_argument("folders", nargs="*", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        print(json.dumps({"flow": by_flow, "pool": by_pool}[given.way](given, *given.folders)))
        return
    pooled = min(given.pool or given.videos, given.videos)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, count in (("first", 1), ("rest", given.videos)):
            (root / name).mkdir()
            for number in range(count):
                seed = number + 1_000_000 * (name == "first")
                draw(root / name / f"{number}.mp4", seed, not given.silent)
        with prefect_server(root) as url:
            server = subprocess.run(
                ["pgrep", "-f", f"flows.server {url.split(':')[2].split('/')[0]}"], capture_output=True, text=True, check=True
            ).stdout.split()[0]  # fmt: skip
            # Prefect's own log lines are off, as in every command.
            environment = os.environ | {
                "PREFECT_API_URL": url, "PREFECT_HOME": str(root), "PREFECT_LOGGING_LEVEL": "CRITICAL", "SERVER": server,
            }  # fmt: skip
            pool, flow = (
                json.loads(
                    subprocess.run(
                        [sys.executable, __file__, *sys.argv[1:], "--way", way, *(str(root / n) for n in ("first", "rest", way))],
                        env=environment, stdout=subprocess.PIPE, text=True, check=True,
                    ).stdout.splitlines()[-1]
                )
                for way in ("pool", "flow")
            )  # fmt: skip
    alone, own, servers = pool["own"] / pooled, flow["own"] / given.videos, flow["server"] / given.videos
    print(f"pool {alone:.3f} CPU s a video, flow {own:.3f} and its server {servers:.3f}: ", end="")
    print(f"{(own + servers) / alone - 1:+.1%}")
    print(f"videos by state: {flow['states']}; MiB in each fifth: {[round(m) for m in flow['MiB']]}")


if __name__ == "__main__":
    main()
