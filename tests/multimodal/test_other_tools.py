"""What other tools write: streams and times in files of their own, and JSON of many videos."""

import codecs
import json
import os
from pathlib import Path

import numpy as np
import pytest

from multimodal.catalogue import Catalogue, Video
from multimodal.intake.imported_groups import grouped, labels_of
from multimodal.intake.imports import find_imports, import_files
from multimodal.intake.options import ImportOptions
from multimodal.library import read_features, read_transcript
from multimodal.store import Store
from vision.clips import CLIP_SECONDS

LONG_AGO = 1_600_000_000


@pytest.fixture
def take(tmp_path):
    """`take(paths…)` imports and gives the store's videos by name; `take.read` counts what was read in the last import."""
    store = Store(tmp_path / "store")
    catalogue = Catalogue(store.catalogue)

    def run(*paths: Path, **options) -> dict[str, Video]:
        run.reports = []
        with store.writing():
            import_files(
                store,
                catalogue,
                find_imports(paths, options.get("kind")),
                ImportOptions(**options),
                lambda done, total, what: run.reports.append((done, total, what)),
            )
        return {v.name: v for v in catalogue.videos()}

    run.store = store
    yield run
    catalogue.close()


def sentences(take, video: Video) -> list[tuple[float, float, str]]:
    return [(s.start, s.end, s.text) for s in read_transcript(take.store, video).sentences]


def written(folder: Path, **arrays: np.ndarray) -> list[Path]:
    """Arrays as .npy files of these names, last changed long ago."""
    folder.mkdir(exist_ok=True)
    files = []
    for name, array in arrays.items():
        files.append(folder / f"{name}.npy")
        np.save(files[-1], array)
        os.utime(files[-1], (LONG_AGO, LONG_AGO))
    return files


def test_the_files_of_video_features_are_one_video(cases, take):
    videos = take(cases / "video_features_out")
    assert set(videos) == {"abcABC123_1"}
    video = videos["abcABC123_1"]
    # 20 rows of 0.96 s, each named by when it ends, are 19.2 s.
    assert (video.state, video.clips, video.sentences) == ("done", 13, 3)
    values, starts = read_features(take.store, video)
    assert values.shape == (13, 128) and starts.tolist() == [CLIP_SECONDS * n for n in range(13)]
    rgb, flow = (np.load(cases / f"video_features_out/abcABC123_1_{s}.npy") for s in ("rgb", "flow"))
    # The first clip is the first row and 0.54 s of the second.
    mean = np.average(np.concatenate([rgb, flow], axis=1)[:2], axis=0, weights=[0.96, 0.54])
    assert np.allclose(values[0], mean, atol=1e-3)
    assert sentences(take, video)[0] == (0.5, 4.0, "first peel the carrots")
    assert "side by side" in video.reason and "timestamps_ms" in video.reason


def test_times_that_begin_at_0_are_starts(tmp_path, take):
    """As of a network that looks at single frames, here one in 1.5 s."""
    values = np.arange(12, dtype=np.float32).reshape(4, 3)
    times = np.arange(4) * 1500.0
    files = written(tmp_path / "in", a_clip=values, a_timestamps_ms=times, a_fps=np.array(25.0))
    video = take(*files)["a"]
    found, starts = read_features(take.store, video)
    assert np.array_equal(found, values) and starts.tolist() == [0.0, 1.5, 3.0, 4.5]


def test_times_may_be_a_column_of_whole_numbers(tmp_path, take):
    times = (np.arange(1, 7) * 1500).reshape(6, 1)
    video = take(*written(tmp_path / "in", a_r21d=np.ones((6, 3), np.float32), a_timestamps_ms=times))["a"]
    assert (video.clips, video.seconds) == (6, 9.0)


def test_streams_of_two_videos_whose_names_are_alike_are_two(tmp_path, take):
    parts = {f"a_{n}_{s}": np.full((4, 3), n, np.float32) for n in (1, 2) for s in ("rgb", "flow")}
    times = {f"a_{n}_timestamps_ms": np.arange(1, 5) * 1500.0 for n in (1, 2)}
    videos = take(*written(tmp_path / "in", **parts, **times))
    assert set(videos) == {"a_1", "a_2"}
    assert all(np.allclose(read_features(take.store, v)[0], int(n[-1])) for n, v in videos.items())


def test_one_stream_alone_has_the_videos_name(tmp_path, take):
    files = written(tmp_path / "in", a_rgb=np.ones((4, 3), np.float32), b_flow=np.ones((4, 3), np.float32))
    assert set(take(*files, stride=1.5)) == {"a", "b"}
    plain = [Path("x/a_clip.npy"), Path("x/b.npy"), Path("y/b_rgb.npy")]
    assert labels_of(plain) == {plain[0]: "a_clip", plain[1]: "b", plain[2]: "b"}
    assert set(grouped(plain)) == {plain[2]}, (
        "a name that only looks like a network's stays, as nothing lies beside it"
    )


@pytest.mark.parametrize(
    ("name", "array", "why"),
    [
        ("a_timestamps_ms", np.arange(3.0), "4 numbers of milliseconds"),
        ("a_timestamps_ms", np.array([0.0, 100.0, 50.0, 200.0]), "starts at"),
        ("a_flow", np.ones((5, 3), np.float32), "as many rows"),
    ],
)
def test_files_that_do_not_fit_are_refused_with_both_named(tmp_path, take, name, array, why):
    files = written(tmp_path / "in", a_rgb=np.ones((4, 3), np.float32), **{name: array})
    (refused,) = take(*files, stride=1.5).values()
    assert refused.state == "refused" and why in refused.reason


def test_a_group_is_read_again_only_where_one_of_its_files_has_changed(tmp_path, take):
    parts = {"a_rgb": np.ones((4, 3), np.float32), "a_timestamps_ms": np.arange(1, 5) * 1500.0}
    first = take(*written(tmp_path / "in", **parts))["a"]
    names = lambda: [what for _, _, what in take.reports]  # noqa: E731
    again = take(tmp_path / "in")["a"]
    assert again == first and "a" not in names()
    written(tmp_path / "in", a_timestamps_ms=np.arange(1, 5) * 3000.0)
    assert take(tmp_path / "in")["a"].seconds == 12.0 and "a" in names()


def test_the_json_of_howto100m_is_read(cases, take):
    videos = take(cases / "howto100m_raw_caption.json")
    assert sentences(take, videos["abcABC123_1"]) == [
        (0.5, 4.0, "first peel the carrots"),
        (3.2, 6.5, "then chop the onions"),
    ]
    assert sentences(take, videos["xyzXYZ789_2"]) == [(1.0, 2.0, "stir it")]
    assert {v.state for v in videos.values()} == {"partial"} and len(videos) == 2


OTHERS = {
    "howto.json": {"a": {"text": ["chop", "peel", None, "x"], "end": [4, 2.0, 5, 1], "start": [3, 1.0, 4.5, -1]}},
    "youcook.json": {"database": {"a": {"duration": 9, "annotations": [
        {"segment": [1, 2], "id": 0, "sentence": "peel"}, {"segment": [3, 4], "id": 1, "sentence": "chop"}, {"segment": [5], "sentence": "x"}]}}},
    "activitynet.json": {"a": {"duration": 9.5, "timestamps": [[1, 2], [3, 4], ["x", 1]], "sentences": ["peel", "chop", "x"]}},
    "pandas.json": {"a": {"start": {"0": 1.0, "1": 3, "2": None}, "end": {"0": 2, "1": 4, "2": 5}, "text": {"0": "peel", "1": "chop", "2": "x"}}},
    "rows.json": {"a": [{"start": 1, "end": 2, "text": "peel"}, {"start": 3, "end": 4, "text": "chop"}, {"start": "x", "end": 9, "text": "x"}]},
    "snippets/a.json": {"video_id": "b", "language_code": "en", "snippets": [{"text": "peel", "start": 1.0, "duration": 1.0}, {"text": "chop", "start": 3, "duration": 1}, {"text": 5, "start": 6}]},
    "cpp/a.json": {"result": {"language": "en"}, "transcription": [{"offsets": {"from": 1000, "to": 2000}, "text": " peel"}, {"offsets": {"from": 3000, "to": 4000}, "text": " chop"}, {"offsets": {}, "text": "x"}]},
    "a.json": [{"text": "peel", "start": 1.0, "duration": 1.0}, {"text": "chop", "start": 3, "duration": 1}, {"text": 5, "start": 6}],
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_other_json_of_videos_is_read_and_its_bad_row_counted(tmp_path, take, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(
        codecs.BOM_UTF8 * (name == "howto.json") + json.dumps(OTHERS[name]).encode()
    )
    video = take(tmp_path / name)["a"]
    assert sentences(take, video) == [(1.0, 2.0, "peel"), (3.0, 4.0, "chop")]
    assert " rows left out (row" in video.reason


def test_a_bad_video_of_a_json_file_costs_itself_alone(tmp_path, take):
    file = tmp_path / "many.json"
    good = {"start": [0], "end": [1], "text": ["peel"]}
    bad = {"start": [0, 1], "end": [1], "text": ["x"]}
    file.write_text(json.dumps({"a": good, "b": bad, "c": {"start": [], "text": [], "end": []}, "d": good}))
    videos = take(file)
    assert {n: v.state for n, v in videos.items()} == {
        "a": "partial",
        "b in many.json": "refused",
        "c in many.json": "refused",
        "d": "partial",
    }
    assert "one length" in videos["b in many.json"].reason


def test_captions_of_other_formats_are_imported_and_forced_ones_are_not(tmp_path, take):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.eng.ass").write_text("[Events]\nDialogue: 0,0:00:01.00,0:00:02.00,D,,0,0,0,,Peel it.\n")
    (folder / "b.en.sdh.srt").write_bytes(
        "1\n00:00:03 --> 00:00:04\n(music)\nChop – it.\n\n2\n00:00:01 --> x\nbad\n".encode("cp1252")
    )
    (folder / "b.en.forced.srt").write_text("1\n00:00:03 --> 00:00:04\nForced.\n")
    (folder / "c.vtt").write_text("WEBVTT\n\n00:00.000 --> 00:05.000\nx.jpg#xywh=0,0,1,1\n")
    videos = take(folder)
    assert sentences(take, videos["a"]) == [(1.0, 2.0, "Peel it.")]
    assert sentences(take, videos["b"]) == [(3.0, 4.0, "Chop it.")]
    assert all(text in videos["b"].reason for text in ("1 of 2 cues left out", "cp1252", "1 sound note"))
    refused = {n: v.reason for n, v in videos.items() if v.state == "refused"}
    assert "forced" in refused["b.en.forced.srt"] and "1 thumbnail" in refused["c.vtt"] and len(refused) == 2
