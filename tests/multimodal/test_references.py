"""References as they are published, matched to videos and put on clips; and files that are not what they must be."""

import json
import os
import random
from pathlib import Path

import joint_samples
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multimodal.catalogue import Video
from multimodal.scoring.references import (
    LARGEST,
    Reference,
    match,
    read_references,
    referenced_moments,
)
from multimodal.store import InputError

# The first lines of an entry of youcookii_annotations_trainval.json (http://youcook2.eecs.umich.edu/download), and one without any
YOUCOOK2 = {
    "database": {
        "GLd3aX16zBg": {
            "subset": "training",
            "recipe_type": "113",
            "duration": 241.62,
            "annotations": [
                {"segment": [90, 102], "id": 0, "sentence": "spread margarine on two slices of white bread"},
                {"segment": [114, 127], "id": 1, "sentence": "place a slice of cheese on the bread"},
            ],
            "video_url": "https://www.youtube.com/watch?v=GLd3aX16zBg",
        },
        "empty": {"subset": "validation", "annotations": []},
    }
}
# The first two lines of MSRVTT_JSFUSION_test.csv, the 1k-A split (Yu, Kim, Kim 2018), and one of our own with a comma
MSRVTT = """key,vid_key,video_id,sentence
ret0,msr9770,video9770,a person is connecting something to system
ret1,msr9771,video9771,"a girl does gymnastics, slowly"
"""


def written(folder: Path, name: str, content: object) -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_youcook2_as_it_is_published(tmp_path):
    found = read_references(written(tmp_path, "youcookii_annotations_trainval.json", YOUCOOK2))
    assert found == [
        Reference("GLd3aX16zBg", 90.0, 102.0, "spread margarine on two slices of white bread", "training"),
        Reference("GLd3aX16zBg", 114.0, 127.0, "place a slice of cheese on the bread", "training"),
    ]


def test_the_retrieval_csv_of_1k_a_as_it_is_published(tmp_path):
    found = read_references(written(tmp_path, "MSRVTT_JSFUSION_test.csv", MSRVTT))
    assert found == [
        Reference("video9770", None, None, "a person is connecting something to system"),
        Reference("video9771", None, None, "a girl does gymnastics, slowly"),
    ]


def test_captions_tables_and_json_say_the_same(tmp_path):
    vtt = "WEBVTT\n\n00:01.000 --> 00:02.500\ncut the <b>onion</b> &amp; cry\n\n00:03.000 --> 00:04.000\nstir  it\n"
    srt = "1\n00:00:01,000 --> 00:00:02,500\ncut the <b>onion</b> & cry\n\n2\n00:00:03,000 --> 00:00:04,000\nstir it\n"
    rows = [("onion", 1.0, 2.5, "cut the onion & cry"), ("onion", 3.0, 4.0, "stir it")]
    named = [{"video": v, "start": s, "end": e, "text": t} for v, s, e, t in rows]
    files = {
        "onion.vtt": vtt,
        "onion.en.vtt": vtt,
        "onion.mp4.srt": srt,
        "rows.csv": "video,start,end,text\nonion,1,2.5,cut the onion & cry\nonion,3,4,stir it\n",
        "rows.tsv": "name\tstart\tend\tcaption\nonion\t1\t2.5\tcut the onion & cry\nonion\t3\t4\tstir it\n",
        "rows.json": named,
        "onion.json": {"segments": [{k: r[k] for k in ("start", "end", "text")} for r in named]},
    }
    wanted = [Reference(*row) for row in rows]
    for name, content in files.items():
        assert read_references(written(tmp_path, name, content)) == wanted, name
    (tmp_path / "notes.txt").write_text("no references")
    assert len(read_references(tmp_path)) == 2 * len(files), "a folder gives those of all its files"


def annotation(**parts) -> dict:
    return {"database": {"a": {"subset": "training", "annotations": [YOUCOOK2["database"]["GLd3aX16zBg"]["annotations"][0] | parts]}}}  # fmt: skip


CELLS = "video,start,end,text\n"
BAD = {
    "times.json": (annotation(segment=[5, 3]), ["annotations[0]", "ends at 3", "5"]),
    "one.json": (annotation(segment=[5]), ["annotations[0].segment", "[5]", "2 items"]),
    "words.json": (annotation(segment=["1", "2"]), ["annotations[0]", "start='1'"]),
    "true.json": (annotation(segment=[True, 2]), ["start=True"]),
    "minus.json": (annotation(segment=[-1, 2]), ["start=-1"]),
    "nan.json": ('{"database": {"a": {"annotations": [{"segment": [NaN, 2], "sentence": "x"}]}}}', ["start=nan"]),
    "far.json": (annotation(segment=[1, 1e9]), ["end=1000000000.0", "86400"]),
    "empty.json": (annotation(sentence="  "), ["annotations[0]", "sentence=''"]),
    "number.json": (annotation(sentence=3), ["sentence=3"]),
    "long.json": (annotation(sentence="x" * 10_001), ["sentence='xxx", "10000 characters"]),
    "test.json": ({"database": {"a": {"annotations": [{"segment": [1, 2], "id": 0}]}}}, ["annotations[0]", "'sentence'"]),
    "list.json": ({"database": []}, ["database=[]"]),
    "entry.json": ({"database": {"a": 3}}, ["database.a=3"]),
    "subset.json": ({"database": {"a": {"subset": 3, "annotations": []}}}, ["database.a.subset=3"]),
    "none.json": ({"database": {}}, ["no sentence"]),
    "other.json": ({"videos": []}, ["YouCook2", "list of rows"]),
    "rows.json": (["x"], ["[0]='x'"]),
    "segment.json": ({"segments": ["x"]}, ["segments[0]='x'"]),
    "video.json": ([{"start": 1, "end": 2, "text": "x"}], ["[0]", "video=None"]),
    "half.json": ([{"video": "a", "start": 1, "text": "x"}], ["[0]", "no end", "neither"]),
    "twice.json": ('{"database": {"a": {"annotations": []}, "a": {"annotations": []}}}', ["'a'", "twice"]),
    "cut.json": ('{"database": {\n"a": {"annotations": [', ["line 2", "JSON"]),
    "deep.json": ("[" * 100_000, ["nested"]),
    "time.csv": (CELLS + "a,0,1,x\na,one,2,y\n", ["line 3", "start 'one'"]),
    "cells.csv": (CELLS + "a,0,1,x,y\n", ["line 2", "5 cells"]),
    "order.csv": (CELLS + "a,3,1,x\n", ["line 2", "ends at 1"]),
    "end.csv": (CELLS + "a,3,,x\n", ["line 2", "no end"]),
    "text.csv": (CELLS + "a,3,4,\n", ["line 2", "sentence=''"]),
    "name.csv": (CELLS + ",3,4,x\n", ["line 2", "no video"]),
    "columns.csv": ("video,start,end\na,1,2\n", ["columns video, start, end", "text"]),
    "quotes.csv": ('key,video_id,sentence\nr,a,"never ends\n', ["line 2", "quotes"]),
    "onion.vtt": ("WEBVTT\n\n00:09.000 --> 00:01.000\nx\n", ["line 3", "ends"]),
    "file.txt": ("x", [".txt", ".json"]),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_said_in_one_line(tmp_path, name):
    content, words = BAD[name]
    with pytest.raises(InputError) as error:
        read_references(written(tmp_path, name, content))
    message = str(error.value)
    assert message.startswith(f"{name}") and "\n" not in message and len(message) < 400
    for word in words:
        assert word in message, message


def test_a_file_that_is_not_there_or_is_no_text(tmp_path):
    with pytest.raises(InputError, match=r"gone\.json"):
        read_references(tmp_path / "gone.json")
    (tmp_path / "bytes.json").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(InputError, match="byte 7 "):
        read_references(tmp_path / "bytes.json")
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(InputError, match=r"pipe\.json"):
        read_references(tmp_path / "pipe.json")
    with (tmp_path / "large.csv").open("wb") as file:
        file.truncate(LARGEST + 1)
    with pytest.raises(InputError, match=str(LARGEST)):
        read_references(tmp_path / "large.csv")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"folder.*\.json"):
        read_references(tmp_path / "folder")
    text = written(tmp_path, "half.json", '[{"video": "a", "text": "\\ud800 \\u2028 x"}]')
    assert read_references(text)[0].sentence.encode() == b"? x"


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_files_are_read_or_refused_never_worse(tmp_path_factory, data):
    """Bytes changed, cut or doubled anywhere in a good file end as references or as a refusal in one line."""
    folder = tmp_path_factory.mktemp("damaged")
    name, good = data.draw(st.sampled_from([("a.json", json.dumps(YOUCOOK2)), ("a.csv", MSRVTT)]))
    rng, raw = random.Random(data.draw(st.integers())), bytearray(good.encode())
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(raw))
        raw[at : at + rng.randint(0, 3)] = bytes(rng.randrange(256) for _ in range(rng.randint(0, 3)))
    (folder / name).write_bytes(raw)
    try:
        found = read_references(folder / name)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert all(isinstance(r, Reference) and r.sentence for r in found)


def video(digest: str, name: str) -> Video:
    return Video(digest, name, f"/videos/{name}", 1)


def test_names_mean_videos_by_their_stem():
    store = [
        video("d1", "one.mp4"),
        video("d2", "two.webm"),
        video("d3", "imported"),
        video("d4", "two.clip.mkv"),
    ]
    names = ["one", "two.webm", "imported", "two.clip", "videos/one.mp4", "gone", "One", "gone"]
    references = [Reference(name, None, None, f"sentence {i}") for i, name in enumerate(names)]
    found = match(references, store)
    assert {v: [r.sentence[-1] for r in of] for v, of in found.by_video.items()} == {
        "d1": ["0", "4"], "d2": ["1"], "d3": ["2"], "d4": ["3"],
    }  # fmt: skip
    assert found.unknown == ("gone", "One")
    twins = [video("d1", "one.mp4"), video("d2", "one.mkv")]
    with pytest.raises(InputError, match="'one'.* 2 videos"):
        match(references[:1], twins)
    assert match([Reference("one.mkv", None, None, "x")], twins).by_video.keys() == {"d2"}


def test_moments_have_the_clips_that_lie_at_least_half_in_them():
    material = joint_samples.material("v", [(0, 0), (1, 1), (2, 2)])  # clips of 1.5 s, three a step
    references = [
        Reference("v", 4.5, 9.0, "stir the carrot"),
        Reference("v", 4.5, 9.0, "now stir it"),
        Reference("v", 0.0, 0.5, "cut"),
        Reference("v", None, None, "a salad"),
        Reference("v", 100.0, 110.0, "after the end"),
    ]
    found = referenced_moments(material, references)
    assert [(a.moment.tokens, a.sentences) for a in found] == [
        ((0,), ("cut",)),
        ((0, 0, 0, 5, 5, 5, 10, 10, 10), ("a salad",)),
        ((5, 5, 5), ("stir the carrot", "now stir it")),
    ]
    assert (found[1].moment.start, found[1].moment.end) == (0.0, 13.5)
    blind = joint_samples.Material(material.video, material.transcript, np.zeros(0), np.zeros(0, int))
    assert referenced_moments(blind, references) == []
