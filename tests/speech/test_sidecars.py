"""Caption files beside a video: found by any tag and case, and put in order by a stated rule."""

from pathlib import Path

import pytest

from speech import sidecars
from speech.caption_files import SUFFIXES
from speech.sidecars import Tags, beside, tags_of

MEDIA = frozenset({".mp4", ".mkv"})


def found(folder: Path, video: str, *names: str) -> dict[str, str]:
    """The names of the captions that are found for a video, with their tags, among these files."""
    folder.mkdir(exist_ok=True)
    for name in (video, *names):
        (folder / name).touch()
    return {s.path.name: s.tag for s in beside(folder / video, MEDIA)}


def test_captions_are_found_by_any_tag_and_case(tmp_path):
    names = ["a.b.VTT", "a.b.en-US.vtt", "A.B.eng.SRT", "a.b.en-orig.vtt", "a.b.de.ass", "a.b.mp4.srt", "a.b.MP4.pt-BR.ttml",
             "a.b.en.json3", "a.b.srv3"]  # fmt: skip
    others = ["a.b.txt", "a.bc.vtt", "a.vtt", "b.vtt", "a.b.info.json"]
    assert found(tmp_path, "a.b.mp4", *names, *others) == {
        "a.b.VTT": "",
        "a.b.en-US.vtt": "en-US",
        "A.B.eng.SRT": "eng",
        "a.b.en-orig.vtt": "en-orig",
        "a.b.de.ass": "de",
        "a.b.mp4.srt": "",
        "a.b.MP4.pt-BR.ttml": "pt-BR",
        "a.b.en.json3": "en",
        "a.b.srv3": "",
    }


def test_captions_of_another_video_are_not_this_ones(tmp_path):
    names = ["talk.part2.mp4", "talk.part2.en.vtt", "talk.en.vtt", "Talk.mkv", "Talk.vtt", "talk.mkv.vtt"]
    assert set(found(tmp_path, "talk.mp4", *names)) == {"talk.en.vtt"}
    assert set(found(tmp_path, "talk.part2.mp4")) == {"talk.part2.en.vtt"}
    assert set(found(tmp_path, "Talk.mkv")) == {"Talk.vtt"}


def test_a_file_that_is_put_beside_a_video_is_found(tmp_path):
    assert not found(tmp_path, "a.mp4")
    assert set(found(tmp_path, "a.mp4", "a.vtt")) == {"a.vtt"}
    assert not beside(tmp_path / "gone" / "a.mp4", MEDIA)


@pytest.mark.parametrize(
    ("tag", "tags"),
    [
        ("en-US", Tags("en")),
        ("zh-Hans", Tags("zh")),
        ("es-419", Tags("es")),
        ("ger", Tags("de")),
        ("English [CC]", Tags("en", hard_of_hearing=True)),
        ("en.hi", Tags("en", hard_of_hearing=True)),
        ("hi", Tags("hi")),
        ("en-orig", Tags("en", automatic=True, original=True)),
        ("auto.en", Tags("en", automatic=True)),
        ("pt_BR.forced", Tags("pt", never="forced captions alone")),
        ("chapters", Tags(never="chapters")),
        ("my cut", Tags()),
        ("2", Tags()),
        ("", Tags()),
    ],
)
def test_what_a_tag_says(tag, tags):
    assert tags_of(tag) == tags


def test_the_order_in_which_captions_are_taken():
    """By language, then by who wrote them, then without notes of sounds, then by format, then without a tag."""

    def place(
        tag: str,
        suffix: str = ".vtt",
        spoken: str | None = "en",
        certain: bool = True,
        automatic: bool = False,
    ):
        tags = tags_of(tag)
        return sidecars.order(
            tags,
            suffix,
            spoken=spoken,
            certain=certain,
            automatic=automatic or tags.automatic,
            untagged=not tag,
        )

    best_first = [
        place("en"),
        place("en", ".srt"),
        place("en", ""),
        place("en-sdh"),
        place("en", automatic=True),
        place("en-orig", ".srt"),
        place(""),
        place("", ".srt"),
        place("de"),
        place("de.sdh", ".srt"),
    ]
    assert best_first == sorted(best_first) and len(set(best_first)) == len(best_first)
    assert (
        place("", spoken=None, certain=False)
        < place("de", spoken=None, certain=False)
        < place("", ".srt", spoken=None, certain=False)
    )
    assert (
        place("", spoken="en", certain=False)
        < place("en", ".srt", spoken="en", certain=False)
        < place("de", certain=False)
    )
    assert [place("en", s) for s in SUFFIXES] == sorted(place("en", s) for s in SUFFIXES)
