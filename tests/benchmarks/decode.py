"""Reading clips: our readers against decord as scripts use it, in frames of 224 x 224 per CPU second.

    python tests/benchmarks/decode.py [360p] [720p] [1080p]

Peers: decord with short side 256 (even sides, where it is faster) and the centre cropped, every frame in turn, the only
way in which it gives the right frames; decord's full-frame `get_batch` and cv2. Both are given the frames' numbers; ours
finds them within its time. The floor is decoding alone. One thread, rounds interleaved, medians. The videos are made
here: a real one where it is there, else soft noise that drifts, scaled up, with grain.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from vision.clips import TIME_TOLERANCE, clip_starts, frame_times  # noqa: E402
from vision.media import open_container, probe  # noqa: E402
from vision.readers import read_clips  # noqa: E402
from vision.timeline import read_timeline  # noqa: E402

SIZES = {"360p": (640, 360), "720p": (1280, 720), "1080p": (1920, 1080)}
FRAMES = 450
ROUNDS = 5
REAL = Path(__file__).parents[3] / "shared/videos/narrated/flipping_a_pancake.mkv"


def pictures(width: int, height: int) -> Iterator[np.ndarray]:
    """Endless frames of YUV 4:2:0 in one array, as `VideoFrame.from_ndarray` takes them."""
    if REAL.exists():
        with av.open(str(REAL)) as container:
            small = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    else:
        rng = np.random.default_rng(1)
        wide = cv2.GaussianBlur(rng.integers(0, 256, (240, 726, 3)).astype(np.uint8), (0, 0), 4)
        wide = cv2.normalize(wide, None, 0, 255, cv2.NORM_MINMAX)
        small = [np.ascontiguousarray(wide[:, shift : shift + 426]) for shift in range(300)]
    while True:
        for image in small:
            large = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
            yield cv2.cvtColor(large, cv2.COLOR_RGB2YUV_I420)


def make(path: Path, width: int, height: int) -> Path:
    """x264 veryfast, 30 frames a second, a key frame every 150, grain that changes from frame to frame."""
    rng = np.random.default_rng(0)
    grain = rng.normal(0, 2, (height * 3 // 2 + 64, width + 64)).round().astype(np.int16)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "veryfast", "g": "150"}
        for number, image in zip(range(FRAMES), pictures(width, height), strict=False):
            y, x = rng.integers(0, 64, 2)
            noisy = image + grain[y : y + image.shape[0], x : x + width]
            frame = av.VideoFrame.from_ndarray(np.clip(noisy, 16, 235).astype(np.uint8), format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 30)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def clip_numbers(path: Path) -> np.ndarray:
    """int64 [clips, 30]: the numbers of the frames of each clip."""
    timeline = read_timeline(probe(path))
    times = frame_times(clip_starts(float(timeline.times[0]), timeline.end))
    return np.searchsorted(timeline.times, times + TIME_TOLERANCE, side="right") - 1


def ours(path: Path, _: np.ndarray) -> int:
    return sum(len(clip.frames) for clip in read_clips(path))


def ours_with_decord(path: Path, _: np.ndarray) -> int:
    return sum(len(clip.frames) for clip in read_clips(path, reader="decord"))


def decord_short_side(path: Path, clips: np.ndarray) -> int:
    import decord

    video = probe(path).video
    scale = 256 / min(video.width, video.height)
    width, height = (2 * round(length * scale / 2) for length in (video.width, video.height))
    reader = decord.VideoReader(str(path), width=width, height=height, num_threads=1)
    top, left, done, shown = (height - 224) // 2, (width - 224) // 2, 0, -1
    for numbers in clips:
        clip = []
        for number in numbers:
            while shown < number:
                frame, shown = reader.next(), shown + 1
            clip.append(frame.asnumpy()[top : top + 224, left : left + 224])
        done += len(np.stack(clip))
    return done


def decord_full(path: Path, clips: np.ndarray) -> int:
    import decord

    reader, done = decord.VideoReader(str(path), num_threads=1), 0
    for numbers in clips:
        for image in reader.get_batch(numbers).asnumpy():
            scale = 256 / min(image.shape[:2])
            small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            top, left = (small.shape[0] - 224) // 2, (small.shape[1] - 224) // 2
            done += small[top : top + 224, left : left + 224].shape[0] == 224
    return done


def decoding_alone(path: Path, clips: np.ndarray) -> int:
    with open_container(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        assert sum(1 for _ in container.decode(stream)) == FRAMES
    return clips.size


def measure(path: Path) -> None:
    ways: dict[str, Callable[[Path, np.ndarray], int]] = {
        "decord, short side 256": decord_short_side,
        "decord, full get_batch": decord_full,
        "ours (PyAV)": ours,
        "ours, --reader decord": ours_with_decord,
        "decoding alone": decoding_alone,
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    clips = clip_numbers(path)
    for _ in range(ROUNDS):
        for name, way in ways.items():
            begun = time.process_time()
            frames = way(path, clips)
            rates[name].append(frames / (time.process_time() - begun))
    medians = {name: float(np.median(found)) for name, found in rates.items()}
    for name, rate in medians.items():
        print(
            f"{path.stem:<6}{name:<26}{rate:8.0f} frames/CPU s   x{rate / medians['decord, short side 256']:.2f} short side"
            f"   x{rate / medians['decord, full get_batch']:.2f} full"
        )


def main() -> None:
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:] or SIZES:
            measure(make(Path(folder) / f"{name}.mp4", *SIZES[name]))


if __name__ == "__main__":
    main()
