"""Captions in five languages, the whole way: into the store, found by a word, and back as they went in."""

import wave
from pathlib import Path

import pytest
from tongues import NARRATIONS, Narration

from multimodal.answers.search import without_model
from multimodal.answers.transcripts import transcript_text
from multimodal.catalogue import Video
from multimodal.intake.ingest import ingest
from multimodal.intake.ingest_options import IngestOptions
from multimodal.store import Store, file_digest
from speech import caption_files, captions

SECONDS = 5.0
"""A cue begins every so often, and lasts a second less."""
Cues = list[tuple[float, float, str]]


def clock(seconds: float, point: str) -> str:
    return f"00:{int(seconds // 60):02}:{int(seconds % 60):02}{point}{round(seconds % 1 * 1000):03}"


def cues_of(sentences: tuple[str, ...]) -> Cues:
    return [(SECONDS * n + 0.5, SECONDS * n + 4.5, text) for n, text in enumerate(sentences)]


def written(cues: Cues, suffix: str) -> str:
    point = "," if suffix == ".srt" else "."
    head = "" if suffix == ".srt" else "WEBVTT\n\n"
    blocks = (
        f"{n}\n{clock(a, point)} --> {clock(b, point)}\n{text}\n\n" for n, (a, b, text) in enumerate(cues, 1)
    )
    return head + "".join(blocks)


def ingested(folder: Path, narration: Narration, suffix: str) -> tuple[Store, Video]:
    """A silent sound with captions beside it, in a folder that says the language."""
    folder.mkdir()
    sound = folder / f"{narration.language}.wav"
    with wave.open(str(sound), "wb") as out:
        out.setparams((1, 2, 8000, 0, "NONE", ""))
        out.writeframes(bytes(2 * 8000 * round(SECONDS * len(narration.sentences))))
    (folder / "language.txt").write_text(narration.language)
    text = written(cues_of(narration.sentences), suffix)
    sound.with_suffix(f".{narration.language}{suffix}").write_text(text, encoding="utf-8")
    store = Store(folder / "store")
    video = Video(file_digest(sound), sound.name, str(sound), sound.stat().st_size)
    outcome = ingest(store, video, IngestOptions(captions=True), "cpu")
    assert "captions taken from" in outcome.reason
    return store, outcome.applied_to(video)


@pytest.mark.parametrize("suffix", [".srt", ".vtt"])
@pytest.mark.parametrize("narration", NARRATIONS, ids=lambda narration: narration.language)
def test_captions_come_back_as_they_went_in_and_their_words_are_found(tmp_path, narration, suffix):
    store, video = ingested(tmp_path / "films", narration, suffix)
    library = without_model(store, [video])
    for asked, sentence in narration.asked:
        hit = library.search(asked)[0]
        assert (hit.start, hit.text) == (SECONDS * sentence + 0.5, narration.sentences[sentence]), asked
    for form in ("vtt", "srt"):
        text, _ = transcript_text(store, video, form)
        back = caption_files.read(text).cues
        assert [(cue.start, cue.end, cue.text) for cue in back] == cues_of(narration.sentences)


@pytest.mark.parametrize("narration", NARRATIONS, ids=lambda narration: narration.language)
def test_sentences_end_by_the_marks_of_the_script_or_with_their_cues(narration):
    space = "" if narration.language in ("zh", "ja") else " "
    whole = [(0.5, 49.5, space.join(narration.sentences))]
    for cues in (whole, cues_of(narration.sentences)):
        found = captions.transcript(caption_files.read(written(cues, ".srt")).cues, {"kind": "captions"})
        assert [sentence.text for sentence in found.sentences] == list(narration.sentences)
    # Two words alone, as "Bon appétit", are no sentence of their own where no mark ends one.
    bare = tuple(sentence.rstrip(" .。!！?？؟") for sentence in narration.sentences[:-1])
    found = captions.transcript(caption_files.read(written(cues_of(bare), ".srt")).cues, {"kind": "captions"})
    assert [sentence.text for sentence in found.sentences] == list(bare)
