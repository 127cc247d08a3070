"""Both readers show the same frames of real videos, and each real oddity has its known outcome."""

import json
import subprocess
import sys
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from vision.errors import MediaError
from vision.frames import MEAN_TOLERANCE, DecordFrames, open_frames
from vision.media import probe
from vision.readers import READERS, read_clips
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


def assert_same_pixels(path):
    """The first two clips by both readers. The control: shifted by a pixel they fit worse."""
    by_reader = (read_clips(path, reader=reader) for reader in READERS)
    for one, other in islice(zip(*by_reader, strict=True), 2):
        assert (one.start, one.repeated) == (other.start, other.repeated), path.name
        difference = np.abs(one.frames.astype(int) - other.frames).mean((1, 2, 3))
        assert difference.max() <= MEAN_TOLERANCE, path.name
        if one.frames.std((1, 2)).max() > 10:
            shifted = np.roll(other.frames, 1, 2).astype(int)
            assert difference.mean() < np.abs(one.frames - shifted).mean(), path.name


@pytest.mark.parametrize("name", ["kitchen-000.mp4", "kitchen-013.mp4"])
def test_both_readers_give_the_same_pixels_of_samples(samples, name):
    pytest.importorskip("decord")
    assert_same_pixels(samples / name)


@pytest.mark.long
def test_both_readers_give_the_same_pixels_of_real_videos(videos):
    pytest.importorskip("decord")
    for name in SAME:
        assert_same_pixels(videos / name)


SKIPPED_FRAMES = ["narrated/googlework_short.mp4", "no_speech/flower.webm", "awkward/hevc_1080p.mp4", "awkward/av1_video.mkv", "awkward/rotate_-90.mp4"]  # fmt: skip


def decoded(media, timeline, indices, may_skip):
    """The frames, and how many came out of the decoder for them."""
    frames, count = open_frames(media, timeline, 64, "pyav", indices if may_skip else None), 0
    source = frames._decoded

    def counted():
        nonlocal count
        for item in source:
            count += 1
            yield item

    frames._decoded = counted()
    return frames.read(indices), count


def decoded_both_ways(path):
    """How many frames are decoded of a third of the first ninety, with and without skipping; the frames are the same."""
    media = probe(path)
    timeline = read_timeline(media)
    indices = np.arange(0, min(len(timeline.times), 90), 3)
    without, count = decoded(media, timeline, indices, False)
    skipping, fewer = decoded(media, timeline, indices, True)
    np.testing.assert_array_equal(without, skipping, err_msg=path.name)
    return fewer, count


def test_skipped_frames_change_nothing(videos):
    for name in SKIPPED_FRAMES:
        fewer, count = decoded_both_ways(videos / name)
        assert fewer <= count, name


def test_b_frames_that_are_not_sampled_are_not_decoded(painted, tmp_path, samples):
    times = [i / 60 for i in range(120)]
    path = painted(tmp_path / "v.mp4", times, options={"bf": "3", "preset": "veryfast"})
    fewer, count = decoded_both_ways(path)
    assert fewer < 0.8 * count
    fewer, count = decoded_both_ways(samples / "kitchen-000.mp4")
    assert fewer <= count


def test_a_frame_lost_by_skipping_is_sought_again_without(painted, tmp_path):
    """Damaged packets in an intact index: the pass that skips frames misses one, the second tells what is missing."""
    times = [i / 30 for i in range(90)]
    path = painted(tmp_path / "v.mp4", times, options={"g": "30", "bf": "3", "preset": "veryfast"})
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for begin, size in packets[40:44]:
        data[begin : begin + size] = bytes(size)
    path.write_bytes(data)
    media = probe(path)
    timeline = read_timeline(media)
    assert timeline.is_regular
    indices = np.arange(0, len(timeline.times), 2)
    skipping, without = (open_frames(media, timeline, 64, "pyav", given) for given in (indices, None))
    np.testing.assert_array_equal(skipping.read(indices), without.read(indices))
    assert skipping.damage == without.damage != [] and skipping.missing == without.missing != set()


# clips, who reads where decord is asked for, words that a problem holds; or only the words of the refusal
OUTCOMES = {
    "-video-with-dash-.mp4": (3, "decord", ""),
    "audio_only.mov": "no picture",
    "audio_only_speech.mp4": "no picture",
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
    "two_aac_tracks_no_video.mp4": "no picture",
    "vfr_2fps_120tb.mov": (7, "pyav", ""),
    "vfr_57600tb.mp4": (6, "decord", ""),
    "video_only.mov": (7, "pyav", ""),
}

CHILD = """
import json, sys
from vision.readers import read_clips
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


def outcomes(path):
    """What each reader makes of a file, in a child process, as in use: a decoder that hangs or crashes fails there."""
    run = subprocess.run(
        [sys.executable, "-c", CHILD, str(path), *READERS],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, (path.name, run.stderr)
    return [json.loads(line) for line in run.stdout.splitlines()]


def test_awkward_files_end_as_expected(videos):
    assert {path.name for path in (videos / "awkward").iterdir()} == set(OUTCOMES)
    for name, expected in OUTCOMES.items():
        for asked, outcome in zip(READERS, outcomes(videos / "awkward" / name), strict=True):
            if isinstance(expected, str):
                assert expected in outcome, name
            else:
                clips, reader, words = expected
                assert outcome[:2] == [clips, reader if asked == "decord" else "pyav"], name
                assert words in outcome[2] if words else not outcome[2], name


def twice(path, source):
    """A file with the picture of another as two video streams."""
    with av.open(str(source)) as read, av.open(str(path), "w") as write:
        picture = read.streams.video[0]
        streams = [write.add_stream_from_template(picture) for _ in range(2)]
        for packet in [packet for packet in read.demux(picture) if packet.size]:
            for stream in streams:
                packet.stream = stream
                write.mux(packet)
    return path


def test_files_that_decord_would_read_wrong_are_not_given_to_it(painted, tmp_path):
    """decord's seek to the first frame of MPEG program streams lands later; of two pictures it chooses by its own rule."""
    pytest.importorskip("decord")
    times = [i / 25 for i in range(50)]
    stream = painted(tmp_path / "v.mpg", times, codec="mpeg2video", options={"b": "8000000"}, base=25)
    plain = painted(tmp_path / "v.mp4", times)
    for path, reader in ((stream, "pyav"), (twice(tmp_path / "two.mp4", plain), "pyav"), (plain, "decord")):
        media = probe(path)
        assert open_frames(media, read_timeline(media), 224, "decord").name == reader


def test_decord_alone_says_that_it_cannot(painted, tmp_path):
    pytest.importorskip("decord")
    media = probe(painted(tmp_path / "one.mkv", [0.0]))
    with pytest.raises(MediaError, match="one.mkv: decord"):
        DecordFrames(media, read_timeline(media), 224)
