"""Decoding of a video in the confined child and in one that is not, in pairs: seconds of processors and of the clock.

    python tests/benchmarks/confinement.py [VIDEO ...]

Each is probed, its sound and its clips are read as an ingestion reads them; five pairs, the order changes, medians.
"""

import resource
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from multimodal.intake import sandbox  # noqa: E402
from multimodal.intake.sandbox import Limits  # noqa: E402
from speech import audio  # noqa: E402
from speech.audio import Audio  # noqa: E402
from speech.errors import SpeechError  # noqa: E402
from vision import readers  # noqa: E402
from vision.caption_streams import CaptionStream  # noqa: E402
from vision.clips import Clip, ReadReport  # noqa: E402
from vision.clock import Clock  # noqa: E402
from vision.errors import MediaError  # noqa: E402
from vision.media import AudioStream, Media, VideoStream, probe  # noqa: E402

CONFINED = sandbox.COMMAND
UNCONFINED = (
    sys.executable, "-P", "-c",
    "from multimodal.intake import sandbox_child as c; c.confine = lambda files, cpu: list(files); c.serve()",
)  # fmt: skip
PAIRS = 5
SAMPLES = Path(__file__).parents[1] / "samples"


def read(file: Path) -> int:
    """Everything of a video, as an ingestion reads it; the number of clips."""
    limits = Limits(120.0, total=1200.0, results=100_000)
    types = (Media, VideoStream, AudioStream, CaptionStream, Clock, MediaError)
    media = sandbox.call(probe, file, types=types, limits=limits)
    if media.audio:
        for _ in sandbox.stream(
            audio.pieces, file, stream=media.audio.index, clock=media.clock, types=(Audio, SpeechError), limits=limits
        ):  # fmt: skip
            pass
    return sum(
        1
        for _ in sandbox.stream(
            readers.read_clips,
            media,
            types=(Clip, ReadReport, MediaError),
            limits=limits,
            imports=readers.LATE_IMPORTS,
        )  # fmt: skip
    )


def measured(command: tuple[str, ...], file: Path) -> tuple[float, float, int]:
    """Seconds of processors (of the children), of the clock, and the clips."""
    sandbox.COMMAND = command
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    clips = read(file)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent, time.perf_counter() - began, clips


def main() -> None:
    files = [Path(name).absolute() for name in sys.argv[1:]] or [
        SAMPLES / f"kitchen-00{n}.mp4" for n in range(3)
    ]
    for file in files:
        spent: dict[tuple[str, ...], list[tuple[float, float, int]]] = {CONFINED: [], UNCONFINED: []}
        for pair in range(PAIRS):
            for command in (CONFINED, UNCONFINED) if pair % 2 else (UNCONFINED, CONFINED):
                spent[command].append(measured(command, file))
        (cpu, wall), (cpu_before, wall_before) = (
            [statistics.median(m[i] for m in spent[command]) for i in (0, 1)]
            for command in (CONFINED, UNCONFINED)
        )
        assert len({m[2] for ms in spent.values() for m in ms}) == 1
        print(
            f"{file.name}: {spent[CONFINED][0][2]} clips; confined {cpu:.2f} CPU s, {wall:.2f} s; not confined "
            f"{cpu_before:.2f} CPU s, {wall_before:.2f} s; ratio {cpu / cpu_before:.3f}"
        )


if __name__ == "__main__":
    main()
