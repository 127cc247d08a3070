"""Labels of the small kitchen: task files as people write them, over the videos of `kitchen.fill`."""

import csv
from pathlib import Path

import joint_samples
from kitchen import materials

from vision.clips import CLIP_SECONDS

STEP = joint_samples.CLIPS_A_STEP * CLIP_SECONDS


def steps() -> list[tuple[str, float, float, str, str]]:
    """Video, start, end, action and thing of each step of all videos, told by their sentences ("now cut the onion.")."""
    return [
        (m.video.name, s.start, s.end, *s.text.removesuffix(".").split()[1::2])
        for part in materials()
        for m in part
        for s in m.transcript.sentences
    ]


def write(path: Path, header: str, rows) -> Path:
    with path.open("w", newline="") as file:
        out = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        out.writerow(header.split(","))
        out.writerows(rows)
    return path
