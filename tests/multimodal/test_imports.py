"""Imported features, words and tokens become videos without a file: joined by label, identified by content."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from multimodal.answers.forecast import forecast
from multimodal.answers.index import index
from multimodal.answers.search import Index
from multimodal.catalogue import Catalogue, Video
from multimodal.inference.trained import load_trained
from multimodal.intake.imported_clips import on_clips
from multimodal.intake.imported_files import read
from multimodal.intake.imports import find_imports, import_files
from multimodal.intake.options import ImportOptions
from multimodal.joint.initialization import visual_rows
from multimodal.joint.model import JointBert
from multimodal.joint.options import ModelOptions
from multimodal.library import label_of, read_features, read_material, read_transcript, split, usable
from multimodal.objectives.pretraining import PretrainingObjective
from multimodal.store import InputError, Store
from multimodal.tokens import TokenOptions, describe, encode_videos, fit_codebook, load_codebook
from multimodal.training import checkpoints
from multimodal.training.checkpoints import Progress
from multimodal.vocabulary import SPECIALS, Vocabulary
from multimodal.web.report import write_report
from speech.cues import Cue, write_webvtt
from vision.clips import CLIP_SECONDS

WORDS = "now let me show you how to peel chop the carrot onion and stir it . a".split()


def quiet(*_) -> None:
    pass


@pytest.fixture
def kitchen(tmp_path):
    """`take(files…, stride=…)` imports files of a folder into its store and gives the catalogue's videos by name."""
    store = Store(tmp_path / "store")
    catalogue = Catalogue(store.catalogue)

    def take(*files: Path, **options) -> dict[str, Video]:
        with store.writing():
            import_files(
                store, catalogue, find_imports(files, options.get("kind")), ImportOptions(**options), quiet
            )
        return {v.name: v for v in catalogue.videos()}

    take.store, take.catalogue, take.folder = store, catalogue, tmp_path
    yield take
    catalogue.close()


def features(path: Path, clips: int = 4, width: int = 6, seed: int = 0, **starts: np.ndarray) -> Path:
    """Features in the format that the path's ending names."""
    values = np.random.default_rng(seed).normal(size=(clips, width)).astype(np.float32)
    starts = starts or {"starts": np.arange(clips) * CLIP_SECONDS}
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".npz":
        np.savez_compressed(path, features=values, **starts)
    else:
        save_file({"features": values, **starts}, path)
    return path


def text(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def one(file: Path, **options):
    """The only piece that a file holds."""
    pieces = list(read([file], options.get("kind"), options.get("stride")))
    assert [p.kind for p in pieces][1:] == ["end"] and not pieces[0].problem, pieces
    return pieces[0]


def test_each_format_of_features_says_the_same(tmp_path):
    npy = one(features(tmp_path / "a.npy"), stride=CLIP_SECONDS)
    others = [one(features(tmp_path / name)) for name in ("a.npz", "a.safetensors")]
    table = pa.table({"Video": ["a"] * 4, "start": npy.starts, "features": npy.values.tolist()})
    pq.write_table(table, tmp_path / "t.parquet")
    for piece in (*others, one(tmp_path / "t.parquet")):
        assert piece.label == "a" and piece.kind == "features" and not piece.note
        assert np.array_equal(piece.values, npy.values) and piece.values.dtype == np.float32
        assert np.array_equal(piece.starts, npy.starts)


def test_each_format_of_tokens_says_the_same(tmp_path):
    csv = one(text(tmp_path / "t.csv", "video;start;end;token\na;0;1.5;7\na;1.5;3;0\n"))
    pq.write_table(pa.table({"video": pa.array(["a", "a"]).dictionary_encode(), "start": [0, 1.5], "token": [7, 0]}),
                   tmp_path / "t.parquet")  # fmt: skip
    for piece in (csv, one(tmp_path / "t.parquet")):
        assert (piece.label, piece.kind, piece.values.tolist(), piece.starts.tolist()) == (
            "a",
            "tokens",
            [7, 0],
            [0, 1.5],
        )


SAID = [(0.5, 2.0, "Peel the carrot."), (2.0, 4.25, "Now, chop it.")]


def transcripts(folder: Path) -> list[Path]:
    cues = [Cue(*row) for row in SAID]
    srt = "1\n00:00:00,500 --> 00:00:02,000\nPeel the carrot.\n\n2\n00:00:02,000 --> 00:00:04,250\nNow, chop it.\n"
    rows = [{"video": "a", "start": s, "end": e, "text": t} for s, e, t in SAID]
    pq.write_table(pa.Table.from_pylist(rows), folder / "t.parquet")
    tabs = "video\tstart\tend\tsentence\n" + "".join(f"a\t{s}\t{e}\t{t}\n" for s, e, t in SAID)
    (folder / "wide.csv").write_bytes(tabs.encode("utf-16"))
    return [
        text(folder / "a.en.vtt", write_webvtt(cues)),
        text(folder / "a.mp4.srt", srt),
        text(folder / "a.json", json.dumps({"language": "en", "segments": [r | {"id": 0} for r in rows]})),
        text(folder / "t.csv", "video,start,end,text\n" + "".join(f'a,{s},{e},"{t}"\n' for s, e, t in SAID)),
        text(
            folder / "a.csv", "\ufeffstart,end,text\r\n" + "".join(f'{s},{e},"{t}"\r\n' for s, e, t in SAID)
        ),
        folder / "t.parquet",
        folder / "wide.csv",
    ]


def test_each_format_of_transcripts_says_the_same(tmp_path):
    for file in transcripts(tmp_path):
        piece = one(file)
        assert (piece.label, piece.kind) == ("a", "transcripts"), file.name
        assert [
            (s["start"], s["end"], s["text"]) for s in json.loads(piece.transcript)["sentences"]
        ] == SAID, file.name


def test_whisper_words_keep_their_times(tmp_path):
    words = [
        (" Add", 0.0, 0.4),
        (" 3", 0.4, 0.6),
        (".5", 0.6, 0.9),
        (" cups.", 0.9, 1.5),
        (" Stir.", 2.0, 2.5),
    ]
    listed = [{"word": w, "start": s, "end": e, "probability": 0.9} for w, s, e in words]
    whisper = {"text": "", "language": "en", "segments": [
        {"start": 0.0, "end": 2.5, "text": "Add 3.5 cups. Stir.", "words": listed},
        {"start": 3.0, "end": 5.0, "text": " Then wait.", "words": [{"word": "Then"}, {"word": "wait."}]},
    ]}  # fmt: skip
    found = json.loads(one(text(tmp_path / "a.json", json.dumps(whisper))).transcript)["sentences"]
    assert [(s["start"], s["end"], s["text"]) for s in found] == [
        (0.0, 1.5, "Add 3.5 cups."), (2.0, 2.5, "Stir."), (3.0, 5.0, "Then wait."),
    ]  # fmt: skip
    assert [w["text"] for w in found[0]["words"]] == ["Add", "3.5", "cups."]


def test_a_missing_end_is_the_next_start_or_as_long_as_the_words_take(tmp_path):
    file = text(tmp_path / "t.csv", "video,start,end,text\na,0,,one two three\na,0.5,,four\na,60,,five six\n")
    transcript = json.loads(one(file).transcript)
    first, second, third = transcript["sentences"]
    assert (first["end"], first["start"]) == (0.5, 0) and 0.5 < second["end"] < 2 and 60.5 < third["end"] < 62
    assert len(transcript["notes"]) == 1 and "3 of 3" in transcript["notes"][0]


@pytest.mark.parametrize(
    ("name", "label"),
    [("a.npy", "a"), ("a.mp4.npy", "a"), ("a.b.npy", "a.b"), ("-x.WEBM.npz", "-x"), ("a.en.vtt", "a"),
     ("a.pt-BR.srt", "a"), ("a.en.npy", "a.en"), ("v1.2.json", "v1.2"), (".mp4.npy", ".mp4")],
)  # fmt: skip
def test_the_label_is_the_videos_name(name, label):
    assert label_of(Path("somewhere") / name) == label


def test_features_and_words_of_a_label_are_one_video(kitchen):
    said, shown = (
        text(kitchen.folder / "a.vtt", write_webvtt([Cue(*r) for r in SAID])),
        features(kitchen.folder / "a.npz"),
    )
    words = kitchen(said)["a"]
    assert (words.state, words.clips, words.sentences) == ("partial", 0, 2)
    assert (words.path, words.seconds) == ("", 4.25)
    assert words.reason.startswith("no picture")
    both = kitchen(shown)["a"]
    assert (both.state, both.clips, both.sentences, both.seconds) == ("done", 4, 2, 6.0)
    assert "no video file" in both.reason and "no picture" not in both.reason
    assert [s.text for s in read_transcript(kitchen.store, both).sentences] == [t for _, _, t in SAID]
    other = Store(kitchen.folder / "other")
    with Catalogue(other.catalogue) as catalogue:
        import_files(other, catalogue, find_imports([said, shown], None), ImportOptions(), quiet)
        assert catalogue.videos() == [both], "whatever the order in which they came"


def test_importing_again_changes_nothing(kitchen):
    files = [features(kitchen.folder / "a.safetensors"), transcripts(kitchen.folder)[2]]
    first = kitchen(*files)
    held = {
        p: p.stat().st_mtime_ns
        for p in kitchen.store.root.rglob("*")
        if p.parent.name in ("features", "transcripts")
    }
    assert kitchen(*files) == first and len(held) == 4, "two files, each with its sum"
    assert {p: p.stat().st_mtime_ns for p in held} == held
    renamed = kitchen.folder / "moved" / "a.npz"
    renamed.parent.mkdir()
    assert kitchen(features(renamed)) == first, "the same content in another format"


def test_something_new_replaces_what_was_there_of_its_kind(kitchen):
    before = kitchen(features(kitchen.folder / "a.npz"), transcripts(kitchen.folder)[2])["a"]
    words = kitchen(text(kitchen.folder / "a.csv", "start,text\n1,Other words\n"))["a"]
    assert words.video == before.video and words.features == before.features
    assert words.transcript != before.transcript and words.sentences == 1
    shown = kitchen(features(kitchen.folder / "a.npz", clips=7, seed=1))
    assert list(shown) == ["a"] and shown["a"].clips == 7 and shown["a"].video != before.video
    assert [s.text for s in read_transcript(kitchen.store, shown["a"]).sentences] == ["Other words"]


def test_a_bad_row_costs_its_video_alone_and_what_was_there_stays(kitchen):
    before = kitchen(text(kitchen.folder / "t.csv", "video,start,text\na,1,good\nb,1,good\n"))
    table = text(kitchen.folder / "t.csv", "video,start,text\na,1,newer\nb,nan,bad\nc,1,good\n")
    after = kitchen(table)
    assert after["b"] == before["b"] and after["a"] != before["a"] and after["c"].sentences == 1
    refused = after["b in t.csv"]
    assert refused.state == "refused"
    assert refused.reason.startswith("t.csv, line 3: start 'nan'")
    assert usable(kitchen.catalogue) == [after["a"], after["b"], after["c"]]
    text(table, "video,start,text\nb,1,mended\n")
    mended = kitchen(table)
    assert "b in t.csv" not in mended and mended["b"] != before["b"]


def test_two_files_that_say_the_same_thing_of_a_video(kitchen):
    found = kitchen(*transcripts(kitchen.folder)[2:4])
    assert found["a"].state == "partial" and found["a in t.csv"].state == "refused"
    assert "t.csv: a.json" in found["a in t.csv"].reason


def test_the_name_of_a_video_with_a_file_is_taken(kitchen):
    film = Video("f" * 64, "a.mp4", "/films/a.mp4", 10, "done")
    kitchen.catalogue.put(film)
    found = kitchen(features(kitchen.folder / "a.npz"))
    assert found["a.mp4"] == film
    assert "/films/a.mp4" in found["a in a.npz"].reason


def test_find_imports(tmp_path):
    for name in ("x/b.vtt", "x/a.vtt", "x/y/a.NPY", "x/notes.txt", "x/t.csv", "z/only.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    text(tmp_path / "x" / "c.csv", 'video;start;"Text"\na;0;Peel it.\n')
    found = [f.name for f in find_imports([tmp_path / "x"], None)]
    assert found == ["t.csv", "a.NPY", "a.vtt", "b.vtt", "c.csv"]
    assert [f.name for f in find_imports([tmp_path / "x"], "features")] == ["a.NPY"]
    with pytest.raises(InputError, match=r"--import .*z: .*\.csv"):
        find_imports([tmp_path / "z"], None)
    with pytest.raises(InputError, match=r"--import .*none: "):
        find_imports([tmp_path / "none"], None)


@pytest.mark.parametrize(
    "bad", [{"stride": 0.0}, {"stride": -1.0}, {"fps": float("nan")}, {"fps": 2.0, "stride": 1.0}]
)
def test_options_out_of_range(bad):
    with pytest.raises(InputError, match=r"--import-(fps|stride)"):
        ImportOptions(**bad)
    assert ImportOptions(fps=4.0).seconds_apart == 0.25


@settings(deadline=None)
@given(st.integers(1, 60), st.floats(0.05, 20), st.floats(0, 50))
def test_clips_of_rows_without_gaps(count, stride, first):
    """Every clip lies on the grid and takes what is shown in it; a time stretch keeps a ramp a ramp."""
    starts = first + stride * np.arange(count)
    ends = starts + stride
    middle = ((starts + ends) / 2)[:, None]
    values, clips, note = on_clips(middle, starts, ends)
    covered = count * stride
    assert len(clips) == max(1, int(np.ceil(covered / CLIP_SECONDS - 0.5 - 1e-3)))
    assert np.allclose(np.diff(clips), CLIP_SECONDS, atol=2e-3) and clips[0] == first
    assert (np.abs(values[:, 0] - clips - CLIP_SECONDS / 2) <= (stride + CLIP_SECONDS) / 2 + 1e-3).all()
    assert bool(note) == (abs(stride - CLIP_SECONDS) > 1e-3)
    tokens, again, _ = on_clips(np.arange(count), starts, ends)
    assert np.array_equal(again, clips)
    mostly = [np.argmax(np.minimum(ends, c + 1.5) - np.maximum(starts, c)) for c in clips]
    overlap = lambda t, c: np.minimum(ends[t], c + 1.5) - np.maximum(starts[t], c)  # noqa: E731
    assert all(
        abs(overlap(t, c) - overlap(m, c)) < 1e-6 for t, m, c in zip(tokens, mostly, clips, strict=True)
    )


def test_clips_that_nothing_covers_are_left_out():
    starts = np.array([0.0, 1.0, 9.0, 10.0, 11.0])
    values, clips, note = on_clips(np.array([5, 5, 6, 7, 7]), starts, np.full(5, np.nan))
    assert clips.tolist() == [0.0, 9.0, 10.5] and values.tolist() == [5, 6, 7]
    assert "5 rows of 1 s" in note and "3 clips of 1.5 s" in note
    kept = np.array([0.0, 1.5, 6.0])
    assert on_clips(np.array([1, 2, 3]), kept, np.full(3, np.nan))[1].tolist() == kept.tolist(), (
        "clips with a gap"
    )


def tokens(folder: Path, videos: int = 12, size: int = 5) -> Path:
    rows = [(f"v{v:02}", 1.5 * n, (v + n // 2) % size) for v in range(videos) for n in range(16)]
    return text(folder / "tokens.csv", "video,start,token\n" + "".join(f"{v},{s},{t}\n" for v, s, t in rows))


def said(folder: Path, videos: int = 12) -> Path:
    rows = [
        (f"v{v:02}", 6 * n, f"Now {'peel' if v % 2 else 'chop'} the carrot.")
        for v in range(videos)
        for n in range(4)
    ]
    return text(folder / "words.csv", "video,start,text\n" + "".join(f"{v},{s},{t}\n" for v, s, t in rows))


def test_imported_tokens_are_a_codebook_without_centroids(kitchen):
    videos = list(kitchen(tokens(kitchen.folder), said(kitchen.folder)).values())
    learned, held_out = split(videos, 0.1)
    digest = fit_codebook(kitchen.store, learned, held_out, TokenOptions(), quiet)
    assert fit_codebook(kitchen.store, learned, held_out, TokenOptions(), quiet) == digest
    codebook = load_codebook(kitchen.store, digest)
    assert (codebook.options.k, codebook.options.depth, len(held_out)) == (5, 1, 2)
    assert codebook.counts_.sum() == describe(kitchen.store, digest)["clips"] == 16 * len(learned)
    encode_videos(kitchen.store, digest, videos, quiet)
    assert read_material(kitchen.store, digest, videos[3]).tokens.tolist() == [
        (3 + n // 2) % 5 for n in range(16)
    ]
    rows = visual_rows(torch.from_numpy(codebook.leaf_centroids()), 32, torch.randn(50, 32), 0)
    assert rows.isfinite().all() and rows.std(0).min() > 0.1, "the model's rows start at random"
    assert [m.text for m in read_material(kitchen.store, digest, videos[0]).spoken()] == [
        "Now chop the carrot."
    ] * 4


def test_a_token_codebook_takes_nothing_else(kitchen):
    videos = list(kitchen(tokens(kitchen.folder, 3)).values())
    digest = fit_codebook(kitchen.store, videos, [], TokenOptions(k=3, depth=2), quiet)
    assert len(load_codebook(kitchen.store, digest).used_) == 9
    shown = kitchen(features(kitchen.folder / "film.npz"))["film"]
    with pytest.raises(InputError, match="video film: .*centroids"):
        encode_videos(kitchen.store, digest, [shown], quiet)
    with pytest.raises(InputError, match="video film: .*features.*tokens"):
        fit_codebook(kitchen.store, [*videos, shown], [], TokenOptions(), quiet)
    with pytest.raises(InputError, match="--k 2 --depth 2: 4 tokens.*token 4"):
        fit_codebook(kitchen.store, videos, [], TokenOptions(k=2, depth=2), quiet)
    late = kitchen(text(kitchen.folder / "late.csv", "video,start,token\nlate,0,9\n"))["late"]
    with pytest.raises(InputError, match="video late: .*up to 9.*0 to 8"):
        encode_videos(kitchen.store, digest, [late], quiet)
    seen = fit_codebook(kitchen.store, [shown], [], TokenOptions(k=2, depth=1), quiet)
    with pytest.raises(InputError, match="video late: .*features"):
        encode_videos(kitchen.store, seen, [late], quiet)


def test_features_of_two_widths_are_told(kitchen):
    videos = kitchen(features(kitchen.folder / "a.npz"), features(kitchen.folder / "b.npz", width=9))
    assert [read_features(kitchen.store, v)[0].shape for v in videos.values()] == [(4, 6), (4, 9)]
    with pytest.raises(InputError, match="videos a and b: .*6 and 9"):
        fit_codebook(kitchen.store, list(videos.values()), [], TokenOptions(), quiet)


@pytest.mark.parametrize("kind", ["tokens", "features"])
def test_a_store_without_video_files_answers_and_reports(kitchen, kind):
    shown = [features(kitchen.folder / f"v{v:02}.npz", 12, seed=v) for v in range(3)]
    videos = list(
        kitchen(
            *(shown if kind == "features" else [tokens(kitchen.folder, 3)]), said(kitchen.folder, 3)
        ).values()
    )
    digest = fit_codebook(kitchen.store, videos, [], TokenOptions(k=5, depth=1), quiet)
    encode_videos(kitchen.store, digest, videos, quiet)
    vocabulary = Vocabulary((*SPECIALS, *WORDS), 5)
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    model = JointBert(ModelOptions(vocab_size=vocabulary.size, **shape)).init_weights(0)
    objective = PretrainingObjective(model, vocabulary)
    checkpoints.save(
        kitchen.store.model("m"), objective, objective.state_dict(), {}, Progress(1, 1, 1, 0), {}
    )
    kitchen.catalogue.set_current("model", "m")
    kitchen.catalogue.set_current("model_codebook", digest)
    trained = load_trained(kitchen.store, "m", digest, "cpu")
    assert index(kitchen.store, trained, videos, quiet) == 3
    hit = Index.load(kitchen.store, trained, videos).search("peel the carrot", 1)[0]
    assert (hit.name, hit.text) == ("v01", "Now peel the carrot.")
    material = read_material(kitchen.store, digest, kitchen.catalogue.find("v01"))
    assert len(forecast(trained, material, 6.0)) == 4
    page = write_report(kitchen.store, kitchen.catalogue, trained, quiet).read_text(encoding="utf-8")
    assert "no frame: imported without a video file" in page and "moved away" not in page
    assert ("These were imported" in page) == (kind == "tokens")
    assert describe(kitchen.store, digest)["without_picture"] == list(range(5))
