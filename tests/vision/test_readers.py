"""Both readers show the same frames of real videos, and each real oddity has its known outcome."""

import json
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from vision.clips import read_clips
from vision.containers import MediaError
from vision.media import probe
from vision.readers import MEAN_TOLERANCE, READERS, DecordFrames, open_frames
from vision.timeline import read_timeline

SAME = [
    "narrated/flipping_a_pancake.mkv",
    "narrated/googlework_short.mp4",
    "narrated/ds4200_congress_screencast.mp4",
    "narrated/ds4200_var_screencast.mp4",
    "no_speech/bikes.mp4",
    "no_speech/flower.webm",
    "awkward/rot_90.mov",
    "awkward/rot_270.mov",
    "awkward/rotate_-90.mp4",
    "awkward/sar_2x1.mp4",
    "awkward/hevc_1080p.mp4",
    "awkward/h264_10bits.mp4",
    "awkward/counting_h264.mp4",
    "awkward/vfr_57600tb.mp4",
    "awkward/-video-with-dash-.mp4",
]


@pytest.mark.parametrize("name", SAME)
def test_both_readers_give_the_same_pixels(videos, name):
    pytest.importorskip("decord")
    pairs = list(
        islice(
            zip(*(read_clips(videos / name, reader=reader) for reader in ("decord", "pyav")), strict=True), 2
        )
    )
    for one, other in pairs:
        assert (one.start, one.repeated) == (other.start, other.repeated)
        apart = np.abs(one.frames.astype(int) - other.frames).mean((1, 2, 3))
        assert apart.max() <= MEAN_TOLERANCE
        if one.frames.std((1, 2)).max() > 10:
            moved = np.roll(other.frames, 1, 2).astype(int)
            assert apart.mean() < np.abs(one.frames - moved).mean(), "the control: a pixel beside fits worse"


PASSED_OVER = ["narrated/googlework_short.mp4", "no_speech/flower.webm", "awkward/hevc_1080p.mp4", "awkward/av1_video.mkv", "awkward/rotate_-90.mp4"]  # fmt: skip


def decoded(media, line, numbers, all_numbers):
    """The frames, and how many came out of the decoder for them."""
    frames, count = open_frames(media, line, 64, "pyav", all_numbers), 0
    walk = frames._walk

    def counted():
        nonlocal count
        for item in walk:
            count += 1
            yield item

    frames._walk = counted()
    return frames.read(numbers), count


@pytest.mark.parametrize("name", PASSED_OVER)
def test_frames_passed_over_change_nothing(videos, name):
    media = probe(videos / name)
    line = read_timeline(media)
    numbers = np.arange(0, min(len(line.times), 90), 3)
    plain, count = decoded(media, line, numbers, None)
    lean, fewer = decoded(media, line, numbers, numbers)
    np.testing.assert_array_equal(plain, lean)
    assert fewer <= count


def test_b_frames_that_nobody_asks_for_are_not_decoded(painted, tmp_path):
    times = [i / 60 for i in range(120)]
    media = probe(painted(tmp_path / "v.mp4", times, options={"bf": "3", "preset": "veryfast"}))
    line = read_timeline(media)
    numbers = np.arange(0, 120, 3)
    plain, count = decoded(media, line, numbers, None)
    lean, fewer = decoded(media, line, numbers, numbers)
    np.testing.assert_array_equal(plain, lean)
    assert fewer < 0.8 * count


def test_a_frame_that_does_not_come_out_is_sought_once_more_without_passing_over(videos):
    """Packets are damaged at 3 s: the walk that passes over frames misses one, the second tells what is missing."""
    media = probe(videos / "awkward/corrupted.mp4")
    line = read_timeline(media)
    numbers = np.arange(0, len(line.times), 2)
    lean, plain = (open_frames(media, line, 64, "pyav", asked) for asked in (numbers, None))
    np.testing.assert_array_equal(lean.read(numbers), plain.read(numbers))
    assert lean.damage == plain.damage and lean.damage and lean.missing == plain.missing and lean.missing


# clips, who reads where decord is asked for, words that a problem holds; or only the words of the refusal
OUTCOMES = {
    "-video-with-dash-.mp4": (3, "decord", ""),
    "audio_only.mov": "holds no picture",
    "audio_only_speech.mp4": "holds no picture",
    "av1_video.mkv": (3, "pyav", ""),
    "corrupted.mp4": (3, "pyav", "damaged at second 3.00"),
    "counting_h264.mp4": (7, "decord", ""),
    "failing_audio.mp4": (7, "decord", ""),
    "h264_10bits.mp4": (1, "decord", ""),
    "hevc_1080p.mp4": (7, "decord", ""),
    "no_duration.webm": (3, "pyav", ""),
    "not_a_video.mp4": "not a video",
    "rot_270.mov": (1, "decord", ""),
    "rot_90.mov": (1, "decord", ""),
    "rotate_-90.mp4": (1, "decord", ""),
    "sar_2x1.mp4": (3, "decord", ""),
    "two_aac_tracks_no_video.mp4": "holds no picture",
    "vfr_2fps_120tb.mov": (7, "pyav", ""),
    "vfr_57600tb.mp4": (6, "decord", ""),
    "video_only.mov": (7, "pyav", ""),
}

CHILD = """
import json, sys
from vision.clips import read_clips
for reader in sys.argv[2:]:
    clips = read_clips(sys.argv[1], reader=reader)
    count = 0
    try:
        while True:
            clip = next(clips)
            assert clip.frames.shape == (30, 224, 224, 3)
            count += 1
    except StopIteration as end:
        print(json.dumps([count, end.value.reader, "; ".join(end.value.problems)]))
    except ValueError as error:
        print(json.dumps(str(error)))
assert "torch" not in sys.modules
"""


def test_every_awkward_file_is_in_the_table(videos):
    assert {path.name for path in (videos / "awkward").iterdir()} == set(OUTCOMES)


@pytest.mark.parametrize("name", OUTCOMES)
def test_awkward_files_end_as_expected(videos, name):
    """In a child process, as in use: a decoder that hangs or crashes fails here and takes nobody along."""
    run = subprocess.run(
        [sys.executable, "-c", CHILD, str(videos / "awkward" / name), *READERS],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    outcomes, expected = [json.loads(line) for line in run.stdout.splitlines()], OUTCOMES[name]
    for asked, outcome in zip(READERS, outcomes, strict=True):
        if isinstance(expected, str):
            assert expected in outcome
        else:
            clips, reader, words = expected
            assert outcome[:2] == [clips, reader if asked == "decord" else "pyav"]
            assert words in outcome[2] if words else not outcome[2]


def test_files_that_decord_would_read_wrong_are_not_given_to_it(videos):
    """MPEG program streams: decord's own seek to the first frame lands later; several pictures; hidden frames."""
    for name in ("narrated/grid_bbaf2n.mpg", "narrated/nasa_13013.mp4", "awkward/video_only.mov"):
        media = probe(videos / name)
        assert open_frames(media, read_timeline(media), 224, "decord").name == "pyav"


def test_decord_alone_says_that_it_cannot(videos):
    media = probe(videos / "awkward/av1_video.mkv")
    with pytest.raises(MediaError, match="decord"):
        DecordFrames(media, read_timeline(media), 224)
