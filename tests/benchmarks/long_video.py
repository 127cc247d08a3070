"""A video of 12 hours: the memory of the run and of its child, beside those of one that is a twelfth as long.

    python tests/benchmarks/long_video.py [--hours 12] [--side 32] [--fps 20]

The video is made here, 64 × 48, silent. Of fewer than 20 frames a second each is in several places of its clip. It is probed and decoded in the confined child as an ingestion
does it; in place of a network each clip gives the means of its colours, since what a network holds does not grow with the video.
"""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from multimodal.intake import sandbox  # noqa: E402
from multimodal.intake.ingest import decoding_limits  # noqa: E402
from multimodal.intake.ingest_options import IngestOptions  # noqa: E402
from vision.caption_streams import CaptionStream  # noqa: E402
from vision.clips import Clip, ReadReport  # noqa: E402
from vision.clock import Clock  # noqa: E402
from vision.errors import MediaError  # noqa: E402
from vision.media import AudioStream, Media, VideoStream, probe  # noqa: E402
from vision.readers import read_clips  # noqa: E402


def make(path: Path, hours: float, fps: int) -> None:
    """A second is painted and encoded once; its packets are repeated with later times."""
    with av.open(str(path), "w") as target:
        stream = target.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.gop_size = 64, 48, fps
        packets = []
        for n in range(fps):
            picture = np.full((48, 64, 3), 240 * n // fps, np.uint8)
            packets += stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24"))
        packets += stream.encode()
        for second in range(round(hours * 3600)):
            for n, packet in enumerate(packets):
                packet.pts = packet.dts = second * fps + n
                packet.time_base, packet.stream = stream.codec_context.time_base, stream
                target.mux(packet)


def ingest(path: Path, side: int) -> int:
    """The clips of the video, read as an ingestion reads them."""
    types = (Media, VideoStream, AudioStream, CaptionStream, Clock, MediaError)
    media = sandbox.call(probe, path, types=types, limits=sandbox.Limits())
    limits = decoding_limits(IngestOptions(), media)
    stream = sandbox.stream(read_clips, media, side=side, types=(Clip, ReadReport, MediaError), limits=limits)
    return len([clip.frames.mean() for clip in stream])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hours", type=float, default=12)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--fps", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for hours in (given.hours / 12, given.hours):
            path = Path(folder) / "video.mkv"
            make(path, hours, given.fps)
            began = time.monotonic()
            clips = ingest(path, given.side)
            # The largest of all children so far: the longer video comes second.
            own, child = (
                resource.getrusage(who).ru_maxrss / 1024
                for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
            )
            print(
                f"{hours:g} hours, {path.stat().st_size / 1e6:.0f} MB: {clips} clips in {time.monotonic() - began:.0f} s; "
                f"at most {own:.0f} MiB in the run, {child:.0f} MiB in its child",
                flush=True,
            )


if __name__ == "__main__":
    main()
