"""What is spoken: captions that translate it are left, a folder says its language, and a script its languages."""

from pathlib import Path

import fragments
import pytest

from multimodal.catalogue import Video
from multimodal.intake.caption_choice import choose
from multimodal.intake.ingest import Outcome, ingest, is_up_to_date
from multimodal.intake.ingest_options import IngestOptions
from multimodal.intake.sandbox import Limits
from multimodal.intake.spoken_language import folder_language
from multimodal.library import read_transcript
from multimodal.store import InputError, Store, file_digest
from speech.languages import written_in
from vision.media import probe

CUES = "1\n00:00:00,200 --> 00:00:01,500\n{}\n\n2\n00:00:01,500 --> 00:00:02,900\n{}\n"
CHINESE = CUES.format("首先我们把胡萝卜切成小块。", "然后放进锅里。")
GERMAN = CUES.format("Zuerst schneiden wir die Möhren klein.", "Dann kommen sie in den Topf.")
ENGLISH = CUES.format("First we cut the carrots.", "Then they go into the pot.")


@pytest.fixture
def film(tmp_path, weights_or_skip) -> Path:
    """The sound of 6 s of a sample: English by a clear voice."""
    weights_or_skip("whisper-tiny.en")
    return fragments.cut(tmp_path / "films" / "film.m4a", "kitchen-003.mp4", 6.0, ("audio",))


def ingested(film: Path, **options) -> tuple[Outcome, list[str]]:
    store = Store(film.parent.parent / "store")
    video = Video(file_digest(film), film.name, str(film), film.stat().st_size)
    outcome = ingest(store, video, IngestOptions(**options), "cpu")
    if outcome.transcript is None:
        return outcome, []
    sentences = read_transcript(store, outcome.applied_to(video)).sentences
    return outcome, [sentence.text for sentence in sentences]


@pytest.mark.parametrize(
    ("name", "captions", "told"),
    [
        ("film.srt", CHINESE, "captions in Chinese, speech in English"),
        ("film.de.srt", GERMAN, "captions in German, speech in English"),
    ],
)
def test_captions_that_translate_what_is_said_are_left_for_the_words_that_are_said(
    film, name, captions, told
):
    film.with_name(name).write_text(captions, encoding="utf-8")
    outcome, said = ingested(film, captions=True)
    assert told in outcome.reason
    assert said and all(sentence.isascii() for sentence in said)


@pytest.mark.parametrize(("captions", "own"), [(CHINESE, "zh"), (ENGLISH, "de")])
def test_a_script_that_the_tag_does_not_have_says_the_language(tmp_path, captions, own):
    film = fragments.silent(tmp_path / "film.mp4")
    film.with_name("film.de.srt").write_text(captions, encoding="utf-8")
    choice = choose(film, probe(film), language=None, english=True, limits=Limits())
    assert choice.transcript["language"] == own


def test_captions_in_the_spoken_language_are_taken_before_a_translation(film):
    film.with_name("film.zh.srt").write_text(CHINESE, encoding="utf-8")
    film.with_name("film.srt").write_text(ENGLISH, encoding="utf-8")
    outcome, said = ingested(film, captions=True)
    assert "captions taken from film.srt" in outcome.reason and said[0] == "First we cut the carrots."


@pytest.mark.parametrize("way", ["option", "folder"])
def test_captions_in_the_language_that_is_told_are_taken_unheard(film, way):
    film.with_name("film.zh.srt").write_text(CHINESE, encoding="utf-8")
    if way == "folder":
        (film.parent / "language.txt").write_text("Chinese\n")
    outcome, said = ingested(film, captions=True, language="zh" if way == "option" else None)
    assert "captions taken from film.zh.srt" in outcome.reason and said[0] == "首先我们把胡萝卜切成小块。"


def test_a_language_that_whisper_does_not_know_makes_the_videos_of_its_folder_partial(film):
    (film.parent / "language.txt").write_text("de")
    outcome, said = ingested(film)
    assert outcome.transcript is None and not said
    assert "German" in outcome.reason and "--whisper base" in outcome.reason


def test_the_language_of_a_folder_that_changes_makes_its_videos_anew(film):
    store = Store(film.parent.parent / "store")
    video = Video(file_digest(film), film.name, str(film), film.stat().st_size)
    done = ingest(store, video, IngestOptions(), "cpu").applied_to(video)
    assert is_up_to_date(store, done, IngestOptions())
    (film.parent / "language.txt").write_text("de")
    assert not is_up_to_date(store, done, IngestOptions())


def test_the_nearest_folder_says_the_language(tmp_path):
    video = tmp_path / "talks" / "german" / "a.mp4"
    video.parent.mkdir(parents=True)
    assert folder_language(video) is None
    (tmp_path / "talks" / "language.txt").write_text("fr")
    assert folder_language(video) == "fr"
    (video.parent / "language.txt").write_bytes(b"\xef\xbb\xbf deu \r\n")
    assert folder_language(video) == "de"
    (video.parent / "language.txt").write_text("Klingon")
    with pytest.raises(InputError, match="Klingon") as caught:
        folder_language(video)
    assert str(video.parent / "language.txt") in str(caught.value)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("把胡萝卜切成小块", "zh"),
        ("にんじんを鍋に入れます", "ja"),
        ("당근을 썰어요", "ko"),
        ("نقطع الجزر", "ar"),
        ("Режем морковь", "ru"),
        ("गाजर काटो", "hi"),
        ("หั่นแครอท", "th"),
    ],
)
def test_a_script_says_its_languages(text, first):
    assert written_in([text])[0] == first and "en" not in written_in([text])


def test_latin_letters_and_no_letters_say_no_single_language():
    assert {"en", "de", "vi"} <= set(written_in(["Möhren"])) and "zh" not in written_in(["Möhren"])
    assert written_in(["12:30 …"]) == ()
