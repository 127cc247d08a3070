"""Files made elsewhere that are broken or made to harm: one clear line each, nothing run, nothing lost."""

import io
import json
import os
import pickle
import random
import re
import struct
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save

from multimodal.catalogue import Catalogue
from multimodal.intake.imported_files import read
from multimodal.intake.imports import ImportOptions, find_imports, import_files
from multimodal.store import Store

GOOD = np.ones((3, 4), np.float32)


def npy(array: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def header(text: str, length: int | None = None, version: int = 1) -> bytes:
    """A .npy that says what it likes about itself."""
    size = struct.pack("<H" if version == 1 else "<I", len(text) if length is None else length)
    return b"\x93NUMPY" + bytes([version, 0]) + size + text.encode() + bytes(64)


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return buffer.getvalue()


def parquet(**columns) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


class Evil:
    """A pickle that leaves a mark where it is loaded."""

    def __reduce__(self):
        return Path.touch, (Path("loaded"),)


def bombed() -> bytes:
    data = zipped(features=bytes(1 << 16))
    return data.replace(struct.pack("<I", 1 << 16), struct.pack("<I", (1 << 31) - 1))


THREE = {"video": ["a"] * 3, "start": [0.0, 1.5, 3.0]}
WHISPER = {"segments": [{"start": 0.0, "end": 1.0, "text": "one"}, {"start": 2.0, "end": 3.0, "text": "two"}]}


def whisper(**change) -> bytes:
    segments = [dict(s) for s in WHISPER["segments"]]
    segments[1] |= change
    return json.dumps({"segments": segments}).encode()


BAD = {
    "objects.npy": (npy(np.array([Evil()], object), allow_pickle=True), "holds Python objects, a pickle, which is never"),
    "pickle.npy": (pickle.dumps(Evil()), "has no header of a NumPy array"),
    "objects.npz": (zipped(features=npy(np.array([Evil()], object), allow_pickle=True)), "a pickle, which is never loaded"),
    "pickle.npz": (zipped(features=pickle.dumps(Evil())), "has no header of a NumPy array"),
    "empty.npy": (b"", "has no header of a NumPy array"),
    "version.npy": (header("{}", version=9), "has no header of a NumPy array .version 9.0"),
    "long-header.npy": (header("{" + " " * 60_000 + "}"), "has no header of a NumPy array .Header info length"),
    "longer-header.npy": (header("{}", 1 << 31, 2), "has no header of a NumPy array"),
    "code.npy": (header("__import__('pathlib').Path('loaded').touch()"), "has no header of a NumPy array"),
    "deep.npy": (header("(" * 5000), "has no header of a NumPy array"),
    "vast.npy": (header("{'descr':'<f4','fortran_order':False,'shape':(1000000000,1000000000)}"), "its header promises"),
    "minus.npy": (header("{'descr':'<f4','fortran_order':False,'shape':(-1,4)}"), "its header promises .-1, 4. of float32"),
    "cut.npy": (npy(GOOD)[:-8], "its header promises .3, 4. of float32, 48 bytes; the file has|breaks off after"),
    "flat.npy": (npy(np.ones(3)), r"features have shape \[3\]; \[n, d\] is needed"),
    "cube.npy": (npy(np.ones((3, 2, 2))), r"features have shape \[3, 2, 2\]"),
    "none.npy": (npy(np.ones((0, 4))), r"features have shape \[0, 4\]"),
    "narrow.npy": (npy(np.ones((3, 0))), r"features have shape \[3, 0\]"),
    "wide.npy": (npy(np.ones((1, 70_000), np.float16)), "d from 1 to 65536"),
    "nan.npy": (npy(np.array([[1, 2], [np.nan, 1], [1, np.inf]])), "row 1: holds NaN, .* as do 2 of 3 rows; leave these out"),
    "large.npy": (npy(np.array([[1e300, 1]])), "row 0: holds NaN, infinity or a number too large"),
    "words.npy": (npy(np.array([["a", "b"]])), "features are <U1; numbers are needed"),
    "complex.npy": (npy(np.ones((2, 2), complex)), "features are complex128; numbers are needed"),
    "records.npy": (npy(np.zeros((2, 2), [("a", "f4")])), "numbers are needed"),
    "unequal.npz": (npz(features=GOOD, starts=np.zeros(2)), r"starts are float64 of shape \[2\]; 3 numbers are needed"),
    "back.npz": (npz(features=GOOD, starts=np.array([0, 3, 1.5])), r"row 2: starts at 1.5, before the one above \(3\); sort"),
    "twice.npz": (npz(features=GOOD, starts=np.array([0, 1.5, 1.5])), "row 2: starts when the one above does .1.5 s."),
    "minus.npz": (npz(features=GOOD, starts=np.array([-1.5, 0, 1.5])), "row 0: start -1.5 must be seconds from 0 to 86400"),
    "nan.npz": (npz(features=GOOD, starts=np.array([0, np.nan, 3])), "row 1: start nan must be seconds"),
    "far.npz": (npz(features=GOOD, starts=np.array([0, 1, 1e12])), "row 2: start 1e.12 must be seconds from 0 to 86400"),
    "no-length.npz": (npz(features=GOOD, starts=np.arange(3), ends=np.arange(3)), "row 0: has no length .0 s.; give it"),
    "ends.npz": (npz(features=GOOD, starts=np.arange(3.0), ends=np.arange(3.0) - 1), "row 0: end -1 must be seconds"),
    "word-starts.npz": (npz(features=GOOD, starts=np.array(["a", "b", "c"])), "3 numbers are needed, one a row"),
    "two.npz": (npz(x=GOOD, y=GOOD), "holds the arrays x, y; name the features 'features'"),
    "nothing.npz": (zipped(), "holds the arrays none"),
    "text.npz": (b"PK no", "is no .npz archive that can be read"),
    "bomb.npz": (bombed(), "would unpack to more than 1073741824 bytes|is no .npz archive|is damaged"),
    "no-times.npz": (npz(features=GOOD), "gives no start times; say --import-stride SECONDS or --import-fps N"),
    "short.safetensors": (b"\x08", "is no safetensors file"),
    "vast.safetensors": (struct.pack("<Q", 1 << 60) + b"{}", "is no safetensors file"),
    "no-times.safetensors": (save({"x": GOOD}), "gives no start times"),
    "truth.safetensors": (save({"x": GOOD > 0}), "x is BOOL; save it as float32"),
    "empty.csv": (b"", "columns : none is text"),
    "header.csv": (b"video,start,text\n", "holds no row below its first line"),
    "no-header.csv": (b"a,0,1,hello\n", "columns a, 0, 1, hello: none is text .transcripts., token"),
    "no-start.csv": (b"video,text\na,hello\n", "columns video, text: none is start; add the second"),
    "both.csv": (b"video,start,text,token\na,0,x,1\n", "could be transcripts or tokens; say which with --import-kind"),
    "doubled.csv": (b"video,start,text,caption\na,0,x,y\n", "columns text, caption could each be the text; keep one"),
    "latin.csv": ("video,start,text\na,0,ok\na,1,caf\u00e9\n".encode("latin-1"), "line 3: is not UTF-8 text; save the file"),
    "nul.csv": (b"video,start,text\na,0,x\0y\n", "line 2: holds a NUL"),
    "quotes.csv": (b'video,start,text\na,0,"never closed\nb,1,x\n', "line 3: unexpected end of data; write it as CSV with"),
    "stray.csv": (b'video,start,text\na,0,"x"y\n', "line 2: .* expected after .*; write it as CSV"),
    "long.csv": (b"video,start,text\na,0," + b"x" * 200_000 + b"\n", "line 2: field larger than field limit"),
    "cells.csv": (b"video,start,text\na,0,one, two\n", "line 2: 4 cells where the first line has 3; put quotes"),
    "unnamed.csv": (b"video,start,text\n,0,x\n", "line 2: names no video; fill the column in"),
    "clock.csv": (b"video,start,text\na,00:01,x\n", "line 2: start '00:01' must be a number of seconds"),
    "inf.csv": (b"video,start,end,text\na,0,inf,x\n", "line 2: end 'inf' must be a finite number of seconds"),
    "minus.csv": (b"video,start,text\na,-1,x\n", "line 2: start -1 must be seconds from 0 to 86400"),
    "back.csv": (b"video,start,text\na,5,x\nb,1,y\na,4,z\n", r"line 4: starts at 4, before the one above \(5\); sort"),
    "turned.csv": (b"video,start,end,text\na,5,4,x\n", "line 2: ends at 4 before it starts at 5; correct the times"),
    "silent.csv": (b"video,start,text\na,5, \n", "holds no words; leave it out"),
    "token-minus.csv": (b"video,start,token\na,0,-1\n", "line 2: token '-1' must be a whole number, 0 or more"),
    "token-half.csv": (b"video,start,token\na,0,1.5\n", "line 2: token '1.5' must be a whole number"),
    "token-far.csv": (b"video,start,token\na,0,99999999\n", "line 2: token 99999999 must be from 0 to 1048575"),
    "token-long.csv": (b"video,start,token\na,0," + b"9" * 9000 + b"\n", "line 2: token '9{30}' must be a whole number"),
    "features.csv": (b"video,start,features\na,0,1 2 3\n", "holds features, which a CSV cannot; save them as Parquet"),
    "cut.parquet": (parquet(**THREE, token=[1, 2, 3])[:-9], "is no Parquet file that can be read"),
    "text.parquet": (b"PAR1 nothing PAR1", "is no Parquet file that can be read"),
    "no-row.parquet": (parquet(video=pa.array([], pa.string()), start=pa.array([], pa.float64()), token=pa.array([], pa.int32())), "holds no row"),
    "times.parquet": (parquet(video=["a"], start=["0:01"], token=[1]), "column start is string; seconds, as numbers, are needed"),
    "tokens.parquet": (parquet(**THREE, token=[0.5, 1, 2]), "column token is double; whole numbers are needed"),
    "null-token.parquet": (parquet(**THREE, token=[1, None, 2]), "row 1: its token is missing"),
    "null-start.parquet": (parquet(video=["a"] * 2, start=[0, None], token=[1, 2]), "row 1: its start is missing or no finite"),
    "nan-start.parquet": (parquet(video=["a"] * 2, start=[0, float("nan")], token=[1, 2]), "row 1: its start is missing or no finite"),
    "null-video.parquet": (parquet(video=["a", None], start=[0, 1], token=[1, 2]), "row 1: names no video"),
    "bytes.parquet": (parquet(video=[b"a"], start=[0], token=[1]), "column video is binary; names are needed"),
    "flat.parquet": (parquet(**THREE, features=[1.0, 2.0, 3.0]), "column features is double; lists of numbers are needed"),
    "words.parquet": (parquet(**THREE, features=[["x"]] * 3), "column features is list<element: string>; lists of numbers|lists of numbers are needed"),
    "ragged.parquet": (parquet(**THREE, features=[[1.0, 2.0], [1.0], [1.0, 2.0]]), "row 1: 1 features where the row above has 2"),
    "hole.parquet": (parquet(**THREE, features=[[1.0, 2.0], None, [1.0, 2.0]]), "row 1: its features is missing"),
    "part-hole.parquet": (parquet(**THREE, features=[[1.0, None], [1.0, 2.0], [1.0, 2.0]]), "row 0: holds NaN"),
    "empty-list.parquet": (parquet(**THREE, features=[[], [], []]), r"features have shape \[3, 0\]|lists of numbers"),
    "text.json": (b"{", "is not JSON"),
    "deep.json": (b"[" * 100_000, "is not JSON"),
    "list.json": (b"[]", 'holds no list "segments"; give what Whisper writes'),
    "other.json": (b'{"segments": {}}', 'holds no list "segments"'),
    "number.json": (b'{"segments": [1]}', r"segments\[0\]=1"),
    "nan.json": (whisper(start=float("nan")), r"segments\[1\]\.start=nan"),
    "turned.json": (whisper(end=1.0), r"segments\[1\]: ends at 1 before it starts at 2"),
    "back.json": (whisper(start=-5.0), r"segments\[1\]: start -5 must be seconds from 0"),
    "minus.json": (whisper(start=-5.0, end=-4.0), r"segments\[1\]: start -5 must be seconds from 0"),
    "text-start.json": (whisper(start="2"), r"segments\[1\]\.start='2'"),
    "outside.json": (whisper(words=[{"word": "x", "start": 50.0, "end": 51.0}]), r"segments\[1\]: the word 'x' lies at 50 to 51"),
    "bytes.json": (b'{"segments": "\xff"}', "byte 14 is not UTF-8 text"),
    "empty.vtt": (b"", "is empty"),
    "silent.vtt": (b"WEBVTT\n", "holds no words"),
    "back.vtt": (b"WEBVTT\n\n00:05.000 --> 00:06.000\nx\n\n00:01.000 --> 00:02.000\ny\n", "cue 2: starts at 1, before the one above"),
    "far.srt": (b"1\n900000:00:00,000 --> 900000:00:01,000\nx\n", "cue 1: start 3.24e.09 must be seconds"),
    "model.pt": (pickle.dumps(Evil()), r"\.pt is not known; give one of \.csv"),
    "x.pkl": (pickle.dumps(Evil()), r"\.pkl is not known"),
}  # fmt: skip


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """The test's own folder, which it also runs in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", BAD)
def test_one_clear_line(name, here):
    data, words = BAD[name]
    file = here / name
    file.write_bytes(data)
    stride = 1.5 if file.suffix == ".npy" else None
    pieces = list(read([file], None, stride))
    problems = [p.problem for p in pieces if p.problem]
    assert len(problems) == 1 and pieces[-1].kind == "end", pieces
    assert problems[0].startswith(f"{name}") and "\n" not in problems[0] and len(problems[0]) < 500
    assert re.search(words, problems[0]), problems[0]
    assert not (here / "loaded").exists()


def test_all_at_once_cost_nobody_else_anything(here):
    """The whole collection in one folder beside one good file: each refused in the catalogue, the good one in."""
    folder = here / "in"
    folder.mkdir()
    for name, (data, _) in BAD.items():
        (folder / name).write_bytes(data)
    (folder / "good.npz").write_bytes(npz(features=GOOD, starts=np.arange(3) * 1.5))
    (folder / "gone.npy").symlink_to(here / "nowhere")
    (folder / "endless.npy").symlink_to("/dev/zero")
    (folder / os.fsdecode(b"not-utf8-\xff.npz")).write_bytes(npz(features=GOOD, starts=np.arange(3) * 1.5))
    store = Store(here / "store")
    with store.writing(), Catalogue(store.catalogue) as catalogue:
        import_files(store, catalogue, find_imports([folder], None), ImportOptions(), lambda *_: None)
        videos = catalogue.videos()
        good = [v for v in videos if v.state != "refused"]
        first = {v.reason.split(":")[0].split(",")[0] for v in videos if v.state == "refused"}
    assert {"good"} < {v.name for v in good} <= {"good", "a", "b"}, "a and b stand beside a bad row"
    assert first == {n for n in BAD if Path(n).suffix not in (".pt", ".pkl")} | {
        "gone.npy",
        "endless.npy",
        "not-utf8-?.npz",
    }
    assert not (here / "loaded").exists() and len(list(store.root.glob("features/*"))) == 2


def test_names_that_would_harm_a_terminal_or_a_path(here):
    rows = ["../../etc/passwd", "a\x1b[2Jb", "x" * 300, "ok"]
    (here / "t.csv").write_text(
        "video,start,text\n" + "".join(f"{name},0,x\n" for name in rows), encoding="utf-8"
    )
    store = Store(here / "store")
    with Catalogue(store.catalogue) as catalogue:
        import_files(store, catalogue, [here / "t.csv"], ImportOptions(), lambda *_: None)
        videos = {v.name: v.state for v in catalogue.videos()}
    assert videos["ok"] == "partial" and videos["../../etc/passwd"] == "partial", "a label is never a path"
    assert sorted(videos.values()) == ["partial", "partial", "refused", "refused"]
    assert all(name.isprintable() and len(name) <= 200 for name in videos)
    assert all(p.is_relative_to(store.root) for p in here.rglob("*.json") if p.parent.name == "transcripts")


@pytest.mark.parametrize("seed", range(3))
def test_damaged_bytes_end_as_refused_or_as_checked_values(here, seed):
    """Good files with some bytes changed, cut or doubled, in one folder: each is known in the end, and what came in holds."""
    generator = random.Random(seed)
    good = {
        ".npy": npy(GOOD), ".npz": npz(features=GOOD, starts=np.arange(3.0)), ".safetensors": save({"features": GOOD, "starts": np.arange(3.0)}),
        ".parquet": parquet(**THREE, features=GOOD.tolist()), ".csv": b'video,start,end,text\na,0,1,"x, y"\nb,2,,z\n',
        ".json": json.dumps(WHISPER).encode(), ".vtt": b"WEBVTT\n\n00:01.000 --> 00:02.000\nhello there\n",
    }  # fmt: skip
    folder = here / "in"
    folder.mkdir()
    for suffix, data in good.items():
        for n in range(20):
            damaged = bytearray(data)
            for _ in range(generator.randint(1, 6)):
                place = generator.randrange(len(damaged))
                what = generator.randrange(3)
                if what == 0:
                    damaged[place] = generator.randrange(256)
                elif what == 1:
                    del damaged[place : place + generator.randint(1, 9)]
                else:
                    damaged[place:place] = damaged[place : place + generator.randint(1, 9)]
                if not damaged:
                    damaged = bytearray(b"x")
            (folder / f"{suffix[1:]}{n}{suffix}").write_bytes(bytes(damaged))
    store = Store(here / "store")
    with Catalogue(store.catalogue) as catalogue:
        files = find_imports([folder], None)
        import_files(store, catalogue, files, ImportOptions(stride=1.5), lambda *_: None)
        videos = catalogue.videos()
    told = " ".join(f"{v.name} {v.reason}" for v in videos)
    singles = [f for f in files if f.suffix not in (".csv", ".parquet")]
    assert all(f.name in told or f.stem in told for f in singles)
    for v in videos:
        assert v.state in ("done", "partial", "refused")
        assert "\n" not in v.reason and v.reason
        if v.state != "refused":
            assert 0 <= v.seconds <= 86400 + 1e3 and (v.clips or v.sentences)
