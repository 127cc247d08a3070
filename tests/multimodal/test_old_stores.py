"""Stores of every version that there was open in this one, also where they may only be read; a newer one is refused."""

import json
import re
import shutil
from pathlib import Path

import pytest

from multimodal.catalogue import MIGRATIONS, Catalogue, Video
from multimodal.integrity import examine
from multimodal.library import read_features, read_transcript
from multimodal.store import FORMAT_VERSION, NewerStore, Store, write_whole
from multimodal.sums import sum_file

STORES = Path(__file__).parents[1] / "stores"
VERSIONS = sorted(int(p.name.removeprefix("version-")) for p in STORES.glob("version-*"))
A, B, C = ("a" * 64, "b" * 64, "c" * 64)
VIDEOS = [
    Video(A, "a.mp4", "/videos/a.mp4", 5, "done", "", 3.0, 2, 1, "0123456789ab", "ba9876543210"),
    Video(B, "b.mp4", "/videos/b.mp4", 7, "refused", "b.mp4: not a video"),
]


@pytest.fixture(params=VERSIONS, ids=lambda version: f"version {version}")
def old(request, tmp_path) -> tuple[int, Store]:
    folder = shutil.copytree(STORES / f"version-{request.param}", tmp_path / "store")
    return request.param, Store(folder, create=False)


def test_there_is_one_of_every_version():
    assert list(range(3, len(MIGRATIONS) + 1)) == VERSIONS, (
        "make one with the program as it is: tests/stores/README.md"
    )


def held(catalogue: Catalogue, store: Store) -> None:
    """Everything that the program of its time stored is there."""
    assert catalogue.videos() == VIDEOS
    assert json.loads(catalogue.current("settings")) == {"size": "demo"}
    assert [(run["flow"], run["outcome"]) for run in catalogue.runs()] == [("pipeline", "done")]
    assert [s.text for s in read_transcript(store, VIDEOS[0]).sentences] == ["Chop the carrot."]
    values, starts = read_features(store, VIDEOS[0])
    assert values.shape == (2, 8) and starts.tolist() == [0.0, 1.5]


def test_it_is_read_as_it_is(old):
    version, store = old
    before = {p: p.read_bytes() for p in store.root.rglob("*") if p.is_file()}
    with Catalogue(store.catalogue, read_only=True) as catalogue:
        held(catalogue, store)
        assert len(catalogue.forgotten()) == (version >= 5) and len(catalogue.imported()) == (version >= 6)
        assert examine(store, catalogue, lambda *_: None)[1] == []
    assert {p: p.read_bytes() for p in store.root.rglob("*") if p.is_file()} == before


def test_it_is_brought_up_to_date_once(old):
    _, store = old
    for _ in range(2):
        with store.writing(), Catalogue(store.catalogue) as catalogue:
            held(catalogue, store)
            catalogue.put(VIDEOS[0])
            catalogue.keep_copy()
    with Catalogue(store.catalogue, read_only=True) as catalogue:
        held(catalogue, store)
        assert examine(store, catalogue, lambda *_: None)[1] == []


def test_a_newer_store_is_refused_with_both_numbers(old):
    _, store = old
    with Catalogue(store.catalogue) as catalogue:
        catalogue._db.execute("INSERT INTO migrations VALUES ('_of_tomorrow')")
    for read_only in (True, False):
        with pytest.raises(NewerStore) as error:
            Catalogue(store.catalogue, read_only=read_only)
        assert re.findall(r"\d+", str(error.value).partition("version ")[2])[:2] == [
            str(len(MIGRATIONS) + n) for n in (1, 0)
        ]
    sum_file(store.root / "store.json").unlink(missing_ok=True)
    write_whole(store.root / "store.json", json.dumps({"format": FORMAT_VERSION + 1}).encode())
    with pytest.raises(
        NewerStore, match=f"format {FORMAT_VERSION + 1} is newer than this program's {FORMAT_VERSION}"
    ):
        Store(store.root)
