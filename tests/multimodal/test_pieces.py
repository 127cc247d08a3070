"""Which pieces of words a library gets: the text start's where it knows the script, else byte pairs of its own."""

import dataclasses
import json

import pytest

from multimodal.catalogue import Catalogue, Video
from multimodal.examples.segment_table import SegmentTable
from multimodal.segments import Segment
from multimodal.store import Store, canonical_json, publish_folder, write_whole
from multimodal.systems import BYTE_BPE, WORDPIECE, System
from multimodal.training.checkpoints import step_folder
from multimodal.training.options import NOTHING, PretrainOptions
from multimodal.training.pieces import note_unknown_pieces, told_unknown, unknown_by_video
from multimodal.training.pretraining import suited
from multimodal.training.start import text_start
from multimodal.vocabulary import Vocabulary
from speech.sentences import Sentence, Transcript

SAID = {
    "en": ["First, chop the carrot into thin slices.", "Then fry it slowly."],
    "de": ["Zuerst schneiden wir die Möhren in dünne Scheiben.", "Dann braten wir sie langsam."],
    "fr": ["D'abord, épluchez les pêches.", "Ensuite, faites-les cuire à feu doux."],
    "zh": ["首先把胡萝卜切成薄片。", "然后用小火慢慢炒。"],
    "ja": ["まず、にんじんを薄く切ります。", "それから弱火でゆっくり炒めます。"],
    "ar": ["أولاً نقطع الجزر إلى شرائح رقيقة.", "ثم نقليه ببطء."],
}
CHOSEN = PretrainOptions(choose_tokenizer=True)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


def videos(store: Store, *languages: str) -> list[Video]:
    found = []
    for n, language in enumerate(languages):
        sentences = tuple(Sentence(float(i), i + 1.0, text, ()) for i, text in enumerate(SAID[language]))
        transcript = Transcript(language, {"kind": "captions"}, sentences)
        video = Video(f"{language}{n}", f"{language}{n}.mp4", "", 1, "done", transcript="t")
        write_whole(store.transcript(video.video, "t"), canonical_json(transcript.to_dict()).encode())
        found.append(video)
    return found


@pytest.mark.parametrize("language", SAID)
def test_a_library_gets_pieces_that_know_its_script(store, weights_or_skip, language):
    weights_or_skip("minilm-l6")
    options, line = suited(store, videos(store, language), CHOSEN)
    if language in ("en", "de", "fr", "ar"):  # of Arabic it has each letter
        assert options == CHOSEN and not line
    else:
        assert (options.system.tokenizer, options.text_start) == (BYTE_BPE, NOTHING) and options.shape
        assert "--tokenizer wordpiece" in line and "%" in line


def test_a_few_foreign_videos_change_nothing_and_are_told(store, weights_or_skip):
    weights_or_skip("minilm-l6")
    some = videos(store, *["en"] * 30, "zh")
    options, line = suited(store, some, CHOSEN)
    assert options == CHOSEN and not line
    vocabulary = Vocabulary.of_bert(text_start("minilm-l6"), 4)
    table = SegmentTable(
        (Segment(v.video, 0, 1, text, (1,), (0,)) for v in some for text in SAID[v.video[:2]]), vocabulary
    )
    unknown = unknown_by_video(vocabulary.unknown, table)
    assert list(unknown) == ["zh30"] and unknown["zh30"] > 0.2
    assert "zh30.mp4" in told_unknown(unknown, some) and not told_unknown({}, some)


def test_a_video_says_which_share_of_its_pieces_the_model_in_use_does_not_know(store):
    other = Video("b", "b.mp4", "", 1, "done")
    foreign = dataclasses.replace(
        other, video="a", state="partial", reason="no picture: nothing could be seen"
    )
    with Catalogue(store.catalogue) as catalogue:
        for video in (foreign, other):
            catalogue.put(video)

        def reasons(model: str, unknown: dict[str, float]) -> list[str]:
            with publish_folder(step_folder(store.model(model), 1)) as folder:
                (folder / "card.json").write_text(json.dumps({"unknown_pieces": unknown}))
            catalogue.set_current("model", model)
            for _ in range(2):  # a second time changes nothing
                note_unknown_pieces(store, catalogue)
            return [catalogue.get(video.video).reason for video in (foreign, other)]

        first = reasons("a", {foreign.video: 0.6, other.video: 0.25})
        assert first[0].startswith(foreign.reason + "; 60%") and "25%" in first[1]
        assert reasons("b", {foreign.video: 0.3})[0] == first[0].replace("60%", "30%")
        assert reasons("c", {}) == [foreign.reason, ""]


def test_who_names_pieces_gets_them(store, weights_or_skip):
    weights_or_skip("minilm-l6")
    asked = PretrainOptions(system=System(tokenizer=WORDPIECE))
    assert suited(store, videos(store, "zh"), asked) == (asked, "")


def test_the_choice_is_no_part_of_an_address():
    assert CHOSEN.for_address() == PretrainOptions().for_address()
