"""Captions as many programs write them, damage them and put them together: what is said, when, and what is told."""

import unicodedata
from pathlib import Path

import pytest

from speech import caption_files, captions
from speech.errors import SpeechError
from speech.sidecars import Tags, beside, tags_of
from speech.text_encoding import decode

PEEL, CHOP, STIR = "First, peel the carrots.", "Then chop the onions.", "Stir everything in the pan."
WHOLE = [(0.5, 3.0, PEEL), (3.5, 6.0, CHOP), (6.5, 9.0, STIR)]
TIMES = ("00:00:00,500 --> 00:00:03,000", "00:00:03,500 --> 00:00:06,000", "00:00:06,500 --> 00:00:09,000")


def srt(*texts: str, times: tuple[str, ...] = TIMES) -> str:
    return "".join(f"{n}\n{t}\n{x}\n\n" for n, (t, x) in enumerate(zip(times, texts, strict=False), 1))


def vtt(*texts: str, head: str = "WEBVTT") -> str:
    cues = (f"{t.replace(',', '.')}\n{x}\n\n" for t, x in zip(TIMES, texts, strict=False))
    return f"{head}\n\n" + "".join(cues)


def every(seconds: float, *texts: str, begin: float = 0.0) -> str:
    """An SRT file of cues that follow one another without a gap."""

    def clock(at: float) -> str:
        return f"00:{int(at // 60):02}:{at % 60:06.3f}".replace(".", ",")

    times = [begin + seconds * n for n in range(len(texts) + 1)]
    return srt(
        *texts, times=tuple(f"{clock(a)} --> {clock(b)}" for a, b in zip(times, times[1:], strict=False))
    )


def read(folder: Path, name: str, content: str | bytes):
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return caption_files.read(file)


def rows(folder: Path, name: str, content: str | bytes) -> list[tuple[float, float, str]]:
    said = captions.transcript(read(folder, name, content).cues, {})
    return [(s.start, s.end, s.text) for s in said.sentences]


# Cues that show a text again.


def highlighted(text: str, seconds: float, begin: float) -> list[tuple[float, str]]:
    words = text.split()
    return [
        (begin + seconds * n, " ".join(f"<u>{w}</u>" if k == n else w for k, w in enumerate(words)))
        for n in range(len(words))
    ]


def test_whispers_highlighted_words_are_one_sentence_from_the_first_to_the_last(tmp_path):
    """`whisper --highlight_words True` writes the whole sentence with each word."""
    parts = [
        every(0.5, *(text for _, text in highlighted(said, 0.5, at)), begin=at)
        for said, at in ((PEEL, 0.5), (CHOP, 4.0))
    ]
    assert rows(tmp_path, "a.srt", "".join(parts)) == [(0.5, 2.5, PEEL), (4.0, 6.0, CHOP)]


@pytest.mark.parametrize(
    "lines",
    [
        ("WELCOME", "WELCOME TO OUR", "WELCOME TO OUR KITCHEN."),
        ("WELCOME TO", "WELCOME TO\nOUR", "WELCOME TO\nOUR KITCHEN."),
        ("WELCOME", "WELCOME\nTO", "WELCOME\nTO OUR KITCHEN."),
    ],
)
def test_lines_that_grow_are_said_once(tmp_path, lines):
    """As live captions of broadcasts are painted."""
    assert rows(tmp_path, "a.srt", every(1, *lines)) == [(0.0, 3.0, "WELCOME TO OUR KITCHEN.")]


def test_lines_of_a_script_without_spaces_that_grow_are_said_once(tmp_path):
    assert rows(tmp_path, "a.srt", every(1, "首先", "首先把胡萝卜", "首先把胡萝卜削皮。")) == [
        (0.0, 3.0, "首先把胡萝卜削皮。")
    ]


def test_automatic_captions_that_were_converted_to_srt_roll_up(tmp_path):
    """YouTube's cues of 10 ms, whose word times are lost."""
    lines = [
        " \nwelcome to my",
        "welcome to my\n ",
        "welcome to my\nkitchen today",
        "kitchen today\n ",
        "kitchen today\nwe peel",
    ]
    said = rows(tmp_path, "a.srt", every(1, *lines))
    assert " ".join(text for _, _, text in said) == "welcome to my kitchen today we peel"


def test_a_word_said_three_times_with_pauses_is_three_sentences(tmp_path):
    assert rows(tmp_path, "a.srt", srt("Stir.", "Stir.", "Stir.")) == [(a, b, "Stir.") for a, b, _ in WHOLE]


# Cues at once.


def test_three_who_speak_at_once_are_three_sentences(tmp_path):
    text = "WEBVTT\n\n00:00.500 --> 00:04.000 line:0\n<v Ann>I think that they are ready.\n\n00:00.700 --> 00:04.200\n<v Bob>No way, not yet.\n\n00:01.000 --> 00:03.000\n<v Eve>Who cares?\n"
    assert rows(tmp_path, "a.vtt", text) == [
        (0.5, 4.0, "I think that they are ready."),
        (0.7, 4.2, "No way, not yet."),
        (1.0, 3.0, "Who cares?"),
    ]


EVENTS = "[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"


@pytest.mark.parametrize(
    ("events", "said"),
    [
        (["0,0:00:01.50,0:00:05.00,Alt,,0,0,0,,Yes, they do.", "0,0:00:00.50,0:00:04.00,D,,0,0,0,,I think, they are ready."],
         [(0.5, 4.0, "I think, they are ready."), (1.5, 5.0, "Yes, they do.")]),
        (["0,0:00:00.50,0:00:03.00,D,,0,0,0,,{\\bord3}" + PEEL, "1,0:00:00.50,0:00:03.00,D,,0,0,0,,{\\blur2}" + PEEL], WHOLE[:1]),
        (["0,0:00:00.50,0:00:03.00,D,,0,0,0,,{\\k20}First, {\\k30}peel {\\k10}the {\\k40}carrots."], WHOLE[:1]),
    ],
    ids=["unsorted", "a layer for the border", "karaoke"],
)  # fmt: skip
def test_events_of_ass_that_overlap(tmp_path, events, said):
    assert rows(tmp_path, "a.ass", EVENTS + "".join(f"Dialogue: {event}\n" for event in events)) == said


def test_cues_that_overlap_by_a_little_are_one_after_the_other(tmp_path):
    times = ("00:00:00,500 --> 00:00:03,100", "00:00:03,000 --> 00:00:06,000")
    assert rows(tmp_path, "a.srt", srt("First, peel", "the carrots.", times=times)) == [(0.5, 6.0, PEEL)]


# Times and what parts the cues.

NUMBERED = "WEBVTT{gap}1\n00:00.500 --> 00:03.000\n{0}{gap}2\n00:03.500 --> 00:06.000\n{1}{gap}3\n00:06.500 --> 00:09.000\n{2}\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.vtt", NUMBERED.format(PEEL, CHOP, STIR, gap="\n \n")),
        ("a.vtt", NUMBERED.format(PEEL, CHOP, STIR, gap="\n\t\n")),
        ("a.vtt", NUMBERED.format(PEEL, CHOP, STIR, gap="\r\n \r\n")),
        ("a.vtt", NUMBERED.format(PEEL, CHOP, STIR, gap="\r\r").replace("\n", "\r")),
        ("a.vtt", vtt(PEEL) + "\ufeffWEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:900000\n\n" + vtt(PEEL, CHOP, STIR).split("\n\n", 2)[2]),
        ("a.srt", "\ufeff\ufeff" + srt(PEEL, CHOP, STIR)),
        ("a.srt", srt(PEEL, CHOP, STIR).replace("\n\n", "\n").replace("\n", "\r\n")),
        ("a.srt", srt(PEEL, CHOP, STIR).replace("-->", "==>")),
        ("a.srt", srt(PEEL, CHOP, STIR).replace(" --> ", " ")),
        ("a.srt", srt(PEEL, CHOP, STIR).replace(" --> ", " - ")),
        ("a.srt", srt(PEEL, CHOP, STIR).replace("-->", "—>")),
        ("a.srt", srt(PEEL, CHOP, STIR).replace(" ", "\u00a0").replace("\u00a0the\u00a0", " the ")),
        ("a.srt", srt(PEEL, CHOP, STIR, times=tuple(f"\u202b{t}\u202c" for t in TIMES))),
        ("a.srt", "\u200e1\n\u200e" + srt(PEEL, CHOP, STIR)[2:].replace("\n2\n", "\n\u200e2\n")),
        ("a.srt", srt(PEEL, CHOP, STIR, times=tuple(f"{t}  X1:040 X2:600 Y1:020 Y2:050" for t in TIMES))),
        ("a.srt", vtt(PEEL, CHOP, STIR)),
        ("a.vtt", srt(PEEL, CHOP, STIR)),
        ("a.vtt", vtt(PEEL, CHOP, STIR, head="WEBVTT Kind: captions; Language: en")),
    ],
    ids="spaces tab spaces-crlf cr segments two-marks no-gaps arrows no-arrow dash long-dash nbsp right-to-left marks places vtt-as-srt srt-as-vtt header".split(),
)  # fmt: skip
def test_cues_are_parted_whatever_parts_them(tmp_path, name, text):
    assert rows(tmp_path, name, text) == WHOLE and not read(tmp_path, name, text).problems


@pytest.mark.parametrize("form", [srt, vtt])
@pytest.mark.parametrize(
    "text", ["From 10:30 --> 11:00 we cook.", "Type a --> b: 1:30 --> 2:00 now.", "--> Open the File menu."]
)
def test_an_arrow_and_times_in_a_text_are_text(tmp_path, form, text):
    name = f"a.{form.__name__}"
    assert (
        rows(tmp_path, name, form(text, CHOP)) == [(0.5, 3.0, text), WHOLE[1]]
        and not read(tmp_path, name, form(text, CHOP)).problems
    )


@pytest.mark.parametrize(
    "times",
    [
        "00:00:03,500 -->",
        "-00:00:01,500 --> 00:00:03,000",
        "OO:OO:O3,5OO --> OO:OO:O6,OOO",
        "00:00:03,500 --> 00:00:00,000",
        "00:00:03:12 --> 00:00:06:00",
    ],
)
def test_a_cue_of_bad_times_costs_itself_alone(tmp_path, times):
    text = srt(PEEL, CHOP, STIR, times=(TIMES[0], times, TIMES[2]))
    assert rows(tmp_path, "a.srt", text) == [WHOLE[0], WHOLE[2]]
    assert read(tmp_path, "a.srt", text).problems[0].startswith("1 of 3 cues")


# What is no speech.

FRAMES = [
    f'<font size="28">FrameCnt: {n}, DiffTime: 33ms\n2023-08-20 10:16:5{n}.311\n[iso: 100] [shutter: 1/1000.0] [fnum: 2.8] [latitude: 47.1] [longitude: 8.1]</font>'
    for n in range(3)
]
PLACES = [
    f"HOME(8.1,47.1) 2017.08.20 10:16:5{n}\nGPS(8.1,47.1,15) BAROMETER:1.{n}\nISO:100 Shutter:60 EV: Fnum:2.8"
    for n in range(3)
]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (every(0.033, *FRAMES), "metadata"),
        (every(1, *PLACES), "metadata"),
        (every(1, *(f"2023-01-01 12:00:0{n} N47.37 E8.54 35 km/h" for n in range(3))), "metadata"),
        (vtt('{\n"scene": 1,\n"objects": ["pan"]\n}'), "metadata"),
        (vtt("https://x.org/sb/storyboard3_L1/M$M?sqp=xyz", "https://x.org/sb/M1?sqp=xyz#xywh=0,0,160,90"), "thumbnails"),
        (vtt("C:\\thumbs\\my img 1.jpg", "my img 2.JPG"), "thumbnails"),
        (vtt("sprite.jxl#xywh=0,0,1,1", "sprite.heic"), "thumbnails"),
        (vtt("data:image/png;base64,iVBORw0KGgo="), "thumbnails"),
        (vtt("Peeling", head="WEBVTT\nkind:chapters"), "chapters"),
        (srt("Intro", "Chopping the onions", times=("00:00:00,000 --> 00:00:03,000", "00:00:03,000 --> 00:00:10,500")), "chapters"),
        (every(4, "Chapter 1: Peeling", "Chapter 2: Chopping", begin=1.0), "chapters"),
        (every(30, "1. Introduction", "2. Peel the carrots"), "chapters"),
        (every(3, "First peel the carrots", "Then chop the onions"), "speech"),
        (every(3, "首先把胡萝卜削皮", "然后把洋葱切成小块"), "speech"),
        (every(1, "10", "9", "8", "7 more", "6"), "speech"),
        (srt("Open the file pan.jpg now", "Then save it."), "speech"),
        (every(3, "At 10:30:00 we begin.", "It has 5 parts and 3 steps."), "speech"),
    ],
)  # fmt: skip
def test_what_is_no_speech_is_told_from_what_is(tmp_path, text, kind):
    assert read(tmp_path, "a.vtt" if text.startswith("WEBVTT") else "a.srt", text).kind == kind


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (("John Smith: Peel it.", "Ann-Marie Höhl: And then?", "John Smith: Tip: chop it.", "Ann-Marie Höhl: Ok."), "Peel it. And then? Tip: chop it. Ok."),
        (("小明：首先削皮。", "小明：然后切洋葱。"), "首先削皮。 然后切洋葱。"),
        (("Tip: use a knife.", "Tip: chop it."), "Tip: use a knife. Tip: chop it."),
        (("Salt: two grams.", "Now stir it.", "And wait."), "Salt: two grams. Now stir it. And wait."),
        (("MAN (on phone): Hello.", "# Row your boat #.", "¶ Row it. ¶"), "Hello. Row your boat Row it."),
    ],
    ids=["a meeting", "wide colons", "tips", "a word once", "marks of songs"],
)  # fmt: skip
def test_names_before_what_is_said_and_marks_of_songs_are_no_words(tmp_path, texts, said):
    found = " ".join(text for _, _, text in rows(tmp_path, "a.srt", every(3, *texts)))
    assert found.replace("#.", "").split() == said.split()


# Encodings.


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("iso2022_jp", "まずニンジンの皮をむきます。\n次に玉ねぎを切ります。"),
        ("gbk", "首先把胡萝卜削皮。\n然后切洋葱。"),
        ("cp866", "Сначала чистим морковь.\nПотом режем лук и жарим на сковороде."),
        ("utf-16-le", "首先把胡萝卜削皮，\n然后把洋葱切成小块。"),
        ("cp1255", "קודם מקלפים את הגזר.\nאחר כך חותכים את הבצל לקוביות."),
        ("cp874", "ปอกแครอทก่อน\nแล้วหั่นหัวหอมเป็นชิ้นเล็ก"),
    ],
)
def test_other_encodings_are_found_and_told(encoding, text):
    whole = srt(*text.split("\n"))
    found, note = decode(whole.encode(encoding))
    assert found == whole and note


@pytest.mark.parametrize("once_read_as", ["cp1252", "latin-1"])
def test_letters_that_were_encoded_twice_are_read_as_they_were(once_read_as):
    text = srt("First, peel the carrots café style.", "Crème brûlée: naïve, ça va.")
    found, note = decode(text.encode().decode(once_read_as).encode())
    assert found == text and "twice" in note
    for kept in ("Ã la carte.", "Âge, été, 5 € – “ja”.", "café", "Ã©t naïve"):
        assert decode(kept.encode()) == (kept, "")


def test_a_mark_of_utf8_before_another_encoding_is_not_believed():
    text = srt("Zuerst schälen wir die Möhren für die Brühe.", "Dann die Zwiebeln.")
    found, note = decode(b"\xef\xbb\xbf" + text.encode("cp1252"), "de")
    assert found == text and note


@pytest.mark.parametrize("encoding", ["iso-8859-1", "iso-8859-2", "windows-1251", "euc-jp", "no-such-thing"])
def test_the_encoding_that_an_xml_file_names_is_taken_where_it_is_no_utf8(tmp_path, encoding):
    said = {
        "iso-8859-2": "Obierz cebulę, łyżka.",
        "windows-1251": "Чистим морковь.",
        "euc-jp": "皮をむきます。",
    }.get(encoding, "Crème brûlée.")
    text = (
        f'<?xml version="1.0" encoding="{encoding}"?><tt><body><p begin="1s" end="2s">{said}</p></body></tt>'
    )
    bytes_ = text.encode("latin-1" if encoding == "no-such-thing" else encoding)
    found = read(tmp_path, "a.ttml", bytes_)
    assert found.notes and (encoding == "no-such-thing" or found.cues[0].text == said)
    assert read(tmp_path, "a.ttml", text).cues[0].text == said, "saved anew as UTF-8"


# TTML.


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('<body><div begin="1s" end="4s"><p>First.</p></div><div begin="5s" dur="2s"><p begin="0.5s">Then.</p></div></body>', [(1.0, 4.0, "First."), (5.5, 7.0, "Then.")]),
        ('<body begin="1s"><div begin="1s"><p begin="0s" end="1s">First.</p></div></body>', [(2.0, 3.0, "First.")]),
        ('<body><div><p begin="1s" end="5s"><span begin="0s" end="2s">First,</span><span begin="2s" end="4s"> peel.</span></p></div></body>', [(1.0, 5.0, "First, peel.")]),
        ('<body><div><p><span begin="1s" end="2s">First.</span><span begin="3s" end="4s">Then.</span></p></div></body>', [(1.0, 2.0, "First."), (3.0, 4.0, "Then.")]),
    ],
    ids=["times of the part", "parts that begin later", "times of words", "times of spans alone"],
)  # fmt: skip
def test_times_of_ttml_come_from_what_a_text_stands_in(tmp_path, body, said):
    assert (
        rows(tmp_path, "a.ttml", f'<tt xmlns="http://www.w3.org/ns/ttml" xml:lang="en">{body}</tt>') == said
    )


def test_texts_of_ttml_without_times_that_can_be_read_are_told(tmp_path):
    with pytest.raises(SpeechError, match=r"\.vtt"):
        read(
            tmp_path,
            "a.ttml",
            '<tt><body><div timeContainer="seq"><p dur="2s">First.</p><p dur="3s">Then.</p></div></body></tt>',
        )
    with pytest.raises(SpeechError, match="no end"):
        read(tmp_path, "a.ttml", "<tt><body><p>First.</p></body></tt>")


# Names of files.


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
def test_accents_of_a_name_may_be_written_as_another_system_does(tmp_path, forms):
    video, file = (
        unicodedata.normalize(form, name)
        for form, name in zip(forms, ("Crème.mp4", "crème.fr.vtt"), strict=True)
    )
    for name in (video, file):
        (tmp_path / name).touch()
    assert [s.tag for s in beside(tmp_path / video, frozenset({".mp4"}))] == ["fr"]


@pytest.mark.parametrize(
    ("tag", "tags"),
    [
        ("en-nP7-2PuUl7o", Tags("en")),
        ("en-x-autogen", Tags("en", automatic=True)),
        ("Français", Tags("fr")),
        ("日本語", Tags("ja")),
        ("chs", Tags("zh")),
        ("zh-Hant-HK", Tags("zh")),
        ("my-second-take", Tags()),
        ("track3.[eng]", Tags("en")),
    ],
)
def test_tags_of_other_programs(tag, tags):
    assert tags_of(tag) == tags
