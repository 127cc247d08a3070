"""Ingestion of narrated 720p video against a plain implementation: CPU seconds, and two videos at the same time.

    python tests/benchmarks/ingest_speed.py [--seconds 60] [--rounds 3] [--backbone i3d] [--wait 300]

The videos are made from a real talk: scaled to 1280 x 720, H.264, with its own sound. The plain implementation is decord
with the short side at 256 and `get_batch`, a center crop of 224, the network in eager fp32, and `whisper.transcribe` with
word times. Ours is `multimodal.intake.ingest.ingest`, decoding processes included. Both use one thread, and models are
loaded before. With `--backbone s3d` the weights are random. The plain networks are those of features.py.

Two videos at the same time: each round ingests two videos one after the other, in one worker that is pinned to one core
with its decoding processes; then both in two threads of one process, as the flow does; then in two processes. The
output is the wall time, which counts only on an idle machine (the script waits until the load is below 1, for at most
`--wait` seconds, and prints the load); the CPU seconds; and the share of time in which a worker was blocked: neither
running nor queued for a core, but waiting for its decoding process or another thread. Where the CPU seconds do not grow
and threads are blocked no longer than processes, two videos at the same time are 2 x (CPU one after the other) / (CPU
together) times as fast on two idle cores.
"""

import argparse
import dataclasses
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from fractions import Fraction
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from threading import Barrier

import av
import decord
import numpy as np
import torch
import whisper
from features import plain as plain_network
from torchvision.models.video import s3d

from multimodal.catalogue import Video
from multimodal.intake import ingest, model_cache
from multimodal.intake.ingest_options import IngestOptions
from multimodal.intake.model_cache import BACKBONE_WEIGHTS
from multimodal.store import Store, file_digest
from multimodal.weights import fetching
from speech import audio
from vision import backbones
from vision.clips import FPS, FRAMES_PER_CLIP

TALK = Path(__file__).parents[2].parent / "shared/videos/narrated/laion400m_talk.mp4"
WIDTH, HEIGHT = 1280, 720


def make_video(path: Path, start: float, seconds: float) -> Path:
    """`seconds` of the talk from `start` on as 720p H.264 with AAC."""
    with av.open(str(TALK)) as talk, av.open(str(path), "w") as made:
        picture, sound = talk.streams.video[0], talk.streams.audio[0]
        new_picture = made.add_stream("libx264", rate=picture.average_rate, options={"preset": "veryfast"})
        new_picture.width, new_picture.height, new_picture.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        new_sound = made.add_stream("aac", rate=sound.rate)
        written = {"video": 0, "audio": 0}
        for frame in talk.decode(picture, sound):
            if not start <= frame.time < start + seconds:
                continue
            if isinstance(frame, av.VideoFrame):
                frame = frame.reformat(WIDTH, HEIGHT, "yuv420p")
                frame.pts, frame.time_base = written["video"], 1 / Fraction(picture.average_rate)
                frame.pict_type = 0
                written["video"] += 1
                made.mux(new_picture.encode(frame))
            else:
                frame.pts, frame.time_base = written["audio"], Fraction(1, sound.rate)
                written["audio"] += frame.samples
                made.mux(new_sound.encode(frame))
        made.mux(new_picture.encode(None))
        made.mux(new_sound.encode(None))
    return path


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU seconds of this process and of the children that it waited for."""

    def used() -> float:
        both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(usage.ru_utime + usage.ru_stime for usage in both)

    before = used()
    work()
    return used() - before


@torch.inference_mode()
def plain_way(path: Path, network: torch.nn.Module, speech_model: whisper.Whisper) -> None:
    short = 256
    reader = decord.VideoReader(str(path), width=short * WIDTH // HEIGHT, height=short, num_threads=1)
    times = reader.get_frame_timestamp(range(len(reader)))[:, 0]
    wanted = np.arange(0, times[-1], 1 / FPS)
    numbers = np.searchsorted(times, wanted, side="right") - 1
    left, top = (short * WIDTH // HEIGHT - 224) // 2, (short - 224) // 2
    for first in range(0, len(numbers), FRAMES_PER_CLIP):
        part = np.resize(numbers[first : first + FRAMES_PER_CLIP], FRAMES_PER_CLIP)
        frames = reader.get_batch(part).asnumpy()[:, top : top + 224, left : left + 224]
        x_NCTHW = (
            torch.from_numpy(np.ascontiguousarray(frames.transpose(3, 0, 1, 2)))[None].float() / 127.5 - 1
        )
        network(x_NCTHW)
    torch.manual_seed(0)
    whisper.transcribe(speech_model, audio.read(path).samples, word_timestamps=True, fp16=False)


def video_of(path: Path) -> Video:
    return Video(file_digest(path), path.name, str(path), path.stat().st_size)


def load_models(options: IngestOptions, network: Path | None) -> None:
    """Into the calling thread; S3D from the random weights at `network`."""
    torch.set_num_threads(1)
    model_cache.whisper(options.whisper, "cpu")
    if network is None:
        model_cache.backbone(options.backbone, "cpu")
    else:
        model_cache.backbones_by_name[options.backbone, "cpu"] = backbones.load(options.backbone, network)


def ours(path: Path, options: IngestOptions) -> None:
    with tempfile.TemporaryDirectory() as store:
        outcome = ingest.ingest(Store(Path(store)), video_of(path), options, "cpu", threads=1)
    assert outcome.clips and outcome.sentences, outcome


@dataclasses.dataclass
class Spent:
    """Seconds: of the clock, of CPU with all decoding processes, and for which the workers were held up."""

    wall: float
    cpu: float
    held: float


def work(path: Path, options: IngestOptions, own_process: bool) -> tuple[float, float]:
    """Takes a video in; the seconds for which this thread was held up, and the CPU seconds of its own process."""
    begun, (ran, queued) = time.perf_counter(), scheduled()
    cpu = cpu_seconds(lambda: ours(path, options))
    ran, queued = (now - before for now, before in zip(scheduled(), (ran, queued), strict=True))
    return time.perf_counter() - begun - ran - queued, cpu if own_process else 0.0


def scheduled() -> tuple[float, float]:
    """Seconds that this thread has run, and has waited for a core."""
    ran, queued, _ = Path("/proc/thread-self/schedstat").read_text().split()
    return int(ran) / 1e9, int(queued) / 1e9


def spent(pool: Executor, paths: list[Path], options: IngestOptions) -> Spent:
    own_process = isinstance(pool, ProcessPoolExecutor)
    begun, parts = time.perf_counter(), []
    cpu = cpu_seconds(
        lambda: parts.extend(pool.map(partial(work, options=options, own_process=own_process), paths))
    )
    held, own = map(sum, zip(*parts, strict=True))
    return Spent(time.perf_counter() - begun, own if own_process else cpu, held)


def load_pinned(options: IngestOptions, network: Path | None) -> None:
    """Into the calling thread, which keeps to one core from now on, as do the processes that it starts."""
    load_models(options, network)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


_all_here = Barrier(2)


def _meet(options: IngestOptions, network: Path | None) -> None:
    """Each of two threads loads its models: none takes the other's turn."""
    load_models(options, network)
    _all_here.wait()


def wait_for_quiet(seconds: float) -> str:
    begun = time.monotonic()
    while os.getloadavg()[0] >= 1 and time.monotonic() - begun < seconds:
        time.sleep(5)
    return f"load {os.getloadavg()[0]:.1f} after waiting {time.monotonic() - begun:.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--backbone", choices=("i3d", "s3d"), default="i3d")
    parser.add_argument("--wait", type=float, default=300)
    parser.add_argument("--only", choices=("plain", "two"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    options = IngestOptions(backbone=given.backbone)
    with tempfile.TemporaryDirectory() as folder:
        paths = [
            make_video(Path(folder) / f"{start}.mp4", start, given.seconds)
            for start in (0, 122 - int(given.seconds))
        ]
        network = None
        if given.backbone == "s3d":
            network = Path(folder) / "s3d.pth"
            torch.save(s3d(weights=None).state_dict(), network)
        if given.only != "two":
            against_plain(paths[0], options, network, given.rounds, given.seconds)
        if given.only != "plain":
            two_at_once(paths, options, network, given.rounds, given.wait)


def against_plain(
    path: Path, options: IngestOptions, network: Path | None, rounds: int, seconds: float
) -> None:
    load_models(options, network)
    plain = plain_network(options.backbone, network or fetching.fetch(BACKBONE_WEIGHTS[options.backbone]))
    speech_model = whisper.load_model("tiny.en", "cpu", str(fetching.fetch("whisper-tiny.en").parent)).eval()
    pairs = []
    for _ in range(rounds):
        pairs.append(
            (
                cpu_seconds(lambda: plain_way(path, plain, speech_model)),
                cpu_seconds(lambda: ours(path, options)),
            )
        )
        print(f"plain {pairs[-1][0]:.1f}, ours {pairs[-1][1]:.1f} CPU seconds", flush=True)
    ratio = statistics.median(theirs / mine for theirs, mine in pairs)
    print(f"{seconds:g} s of 720p, {options.backbone}, one thread: {ratio:.2f} times as fast (at least 4)")


def two_at_once(
    paths: list[Path], options: IngestOptions, network: Path | None, rounds: int, wait: float
) -> None:
    fork_free = get_context("spawn")
    with (
        ThreadPoolExecutor(1, initializer=load_pinned, initargs=(options, network)) as one,
        ThreadPoolExecutor(2) as threads,
        ProcessPoolExecutor(2, fork_free, initializer=load_models, initargs=(options, network)) as processes,
    ):
        list(threads.map(_meet, [options] * 2, [network] * 2))
        pools = {"one after the other": one, "two threads": threads, "two processes": processes}
        for pool in pools.values():
            spent(pool, paths, options)
        print(wait_for_quiet(wait), flush=True)
        found: dict[str, list[Spent]] = {name: [] for name in pools}
        for _ in range(rounds):
            for name, pool in pools.items():
                found[name].append(last := spent(pool, paths, options))
                print(f"{name:<20} {last.wall:6.1f} s, CPU {last.cpu:6.1f} s, held up {last.held:5.1f} s; load {os.getloadavg()[0]:.1f}", flush=True)  # fmt: skip
        for name in ("two threads", "two processes"):
            pairs = list(zip(found["one after the other"], found[name], strict=True))
            wall = statistics.median(alone.wall / both.wall for alone, both in pairs)
            cpu = statistics.median(2 * alone.cpu / both.cpu for alone, both in pairs)
            print(f"{name}: {wall:.2f} times by the clock, {cpu:.2f} by CPU seconds (at least 1.8)")


if __name__ == "__main__":
    main()
