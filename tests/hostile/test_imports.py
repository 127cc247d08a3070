"""Imported files that are damaged or malicious: one clear line each, no code run, no other video affected."""

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
from multimodal.intake.imports import find_imports, import_files
from multimodal.intake.options import ImportOptions
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
    "objects.npy": (npy(np.array([Evil()], object), allow_pickle=True), "pickle"),
    "pickle.npy": (pickle.dumps(Evil()), "header"),
    "objects.npz": (zipped(features=npy(np.array([Evil()], object), allow_pickle=True)), "pickle"),
    "pickle.npz": (zipped(features=pickle.dumps(Evil())), "header"),
    "empty.npy": (b"", "header"),
    "version.npy": (header("{}", version=9), r"header .*9\.0"),
    "long-header.npy": (header("{" + " " * 60_000 + "}"), "header"),
    "longer-header.npy": (header("{}", 1 << 31, 2), "header"),
    "code.npy": (header("__import__('pathlib').Path('loaded').touch()"), "header"),
    "deep.npy": (header("(" * 5000), "header"),
    "vast.npy": (header("{'descr':'<f4','fortran_order':False,'shape':(1000000000,1000000000)}"), "1000000000, 1000000000"),
    "minus.npy": (header("{'descr':'<f4','fortran_order':False,'shape':(-1,4)}"), "-1, 4"),
    "cut.npy": (npy(GOOD)[:-8], "48 bytes|breaks off"),
    "flat.npy": (npy(np.ones(3)), r"shape \[3\]"),
    "cube.npy": (npy(np.ones((3, 2, 2))), r"shape \[3, 2, 2\]"),
    "none.npy": (npy(np.ones((0, 4))), r"shape \[0, 4\]"),
    "narrow.npy": (npy(np.ones((3, 0))), r"shape \[3, 0\]"),
    "wide.npy": (npy(np.ones((1, 70_000), np.float16)), "70000.*65536"),
    "nan.npy": (npy(np.array([[1, 2], [np.nan, 1], [1, np.inf]])), "row 1: .* 2 of 3 rows"),
    "large.npy": (npy(np.array([[1e300, 1]])), "row 0: "),
    "words.npy": (npy(np.array([["a", "b"]])), "<U1"),
    "complex.npy": (npy(np.ones((2, 2), complex)), "complex128"),
    "records.npy": (npy(np.zeros((2, 2), [("a", "f4")])), "numbers"),
    "unequal.npz": (npz(features=GOOD, starts=np.zeros(2)), r"starts .*\[2\]; 3 numbers"),
    "back.npz": (npz(features=GOOD, starts=np.array([0, 3, 1.5])), r"row 2: .*1\.5.*\(3\)"),
    "twice.npz": (npz(features=GOOD, starts=np.array([0, 1.5, 1.5])), r"row 2: .*1\.5 s"),
    "minus.npz": (npz(features=GOOD, starts=np.array([-1.5, 0, 1.5])), "row 0: start -1.5"),
    "nan.npz": (npz(features=GOOD, starts=np.array([0, np.nan, 3])), "row 1: start nan"),
    "far.npz": (npz(features=GOOD, starts=np.array([0, 1, 1e12])), "row 2: start 1e.12"),
    "no-length.npz": (npz(features=GOOD, starts=np.arange(3), ends=np.arange(3)), "row 0: .*0 s"),
    "ends.npz": (npz(features=GOOD, starts=np.arange(3.0), ends=np.arange(3.0) - 1), "row 0: end -1"),
    "word-starts.npz": (npz(features=GOOD, starts=np.array(["a", "b", "c"])), "3 numbers"),
    "two.npz": (npz(x=GOOD, y=GOOD), "arrays x, y; .*'features'"),
    "nothing.npz": (zipped(), "arrays none"),
    "text.npz": (b"PK no", "npz archive"),
    "bomb.npz": (bombed(), "1073741824 bytes|npz archive|is damaged"),
    "no-times.npz": (npz(features=GOOD), "--import-stride SECONDS or --import-fps N"),
    "short.safetensors": (b"\x08", "safetensors file"),
    "vast.safetensors": (struct.pack("<Q", 1 << 60) + b"{}", "safetensors file"),
    "no-times.safetensors": (save({"x": GOOD}), "start times"),
    "truth.safetensors": (save({"x": GOOD > 0}), "x is BOOL"),
    "empty.csv": (b"", "columns : "),
    "header.csv": (b"video,start,text\n", "no row"),
    "no-header.csv": (b"a,0,1,hello\n", "columns a, 0, 1, hello: "),
    "no-start.csv": (b"video,text\na,hello\n", "columns video, text: .*start"),
    "both.csv": (b"video,start,text,token\na,0,x,1\n", "transcripts or tokens; .*--import-kind"),
    "doubled.csv": (b"video,start,text,caption\na,0,x,y\n", "columns text, caption"),
    "latin.csv": ("video,start,text\na,0,ok\na,1,caf\u00e9\n".encode("latin-1"), "line 3: .*UTF-8"),
    "nul.csv": (b"video,start,text\na,0,x\0y\n", "line 2: .*NUL"),
    "quotes.csv": (b'video,start,text\na,0,"never closed\nb,1,x\n', "line 2: .*quotes"),
    "stray.csv": (b'video,start,text\na,0,"x"y\n', "line 2: .*quotes"),
    "long.csv": (b"video,start,text\na,0," + b"x" * 200_000 + b"\n", "line 2: .*200000 characters"),
    "cells.csv": (b"video,start,text\na,0,one, two\n", "line 2: 4 cells .* 3"),
    "unnamed.csv": (b"video,start,text\n,0,x\n", "line 2: names no video"),
    "clock.csv": (b"video,start,text\na,00:01,x\n", "line 2: start '00:01'"),
    "inf.csv": (b"video,start,end,text\na,0,inf,x\n", "line 2: end 'inf'"),
    "minus.csv": (b"video,start,text\na,-1,x\n", "line 2: start -1 "),
    "back.csv": (b"video,start,text\na,5,x\nb,1,y\na,4,z\n", r"line 4: .*4.*\(5\)"),
    "turned.csv": (b"video,start,end,text\na,5,4,x\n", "line 2: ends at 4 .*5"),
    "silent.csv": (b"video,start,text\na,5, \n", "no words"),
    "token-minus.csv": (b"video,start,token\na,0,-1\n", "line 2: token '-1'"),
    "token-half.csv": (b"video,start,token\na,0,1.5\n", "line 2: token '1.5'"),
    "token-far.csv": (b"video,start,token\na,0,99999999\n", "line 2: token 99999999 .*1048575"),
    "token-long.csv": (b"video,start,token\na,0," + b"9" * 9000 + b"\n", "line 2: token '9{30}'"),
    "features.csv": (b"video,start,features\na,0,1 2 3\n", "Parquet"),
    "cut.parquet": (parquet(**THREE, token=[1, 2, 3])[:-9], "Parquet file"),
    "text.parquet": (b"PAR1 nothing PAR1", "Parquet file"),
    "no-row.parquet": (parquet(video=pa.array([], pa.string()), start=pa.array([], pa.float64()), token=pa.array([], pa.int32())), "no row"),
    "times.parquet": (parquet(video=["a"], start=["0:01"], token=[1]), "column start is string"),
    "tokens.parquet": (parquet(**THREE, token=[0.5, 1, 2]), "column token is double"),
    "null-token.parquet": (parquet(**THREE, token=[1, None, 2]), "row 1: token .missing"),
    "null-start.parquet": (parquet(video=["a"] * 2, start=[0, None], token=[1, 2]), "row 1: start .missing"),
    "nan-start.parquet": (parquet(video=["a"] * 2, start=[0, float("nan")], token=[1, 2]), "row 1: start nan"),
    "null-video.parquet": (parquet(video=["a", None], start=[0, 1], token=[1, 2]), "row 1: names no video"),
    "bytes.parquet": (parquet(video=[b"a"], start=[0], token=[1]), "column video is binary"),
    "flat.parquet": (parquet(**THREE, features=[1.0, 2.0, 3.0]), "column features is double"),
    "words.parquet": (parquet(**THREE, features=[["x"]] * 3), "lists of numbers"),
    "ragged.parquet": (parquet(**THREE, features=[[1.0, 2.0], [1.0], [1.0, 2.0]]), "row 1: 1 features .*2"),
    "hole.parquet": (parquet(**THREE, features=[[1.0, 2.0], None, [1.0, 2.0]]), "row 1: .*features .*missing"),
    "part-hole.parquet": (parquet(**THREE, features=[[1.0, None], [1.0, 2.0], [1.0, 2.0]]), "row 0: "),
    "empty-list.parquet": (parquet(**THREE, features=[[], [], []]), r"shape \[3, 0\]|lists of numbers"),
    "text.json": (b"{", "JSON"),
    "deep.json": (b"[" * 100_000, "JSON"),
    "list.json": (b"[]", '"segments"'),
    "other.json": (b'{"segments": {}}', '"segments"'),
    "number.json": (b'{"segments": [1]}', r"segments\[0\]"),
    "nan.json": (whisper(start=float("nan")), r"segments\[1\]\.start=nan"),
    "turned.json": (whisper(end=1.0), r"segments\[1\]: ends at 1 .*2"),
    "back.json": (whisper(start=-5.0), r"segments\[1\]: start -5"),
    "minus.json": (whisper(start=-5.0, end=-4.0), r"segments\[1\]: start -5"),
    "text-start.json": (whisper(start="2"), r"segments\[1\]\.start='2'"),
    "outside.json": (whisper(words=[{"word": "x", "start": 50.0, "end": 51.0}]), r"segments\[1\]: .*'x' .*50 to 51"),
    "bytes.json": (b'{"segments": "\xff"}', "byte 14 .*UTF-8"),
    "empty.vtt": (b"", "empty"),
    "silent.vtt": (b"WEBVTT\n", "no words"),
    "back.vtt": (b"WEBVTT\n\n00:05.000 --> 00:04.000\nx\n", "line 3: .*before it starts"),
    "far.srt": (b"1\n900000:00:00,000 --> 900000:00:01,000\nx\n", "cue 1: start 3.24e.09"),
    "model.pt": (pickle.dumps(Evil()), r"\.pt "),
    "x.pkl": (pickle.dumps(Evil()), r"\.pkl "),
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
    assert not (here / "loaded").exists() and len(list(store.root.glob("features/*.safetensors"))) == 2


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


def label_of(file: Path) -> str:
    """The one name in a JSON file; a damaged "segments" is a video's label, as of a file with the rows of each video."""
    try:
        (label,) = json.loads(file.read_bytes())
    except (ValueError, TypeError):
        return file.name
    return label


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
    assert all(f.name in told or f.stem in told or label_of(f) in told for f in singles)
    for v in videos:
        assert v.state in ("done", "partial", "refused")
        assert "\n" not in v.reason and v.reason
        if v.state != "refused":
            assert 0 <= v.seconds <= 86400 + 1e3 and (v.clips or v.sentences)
