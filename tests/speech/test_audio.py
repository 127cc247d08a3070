"""Audio keeps its time on the container's timeline, whatever the file does."""

import contextlib
import pickle
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speech import audio
from speech.audio import DEAD_SECONDS, SAMPLE_RATE
from speech.errors import SpeechError
from speech.resampling import TimelineResampler
from vision.media import AUDIO_CODECS

CLICKS = [2.5, 3.0, 5.25, 7.9]
START = 1.98


@pytest.mark.parametrize(
    ("name", "codec", "rate", "picture_seconds"),
    [
        ("late.mp4", "aac", 44_100, 9),
        ("late.mp4", "libmp3lame", 44_100, 9),
        ("late.mkv", "pcm_s16le", 32_000, 9),
        ("late.webm", "libopus", 48_000, 0),
        ("late.ts", "aac", 44_100, 9),
    ],
)
def test_a_late_start_keeps_every_click_in_its_place(tmp_path, clicks, name, codec, rate, picture_seconds):
    track = clicks.track([click - START for click in CLICKS], 7, rate)
    file = clicks.write(
        tmp_path / name, [(START, track)], rate=rate, codec=codec, picture_seconds=picture_seconds
    )
    sound = audio.read(file)
    assert sound.start == pytest.approx(START, abs=0.03)
    assert np.add(clicks.find(sound.samples), sound.start) == pytest.approx(CLICKS, abs=0.01)
    assert sound.problems == ()


def test_gaps_between_packets_are_silence_of_their_length(tmp_path, clicks):
    track = clicks.track([0.5, 1.5], 2, 44_100)
    file = clicks.write(tmp_path / "gaps.mkv", [(0.5, track), (3.7, track), (9, track)], codec="pcm_s16le")
    sound = audio.read(file)
    assert np.add(clicks.find(sound.samples), sound.start) == pytest.approx(
        [1.0, 2.0, 4.2, 5.2, 9.5, 10.5], abs=0.003
    )
    assert sound.end == pytest.approx(11, abs=0.002)
    (problem,) = sound.problems
    assert all(part in problem for part in ("4.5 s", "2.50 s", "2 places"))


@pytest.mark.parametrize("seconds", [0.1, 0.7, 5.0, 100.0])
def test_pieces_follow_each_other_and_make_the_whole(tmp_path, clicks, seconds):
    track = clicks.track([0.5, 1.5], 2, 44_100)
    file = clicks.write(tmp_path / "gaps.mkv", [(0.5, track), (3.7, track)], codec="pcm_s16le")
    sound = audio.read(file)
    pieces = list(audio.pieces(file, seconds=seconds))
    assert np.array_equal(np.concatenate([piece.samples for piece in pieces]), sound.samples)
    assert [piece.start for piece in pieces] == pytest.approx(
        sound.start + np.cumsum([0, *(piece.seconds for piece in pieces[:-1])])
    )
    assert all(piece.seconds == pytest.approx(seconds) for piece in pieces[:-1])
    assert 0 < pieces[-1].seconds <= seconds + 1e-9


def test_a_time_stamp_beyond_the_end_of_the_file_is_no_gap(clicks):
    samples = clicks.track([0.5], 1, SAMPLE_RATE)[None]
    resampler = TimelineResampler(0.0, declared_end=3.0)
    for position in (0, 10**9, 10**9 + SAMPLE_RATE):
        frame = av.AudioFrame.from_ndarray(samples, "fltp", "mono")
        frame.sample_rate, frame.time_base, frame.pts = SAMPLE_RATE, Fraction(1, SAMPLE_RATE), position
        resampler.add(frame)
    resampler.finish()
    assert clicks.find(resampler.take(resampler.waiting)) == pytest.approx([0.5, 1.5, 2.5], abs=0.01)
    assert "leap" in resampler.problems[0]


def filtered(path, stream) -> np.ndarray:
    """What FFmpeg's filters make of the whole track: the conversion that the ffmpeg program puts before 16-bit
    mono output, as openai-whisper asks for it; of surround sound, of its centre."""
    with av.open(str(path)) as container:
        track = container.streams[stream]
        graph = av.filter.Graph()
        source = graph.add_abuffer(template=track)
        shape = graph.add("aformat", "sample_fmts=s16:channel_layouts=mono:sample_rates=16000")
        sink = graph.add("abuffersink")
        if track.codec_context.channels > 2:
            centre = graph.add("pan", "mono|c0=FC")
            source.link_to(centre)
            source = centre
        source.link_to(shape)
        shape.link_to(sink)
        graph.configure()
        samples = []

        def pull():
            while True:
                try:
                    samples.append(graph.pull().to_ndarray()[0])
                except (av.error.BlockingIOError, av.error.EOFError):
                    return

        for frame in container.decode(track):
            graph.push(frame)
            pull()
        graph.push(None)
        pull()
    return np.concatenate(samples).astype(np.float32) / 2**15


@pytest.mark.parametrize(
    ("name", "rate", "layout", "codec"),
    [
        ("a.mp4", 44_100, "stereo", "aac"),
        ("a.mp4", 22_050, "mono", "libmp3lame"),
        ("a.webm", 48_000, "mono", "libopus"),
        ("a.mkv", 32_000, "stereo", "flac"),
        ("a.wav", 8_000, "mono", "pcm_s16le"),
    ],
)
def test_samples_are_those_of_ffmpegs_own_conversion(tmp_path, clicks, name, rate, layout, codec):
    noise = np.random.default_rng(0).normal(0, 0.05, (2 if layout == "stereo" else 1, 3 * rate))
    file = clicks.write(
        tmp_path / name,
        [(0, clicks.track([0.5, 2.2], 3, rate) + noise)],
        rate=rate,
        layout=layout,
        codec=codec,
    )
    found = audio.read(file).samples
    assert found.dtype == np.float32
    assert np.array_equal(found, filtered(file, 0))


def test_samples_of_a_video_are_those_of_ffmpegs_own_conversion(sample, sample_audio):
    assert np.array_equal(sample_audio.samples, filtered(sample, 1))
    assert sample_audio.seconds == pytest.approx(19.5, abs=0.1) and sample_audio.problems == ()


def test_real_files_are_read_as_ffmpeg_reads_them_and_only_one_is_short(videos):
    found = {}
    for file in sorted(videos.glob("*/*")):
        with contextlib.suppress(SpeechError):
            found[file.name] = audio.read(file).problems
    assert len(found) == 23
    ((name, (problem,)),) = [(name, problems) for name, problems in found.items() if problems]
    assert name == "failing_audio.mp4" and "6.6 s" in problem and "4.65 s" in problem
    for name, stream in (
        ("awkward/failing_audio.mp4", 1),
        ("awkward/two_aac_tracks_no_video.mp4", 0),
        ("awkward/two_aac_tracks_no_video.mp4", 1),
        ("awkward/rotate_-90.mp4", 1),
        ("awkward/no_duration.webm", 1),
        ("narrated/nasa_13013.mp4", 1),
    ):
        assert np.array_equal(
            audio.read(videos / name, stream=stream).samples, filtered(videos / name, stream)
        )


def test_the_track_that_ffmpeg_prefers_is_read_by_default(tmp_path, clicks):
    """Two tracks, the second of more channels and bits, and each with clicks of its own."""
    times = {1: [0.5], 2: [1.5]}
    file = tmp_path / "two.mka"
    with av.open(str(file), "w") as container:
        tracks = {
            n: container.add_stream("pcm_s16le", rate=44_100, layout=("mono", "stereo")[n - 1]) for n in times
        }
        for n, track in tracks.items():
            planes = np.repeat(clicks.track(times[n], 2, 44_100)[None], n, axis=0)
            interleaved = np.ascontiguousarray((planes.T * 32767).astype(np.int16).reshape(1, -1))
            frame = av.AudioFrame.from_ndarray(interleaved, "s16", track.layout.name)
            frame.sample_rate, frame.time_base, frame.pts = 44_100, Fraction(1, 44_100), 0
            container.mux([*track.encode(frame), *track.encode(None)])
    assert clicks.find(audio.read(file).samples) == pytest.approx([1.5], abs=0.01)
    assert clicks.find(audio.read(file, stream=0).samples) == pytest.approx([0.5], abs=0.01)


def test_every_channel_of_surround_sound_with_a_silent_centre_is_in_the_mix(tmp_path, clicks):
    names = [channel.name for channel in av.AudioLayout("5.1").channels]
    planes = np.zeros((6, 6 * 44_100), np.float32)
    for n in range(6):
        planes[n] = clicks.track([n + 0.5], 6, 44_100) * (0.05 if names[n] == "FC" else 1)
    file = clicks.write(tmp_path / "surround.mka", [(0, planes)], layout="5.1", codec="flac")
    samples = audio.read(file).samples
    loudness = [np.abs(samples[n * SAMPLE_RATE : (n + 1) * SAMPLE_RATE]).max() for n in range(6)]
    quiet = {name for name, peak in zip(names, loudness, strict=True) if peak < 0.02}
    # FFmpeg's mix leaves the channel of low rumble out, and only that.
    assert quiet == {"LFE", "FC"}


def test_of_surround_sound_the_centre_is_heard_alone(tmp_path, clicks):
    """Where it has sound of its own, speech is there, and the other channels would lie over it."""
    planes = np.stack([clicks.track([n + 0.5], 6, 44_100) for n in range(6)])
    file = clicks.write(tmp_path / "surround.mka", [(0, planes)], layout="5.1", codec="flac")
    centre = [channel.name for channel in av.AudioLayout("5.1").channels].index("FC")
    sound = audio.read(file)
    assert clicks.find(sound.samples) == pytest.approx([centre + 0.5], abs=0.003)
    assert "centre" in sound.notes[0]
    mixed = np.concatenate([piece.samples for piece in audio.pieces(file, mixed=True)])
    heard = [n for n in range(6) if np.abs(mixed[n * SAMPLE_RATE : (n + 1) * SAMPLE_RATE]).max() > 0.02]
    assert len(heard) == 5, "all but that of low rumble"


@pytest.mark.parametrize("codec", ["flac", "pcm_s16le", "pcm_f32le"])
def test_channels_that_cancel_are_not_summed(tmp_path, clicks, codec):
    """A microphone that is wired the wrong way round on one side: the mean of both sides is silence."""
    track = clicks.track([0.5, 2.5], 4, 44_100)
    file = clicks.write(
        tmp_path / "inverted.mka", [(0, np.stack([0.8 * track, -track]))], layout="stereo", codec=codec
    )
    sound = audio.read(file)
    assert clicks.find(sound.samples) == pytest.approx([0.5, 2.5], abs=0.003)
    assert "right" in sound.notes[0]


def test_two_sides_that_differ_are_mixed(tmp_path, clicks):
    planes = np.stack([clicks.track([0.5], 4, 44_100), clicks.track([2.5], 4, 44_100)])
    sound = audio.read(clicks.write(tmp_path / "sides.mka", [(0, planes)], layout="stereo", codec="flac"))
    assert clicks.find(sound.samples) == pytest.approx([0.5, 2.5], abs=0.003) and not sound.notes


def test_a_file_cut_short_gives_what_is_there_and_says_so(tmp_path, clicks):
    track = clicks.track([0.5, 1.5, 2.5, 9.5], 10, 44_100)
    whole = clicks.write(tmp_path / "whole.mkv", [(0, track)], codec="pcm_s16le")
    data = whole.read_bytes()
    short = tmp_path / "short.mkv"
    short.write_bytes(data[: len(data) * 4 // 10])
    sound = audio.read(short)
    assert clicks.find(sound.samples) == pytest.approx([0.5, 1.5, 2.5], abs=0.003)
    assert sound.declared_seconds == pytest.approx(10, abs=0.1)
    missing = sound.declared_seconds - sound.seconds
    assert [p for p in sound.problems if p.startswith(f"{missing:.1f} s") and "at its end" in p]


@pytest.mark.parametrize("silence", ["at the end", "in between too", "shorter", "all"])
def test_a_sound_that_stops_dead_is_told_from_one_that_is_silent(tmp_path, clicks, silence):
    """All packets are there and decode: only their samples tell that the recorder failed."""
    noise = np.random.default_rng(0).normal(0, 0.1, 2 * SAMPLE_RATE).astype(np.float32)
    dead = np.zeros(round((DEAD_SECONDS + (-0.5 if silence == "shorter" else 0.5)) * SAMPLE_RATE), np.float32)
    parts = {"in between too": [noise, dead, dead, noise, dead], "all": [dead, dead]}.get(
        silence, [noise, dead]
    )
    track = np.concatenate(parts)
    file = clicks.write(tmp_path / "dead.wav", [(0, track)], rate=SAMPLE_RATE, codec="pcm_s16le")
    problems = audio.read(file).problems
    assert len(problems) == (silence == "at the end")
    assert all("5.5 s" in problem and "2.00 s" in problem for problem in problems)
    assert list(audio.pieces(file, seconds=0.7))[-1].problems == problems


@pytest.mark.parametrize("picture", [10, 4])
def test_a_sound_shorter_than_the_picture_is_not_cut_off(tmp_path, clicks, picture):
    """Only the file as a whole says how long it is, by its longest stream."""
    file = clicks.write(
        tmp_path / "a.mkv", [(0, clicks.track([0.5], 4, 44_100))], codec="pcm_s16le", picture_seconds=picture
    )
    data = file.read_bytes()
    untagged = tmp_path / "untagged.mkv"
    untagged.write_bytes(data.replace(b"DURATION", b"DURATIOM"))
    assert audio.read(untagged).problems == ()
    short = tmp_path / "short.mkv"
    short.write_bytes(untagged.read_bytes()[: len(data) // 2])
    assert any("at its end" in problem for problem in audio.read(short).problems)


def test_damaged_packets_are_silence_and_later_sound_keeps_its_time(tmp_path, clicks):
    track = clicks.track([0.5, 9.5], 10, 44_100)
    file = clicks.write(tmp_path / "whole.mka", [(0, track)], codec="flac")
    with av.open(str(file)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(container.streams.audio[0])]
    data = bytearray(file.read_bytes())
    for position, size in packets[40:44]:
        # The position is that of the block, whose own header of 4 bytes stays.
        data[position + 4 : position + 4 + size] = bytes(size)
    file.write_bytes(data)
    sound = audio.read(file)
    assert clicks.find(sound.samples) == pytest.approx([0.5, 9.5], abs=0.003)
    assert any("damaged" in problem for problem in sound.problems)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_file_with_bytes_overwritten_is_read_or_refused(tmp_path_factory, sample, data):
    original = sample.read_bytes()
    damaged = bytearray(original)
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(original) - 1))
        damaged[at : at + 16] = data.draw(st.binary(min_size=16, max_size=16))
    file = tmp_path_factory.mktemp("damaged") / "damaged.mp4"
    file.write_bytes(damaged[: len(original)])
    try:
        sound = audio.read(file)
    except SpeechError as error:
        assert str(error).startswith("damaged.mp4")
    else:
        assert np.isfinite(sound.samples).all()
        assert np.isfinite(sound.start)
        assert sound.seconds <= audio.LONGEST_AUDIO + 60


def refusal(file, stream=None) -> str:
    with pytest.raises(SpeechError) as caught:
        audio.read(file, stream=stream)
    assert str(caught.value).startswith(file.name) and "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_without_the_track_asked_for_is_refused_in_words(tmp_path, clicks, sample):
    silent = tmp_path / "silent.mp4"
    with av.open(str(sample)) as source, av.open(str(silent), "w") as container:
        picture = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = picture
                container.mux(packet)
    assert "no sound track" in refusal(silent)
    text = tmp_path / "text.mp4"
    text.write_text("not a video")
    assert "cannot be opened" in refusal(text)
    assert "cannot be opened" in refusal(tmp_path / "nothing_here.mp4")
    assert "stream 0" in refusal(sample, 0) and refusal(sample, 0).endswith(": 1")


@pytest.mark.parametrize("codec", ["tta", "wavpack"])
def test_a_codec_that_is_not_admitted_is_not_decoded(tmp_path, clicks, codec):
    file = clicks.write(tmp_path / "a.mkv", [(0, clicks.track([0.5], 1, 44_100))], codec=codec)
    with av.open(str(file)) as container:
        assert next(container.decode(audio=0)).samples
    with pytest.raises(SpeechError, match=codec):
        audio.read(file)


def test_the_admitted_codecs_are_those_of_the_probe():
    assert audio.CODECS == AUDIO_CODECS


def test_the_decoder_of_the_picture_is_not_opened(sample):
    """It would be, to learn what the file does not say, where the list of decoders did not forbid it."""
    opened = []
    for options in ({}, {"codec_whitelist": ",".join(audio._decoders())}):
        with av.open(str(sample), options=options) as container:
            opened.append(container.streams.video[0].codec_context.pix_fmt)
    assert opened == ["yuv420p", None]


def test_a_playlist_cannot_name_another_file(tmp_path, clicks):
    track = clicks.track([0.5], 1, 44_100)
    clicks.write(tmp_path / "private.ts", [(0, track)])
    playlist = tmp_path / "list.m3u8"
    playlist.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nprivate.ts\n#EXT-X-ENDLIST\n")
    with av.open(str(playlist)) as container:
        assert container.format.name == "hls"
    with pytest.raises(SpeechError, match="cannot be opened"):
        audio.read(playlist)


def test_it_travels_between_processes_and_needs_no_torch():
    sound = audio.Audio(np.zeros(4, np.float32), 1.5, ("a problem",), 2.0)
    again = pickle.loads(pickle.dumps(sound))
    assert (again.start, again.problems, again.declared_seconds) == (1.5, ("a problem",), 2.0)
    assert pickle.loads(pickle.dumps(audio.read)) is audio.read
    command = "import sys, speech.audio; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0
