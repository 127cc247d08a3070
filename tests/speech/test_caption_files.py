"""Caption files of the kinds that people reported trouble with: what is read of them, and what is said of the rest."""

import hashlib
import json
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from whisper.tokenizer import LANGUAGES as WHISPERS

from speech import caption_files, captions
from speech.caption_files import CaptionFile
from speech.cues import cues_of, write_webvtt
from speech.errors import SpeechError
from speech.languages import LANGUAGES, language_code
from speech.sentences import Transcript
from speech.text_encoding import decode


def read(folder: Path, name: str, content: str | bytes) -> CaptionFile:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return caption_files.read(file)


def heard(file: CaptionFile, seconds: float | None = None) -> Transcript:
    return captions.transcript(file.cues, {}, seconds=seconds)


def rows(transcript: Transcript) -> list[tuple[float, float, str]]:
    return [(s.start, s.end, s.text) for s in transcript.sentences]


def srt(*cues: tuple[str, str]) -> str:
    return "".join(f"{n}\n{times}\n{text}\n\n" for n, (times, text) in enumerate(cues, 1))


PEEL, CHOP = "First, peel the carrots.", "Then chop the onions."

OF_CASES = {
    "overlap.srt": [
        (0.5, 4.0, "I think that the carrots are ready."),
        (1.5, 5.0, "Yes, they look really good today."),
        (5.5, 8.0, "Stir everything in the pan."),
    ],
    "onebad.srt": [(0.5, 3.0, PEEL), (6.5, 9.0, "Stir everything in the pan.")],
    "ms2.srt": [(0.5, 3.0, PEEL), (3.5, 6.0, CHOP)],
    "noms.srt": [(0.0, 3.0, PEEL), (3.0, 6.0, CHOP)],
    "arrow.srt": [(0.5, 3.0, "Click File --> Open now."), (3.5, 6.0, CHOP)],
    "sdh.srt": [(3.0, 6.0, PEEL), (8.0, 9.0, CHOP)],
    "entities.srt": [
        (0.5, 3.0, "Tom & Jerry peel the carrots."),
        (3.5, 6.0, 'Then chop the onions "now".'),
    ],
    "utf16.srt": [(0.5, 3.0, "First, peel the carrots café style."), (3.5, 6.0, CHOP)],
    "cp1252.srt": [(0.5, 3.0, "First, peel the carrots café style."), (3.5, 6.0, CHOP)],
    "yt_en-US.en-US.vtt": [
        (0.5, 3.0, PEEL),
        (3.5, 6.0, CHOP),
        (6.5, 9.5, "Stir everything in the pan."),
    ],
    "zh1.zh.srt": [
        (0.2, 2.9, "首先把胡萝卜削皮"),
        (3.2, 5.9, "然后把洋葱切成小块"),
        (6.2, 8.9, "现在搅拌均匀"),
        (9.2, 11.9, "再加一点盐和胡椒"),
    ],
    "ar.srt": [
        (0.5, 3.0, "أولا نقشر الجزر بسكين حاد."),
        (3.2, 6.0, "ثم نقطع البصل إلى قطع صغيرة؟"),
        (6.2, 9.0, "حسنا، الآن نحرك كل شيء"),
    ],
}


@pytest.mark.parametrize("name", OF_CASES)
def test_a_file_that_people_had_trouble_with_gives_its_sentences(cases, name):
    found = rows(heard(caption_files.read(cases / name)))
    assert found[: len(OF_CASES[name])] == OF_CASES[name]
    assert len(found) == len(OF_CASES[name]) or name == "zh1.zh.srt"


def test_styles_regions_and_voices_are_no_words(cases):
    file = caption_files.read(cases / "regions.vtt")
    assert [s.text for s in heard(file).sentences] == [
        "First, peel the carrots.",
        "<sharp knife> & board",
        "Then chop.",
        "The onions?",
        "漢",
    ]
    assert not file.problems, "a style sheet with an empty line in it is no cue"
    meeting = heard(caption_files.read(cases / "teams.vtt"))
    assert [s.text for s in meeting.sentences] == [
        PEEL,
        "And the onions?",
        "Should I chop them now or later?",
        "Now, please.",
    ]


def test_a_sentence_in_a_script_without_spaces_ends_within_a_cue(cases):
    texts = [s.text for s in heard(caption_files.read(cases / "zh.srt")).sentences]
    assert texts == [
        "首先把胡萝卜削皮",
        "然后把洋葱切成小块。",
        "现在搅拌",
        "再加一点盐和胡椒，味道会更好",
    ]


SCRIPTS = {
    "ja": (["まずニンジンの皮を", "むきます。次に玉ねぎ", "最後に炒める"], ["まずニンジンの皮を", "むきます。", "次に玉ねぎ", "最後に炒める"]),
    "ja punctuated": (["まずニンジンの、", "皮をむきます。", "次に「玉ねぎ！」と、", "最後に炒める。"], ["まずニンジンの、皮をむきます。", "次に「玉ねぎ！」と、最後に炒める。"]),
    "th": (["ปอกแครอทก่อน", "แล้วหั่นหัวหอม"], ["ปอกแครอทก่อน", "แล้วหั่นหัวหอม"]),
    "hi": (["पहले गाजर छीलें।", "फिर प्याज काटें। अब हिलाएँ", "नमक डालें"], ["पहले गाजर छीलें।", "फिर प्याज काटें।", "अब हिलाएँ", "नमक डालें"]),
    "ar": (["\u202bأولا نقشر الجزر\u202c", "ثم نقطع البصل؟نعم", "الآن نحرك"], ["أولا نقشر الجزر", "ثم نقطع البصل؟", "نعم", "الآن نحرك"]),
    "zh": (["首先 削皮！！然后", "切成小块?再加盐", "好"], ["首先削皮！！", "然后", "切成小块?", "再加盐", "好"]),
    "en": (["First, peel all of", "the carrots. Then", "chop them."], ["First, peel all of the carrots.", "Then chop them."]),
}  # fmt: skip


@pytest.mark.parametrize("script", SCRIPTS)
def test_sentences_end_by_the_scripts_marks_and_without_capitals_by_the_ends_of_cues(tmp_path, script):
    lines, expected = SCRIPTS[script]
    cues = [(f"00:00:{2 * n:02},000 --> 00:00:{2 * n + 2:02},000", line) for n, line in enumerate(lines)]
    assert [s.text for s in heard(read(tmp_path, "a.srt", srt(*cues))).sentences] == expected


@pytest.mark.parametrize("name", [*OF_CASES, "zh.srt", "teams.vtt", "lang_de.de.vtt"])
def test_captions_come_back_as_they_went_in(cases, tmp_path, name):
    """Through the sentences and the WebVTT file that is written of them."""
    once = rows(heard(caption_files.read(cases / name)))
    assert rows(heard(read(tmp_path, "again.vtt", write_webvtt(cues_of(once))))) == once


OF_REAL_FILES = {
    "congress": (14, "1d7190dca4b213a28638e36d20282cdcf61a359561d487811a4aa53f90d24a1b"),
    "dating": (18, "a08e734b1c5cbeca482c4f1ffd342c8cecff90361c653f8fdbc272a26b38d69c"),
    "var": (15, "c568848e6b71807d12341c8be560b0574fc12184c0816528d4c769b570766eca"),
}
"""Sentences, and the SHA-256 of them with their words and times, of the reader that refused a file for one bad cue."""


@pytest.mark.parametrize("name", OF_REAL_FILES)
def test_the_real_caption_files_give_the_sentences_that_they_gave(videos, name):
    file = caption_files.read(videos / f"narrated/ds4200_{name}_screencast.en.vtt")
    sentences = heard(file).to_dict()["sentences"]
    digest = hashlib.sha256(json.dumps(sentences, sort_keys=True).encode()).hexdigest()
    assert (len(sentences), digest) == OF_REAL_FILES[name]
    assert not file.problems and not file.notes
    assert file.automatic == (name == "dating")


# Cues that overlap.


def test_two_languages_at_once_are_two_sentences(tmp_path):
    file = read(
        tmp_path,
        "a.srt",
        srt(
            ("00:00:00,500 --> 00:00:04,000", "Wir schälen jetzt die Karotten"),
            ("00:00:00,500 --> 00:00:04,000", "We are peeling the carrots now"),
            ("00:00:04,500 --> 00:00:06,000", "Dann die Zwiebeln"),
            ("00:00:04,500 --> 00:00:06,000", "Then the onions"),
        ),
    )
    assert [s.text for s in heard(file).sentences] == [
        "Wir schälen jetzt die Karotten",
        "We are peeling the carrots now",
        "Dann die Zwiebeln",
        "Then the onions",
    ]


def test_a_cue_within_another_keeps_its_words_together_whatever_the_order_of_the_file(tmp_path):
    file = read(
        tmp_path,
        "a.vtt",
        "WEBVTT\n\n00:02.000 --> 00:03.000\nWait, wait!\n\n00:00.000 --> 00:08.000\nThis is a long line that goes on and on.\n",
    )
    transcript = heard(file)
    assert rows(transcript) == [
        (0.0, 8.0, "This is a long line that goes on and on."),
        (2.0, 3.0, "Wait, wait!"),
    ]
    assert any("order" in note for note in transcript.notes)


def test_lines_that_scroll_past_are_spoken_one_after_the_other(tmp_path):
    """As programs write YouTube's automatic captions: a line stays while the next is spoken."""
    lines = ["now we are going to", "peel all of the carrots", "with a very sharp", "knife and then chop", "the onions as well"]  # fmt: skip
    cues = [(f"00:00:0{2 * n},000 --> 00:00:{2 * n + 4:02},000", line) for n, line in enumerate(lines)]
    words = [word for s in heard(read(tmp_path, "a.srt", srt(*cues))).sentences for word in s.words]
    assert [w.text for w in words] == " ".join(lines).split()
    assert all(a.end <= b.start for a, b in zip(words, words[1:], strict=False))


def test_two_who_interrupt_each_other_all_the_time_are_not_lines_that_scroll(tmp_path):
    cues = [
        (f"00:00:{3 * n:02},000 --> 00:00:{3 * n + 4:02},500", f"This is sentence number {n}.")
        for n in range(6)
    ]
    found = rows(heard(read(tmp_path, "a.srt", srt(*cues))))
    assert found == [(3.0 * n, 3.0 * n + 4.5, f"This is sentence number {n}.") for n in range(6)]


# Cues that run on, and bad ones.


@pytest.mark.parametrize(
    "text",
    [
        f"WEBVTT\n\n00:00.500 --> 00:03.000\n{PEEL}\n00:03.500 --> 00:06.000\n{CHOP}\n",
        f"WEBVTT\n\n1\n00:00.500 --> 00:03.000\n{PEEL}\n2\n00:03.500 --> 00:06.000\n{CHOP}\n",
        f"1\n00:00:00,500 --> 00:00:03,000\n{PEEL}\n2\n00:00:03,500 --> 00:00:06,000\n{CHOP}",
        f"00:00:00,500 --> 00:00:03,000\n{PEEL}\n00:00:03,500 --> 00:00:06,000\n{CHOP}\n",
        srt(("00:00:00,500 --> 00:00:03,000", PEEL), ("00:00:03,500 --> 00:00:06,000", CHOP)).replace("\n", "\r\r\n"),
        srt(("00:00:00,500 --> 00:00:03,000", PEEL), ("00:00:03,500 --> 00:00:06,000", CHOP)).replace("\n", "\n\n"),
        srt(("00: 00: 00, 500 -> 00: 00: 03, 000", PEEL), ("00: 00: 03, 500 -> 00: 00: 06, 000", CHOP)),
        srt(("0:00:00.5 --> 0:00:3", PEEL), ("00:03,5 --> 00:06,000000", CHOP)),
        srt(("00:00:00:500 --> 00:00:03:000", PEEL), ("00：00：03，500 → 00：00：06，000", CHOP)),
        f"\n\nWEBVTT\n\nNOTE 00:00\n\n00:00.500 --> 00:03.000\n{PEEL}\n\nWEBVTT\nX-TIMESTAMP-MAP=MPEGTS:0\n\n00:03.500 --> 00:06.000\n{CHOP}\n\n00:03.500 --> 00:06.000\n{CHOP}\n",
    ],
    ids="vtt vtt-numbered srt no-numbers cr-cr-lf double-spaced translated decimals colons segments".split(),
)  # fmt: skip
def test_cues_are_parted_by_their_times(tmp_path, text):
    file = read(tmp_path, "a.srt", text)
    assert rows(heard(file)) == [(0.5, 3.0, PEEL), (3.5, 6.0, CHOP)]
    assert not file.problems


@pytest.mark.parametrize(
    ("bad", "count"),
    [
        ("00:00:03,100 --> later\nbad", 1),
        ("later --> 00:00:03,200\nbad", 1),
        ("00:00:99,100 --> 00:01:03,200\nbad", 1),
        ("00:00:03,400 --> 00:00:03,200\nbad\nworse", 1),
        ("x --> y\nbad\n\n7\n00:00:03,400 --> 00:00:03,200\nworse", 2),
    ],
)
@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_one_bad_cue_is_left_out_and_counted(tmp_path, bad, count, form):
    good = [f"1\n00:00:00,500 --> 00:00:03,000\n{PEEL}\n\n", f"3\n00:00:03,500 --> 00:00:06,000\n{CHOP}\n\n"]
    text = good[0] + f"2\n{bad}\n\n" + good[1]
    if form == "vtt":
        text = "WEBVTT\n\n" + text.replace(",", ".").replace("First.", "First,")
    file = read(tmp_path, f"a.{form}", text)
    assert rows(heard(file)) == [(0.5, 3.0, PEEL), (3.5, 6.0, CHOP)]
    assert len(file.problems) == 1 and file.problems[0].startswith(f"{count} of {count + 2} cues left out")


def test_text_without_times_in_a_vtt_is_counted(tmp_path):
    file = read(tmp_path, "a.vtt", f"WEBVTT\n\n00:00.500 --> 00:03.000\n{PEEL}\n\nand more of it\n")
    assert rows(heard(file)) == [(0.5, 3.0, PEEL)] and "line 6" in file.problems[0]


# What is no speech.


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("storyboard.vtt", None, "thumbnails"),
        ("chapters.vtt", None, "chapters"),
        ("a.vtt", "WEBVTT\n\n00:00.000 --> 00:05.000\nhttps://x.org/t/M0.jpeg?sig=1#xywh=0,0,48,27\n", "thumbnails"),
        ("a.vtt", "WEBVTT\n\n00:00.000 --> 00:05.000\nimg/1.webp\n\n00:05.000 --> 00:10.000\nimg/2.webp\n", "thumbnails"),
        ("a.vtt", 'WEBVTT\n\n00:00.000 --> 00:05.000\n{"scene": 1, "objects": ["pan"]}\n', "metadata"),
        ("a.vtt", "WEBVTT\nKind: chapters\n\n00:00.000 --> 00:05.000\nPeeling\n", "chapters"),
        ("a.srt", srt(("00:00:00,000 --> 00:02:10,000", "Ingredients"), ("00:02:10,000 --> 00:07:00,000", "In the oven")), "chapters"),
        ("a.vtt", "WEBVTT\n\nChapter 1\n00:00.000 --> 00:05.000\nPeeling\n\nChapter 2\n00:05.000 --> 00:10.000\nChopping\n", "chapters"),
        ("a.vtt", "WEBVTT\n\n00:00.000 --> 00:05.000\nmy sprite.jpg#xywh=percent:0,0,25,25\n", "thumbnails"),
        ("a.vtt", "WEBVTT\nKind: captions\n\n00:00.000 --> 00:50.000\nPeeling\n", "speech"),
        ("a.srt", srt(("00:00:00,000 --> 00:00:07,000", "Peel them"), ("00:00:08,000 --> 00:00:15,000", "Chop them")), "speech"),
    ],
)  # fmt: skip
def test_thumbnails_chapters_and_data_are_no_speech(request, tmp_path, name, text, kind):
    file = (
        caption_files.read(request.getfixturevalue("cases") / name)
        if text is None
        else read(tmp_path, name, text)
    )
    assert file.kind == kind


def test_thumbnails_among_captions_are_left_out(tmp_path):
    cues = [(f"00:00:0{n},000 --> 00:00:0{n + 1},000", f"Cut number {n}.") for n in range(5)]
    file = read(tmp_path, "a.srt", srt(*cues, ("00:00:05,000 --> 00:00:06,000", "t.jpg#xywh=0,0,1,1")))
    assert file.kind == "speech" and len(file.cues) == 5 and "1 thumbnail left out" in file.notes


@pytest.mark.parametrize(
    ("text", "said", "notes"),
    [
        ("(LAUGHS) Then chop it.", "Then chop it.", ("1 sound note left out",)),
        ("Then chop it. [APPLAUSE] ♪", "Then chop it.", ("1 sound note left out",)),
        ("- (door opens)\n- Who is it?", "Who is it?", ("1 sound note left out",)),
        ("♪ gentle piano music ♪", None, ("1 sound note left out",)),
        ("♪ Row, row, row your boat. ♪", "Row, row, row your boat.", ()),
        ("MAN #1: Hi.\n>> DR. SMITH: Hello.", "Hi. Hello.", ("2 speaker names left out",)),
        ("Speaker 2: Chop it *really* fine (about 5 mm).", "Chop it really fine (about 5 mm).", ("1 speaker name left out",)),
        ("The assistant (VAR) helps. (It is new.) See?", "The assistant (VAR) helps. (It is new.) See?", ()),
        ("Slice it (the bell pepper) in rings (onion rings) and (laughs) stir.", "Slice it (the bell pepper) in rings (onion rings) and stir.", ("1 sound note left out",)),
        ("TIP: use a knife. At 12:30: lunch.", "TIP: use a knife. At 12:30: lunch.", ()),
        ("NARRATOR: PEEL THEM.\nSpeaker 1 (softly): Yes.", "PEEL THEM. Yes.", ("2 speaker names left out",)),
        ("〔拍手〕♬ 首先 ♬", "首先", ("1 sound note left out",)),
        ("STEP ONE: PEEL THEM.", "STEP ONE: PEEL THEM.", ()),
        ("（笑い声）\nまず皮をむきます。", "まず皮をむきます。", ("1 sound note left out",)),
        ("(Lachen) Und jetzt die Zwiebeln.", "Und jetzt die Zwiebeln.", ("1 sound note left out",)),
        ("&lt;i&gt;Slowly&lt;/i&gt; &amp;amp; gently\u200b.", "Slowly & gently.", ()),
        ("-Yes.\n-No, 5 -3.", "Yes. No, 5 -3.", ()),
        ("{\\an8}<font color=\"#fff\">Salt\\Nit.</font>", "Salt it.", ()),
    ],
)  # fmt: skip
def test_notes_for_the_hard_of_hearing_are_not_spoken(tmp_path, text, said, notes):
    file = read(tmp_path, "a.srt", srt(("00:00:00,000 --> 00:00:05,000", text)))
    transcript = heard(file)
    assert " ".join(s.text for s in transcript.sentences) == (said or "")
    assert tuple(n for n in transcript.notes if "punctuation" not in n) == notes


def test_cues_past_the_end_are_left_out_and_told(cases, tmp_path):
    transcript = heard(caption_files.read(cases / "latesub.srt"), 10.6)
    assert rows(transcript) == [(8.0, 11.5, "First peel.")]
    assert len(transcript.notes) == 1 and transcript.notes[0].startswith("1 cue past the video's end")
    broadcast = srt(("10:00:00,500 --> 10:00:03,000", PEEL), ("10:00:03,500 --> 10:00:06,000", CHOP))
    nothing = heard(read(tmp_path, "a.srt", broadcast), 10.6)
    assert (
        not nothing.sentences and nothing.notes[0].startswith("2 cues past") and "36000.5" in nothing.notes[0]
    )
    vtt = read(
        tmp_path, "a.vtt", f"WEBVTT\n\n00:01.000 --> 00:03.000\n{PEEL}\n\n00:10.600 --> 00:12.000\n{CHOP}\n"
    )
    assert rows(heard(vtt, 10.6)) == [(1.0, 3.0, PEEL)]


# Encodings.

SAMPLES = {
    "cp1252": ("de", "Zuerst schälen wir die Karotten.\nDann schneiden wir die Zwiebeln in kleine Stücke."),
    "cp1250": ("pl", "Najpierw obieramy marchewkę.\nPotem kroimy cebulę i smażymy ją na patelni."),
    "cp1251": ("ru", "Сначала чистим морковь.\nПотом режем лук и жарим на сковороде."),
    "koi8-r": (None, "Сначала чистим морковь.\nПотом режем лук и жарим на сковороде."),
    "cp1253": (None, "Πρώτα καθαρίζουμε τα καρότα.\nΜετά κόβουμε τα κρεμμύδια."),
    "cp1254": ("tr", "Önce havuçları soyuyoruz.\nSonra soğanları doğruyoruz, şimdi karıştırın."),
    "cp1256": (None, "أولا نقشر الجزر بسكين حاد.\nثم نقطع البصل إلى قطع صغيرة؟"),
    "gb18030": (None, "首先把胡萝卜削皮，\n然后把洋葱切成小块。现在搅拌"),
    "big5": (None, "首先把胡蘿蔔削皮，\n然後把洋蔥切成小塊。現在攪拌"),
    "cp932": ("ja", "まずニンジンの皮をむきます。\n次に玉ねぎを切ります。"),
    "euc_jp": (None, "まずニンジンの皮をむきます。\n次に玉ねぎを切ります。"),
    "cp949": (None, "먼저 당근 껍질을 벗깁니다.\n그런 다음 양파를 썹니다."),
    "utf-16-le": (None, PEEL),
    "utf-16-be": (None, "Crème brûlée"),
}


@pytest.mark.parametrize("encoding", SAMPLES)
def test_an_encoding_is_found_and_told(encoding):
    """Oracle: Python's own codecs wrote the bytes."""
    language, text = SAMPLES[encoding]
    whole = srt(
        *((f"00:00:0{n},000 --> 00:00:0{n + 1},000", line) for n, line in enumerate(text.split("\n")))
    )
    for content in (whole, whole.replace("\n", "\r\n")):
        found, note = decode(content.encode(encoding), language)
        assert found == content and note


def test_marks_name_an_encoding_and_a_damaged_letter_does_not_make_utf8_another():
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        found, note = decode(f"1\nCafé – {PEEL}".encode(encoding))
        assert found == f"1\nCafé – {PEEL}" and bool(note) == (encoding != "utf-8-sig")
    damaged = ("Die Möhren schälen wir für die Brühe, schön dünn. " * 3).encode() + b"\xc3."
    found, note = decode(damaged)
    assert "Möhren schälen" in found and "damaged" in note
    assert decode(b"It\x92s the cr\xe8me and the jalape\xf1o that you want.", None)[0] == (
        "It’s the crème and the jalapeño that you want."
    )


# Other formats.

HEAD = '<tt xmlns="http://www.w3.org/ns/ttml" xmlns:ttp="http://www.w3.org/ns/ttml#parameter"'
ASS = """[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, PrimaryColour
Style: Default,Arial,&HZZ

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Comment: 0,0:00:00.00,0:00:03.00,Default,,0,0,0,,a comment
Dialogue: 0,0:00:00.50,0:00:03.00,Default,Ann,0,0,0,,{\\i1}First{\\i0}, peel\\Nthe carrots.
Dialogue: 0,0:00:01.00,0:00:03.00,Signs_top,,0,0,0,,{\\pos(1,2)}KITCHEN
Dialogue: 0,0:00:01.00,0:00:03.00,Default,,0,0,0,,{\\p1}m 0 0 l 100 0 100 100{\\p0}
Dialogue: 0,soon,0:00:03.00,Default,,0,0,0,,bad
Dialogue: 0,0:00:03.50,0:00:06.00,Default,,0,0,0,,Then chop\\hthe onions.
"""
FORMATS = {
    "a.ass": ASS,
    "b.ssa": ASS.replace("Layer", "Marked").replace("Dialogue: 0", "Dialogue: Marked=0"),
    "a.ttml": f'{HEAD}><body><div><p begin="00:00:00.500" end="00:00:03.000">First, peel<br/>the <span>carrots</span>.</p>'
    '<p begin="3.5s" dur="2500ms">Then chop\n   the onions.</p></div></body></tt>',
    "a.dfxp": '<?xml version="1.0" encoding="utf-16"?><tt xmlns="http://www.w3.org/2006/10/ttaf1" xmlns:p="http://www.w3.org/2006/10/ttaf1#parameter" p:frameRate="25" p:tickRate="10000000">'
    '<body begin="0.5s"><div><p begin="0t" end="25000000t">First, peel the carrots.</p>'
    '<p begin="00:00:03:00" end="00:00:05:12.5">Then chop the onions.</p></div></body></tt>',
    "a.json3": json.dumps({"wireMagic": "pb3", "events": [
        {"tStartMs": 0, "dDurationMs": 9000, "id": 1, "wpWinPosId": 1},
        {"tStartMs": 500, "dDurationMs": 2500, "segs": [{"utf8": "First, peel\nthe carrots."}]},
        {"tStartMs": 3500, "dDurationMs": 2500, "segs": [{"utf8": "Then chop the onions."}]}]}),
    "a.srv1": '<?xml version="1.0" ?><transcript><text start="0.5" dur="2.5">First, peel the carrots.</text>'
    '<text start="3.5" dur="2.5">Then chop the onions.</text></transcript>',
    "a.srv3": '<timedtext format="3"><head><pen id="1"/></head><body><p t="500" d="2500">First, peel the carrots.</p>'
    '<p t="3500" d="2500"><s>Then chop</s><s> the onions.</s></p></body></timedtext>',
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_says_the_same(tmp_path, name):
    file = read(tmp_path, name, FORMATS[name])
    assert [row[2] for row in rows(heard(file))] == [PEEL, CHOP]
    starts = [(s.start, round(s.end, 1)) for s in heard(file).sentences]
    assert starts == [(0.5, 3.0), (3.5, 6.0)]
    if Path(name).suffix in (".ass", ".ssa"):
        assert file.notes == ("1 sign on the picture left out",) and file.problems[0].startswith(
            "1 of 3 cues"
        )
    else:
        assert not file.notes and not file.problems and not file.automatic


@pytest.mark.parametrize("name", ["a.json3", "a.srv3"])
def test_a_recognisers_words_have_their_own_times(tmp_path, name):
    if name == "a.json3":
        text = json.dumps({"events": [
            {"tStartMs": 1360, "dDurationMs": 3920, "segs": [{"utf8": "welcome", "acAsrConf": 0}, {"utf8": " to", "tOffsetMs": 320}]},
            {"tStartMs": 3750, "dDurationMs": 1500, "aAppend": 1, "segs": [{"utf8": "\n"}]},
            {"tStartMs": 3760, "dDurationMs": 3000, "segs": [{"utf8": "our", "acAsrConf": 0}, {"utf8": " kitchen", "tOffsetMs": 500}]}]})  # fmt: skip
    else:
        text = (
            '<timedtext format="3"><body><p t="1360" d="3920" w="1"><s ac="0">welcome</s><s t="320" ac="0"> to</s></p>'
            '<p t="3750" d="1500" w="1" a="1">\n</p><p t="3760" d="3000" w="1"><s ac="0">our</s><s t="500" ac="0"> kitchen</s></p></body></timedtext>'
        )
    file = read(tmp_path, name, text)
    words = [w for s in heard(file).sentences for w in s.words]
    assert file.automatic and [(w.start, w.text) for w in words] == [
        (1.36, "welcome"),
        (1.68, "to"),
        (3.76, "our"),
        (4.26, "kitchen"),
    ]
    assert words[1].end < 3.0


def test_one_bad_cue_of_another_format_costs_itself_alone(tmp_path):
    ttml = f'{HEAD}><body><div><p begin="soon" end="1s">a</p><p begin="1s" end="2s">Peel &nbsp;& chop it.</p><p begin="3s">'
    file = read(tmp_path, "a.ttml", ttml)
    assert [s.text for s in heard(file).sentences] == ["Peel & chop it."]
    assert file.problems[0].startswith("2 of 3 cues left out")
    events = [{"segs": [{"utf8": "no time"}]}, {"tStartMs": 1e999, "segs": [{"utf8": "x"}]}, {"tStartMs": 5, "dDurationMs": 900, "segs": [{"utf8": "Peel."}]}]  # fmt: skip
    file = read(tmp_path, "a.json3", json.dumps({"events": events}))
    assert [s.text for s in heard(file).sentences] == ["Peel."] and file.problems[0].startswith("2 of 3")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.ttml", '<!DOCTYPE t [<!ENTITY a "b"><!ENTITY c "&a;&a;">]><tt><body><p begin="1s" end="2s">&c;</p></body></tt>'),
        ("a.ttml", "no xml"),
        ("a.json3", "{"),
        ("a.json3", "[" * 100_000),
        ("a.json3", '{"events": 1}'),
        ("a.ass", "[Events]\n"),
        ("a.srv3", ""),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_in_one_line(tmp_path, name, text):
    with pytest.raises(SpeechError, match=rf"^{name}: ") as caught:
        read(tmp_path, name, text)
    assert "\n" not in str(caught.value)


HOSTILE = {
    "a.ttml": f"{HEAD}><body><div><p begin='1s' end='2s'>"
    + "<span begin='1s' end='2s'>a" * 100_000
    + "</span>" * 100_000
    + "</p></div></body></tt>",
    "b.ttml": f"{HEAD}><body>"
    + "<p>" * 100_000
    + "</p>" * 100_000
    + "<p begin='1s' end='2s'>a</p></body></tt>",
    "a.srv3": "<timedtext><body>" + "<p t='1' d='9'>a" * 50_000 + "</p>" * 50_000 + "</body></timedtext>",
    "a.json3": '{"events": [' + '{"tStartMs": 1, "segs": [{"utf8": "a"}]},' * 20_000 + '{"segs": []}]}',
    "a.ass": "[Events]\nDialogue: 0,0:00:01.00,0:00:02.00,D,,0,0,0,,"
    + "{\\p1" * 100_000
    + "{\\p1}" * 100_000
    + "\n",
    "a.srt": "1\n00:00:01,000 --> 00:00:02,000\n" + "(a) *b* \u266a" * 50_000 + "\n",
    "b.srt": "1\n00:00:01,000 --> 00:00:02,000\n" + "x.jpg?" * 100_000 + " y\n",
    "c.srt": "1\n00:00:01,000 --> 00:00:02,000\n" + "NAME: x\n- " * 50_000 + "\n",
    "d.srt": "1\n00:00:01,000 --> 00:00:02,000\nx\n" * 20_000,
    "a.vtt": "WEBVTT\n\n00:01.000 --> 00:02.000\n<v" + " " * 200_000 + "\n",
    "b.vtt": "WEBVTT\n\n" + "x --> 1:1:1:1\n" * 50_000 + "00:01.000 --> 00:02.000\nx\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_read_in_linear_time(tmp_path, name):
    """A quadratic reader takes minutes, a recursive one ends the process."""
    began = time.process_time()
    heard(read(tmp_path, name, HOSTILE[name]), 9.0)
    assert time.process_time() - began < 15


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), name=st.sampled_from(["a.ttml", "a.srv3", "a.json3", "a.ass", "a.srv1"]))
def test_any_file_is_read_or_refused(tmp_path, data, name):
    """Damaged in one place, cut off or put together at random."""
    whole = FORMATS[name]
    at = data.draw(st.integers(0, len(whole)))
    text = (
        whole[:at]
        + data.draw(st.text(max_size=12))
        + data.draw(st.sampled_from([whole[at:], whole[at + 9 :], ""]))
    )
    try:
        heard(read(tmp_path, name, text.encode(errors="replace")), 9.0)
    except SpeechError as error:
        assert "\n" not in str(error)


def test_codes_of_languages_are_whispers():
    assert frozenset(WHISPERS) >= LANGUAGES
    for code, name in WHISPERS.items():
        assert language_code(name) in (None, code), name
    assert [language_code(c) for c in ("eng", "GER", "zho", "German", "xx")] == ["en", "de", "zh", "de", None]
