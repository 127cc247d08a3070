"""The cache that makes asking fast: it answers as the index it was made from, whatever came, went or was killed."""

import dataclasses
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import joint_samples
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from multimodal.answers import cache, moments, search, shelf
from multimodal.answers.cache import Cache, bring_up, open_cache, remove_video
from multimodal.answers.index import index
from multimodal.answers.nearest import NearestOptions
from multimodal.answers.search import Index
from multimodal.catalogue import Video
from multimodal.inference.trained import Trained
from multimodal.library import Material, tokens_table
from multimodal.store import InputError, Store, canonical_json, write_whole

QUERIES = ("cut the onion", "peel", "now stir the apple slowly")
SMALL = NearestOptions(exact_up_to=20, graph_up_to=10_000)


def quiet(*_: object) -> None:
    pass


def put(store: Store, material: Material) -> Video:
    """The material in the store, as ingest and the codebook leave it."""
    video = dataclasses.replace(material.video, transcript="t", features="f")
    write_whole(store.transcript(video.video, "t"), canonical_json(material.transcript.to_dict()).encode())
    path = store.tokens("codebook", video.video)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(tokens_table(material.starts, material.tokens), path)
    return video


@dataclasses.dataclass
class World:
    store: Store
    trained: Trained
    videos: list[Video]

    @property
    def folder(self) -> Path:
        return self.store.cache("untrained.step-0")

    def brought_up(self, count: int, options: NearestOptions = cache.BY_SIZE) -> dict[str, cache.Standing]:
        index(self.store, self.trained, self.videos[:count], quiet)
        return bring_up(self.store, self.trained, self.videos[:count], quiet, options)

    def both(self, videos: list[Video]) -> tuple[Index, Index]:
        """What is opened from the cache, and what is read from the index's own files."""
        assert open_cache(self.store, self.trained, videos) is not None
        cached = Index.load(self.store, self.trained, videos)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(search, "open_cache", lambda *_: None)
            return cached, Index.load(self.store, self.trained, videos)

    def same_as_without(self, videos: list[Video]) -> bool:
        cached, plain = self.both(videos)
        rounded = {"cosine": None, "alignment": None, "sight_rank": None}
        return all(
            [dataclasses.replace(h, **rounded) for h in cached.search(q, 8)]
            == [dataclasses.replace(h, **rounded) for h in plain.search(q, 8)]
            for q in QUERIES
        ) and sorted(map(str, cached.moments)) == sorted(map(str, plain.moments))

    def nearly_as_without(self, videos: list[Video]) -> bool:
        """Of the first eight, half at least: ranks far down are not looked at."""
        cached, plain = self.both(videos)
        return all(
            len(
                {(h.video, h.start) for h in cached.search(q, 8)}
                & {(h.video, h.start) for h in plain.search(q, 8)}
            )
            >= 4
            for q in QUERIES
        )


@pytest.fixture(scope="module")
def indexed(tmp_path_factory) -> World:
    store = Store(tmp_path_factory.mktemp("store"))
    trained = joint_samples.trained(tmp_path_factory.mktemp("model"))
    return World(store, trained, [put(store, m) for m in joint_samples.materials(8)])


@pytest.fixture
def world(indexed, tmp_path) -> World:
    shutil.copytree(indexed.store.root, tmp_path / "store")
    return dataclasses.replace(indexed, store=Store(tmp_path / "store"))


def test_it_answers_as_the_index_and_takes_in_what_is_new(world):
    assert open_cache(world.store, world.trained, world.videos) is None
    standing = world.brought_up(3)
    assert [(s.kind, s.vectors, s.found) for s in standing.values()] == [("exact", 18, 1.0)] * 2
    assert world.same_as_without(world.videos[:3])
    before = (world.folder / "said.full").read_bytes()
    inode = (world.folder / "said.full").stat().st_ino
    assert world.brought_up(5)["said"].vectors == 30
    assert world.same_as_without(world.videos[:5])
    after = world.folder / "said.full"
    assert after.read_bytes().startswith(before) and after.stat().st_ino == inode, "added to, not made anew"
    stamps = {p: p.stat().st_mtime_ns for p in world.folder.iterdir()}
    world.brought_up(5)
    assert {p: p.stat().st_mtime_ns for p in world.folder.iterdir()} == stamps, "nothing left to do"


def test_videos_that_are_not_asked_about_are_not_answered_with(world):
    world.brought_up(6)
    some = world.videos[:2]
    loaded = Index.load(world.store, world.trained, some)
    names = {v.name for v in some}
    assert all({h.name for h in loaded.search(q, 100)} <= names for q in QUERIES)
    assert {m.video for m in loaded.moments} == {v.video for v in some}
    assert len(loaded.by_sight("peel")) == 12 == len(loaded.by_saying("peel"))


def test_what_changed_or_went_is_taken_out(world):
    world.brought_up(8)
    changed = dataclasses.replace(world.videos[0], transcript="t2")
    write_whole(world.store.transcript(changed.video, "t2"), b'{"language":"en","source":{},"sentences":[]}')
    world.videos = [changed, *world.videos[1:7]]
    inode = (world.folder / "said.full").stat().st_ino
    standing = world.brought_up(7)
    assert (world.folder / "said.full").stat().st_ino == inode
    assert standing["said"].vectors == 36, "nothing is said in the one that changed"
    assert world.same_as_without(world.videos)
    world.videos = world.videos[:2]
    world.brought_up(2)
    assert (world.folder / "said.full").stat().st_ino != inode, "mostly dead, so made anew"
    assert world.same_as_without(world.videos)


def test_a_video_that_is_taken_out_leaves_no_trace(world):
    transcript = world.store.transcript(world.videos[2].video, "t")
    said = "watch the zucchini vanish"
    transcript.write_text(transcript.read_text().replace("now cut the", said).replace("now stir the", said))
    world.brought_up(4)
    assert said.split()[2].encode() in (world.folder / "moments.sqlite").read_bytes()
    opened = Cache.open(world.folder)
    (first, count) = next((f, n) for v, f, n in opened.held().values() if v == world.videos[2].video)
    opened.db.close()
    remove_video(world.store, world.videos[2].video)
    for path in world.folder.iterdir():
        assert (
            b"zucchini" not in path.read_bytes() and world.videos[2].video.encode() not in path.read_bytes()
        )
    for kind in ("said", "shown"):
        vectors = np.fromfile(world.folder / f"{kind}.full", np.float32).reshape(-1, 32)
        assert not vectors[first : first + count].any() and vectors.any(1).sum() == len(vectors) - count
    assert open_cache(world.store, world.trained, world.videos[:4]) is None
    assert world.same_as_without([world.videos[i] for i in (0, 1, 3)])


@pytest.mark.parametrize("harm", ["shelf cut", "no database", "no sense", "another version", "another model"])
def test_a_cache_that_is_not_whole_is_not_opened_and_made_anew(world, harm):
    world.brought_up(3)
    path = world.folder / "moments.sqlite"
    if harm == "shelf cut":
        with (world.folder / "shown.halves").open("r+b") as file:
            file.truncate(100)
    elif harm == "no database":
        path.unlink()
    elif harm == "no sense":
        path.write_bytes(b"SQLite format 3\0" + bytes(5000))
    else:
        db = sqlite3.connect(path)
        was, new = ('"version": 1', '"version": 0') if harm == "another version" else ("untrained", "other")
        db.execute("UPDATE about SET state = replace(state, ?, ?)", (was, new))
        db.commit()
        db.close()
    assert open_cache(world.store, world.trained, world.videos[:3]) is None
    assert Index.load(world.store, world.trained, world.videos[:3]).search("peel"), "slower, and as well"
    world.brought_up(3)
    assert world.same_as_without(world.videos[:3])


def test_caches_of_other_models_go(world):
    other = world.store.cache("older.step-1")
    other.mkdir(parents=True)
    world.brought_up(1)
    assert not other.exists() and world.folder.is_dir()


@pytest.mark.parametrize("kind", ["graph", "lists"])
def test_beyond_the_exact_sizes_it_says_what_it_finds(world, kind, monkeypatch):
    monkeypatch.setattr("multimodal.answers.nearest.CODE_BYTES", 1)
    monkeypatch.setattr("multimodal.answers.nearest.CODE_BITS", 4)
    options = SMALL if kind == "graph" else NearestOptions(exact_up_to=20, graph_up_to=25)
    standing = world.brought_up(5, options)
    assert {s.kind for s in standing.values()} == {kind}
    said = standing["shown"]
    assert said.vectors == 30 and said.queries == 30 and 0.9 <= said.found <= 1
    assert f"searched by {kind} of breadth {said.breadth}: finds {said.found:.3f} of the 10 nearest" in str(
        said
    )
    stamp = (world.folder / "said.nearest").stat().st_mtime_ns
    assert world.brought_up(5, options) == standing
    assert (world.folder / "said.nearest").stat().st_mtime_ns == stamp
    assert world.nearly_as_without(world.videos[:5])
    world.brought_up(6, dataclasses.replace(options, exact_up_to=25))
    assert world.nearly_as_without(world.videos[:6])
    assert world.brought_up(3, options)["said"].kind == "exact"
    assert not (world.folder / "said.nearest").exists()


def test_a_graph_file_that_is_not_ours_is_not_used(world):
    world.brought_up(5, SMALL)
    (world.folder / "said.nearest").write_bytes(b"IxHN" + bytes(1000))
    assert world.nearly_as_without(world.videos[:5])
    assert world.brought_up(5, SMALL)["said"].kind == "graph"


def test_an_index_of_another_model_is_an_error_in_words(world):
    world.brought_up(2)
    other = dataclasses.replace(world.trained, name="other")
    with pytest.raises(InputError, match="not in the index of model other; run `videobert index`"):
        Index.load(world.store, other, world.videos[:2])
    shutil.copytree(world.store.index("untrained.step-0"), world.store.index("other.step-0"))
    with pytest.raises(
        InputError, match=r"made by model untrained\.step-0 .*, not by other\.step-0 .*; delete it and run"
    ):
        Index.load(world.store, other, world.videos[:2])
    shutil.rmtree(world.folder)
    wider = dataclasses.replace(world.trained, model=joint_samples.model(hidden_size=64))
    with pytest.raises(InputError, match=r"\(32 numbers a moment\), not by untrained\.step-0 \(64\)"):
        Index.load(world.store, wider, world.videos[:2])
    (path, *_) = sorted(world.store.index("untrained.step-0").iterdir())
    path.write_bytes(b"PAR1 no more")
    with pytest.raises(InputError, match="cannot be read .*; delete it and run `videobert index`"):
        Index.load(world.store, world.trained, world.videos[:2])


@pytest.mark.parametrize(("begun", "at"), [(3, 0), (3, 5), (3, 14), (3, 15), (3, 17), (0, 4), (0, 26)])
def test_killed_while_it_is_written_it_is_as_before(world, begun, at):
    """Additions to a cache of three videos, and the making of a new one, killed after so many steps."""
    if begun:
        world.brought_up(begun)
    assert killed(world, at) == -signal.SIGKILL
    if begun:
        assert world.same_as_without(world.videos[:begun])
    assert open_cache(world.store, world.trained, world.videos) is None
    world.brought_up(8)
    assert world.same_as_without(world.videos)


def test_a_careless_writer_would_be_found_out(world):
    """The control: one that commits each video by itself leaves a cache that is neither the old nor the new."""
    world.brought_up(3)
    assert killed(world, 9, careless=True) == -signal.SIGKILL
    opened = Cache.open(world.folder)
    assert opened is not None and 3 < len(opened.held()) < 8
    opened.db.close()


def killed(world: World, at: int, *, careless: bool = False) -> int:
    """Brings the cache up in a child process that is killed after so many steps; returns how the child ended."""
    index(world.store, world.trained, world.videos, quiet)
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        steps = iter(range(at))

        def counted(original: Callable) -> Callable:
            def call(*arguments: object) -> object:
                if next(steps, None) is None:
                    os.kill(os.getpid(), signal.SIGKILL)
                return original(*arguments)

            return call

        shelf.Shelf.append, moments.add = counted(shelf.Shelf.append), counted(moments.add)
        shelf.Shelf.sync, Cache._agree = counted(shelf.Shelf.sync), counted(Cache._agree)
        if careless:
            add = Cache._add

            def committed(self: Cache, *arguments: object) -> None:
                add(self, *arguments)
                self._agree()
                self.db.execute("COMMIT")
                self.db.execute("BEGIN")

            Cache._add = committed
        bring_up(world.store, world.trained, world.videos, quiet)
    finally:
        os._exit(0)


def test_many_readers_while_it_is_brought_up(world):
    """An index that is open answers on while videos are added to the cache and taken out of it."""
    world.brought_up(4)
    opened = Index.load(world.store, world.trained, world.videos[:4])
    before = [h.text for h in opened.search("peel", 3)]
    world.brought_up(8)
    assert [h.text for h in opened.search("peel", 3)] == before
    remove_video(world.store, world.videos[0].video)
    names = {h.video for h in opened.search("peel", 50)}
    assert names <= {v.video for v in world.videos[1:4]} and torch.is_tensor(opened._said._exact.full)
