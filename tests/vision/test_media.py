"""A file is opened only when it is what we admit, and what it holds is told right."""

import os
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from vision.errors import MediaError
from vision.media import MAX_PIXELS, MAX_SECONDS, probe
from vision.readers import read_clips

TIMES = [i / 30 for i in range(60)]


def refusal(path: Path) -> str:
    with pytest.raises(MediaError) as refused:
        probe(path)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_streams_times_and_shape_of_real_files_are_told(videos):
    media = probe(videos / "narrated/googlework_short.mp4")
    assert (media.video.codec, media.video.width, media.video.height) == ("h264", 320, 180)
    assert media.video.start == pytest.approx(0.834) and media.audio.start == 0
    assert media.video.duration == pytest.approx(34.2342) and media.audio.rate == 44_100
    sound_first = probe(videos / "narrated/ds4200_congress_screencast.mp4")
    assert (sound_first.audio.index, sound_first.video.index) == (0, 1)
    assert sound_first.audio.channels == 1
    several = probe(videos / "narrated/nasa_13013.mp4")
    assert several.video.index == 3 and len(several.notes) == 1 and len(several.sounds) == 2
    endless = probe(videos / "awkward/no_duration.webm")
    assert endless.duration == pytest.approx(4.938) and endless.video.duration == pytest.approx(4.938)
    turned = [probe(videos / "awkward" / name).video.rotation for name in ("rot_90.mov", "rot_270.mov")]
    assert turned == [270, 90]


def test_a_sample_s_streams_are_told(samples):
    media = probe(samples / "kitchen-000.mp4")
    assert media.video.codec == "h264" and media.audio.codec == "aac" and not media.notes
    assert media.video.start == pytest.approx(media.audio.start, abs=0.1)
    assert media.duration == pytest.approx(media.video.duration, abs=0.1)


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_rotation_is_told_counter_clockwise(painted, tmp_path, degrees):
    path = painted(tmp_path / "v.mp4", TIMES, rotation=degrees)
    assert probe(path).video.rotation == degrees % 360


@pytest.mark.parametrize("suffix", [".mov", ".mp4"])
def test_sound_alone_is_admitted(sound_only, tmp_path, suffix):
    media = probe(sound_only(tmp_path / f"sound{suffix}"))
    assert media.video is None and media.audio.codec == "aac" and media.audio.duration > 5


def test_a_file_without_a_duration_is_measured(painted, tmp_path):
    """As a live stream is written: without a place to go back to, the length cannot be put into the header."""
    path = painted(tmp_path / "v.mkv", TIMES, container={"live": "1"}, last=1 / 30)
    with av.open(str(path)) as container:
        assert container.duration is None
    media = probe(path)
    assert media.duration == pytest.approx(2, abs=0.02) and media.video.duration == pytest.approx(2, abs=0.02)


@pytest.mark.parametrize(
    "name", ["-v.mp4", "http:x.mp4", "a b'\"%03d;$(x).mp4", "näher\n2.mp4", "concat:a|b.mp4", "💥.mp4"]
)
def test_odd_names_work(painted, tmp_path, name, monkeypatch):
    painted(tmp_path / "plain.mp4", TIMES).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert probe(Path(name)).video.frames == len(TIMES)


def test_what_is_no_video_is_refused_with_its_reason(tmp_path):
    assert "no such file" in refusal(tmp_path / "none.mp4")
    assert "not a regular file" in refusal(tmp_path)
    os.mkfifo(tmp_path / "pipe.mp4")
    assert "not a regular file" in refusal(tmp_path / "pipe.mp4")
    (tmp_path / "empty.mp4").touch()
    assert "empty" in refusal(tmp_path / "empty.mp4")
    (tmp_path / "text.mp4").write_text("this is text\n" * 100)
    assert "not a video" in refusal(tmp_path / "text.mp4")


def test_files_that_point_at_other_files_are_refused(painted, tmp_path):
    painted(tmp_path / "real.mp4", TIMES)
    (tmp_path / "list.mp4").write_text(f"ffconcat version 1.0\nfile {tmp_path}/real.mp4\n")
    (tmp_path / "hls.mp4").write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nreal.mp4\n#EXT-X-ENDLIST\n"
    )
    (tmp_path / "dash.mp4").write_text('<?xml version="1.0"?><MPD><Period></Period></MPD>')
    for name in ("list.mp4", "hls.mp4", "dash.mp4"):
        assert "not a video" in refusal(tmp_path / name)


def encode(path: Path, codec: str, pixel_format: str, size: tuple[int, int]) -> Path:
    """Two grey frames."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(10))
        (stream.width, stream.height), stream.pix_fmt = size, pixel_format
        for _ in range(2):
            image = np.full((size[1], size[0], 3), 128, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_a_codec_that_is_not_admitted_is_named(tmp_path):
    path = encode(tmp_path / "m.avi", "magicyuv", "yuv420p", (64, 64))
    assert "magicyuv is not admitted" in refusal(path)


def test_a_container_that_is_not_admitted_is_refused(tmp_path):
    assert "not a video" in refusal(encode(tmp_path / "x.gif", "gif", "rgb8", (64, 64)))
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"x{number}.png"), np.zeros((64, 64, 3), np.uint8))
    assert "not a video" in refusal(tmp_path / "x0.png")
    assert "no such file" in refusal(tmp_path / "x%d.png")


def test_a_picture_too_large_or_too_thin_is_refused(tmp_path):
    side = int(MAX_PIXELS**0.5) // 2 * 2 + 64
    assert "too large" in refusal(encode(tmp_path / "big.mkv", "mjpeg", "yuvj420p", (side, side)))
    assert "20 to 1" in refusal(encode(tmp_path / "thin.mkv", "mjpeg", "yuvj420p", (2048, 32)))


def test_a_video_too_long_is_refused(painted, tmp_path):
    path = painted(tmp_path / "long.mkv", [0.0, MAX_SECONDS + 1], base=1000)
    assert "43201 s" in refusal(path)


def test_an_mp4_cut_off_before_its_index_is_told_from_what_is_no_video(painted, tmp_path):
    whole = painted(tmp_path / "whole.mp4", TIMES).read_bytes()
    for share in (0.3, 0.9):
        (tmp_path / "cut.mp4").write_bytes(whole[: int(len(whole) * share)])
        assert "moov" in refusal(tmp_path / "cut.mp4")
    (tmp_path / "noise.mp4").write_bytes(whole[:4][::-1] + np.random.default_rng(0).bytes(5000))
    assert "not a video" in refusal(tmp_path / "noise.mp4")


def test_a_cover_picture_is_no_video(tmp_path):
    with av.open(str(tmp_path / "song.mp4"), "w") as container:
        sound = container.add_stream("aac", rate=16_000)
        cover = container.add_stream("mjpeg", rate=1)
        cover.width = cover.height = 64
        cover.pix_fmt = "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 16_000
        image = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        container.mux(cover.encode(image))
        container.mux(sound.encode(silence))
        container.mux(cover.encode())
        container.mux(sound.encode())
    media = probe(tmp_path / "song.mp4")
    assert media.video is None and media.audio.codec == "aac"


def written(path, *pictures, sound: bool = False):
    """A file of streams: (codec, pixel format, frames, grey)."""
    with av.open(str(path), "w") as container:
        streams = [container.add_stream(codec, rate=10) for codec, *_ in pictures]
        for stream, (_, pixel_format, _, _) in zip(streams, pictures, strict=True):
            stream.width, stream.height, stream.pix_fmt = 128, 96, pixel_format
        track = container.add_stream("aac", rate=16_000, layout="mono") if sound else None
        packets = []
        for stream, (_, pixel_format, frames, grey) in zip(streams, pictures, strict=True):
            for n in range(frames):
                image = av.VideoFrame.from_ndarray(np.full((96, 128, 3), grey, np.uint8), "rgb24")
                frame = image.reformat(format=pixel_format)
                frame.pts, frame.time_base = n, Fraction(1, 10)
                packets += stream.encode(frame)
            packets += stream.encode(None)
        if track:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.float32), "fltp", "mono")
            silence.sample_rate = 16_000
            packets += [*track.encode(silence), *track.encode(None)]
        container.mux(packets)
    return path


FILM, PREVIEW = ("mpeg4", "yuv420p", 20, 200), ("mjpeg", "yuvj420p", 1, 30)


@pytest.mark.parametrize(
    ("name", "pictures"),
    [
        ("a.mp4", (PREVIEW, FILM)),
        ("b.mp4", (FILM, PREVIEW)),
        ("a.mov", (("mjpeg", "yuvj420p", 4, 30), FILM)),
        ("b.mov", (("png", "rgb24", 1, 30), FILM)),
        ("a.mkv", (PREVIEW, FILM)),
    ],
)
def test_a_preview_beside_a_film_is_not_taken_for_it(tmp_path, name, pictures):
    """Cameras write one as a stream of its own, with no flag that says so."""
    media = probe(written(tmp_path / name, *pictures))
    assert media.video.codec == "mpeg4"
    assert next(iter(read_clips(media))).frames.mean() > 150


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "mjpeg"), ("a.mov", "png")])
def test_a_single_picture_with_a_sound_is_a_cover(tmp_path, name, codec):
    pixel_format = "yuvj420p" if codec == "mjpeg" else "rgb24"
    assert probe(written(tmp_path / name, (codec, pixel_format, 1, 30), sound=True)).video is None
    if codec == "mjpeg":
        assert probe(written(tmp_path / f"film-{name}", (codec, pixel_format, 20, 30), sound=True)).video


def test_a_picture_with_alpha_is_seen_without_it(tmp_path):
    media = probe(written(tmp_path / "a.mov", ("qtrle", "argb", 20, 200)))
    assert next(iter(read_clips(media))).frames.mean() > 150


def test_a_tag_that_is_not_utf8_does_no_harm(tmp_path):
    path = tmp_path / "tagged.mkv"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "a plain title"
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        frames = [av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8)) for _ in range(30)]
        container.mux([packet for frame in [*frames, None] for packet in stream.encode(frame)])
    path.write_bytes(path.read_bytes().replace(b"a plain title", b"a \xff\xfeain title"))
    assert probe(path).video.width == 64
