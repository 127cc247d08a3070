"""Of several sound tracks the one with speech is heard; a wanted one is taken; what is not heard is told."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from multimodal.intake import sound_tracks
from multimodal.intake.ingest_options import IngestOptions
from multimodal.store import InputError
from speech import audio
from vision.media import probe

SPOKEN = Path(__file__).parents[1] / "samples/kitchen-003.mp4"
SECONDS, RATE = 6, 16_000


def voice() -> np.ndarray:
    return audio.read(SPOKEN).samples[: SECONDS * RATE]


def noise() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.02, SECONDS * RATE).astype(np.float32)


def chord() -> np.ndarray:
    time = np.arange(SECONDS * RATE) / RATE
    return sum(0.1 * np.sin(2 * np.pi * tone * time) for tone in (220, 277.2, 329.6)).astype(np.float32)


def write(path: Path, *tracks: tuple[np.ndarray, str, dict[str, str]]) -> Path:
    """A file of mono tracks: (samples, codec, metadata)."""
    with av.open(str(path), "w") as container:
        streams = []
        for _, codec, metadata in tracks:
            stream = container.add_stream(codec, rate=RATE, layout="mono")
            stream.metadata.update(metadata)
            streams.append(stream)
        for stream, (samples, _, _) in zip(streams, tracks, strict=True):
            resampler = av.AudioResampler(
                stream.codec_context.format, "mono", RATE, stream.codec_context.frame_size or 1024
            )
            frame = av.AudioFrame.from_ndarray(samples[None], "fltp", "mono")
            frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), 0
            for part in (*resampler.resample(frame), *resampler.resample(None)):
                container.mux(stream.encode(part))
            container.mux(stream.encode(None))
    return path


def choose(path: Path, wanted: str | None = None, language: str | None = None):
    media = probe(path)
    heard: list[int] = []

    def listen(track):
        heard.append(track.number)
        return audio.pieces(path, stream=track.index, seconds=sound_tracks.LISTENING_SECONDS)

    chosen = sound_tracks.choose(media.sounds, wanted, language, listen)
    return chosen, heard


@pytest.mark.parametrize("first", [noise, chord, lambda: np.zeros(SECONDS * RATE, np.float32)])
def test_the_track_with_speech_is_heard(tmp_path, first):
    path = write(
        tmp_path / "a.mka", (first(), "flac", {"title": "Desktop"}), (voice(), "flac", {"title": "Mic"})
    )
    chosen, heard = choose(path)
    assert chosen.track.number == 2 and not chosen.usual and heard == [1, 2]
    assert any("Desktop" in note and "no speech" in note for note in chosen.notes)


def test_the_first_of_two_with_speech_is_heard_and_the_other_is_told(tmp_path):
    path = write(
        tmp_path / "a.mka", (voice(), "flac", {"language": "eng"}), (voice(), "flac", {"language": "ger"})
    )
    chosen, heard = choose(path)
    assert chosen.track.number == 1 and chosen.usual and heard == [1]
    assert "--audio-track 2" in chosen.notes[-1]


@pytest.mark.parametrize("wanted", ["2", "de", "deu", "ger", "de-CH"])
def test_a_wanted_track_is_taken_by_its_number_or_language(tmp_path, wanted):
    path = write(
        tmp_path / "a.mka", (voice(), "flac", {"language": "eng"}), (voice(), "flac", {"language": "ger"})
    )
    chosen, heard = choose(path, wanted)
    assert chosen.track.number == 2 and heard == []


def test_the_spoken_language_counts_among_tracks_with_speech(tmp_path):
    path = write(
        tmp_path / "a.mka", (voice(), "flac", {"language": "eng"}), (voice(), "flac", {"language": "fre"})
    )
    assert choose(path, language="fr")[0].track.number == 2


def test_a_wanted_track_that_is_not_there_is_told(tmp_path):
    path = write(tmp_path / "a.mka", (noise(), "flac", {}), (voice(), "flac", {}))
    chosen, _ = choose(path, "7")
    assert chosen.track.number == 2 and "no sound track 7" in chosen.notes[0]


def test_one_track_is_not_listened_to(tmp_path):
    chosen, heard = choose(write(tmp_path / "a.mka", (noise(), "flac", {})))
    assert chosen.track.number == 1 and chosen.usual and not chosen.notes and heard == []


def test_where_none_holds_speech_the_first_is_heard_and_it_is_said(tmp_path):
    path = write(tmp_path / "a.mka", (noise(), "flac", {}), (chord(), "flac", {}))
    chosen, heard = choose(path)
    assert chosen.track.number == 1 and heard == [1, 2] and "none of 2" in chosen.notes[0]


@pytest.mark.parametrize("wanted", ["0", "-1", "german!", ""])
def test_what_names_no_track_is_refused(wanted):
    with pytest.raises(InputError, match="--audio-track"):
        IngestOptions(audio_track=wanted)


def test_real_files_of_others(cases):
    """The desktop's sound is track 1 of an OBS recording, the microphone's is track 2."""
    assert choose(cases / "obs_desktop_and_mic.mp4")[0].track.number == 2
    for name in ("truehd_plus_ac3.mkv", "dts_plus_aac.mkv"):
        assert choose(cases / name)[0].track.admitted


@pytest.mark.parametrize(
    ("name", "first", "second"), [("a.avi", "g722", "libmp3lame"), ("a.avi", "adpcm_yamaha", "pcm_s16le"), ("a.mka", "pcm_s64le", "aac")]
)  # fmt: skip
def test_the_first_track_that_cannot_be_decoded_is_passed_over_and_named(tmp_path, name, first, second):
    chosen, _ = choose(write(tmp_path / name, (voice(), first, {}), (voice(), second, {})))
    assert chosen.track.number == 2 and chosen.track.admitted
    assert any(first in note for note in chosen.notes)


@pytest.mark.parametrize(
    "title", ["Director's Commentary", "English (Audio Description)", "Audiodeskription"]
)
def test_talk_about_the_film_is_heard_last(tmp_path, title):
    """Some files say so by the title alone."""
    path = write(
        tmp_path / "a.mka", (voice(), "flac", {"title": title}), (voice(), "flac", {"title": "Main"})
    )
    chosen, heard = choose(path)
    assert chosen.track.number == 2 and heard == [2]
    silent = write(
        tmp_path / "b.mka", (voice(), "flac", {"title": title}), (noise(), "flac", {"title": "Main"})
    )
    assert choose(silent)[0].track.number == 1, "where no other track holds speech"


@pytest.mark.parametrize("second", [noise, chord])
def test_speech_behind_two_tracks_without_it_is_heard(tmp_path, second):
    path = write(tmp_path / "a.mp4", (noise(), "aac", {}), (second(), "aac", {}), (voice(), "aac", {}))
    chosen, heard = choose(path)
    assert chosen.track.number == 3 and heard == [1, 2, 3]
