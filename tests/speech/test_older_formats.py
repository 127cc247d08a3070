"""YouTube's .sbv, SAMI and MicroDVD, and lists of chapters that look like captions."""

import contextlib

import pytest

from speech import caption_files
from speech.errors import SpeechError

SAMI = """<SAMI><HEAD><STYLE TYPE="text/css"><!--
.ENCC { Name: English; lang: en-US; SAMIType: CC; }
.KRCC {Name: Korean; lang: ko-KR; SAMIType: CC;}
--></STYLE></HEAD><BODY>
<SYNC Start=1000><P Class=KRCC>먼저 당근을<br>썰어요.
<SYNC Start=1000><P Class=ENCC>First chop the carrot.
<SYNC Start=3000><P Class=KRCC>&nbsp;
<SYNC Start="4000" End=6000><p class="KRCC"><font color=red>소금 &amp; 물</font> 3 &lt; 4
</BODY></SAMI>"""


def cues(path, text: str, encoding: str = "utf-8", rate: float | None = None) -> list[tuple]:
    path.write_bytes(text.encode(encoding))
    return [(c.start, c.end, c.text) for c in caption_files.read(path, frame_rate=rate).cues]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "0:00:01.000,0:00:02.500\nPeel & chop.\n\n0:00:03.000,0:00:04.000\nStir\nit.\n",
            [(1.0, 2.5, "Peel &amp; chop."), (3.0, 4.0, "Stir\nit.")],
        ),
        ("\ufeff1:00:00.5,1:00:01\r\n水\r\n", [(3600.5, 3601.0, "水")]),
    ],
)
def test_sbv(tmp_path, text, found):
    assert cues(tmp_path / "a.sbv", text) == found


def test_subviewer_is_told_from_microdvd(tmp_path):
    head = "[INFORMATION]\n[TITLE]\n[END INFORMATION]\n[SUBTITLE]\n[COLF]&HFFFFFF\n"
    text = f"{head}00:00:01.50,00:00:03.00\nPeel[br]it.\n\n00:00:03.50,00:00:06.00\nStir.\n"
    assert cues(tmp_path / "a.sub", text) == [(1.5, 3.0, "Peel\nit."), (3.5, 6.0, "Stir.")]


def test_one_bad_cue_of_an_sbv_is_left_out_and_counted(tmp_path):
    (tmp_path / "a.sbv").write_text("0:00:02.000,0:00:01.000\nx\n\n0:00:03.000,0:00:04.000\nKept.\n")
    found = caption_files.read(tmp_path / "a.sbv")
    assert [cue.text for cue in found.cues] == ["Kept."] and "1 of 2 cues" in found.problems[0]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_sami_takes_the_language_with_most_texts(tmp_path, encoding):
    assert cues(tmp_path / "a.smi", SAMI, encoding) == [
        (1.0, 3.0, "먼저 당근을\n썰어요."),
        (4.0, 9.0, "소금 &amp; 물 3 &lt; 4"),
    ]
    found = caption_files.read(tmp_path / "a.smi")
    assert found.language == "ko" and "en left out" in found.notes[-1]


def test_sami_without_classes(tmp_path):
    assert cues(tmp_path / "a.SMI", "<sami><body><sync start=500>One.<sync start=900>Two.") == [
        (0.5, 0.9, "One."),
        (0.9, 5.9, "Two."),
    ]


@pytest.mark.parametrize(
    ("text", "rate", "found"),
    [
        ("{1}{1}25\n{25}{50}Peel|chop.\n{75}{100}{y:i}Stir.", None, [(1, 2, "Peel\nchop."), (3, 4, "Stir.")]),
        ("{24}{48}Frames of the video.", 24.0, [(1, 2, "Frames of the video.")]),
    ],
)
def test_microdvd(tmp_path, text, rate, found):
    assert cues(tmp_path / "a.sub", text, rate=rate) == found


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.sub", "{24}{48}x", "{1}{1}25"),
        ("a.sub", "VobSub", "line 1"),
        ("a.sbv", "no times", "0:00:01.000,0:00:02.500"),
        ("a.smi", "<sami></sami>", "SYNC"),
    ],
)
def test_what_cannot_be_read_is_an_error_with_its_remedy(tmp_path, name, text, told):
    (tmp_path / name).write_text(text)
    with pytest.raises(SpeechError) as caught:
        caption_files.read(tmp_path / name)
    assert told in str(caught.value) and name in str(caught.value) and "\n" not in str(caught.value)


def test_hostile_sami_takes_linear_time(tmp_path):
    for text in ("<sync start=" * 50_000, "<sync start=1><p " + "class=" * 50_000, ".a{" * 50_000 + SAMI):
        (tmp_path / "a.smi").write_text(text)
        with contextlib.suppress(SpeechError):
            caption_files.read(tmp_path / "a.smi")


def listed(*titles: str, seconds: int) -> str:
    def clock(at: int) -> str:
        return f"{at // 3600:02}:{at // 60 % 60:02}:{at % 60:02}.000"

    lines = (
        f"{clock(n * seconds)} --> {clock((n + 1) * seconds)}\n{title}\n" for n, title in enumerate(titles)
    )
    return "WEBVTT\n\n" + "\n".join(lines)


@pytest.mark.parametrize(
    ("titles", "seconds", "kind"),
    [
        (("Ingredients", "Chopping the onions", "Frying"), 40, "chapters"),
        (("What do we need?", "How to chop?", "Enjoy!"), 150, "chapters"),
        (("Einleitung", "Zwiebeln schneiden"), 600, "chapters"),
        (("What do we need?", "We need a knife and two onions.", "And a pan."), 5, "speech"),
        (("What do we need?", "We need a knife.", "And a pan."), 30, "speech"),
    ],
)
def test_a_list_of_chapters_is_no_speech(titles, seconds, kind):
    assert caption_files.read(listed(*titles, seconds=seconds)).kind == kind
