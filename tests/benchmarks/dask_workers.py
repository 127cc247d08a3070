"""Two Dask workers against one: `python tests/benchmarks/dask_workers.py [--videos 6] [--wait 300] [--pin]`, on two cores at rest.

Ingests as many of the sample videos (about 20 s each, with Whisper `tiny.en` and I3D) on a running Dask cluster of one worker
and then of two, each a process of one thread, as `videobert ingest --runner dask --address` does. Both have ingested one video
for each worker before, so that start and loading of models do not count. With `--pin` each worker, with its decoding process,
has one core and no other, so that one worker is one core; flow, server and scheduler run wherever there is room. Printed are the
wall seconds of both, the CPU seconds of the machine meanwhile, their ratios, and the load before.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

SAMPLES = Path(__file__).parents[1] / "samples"
sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

import fragments  # noqa: E402


def machine_seconds() -> float:
    """CPU seconds of all processes of this machine since it began."""
    user, nice, system = Path("/proc/stat").read_text().split(maxsplit=4)[1:4]
    return (int(user) + int(nice) + int(system)) / os.sysconf("SC_CLK_TCK")


def copied(folder: Path, numbers: range) -> Path:
    folder.mkdir(parents=True)
    for number in numbers:
        fragments.at_rest(Path(shutil.copy(SAMPLES / f"kitchen-{number:03}.mp4", folder)))
    return folder


def keep_to(core: int) -> None:
    """All threads of this process run on ``core`` alone, and what they start does too."""
    for thread in Path("/proc/self/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


def ingested(workers: int, warm: Path, videos: Path, store: Path, pin: bool) -> tuple[float, float]:
    """Wall and CPU seconds of the videos."""
    from distributed import Client, LocalCluster

    from flows.ingest import ingest_videos
    from flows.settings import Settings

    with LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster:
        if pin:
            with Client(cluster) as client:
                for core, worker in enumerate(client.scheduler_info()["workers"]):
                    client.run(keep_to, core, workers=[worker])
        settings = Settings(store=store, size="demo", runner="dask", address=cluster.scheduler_address)
        ingest_videos([warm], settings)
        began, spent = time.monotonic(), machine_seconds()
        assert len(ingest_videos([videos], settings)) == len(list(videos.iterdir()))
        return time.monotonic() - began, machine_seconds() - spent


def wait_for_rest(seconds: float) -> float:
    due = time.monotonic() + seconds
    while (load := os.getloadavg()[0]) > 0.5 and time.monotonic() < due:
        time.sleep(5)
    return load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--videos", type=int, default=6)
    parser.add_argument("--wait", type=float, default=300)
    parser.add_argument("--pin", action="store_true")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    from flows.server import ensure_server

    ensure_server()
    with tempfile.TemporaryDirectory() as folder:
        root, found = Path(folder), {}
        videos = copied(root / "videos", range(4, 4 + given.videos))
        for workers in (1, 2):
            warm = copied(root / f"warm for {workers}", range(workers))
            load = wait_for_rest(given.wait)
            wall, cpu = found[workers] = ingested(
                workers, warm, videos, root / f"store of {workers}", given.pin
            )
            print(f"{workers} workers: {wall:.1f} s, {cpu:.1f} CPU s, load before {load:.1f}", flush=True)
    (one, one_cpu), (two, two_cpu) = found[1], found[2]
    print(f"two are {one / two:.2f} times as fast, for {two_cpu / one_cpu:.2f} times the CPU seconds")


if __name__ == "__main__":
    main()
