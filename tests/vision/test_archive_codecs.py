"""What cameras, recorders and archives write is read; where a picture's codec is not admitted, the sound is heard."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from multimodal.library import SUFFIXES
from speech import audio
from vision.media import probe
from vision.readers import read_clips

SECONDS = 2
WHOLE = [
    ("a.mkv", "ffv1", "yuv420p", "pcm_s24le"),
    ("a.avi", "huffyuv", "yuv422p", "pcm_s16le"),
    ("a.avi", "msmpeg4v2", "yuv420p", "mp3"),
    ("a.mov", "dvvideo", "yuv420p", "pcm_s16le"),
    ("a.dv", "dvvideo", "yuv420p", "pcm_s16le"),
    ("a.mov", "dnxhd", "yuv422p", "pcm_s24le"),
    ("a.mxf", "mpeg2video", "yuv420p", "pcm_s16le"),
    ("a.vob", "mpeg2video", "yuv420p", "ac3"),
    ("a.asf", "wmv2", "yuv420p", "wmav2"),
    ("a.mkv", "ffv1", "yuv422p10le", "flac"),
    ("a.mkv", "rawvideo", "yuv420p", "opus"),
    ("a.mov", "qtrle", "rgb24", "pcm_s16be"),
]
SOUNDS = [("a.opus", "libopus"), ("a.m4b", "aac"), ("a.aiff", "pcm_s16be"), ("a.caf", "pcm_s16le"), ("a.ac3", "ac3"),
          ("a.w64", "pcm_s16le"), ("a.wma", "wmav2")]  # fmt: skip


def write(
    path: Path, picture: tuple[str, str] | None, sound: str, size: tuple[int, int] = (720, 576)
) -> Path:
    """A picture of ``size`` whose left half brightens, and a tone."""
    formats = {".m4b": "ipod", ".wma": "asf", ".opus": "ogg", ".vob": "vob"}
    with av.open(str(path), "w", format=formats.get(path.suffix)) as container:
        packets = []
        if picture:
            codec, pixel_format = picture
            stream = container.add_stream(codec, rate=25)
            (stream.width, stream.height), stream.pix_fmt = size, pixel_format
            if codec == "dnxhd":
                stream.width, stream.height, stream.codec_context.bit_rate = 1280, 720, 90_000_000
                stream.codec_context.framerate = Fraction(25)
        rate = 48_000
        tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(SECONDS * rate) / rate)
        track = container.add_stream(sound, rate=rate, layout="stereo")
        track.codec_context.options = {"strict": "experimental"}
        if sound.startswith("wma"):
            track.codec_context.bit_rate = 128_000
        if picture:
            for n in range(SECONDS * 25):
                image = np.zeros((stream.height, stream.width, 3), np.uint8)
                image[:, : stream.width // 2] = 5 * n
                frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format=stream.pix_fmt)
                frame.pts, frame.time_base = n, Fraction(1, 25)
                packets += stream.encode(frame)
            packets += stream.encode(None)
        frame = av.AudioFrame.from_ndarray(np.stack([tone, tone]).astype(np.float32), "fltp", "stereo")
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), 0
        context = track.codec_context
        context.open(strict=False)
        resampler = av.AudioResampler(context.format, context.layout, rate, context.frame_size or 1024)
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            packets += track.encode(part)
        packets += track.encode(None)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


@pytest.mark.parametrize(("name", "picture", "pixel_format", "sound"), WHOLE)
def test_picture_and_sound_are_read(tmp_path, name, picture, pixel_format, sound):
    path = write(tmp_path / name, (picture, pixel_format), sound)
    media = probe(path)
    clip = next(iter(read_clips(media)))
    assert (
        clip.frames[-1][:, :80].mean() > clip.frames[0][:, :80].mean() + 80
        and clip.frames[..., 140:, :].mean() < 25
    )
    heard = audio.read(path, stream=media.audio.index, clock=media.clock)
    assert heard.seconds == pytest.approx(SECONDS, abs=0.1) and np.abs(heard.samples).max() > 0.2
    assert path.suffix in SUFFIXES


@pytest.mark.parametrize(("name", "sound"), SOUNDS)
def test_sound_files_are_heard(tmp_path, name, sound):
    path = write(tmp_path / name, None, sound)
    media = probe(path)
    assert media.video is None
    heard = audio.read(path, clock=media.clock)
    assert heard.seconds == pytest.approx(SECONDS, abs=0.1) and np.abs(heard.samples).max() > 0.2
    assert path.suffix in SUFFIXES


@pytest.mark.parametrize("picture", [("magicyuv", "gbrp"), ("zmbv", "bgr0"), ("flashsv", "bgr24")])
def test_the_sound_of_a_picture_that_is_not_admitted_is_heard(tmp_path, picture):
    media = probe(write(tmp_path / "a.avi", picture, "pcm_s16le", size=(160, 128)))
    assert media.video is None and picture[0] in media.no_picture
    assert np.abs(audio.read(media.path).samples).max() > 0.2


@pytest.mark.parametrize("seconds", [2, 31])
def test_an_mp3_without_its_length_is_measured(tmp_path, seconds):
    """FFmpeg guesses it from the bit rate of the first frame."""
    rate = 44_100
    noise = np.random.default_rng(0).normal(0, 0.2, (1, seconds * rate)).astype(np.float32)
    noise[:, rate // 2 :] *= 1e-3
    path = tmp_path / "a.mp3"
    with av.open(
        str(path), "w", format="mp3", options={"write_xing": "0", "id3v2_version": "0"}
    ) as container:
        track = container.add_stream(
            "libmp3lame",
            rate=rate,
            layout="mono",
            options={"compression_level": "5", "global_quality": "590", "flags": "+qscale"},
        )
        for first in range(0, noise.shape[1] - 1152, 1152):
            frame = av.AudioFrame.from_ndarray(noise[:, first : first + 1152].copy(), "fltp", "mono")
            frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), first
            container.mux(track.encode(frame))
        container.mux(track.encode(None))
    media = probe(path)
    heard = audio.read(path, clock=media.clock)
    assert media.duration == pytest.approx(seconds, abs=0.2) and not heard.problems


def test_a_real_mp3_of_unknown_length_misses_nothing(cases):
    media = probe(cases / "vbr_noxing.mp3")
    assert media.duration == pytest.approx(15.6, abs=0.1)
    assert not audio.read(media.path, clock=media.clock).problems
