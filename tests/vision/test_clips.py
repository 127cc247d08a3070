"""Every sampled frame is the one on display at its time: checked on frames that paint their own time stamp."""

import math
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision import frames, timeline
from vision.clips import CLIP_SECONDS, FPS, FRAMES_PER_CLIP, clip_starts, exact_div
from vision.errors import MediaError
from vision.media import probe
from vision.readers import READERS, frame_at, read_clips
from vision.timeline import read_timeline

MILLISECOND = 0.001


def uneven(seconds: float) -> list[float]:
    """30 and 10 frames per second in turn, half a second each."""
    times, now = [], 0.0
    while now < seconds:
        times.append(now)
        now += 1 / 30 if int(now * 2) % 2 == 0 else 1 / 10
    return times


def jitter(seconds: float) -> list[float]:
    """Steps of 1/240 s to 0.4 s drawn at random."""
    steps = np.exp(np.random.default_rng(0).uniform(np.log(1 / 240), np.log(0.4), 1000))
    times = np.concatenate([[0.0], np.cumsum(steps)])
    return times[times < seconds].round(4).tolist()


RATES = [1, 2, 10, 12.5, 15, 20, 23.976, 24, 25, 29.97, 30, 48, 50, 59.94, 60, 90, 120, 240]
B_FRAMES = {"g": "12", "bf": "3", "preset": "veryfast"}
CASES = {
    **{f"{rate} fps": {"times": [i / rate for i in range(int(max(2.6 * rate, 4)))], "last": 1 / rate} for rate in RATES},
    "odd size": {"times": [i / 60 for i in range(120)], "size": (241, 179), "pixels": "yuv444p"},
    "ten bits": {"times": [i / 30 for i in range(60)], "pixels": "yuv420p10le"},
    "ten bits, full colour": {"times": [i / 30 for i in range(60)], "pixels": "yuv444p10le"},
    "half the colour": {"times": [i / 30 for i in range(60)], "pixels": "yuv422p"},
    "full range": {"times": [i / 30 for i in range(60)], "pixels": "yuvj420p"},
    "HEVC": {"times": [i / 30 for i in range(60)], "codec": "libx265", "options": {"x265-params": "log-level=none:bframes=3:keyint=20", "preset": "ultrafast"}},
    "slide show": {"times": [0.0, 0.31, 2.9, 4.0], "last": 1.0},
    "variable rate": {"times": uneven(6.0)},
    "variable rate, frames in another order": {"times": uneven(6.0), "options": B_FRAMES},
    "steps at random": {"times": jitter(5.0)},
    "steps at random, frames in another order": {"times": jitter(5.0), "options": B_FRAMES},
    "late start": {"times": [0.7 + i / 25 for i in range(80)]},
    "picture after sound": {"times": [0.7 + i / 25 for i in range(50)], "sound": 0.0},
    "sound after picture": {"times": [i / 25 for i in range(50)], "sound": 0.6},
    "both late": {"times": [1.3 + i / 25 for i in range(50)], "sound": 0.6, "options": B_FRAMES},
    "turned left": {"times": [i / 30 for i in range(50)], "rotation": 90, "size": (120, 160)},
    "turned right": {"times": [i / 30 for i in range(50)], "rotation": -90, "size": (120, 160)},
    "upside down": {"times": [i / 30 for i in range(50)], "rotation": 180},
    "turned, wide pixels": {"times": [i / 30 for i in range(50)], "rotation": 90, "squeeze": 2, "size": (160, 240)},
    "wide pixels": {"times": [i / 30 for i in range(50)], "squeeze": 2, "size": (320, 240)},
    "shorter than a clip": {"times": [i / 30 for i in range(9)]},
    "one clip exactly": {"times": [i / 30 for i in range(45)], "last": 1 / 30},
    "two clips exactly": {"times": [i / 20 for i in range(60)]},
    "three clips exactly": {"times": [i / 25 for i in range(112)] + [112 / 25], "last": 0.02},
    "one frame": {"times": [0.0]},
    "frames in another order": {"times": [i / 30 for i in range(140)], "options": B_FRAMES},
    "frames in another order, twice": {
        "times": [i / 60 for i in range(160)],
        "options": B_FRAMES | {"bf": "7", "b-pyramid": "normal", "refs": "4"},
    },
    "open groups of pictures": {
        "times": [i / 30 for i in range(140)],
        "options": B_FRAMES | {"x264-params": "open-gop=1:keyint_min=3"},
    },
}  # fmt: skip

SUFFIXES = [".mp4", ".mkv"]


def fits(case: str, suffix: str) -> bool:
    """PyAV writes no rotation into Matroska; for most cases one container is enough."""
    return suffix == ".mp4" or ("rotation" not in CASES[case] and not case.endswith(" fps"))


DECORD_CANNOT = {("slide show", ".mkv"), ("one frame", ".mkv")}


def drain(clips):
    """The clips and the report."""
    found = []
    while True:
        try:
            found.append(next(clips))
        except StopIteration as end:
            return found, end.value


def wrong_frames(clips, times, code, shift=0.0) -> int:
    """How many frames are not the ones shown at their time by the list of times that the test wrote.

    With `shift`, what is painted is that much later than the time at which the file shows it.
    """
    wrong = 0
    for clip in clips:
        for slot, frame in enumerate(clip.frames):
            now = clip.start + slot / FPS + shift
            shown = max((t for t in times if t <= now + 1.5 * MILLISECOND), default=times[0])
            before = max((t for t in times if t <= now - 1.5 * MILLISECOND), default=times[0])
            seen = code(frame) / 1000
            wrong += min(abs(seen - shown), abs(seen - before)) > 1.5 * MILLISECOND
    return wrong


@pytest.mark.parametrize("case, suffix", [(c, s) for c in CASES for s in SUFFIXES if fits(c, s)])
def test_each_frame_is_the_one_on_display(painted, code, tmp_path, case, suffix):
    """By both readers. decord's failures are known by name; PyAV takes over there."""
    times = CASES[case]["times"]
    path = painted(tmp_path / f"v{suffix}", **CASES[case])
    for reader in READERS:
        clips, report = drain(read_clips(path, reader=reader))
        assert report.reader == ("pyav" if (case, suffix) in DECORD_CANNOT else reader)
        assert clips and report.clips == len(clips) and not report.problems
        assert clips[0].start == pytest.approx(times[0], abs=MILLISECOND)
        assert all(clip.frames.shape == (FRAMES_PER_CLIP, 224, 224, 3) for clip in clips)
        assert all(clip.frames.dtype == np.uint8 for clip in clips)
        assert wrong_frames(clips, times, code) == 0


@pytest.mark.parametrize("seconds", [0.4, 0.5, 0.69])
@pytest.mark.parametrize("options", [{"g": "15", "bf": "0"}, B_FRAMES], ids=["in order", "B-frames"])
def test_an_edit_list_hides_what_lies_before_it(painted, code, tmp_path, seconds, options):
    """A file cut without re-encoding: MP4 keeps the frames back to the key frame and an edit list hides them."""
    times = [i / 25 for i in range(100)]
    whole, cut = painted(tmp_path / "whole.mp4", times, options=options, sound=0.0), tmp_path / "cut.mp4"
    with (
        av.open(str(whole)) as source,
        av.open(str(cut), "w", options={"avoid_negative_ts": "disabled"}) as output,
    ):
        picture = source.streams.video[0]
        stream = output.add_stream_from_template(picture)
        packets = [packet for packet in source.demux(picture) if packet.size]
        keys = [n for n, p in enumerate(packets) if p.is_keyframe and float(p.pts * p.time_base) <= seconds]
        for packet in packets[keys[-1] :]:
            shift = round(seconds / packet.time_base)
            packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
            output.mux(packet)
    found = read_timeline(probe(cut))
    first = min(t for t in times if t >= seconds - MILLISECOND)
    assert 0 <= found.times[0] <= first - seconds + MILLISECOND, "FFmpeg moves the first frame shown up to 0"
    assert len(found.times) == sum(t >= first for t in times) and not found.is_regular
    for reader in READERS:
        clips, report = drain(read_clips(cut, reader=reader))
        assert report.clips == math.ceil((100 / 25 - seconds) / CLIP_SECONDS - 0.5) and not report.problems
        assert wrong_frames(clips, times, code, first - found.times[0]) == 0


CONTAINERS = {
    "a.avi": {"codec": "mpeg4", "options": {"bf": "2", "b": "4000000"}, "base": 25},
    "b.avi": {"options": {"bf": "0"}, "base": 25},
    "c.ts": {"options": {"g": "25", "bf": "3", "preset": "veryfast"}},
    "d.mpg": {"codec": "mpeg2video", "options": {"bf": "2", "b": "8000000"}, "base": 25},
    "e.flv": {"base": 1000},
    "f.webm": {"codec": "libvpx", "options": {"deadline": "realtime", "b": "2000000"}, "base": 1000},
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_other_containers_shift_time_as_a_whole_if_at_all(painted, code, tmp_path, name):
    """Muxers may begin later than told (MPEG streams do); what is seen when stays in step."""
    path = painted(tmp_path / name, [i / 25 for i in range(120)], **CONTAINERS[name])
    clips, report = drain(read_clips(path))
    shift = float(read_timeline(probe(path)).times[0])
    assert report.clips == 3 and not report.problems
    for clip in clips:
        for slot, frame in enumerate(clip.frames[: FRAMES_PER_CLIP - clip.repeated]):
            assert -2e-3 <= clip.start + slot / FPS - shift - code(frame) / 1000 < 0.04 + 2e-3


def careless(path, times, side_clips):
    """The control: frame number = seconds × average rate, as scripts with decord do."""
    decord = pytest.importorskip("decord")
    reader = decord.VideoReader(str(path), width=256, height=256)
    rate = reader.get_avg_fps()
    for clip in side_clips:
        numbers = [
            min(int((clip.start - times[0] + j / FPS) * rate), len(reader) - 1)
            for j in range(FRAMES_PER_CLIP)
        ]
        yield type(clip)(clip.start, reader.get_batch(numbers).asnumpy()[:, 16:240, 16:240], 0)


def test_the_control_an_index_from_the_rate_shows_wrong_frames(painted, code, tmp_path):
    times = uneven(6.0)
    path = painted(tmp_path / "v.mp4", times, size=(160, 160))
    clips, _ = drain(read_clips(path, reader="decord"))
    assert wrong_frames(clips, times, code) == 0
    assert wrong_frames(careless(path, times, clips), times, code) > 30


def test_the_control_decord_skipping_loses_count(painted, code, tmp_path):
    """Why the decord reader takes every frame in turn; when this fails, decord may be allowed to skip."""
    decord = pytest.importorskip("decord")
    times = [0.7 + i / 25 for i in range(234)]
    options = {"g": "12", "bf": "3", "x264-params": "open-gop=1:keyint_min=3"}
    path = painted(tmp_path / "v.mkv", times, size=(160, 160), options=options)
    reader = decord.VideoReader(str(path), width=256, height=256)
    numbers = [n for n in range(len(times)) if n % 5]
    frames = np.concatenate(
        [reader.get_batch(numbers[i : i + 30]).asnumpy() for i in range(0, len(numbers), 30)]
    )
    seen = [code(frame[16:240, 16:240]) / 1000 for frame in frames]
    assert sum(abs(a - times[n]) > 2 * MILLISECOND for a, n in zip(seen, numbers, strict=True)) > 10
    clips, _ = drain(read_clips(path, reader="decord"))
    assert wrong_frames(clips, times, code) == 0


@pytest.mark.parametrize(
    "end, count",
    [(0.0, 1), (0.1, 1), (1.5, 1), (2.2, 1), (2.25, 2), (3.0, 2), (3.7, 2), (3.76, 3), (15.0, 10)],
)
def test_tail_policy(end, count):
    assert len(clip_starts(0.0, end)) == count


@settings(deadline=None)
@given(st.floats(-10, 1e5), st.floats(0, 5000))
def test_clips_cover_the_picture_but_for_less_than_half_a_clip(start, seconds):
    starts = clip_starts(start, start + seconds)
    assert starts[0] == start and np.allclose(np.diff(starts), CLIP_SECONDS)
    covered = len(starts) * CLIP_SECONDS
    assert covered > seconds - CLIP_SECONDS / 2 - 1e-5
    assert len(starts) == 1 or covered < seconds + CLIP_SECONDS / 2 + 1e-5


@pytest.mark.parametrize("start, end", [(1.0, 0.5), (0.0, math.nan), (math.inf, math.inf)])
def test_times_that_are_no_span_are_refused(start, end):
    with pytest.raises(MediaError):
        clip_starts(start, end)


def test_constants_fit():
    assert FRAMES_PER_CLIP == 30
    with pytest.raises(AssertionError):
        exact_div(20 * 1.53, 1)


@pytest.mark.parametrize("reader", READERS)
def test_the_tail_repeats_its_last_frame_and_says_how_often(painted, code, tmp_path, reader):
    path = painted(tmp_path / "v.mp4", [i / 20 for i in range(50)])
    clips, report = drain(read_clips(path, reader=reader))
    assert [clip.repeated for clip in clips] == [0, 10]
    assert {code(frame) for frame in clips[1].frames[-11:]} == {2450}
    assert report.decoded_seconds == pytest.approx(2.5)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".webm"])
def test_a_cut_off_file_names_what_is_missing(painted, code, tmp_path, suffix):
    times = [i / 30 for i in range(300)]
    how = CONTAINERS["f.webm"] if suffix == ".webm" else {"container": {"movflags": "faststart"}}
    whole = painted(tmp_path / f"whole{suffix}", times, size=(320, 240), **how)
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    clips, report = drain(read_clips(cut))
    assert 0 < len(clips) < 6 and report.declared_seconds == pytest.approx(10, abs=0.1)
    assert wrong_frames(clips[:-1], times, code) == 0
    (problem,) = [p for p in report.problems if "missing at the end" in p]
    missing = float(problem.split(" s are missing")[0].split()[-1])
    assert missing == pytest.approx(report.declared_seconds - report.decoded_seconds, abs=0.11)
    _, sound = drain(read_clips(whole))
    assert not sound.problems, "the control: the whole file has no problem"


def test_damage_is_named_by_its_second_and_costs_only_its_clips(painted, code, tmp_path):
    times = [i / 30 for i in range(270)]
    path = painted(tmp_path / "v.mkv", times, size=(320, 240), options={"g": "15"})
    data = bytearray(path.read_bytes())
    half, tenth = len(data) // 2, len(data) // 10
    data[half : half + tenth] = bytes(tenth)
    path.write_bytes(data)
    clips, report = drain(read_clips(path))
    (problem,) = report.problems
    second = float(problem.split("damaged at second ")[1].split()[0].strip(","))
    assert second == pytest.approx(4.5, abs=0.6)
    assert wrong_frames([*clips[:2], clips[-1]], times, code) == 0


def test_frames_before_the_first_key_frame_are_named_and_the_rest_is_read(painted, code, tmp_path):
    """A file cut without re-encoding begins in the middle of a group of pictures; decord reads none of it."""
    times = [i / 30 for i in range(150)]
    whole = painted(tmp_path / "whole.mp4", times, options={"g": "30", "bf": "0"})
    with av.open(str(whole)) as source, av.open(str(tmp_path / "cut.mkv"), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for packet in [packet for packet in source.demux(video=0) if packet.size][10:]:
            packet.stream = stream
            output.mux(packet)
    clips, report = drain(read_clips(tmp_path / "cut.mkv"))
    (problem,) = report.problems
    assert "14 frames" in problem and "0.33 s" in problem
    assert [clip.repeated for clip in clips] == [14, 0, 0]
    assert wrong_frames(clips[1:], times, code) == 0


def test_too_many_frames_are_refused(painted, tmp_path, monkeypatch):
    path = painted(tmp_path / "v.mp4", [i / 30 for i in range(31)])
    monkeypatch.setattr(timeline, "MAX_FRAMES", 31)
    assert drain(read_clips(path))[1].clips == 1
    monkeypatch.setattr(timeline, "MAX_FRAMES", 30)
    with pytest.raises(MediaError, match="30 frames"):
        next(read_clips(path))


def test_a_clip_comes_out_when_its_own_frames_are_decoded(painted, tmp_path, monkeypatch):
    """Reading is lazy, so that memory is constant: a tenth of the frames suffices for the first of thirteen clips."""
    path, count = painted(tmp_path / "v.mp4", [i / 30 for i in range(600)]), 0

    def counted(*args):
        nonlocal count
        for item in timeline.decode(*args):
            count += 1
            yield item

    monkeypatch.setattr(frames, "decode", counted)
    clips = read_clips(path)
    assert next(clips).start == 0 and 30 <= count <= 60
    clips.close()


def test_what_cannot_be_read_is_refused(sound_only, painted, tmp_path):
    with pytest.raises(MediaError, match="sound.mp4"):
        next(read_clips(sound_only(tmp_path / "sound.mp4")))
    with pytest.raises(MediaError, match="ffmpeg.*pyav, decord"):
        next(read_clips(painted(tmp_path / "v.mp4", [0.0]), reader="ffmpeg"))


def test_constants_are_had_without_a_decoder_or_pytorch():
    """What `--help` and `status` import; the control imports what reads a video."""
    heavy = "{'torch', 'av', 'cv2', 'sklearn', 'decord'} & set(sys.modules)"
    light = "import sys, vision.backbones, vision.clips, vision.codebook, vision.errors, vision.readers"
    child = f"{light}; assert not {heavy}, {heavy}; import vision.features, vision.frames; assert len({heavy}) == 3"
    subprocess.run([sys.executable, "-c", child], cwd=Path(__file__).parents[2], check=True)


@pytest.mark.parametrize(
    "case", ["30 fps", "variable rate", "late start", "turned left", "wide pixels", "one frame"]
)
def test_frame_at_shows_the_whole_frame_of_that_second(painted, code, tmp_path, case):
    options = CASES[case]
    path = painted(tmp_path / "v.mp4", **options)
    media, times = probe(path), options["times"]
    for second in (times[0] - 1, times[0], times[-1] * 0.6, times[-1] + 0.001, times[-1] + 100):
        frame = frame_at(media, second, short_side=240)
        height, width = frame.shape[:2]
        assert min(height, width) == 240
        assert width / height == pytest.approx(
            options.get("size", (160, 120))[0] / options.get("size", (160, 120))[1], rel=0.02
        )
        edge = round(240 * 7 / 8)
        top, left = (height - edge) // 2, (width - edge) // 2
        shown = max((t for t in times if t <= second + MILLISECOND), default=times[0])
        assert code(frame[top : top + edge, left : left + edge]) / 1000 == pytest.approx(
            shown, abs=1.5 * MILLISECOND
        )
