"""The search cache: it answers as the index it was made from, whatever was added, removed or killed."""

import dataclasses
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import joint_samples
import pytest

from multimodal.answers import moments, search
from multimodal.answers.cache import (
    VERSION,
    Cache,
    open_cache,
    remove_other_caches,
    remove_video,
    update_cache,
)
from multimodal.answers.index import index
from multimodal.answers.search import Index
from multimodal.answers.vectors import FLAT_UP_TO, IndexStats, VectorIndex
from multimodal.catalogue import Video
from multimodal.inference.trained import Trained
from multimodal.store import InputError, Store, write_whole

QUERIES = ("cut the onion", "peel", "now stir the apple slowly")
SMALL = 20
"""Vectors of a flat index, in tests of HNSW."""


def quiet(*_: object) -> None:
    pass


@dataclasses.dataclass
class World:
    store: Store
    trained: Trained
    videos: list[Video]

    @property
    def folder(self) -> Path:
        return self.store.cache("untrained.step-0")

    def updated(self, count: int, flat_up_to: int = FLAT_UP_TO) -> dict[str, IndexStats]:
        index(self.store, self.trained, self.videos[:count], quiet)
        return update_cache(self.store, self.trained, self.videos[:count], quiet, flat_up_to)

    def vectors(self, kind: str) -> bytes:
        """The one vector file of a kind."""
        (path,) = self.folder.glob(f"{kind}.*.faiss")
        return path.read_bytes()

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
    return World(store, trained, [joint_samples.put(store, m) for m in joint_samples.materials(8)])


@pytest.fixture
def world(indexed, tmp_path) -> World:
    shutil.copytree(indexed.store.root, tmp_path / "store")
    return dataclasses.replace(indexed, store=Store(tmp_path / "store"))


def test_it_answers_as_the_index_and_appends_what_is_new(world, monkeypatch):
    assert open_cache(world.store, world.trained, world.videos) is None
    stats = world.updated(3)
    assert [(s.kind, s.vectors, s.recall) for s in stats.values()] == [("flat", 18, 1.0)] * 2
    assert world.same_as_without(world.videos[:3])
    added = []
    add = VectorIndex.add
    monkeypatch.setattr(
        VectorIndex, "add", lambda self, x, first: (added.append(len(x)), add(self, x, first))
    )
    assert world.updated(5)["said"].vectors == 30
    assert sum(added) == 2 * 12, "the two new videos alone"
    monkeypatch.undo()
    assert world.same_as_without(world.videos[:5])
    stamps = {p: p.stat().st_mtime_ns for p in world.folder.iterdir()}
    world.updated(5)
    assert {p: p.stat().st_mtime_ns for p in world.folder.iterdir()} == stamps, "nothing left to do"


def test_videos_that_are_not_asked_about_are_not_answered_with(world):
    world.updated(6)
    some = world.videos[:2]
    loaded = Index.load(world.store, world.trained, some)
    names = {v.name for v in some}
    assert all({h.name for h in loaded.search(q, 100)} <= names for q in QUERIES)
    assert {m.video for m in loaded.moments} == {v.video for v in some}
    assert len(loaded.visual_ranking("peel")) == 12 == len(loaded.text_ranking("peel"))


def test_what_changed_or_went_is_taken_out(world):
    world.updated(8)
    changed = dataclasses.replace(world.videos[0], transcript="t2")
    write_whole(world.store.transcript(changed.video, "t2"), b'{"language":"en","source":{},"sentences":[]}')
    world.videos = [changed, *world.videos[1:7]]
    stats = world.updated(7)
    assert stats["said"].vectors == 36, "nothing is said in the one that changed"
    assert world.same_as_without(world.videos)
    world.videos = world.videos[:2]
    assert world.updated(2)["shown"].vectors < 36 / 2
    assert world.same_as_without(world.videos)


@pytest.mark.parametrize("flat_up_to", [FLAT_UP_TO, SMALL])
def test_a_removed_video_leaves_no_trace(world, flat_up_to):
    transcript = world.store.transcript(world.videos[2].video, "t")
    said = "watch the zucchini vanish"
    transcript.write_text(transcript.read_text().replace("now cut the", said).replace("now stir the", said))
    world.updated(4, flat_up_to)
    assert said.split()[2].encode() in (world.folder / "moments.sqlite").read_bytes()
    opened = Cache.open(world.folder)
    vectors = [
        (video == world.videos[2].video, found.tobytes())
        for video, first, count in opened.held().values()
        for index_of_kind in opened.vectors.values()
        for moment in range(first, first + count)
        if (found := index_of_kind.vector(moment)) is not None
    ]
    opened.db.close()
    kept = {vector for is_gone, vector in vectors if not is_gone}
    gone = {vector for is_gone, vector in vectors if is_gone} - kept
    before = world.vectors("said") + world.vectors("shown")
    assert len(gone) > 3 and all(vector in before for vector in gone | kept)
    left_by_a_killed_writer = world.folder / "said.0123456789abcdef.faiss"
    left_by_a_killed_writer.write_bytes(b"".join(gone))
    remove_video(world.store, world.videos[2].video)
    for path in world.folder.iterdir():
        data = path.read_bytes()
        assert b"zucchini" not in data and world.videos[2].video.encode() not in data
        assert not any(vector in data for vector in gone)
    after = world.vectors("said") + world.vectors("shown")
    assert all(vector in after for vector in kept)
    assert open_cache(world.store, world.trained, world.videos[:4]) is None
    others = [world.videos[i] for i in (0, 1, 3)]
    assert world.nearly_as_without(others) if flat_up_to == SMALL else world.same_as_without(others)


@pytest.mark.parametrize(
    "harm",
    [
        "vectors cut",
        "vectors of another index",
        "no database",
        "no sense",
        "another version",
        "another model",
    ],
)
def test_a_cache_that_is_not_whole_is_not_opened_and_made_anew(world, harm):
    world.updated(3)
    path = world.folder / "moments.sqlite"
    if harm == "vectors cut":
        with next(world.folder.glob("shown.*.faiss")).open("r+b") as file:
            file.truncate(100)
    elif harm == "vectors of another index":
        next(world.folder.glob("shown.*.faiss")).write_bytes(world.vectors("said"))
    elif harm == "no database":
        path.unlink()
    elif harm == "no sense":
        path.write_bytes(b"SQLite format 3\0" + bytes(5000))
    else:
        db = sqlite3.connect(path)
        was, new = (
            (f'"version": {VERSION}', '"version": 2') if harm == "another version" else ("untrained", "other")
        )
        db.execute("UPDATE about SET state = replace(state, ?, ?)", (was, new))
        db.commit()
        db.close()
    assert open_cache(world.store, world.trained, world.videos[:3]) is None
    assert Index.load(world.store, world.trained, world.videos[:3]).search("peel"), "slower, and as well"
    world.updated(3)
    assert world.same_as_without(world.videos[:3])


def test_caches_of_other_models_go(world):
    other = world.store.cache("older.step-1")
    other.mkdir(parents=True)
    world.updated(1)
    assert other.exists(), "it is asked until its model is not in use any more"
    remove_other_caches(world.store, world.trained)
    assert not other.exists() and world.folder.is_dir()


def test_beyond_the_size_of_a_flat_index_it_says_its_recall(world):
    stats = world.updated(5, SMALL)
    assert {s.kind for s in stats.values()} == {"hnsw"}
    shown = stats["shown"]
    assert shown.vectors == 30 and shown.queries == 30 and 0.9 <= shown.recall <= 1
    stamps = {p: p.stat().st_mtime_ns for p in world.folder.iterdir()}
    assert world.updated(5, SMALL) == stats
    assert {p: p.stat().st_mtime_ns for p in world.folder.iterdir()} == stamps
    assert world.nearly_as_without(world.videos[:5])
    assert world.updated(6, SMALL)["said"].vectors == 36
    assert world.nearly_as_without(world.videos[:6])
    assert world.updated(3, SMALL)["said"].kind == "flat"
    assert world.same_as_without(world.videos[:3])


def test_a_graph_with_many_removed_vectors_is_built_anew(world):
    world.updated(8, SMALL)
    world.videos = world.videos[3:]
    world.updated(5, SMALL)
    opened = Cache.open(world.folder)
    assert len(opened.vectors["said"].row_ids) == 30 and opened.stats["said"].kind == "hnsw"
    opened.db.close()
    assert world.nearly_as_without(world.videos)


def test_an_index_of_another_model_is_an_error_in_words(world):
    world.updated(2)
    other = dataclasses.replace(world.trained, name="other")
    with pytest.raises(InputError, match="model other.*videobert index"):
        Index.load(world.store, other, world.videos[:2])
    shutil.copytree(world.store.index("untrained.step-0"), world.store.index("other.step-0"))
    with pytest.raises(InputError, match=r"untrained\.step-0.* other\.step-0"):
        Index.load(world.store, other, world.videos[:2])
    shutil.rmtree(world.folder)
    wider = dataclasses.replace(world.trained, model=joint_samples.model(hidden_size=64))
    with pytest.raises(InputError, match=r"32.*untrained\.step-0 \(64\)"):
        Index.load(world.store, wider, world.videos[:2])
    (path, *_) = sorted(world.store.index("untrained.step-0").iterdir())
    path.write_bytes(b"PAR1 no more")
    with pytest.raises(InputError, match="not as it was written.*videobert run"):
        Index.load(world.store, world.trained, world.videos[:2])


@pytest.mark.parametrize(("begun", "at"), [(3, 0), (3, 5), (3, 14), (3, 15), (3, 17), (0, 4), (0, 26)])
def test_killed_while_it_is_written_it_is_as_before(world, begun, at):
    """Additions to a cache of three videos, and the making of a new one, killed after so many steps."""
    if begun:
        world.updated(begun)
    assert killed(world, at) == -signal.SIGKILL
    if begun:
        assert world.same_as_without(world.videos[:begun])
    assert open_cache(world.store, world.trained, world.videos) is None
    world.updated(8)
    assert world.same_as_without(world.videos)


def test_a_careless_writer_would_be_found_out(world):
    """The control: one that commits each video by itself leaves a cache that is neither the old nor the new."""
    world.updated(3)
    assert killed(world, 9, careless=True) == -signal.SIGKILL
    opened = Cache.open(world.folder)
    assert opened is not None and 3 < len(opened.held()) < 8
    opened.db.close()


def killed(world: World, at: int, *, careless: bool = False) -> int:
    """Updates the cache in a child process that is killed after so many steps; returns how the child ended."""
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

        VectorIndex.add, moments.add = counted(VectorIndex.add), counted(moments.add)
        VectorIndex.write, Cache._write_state = counted(VectorIndex.write), counted(Cache._write_state)
        Cache.remove_old_files = counted(Cache.remove_old_files)
        if careless:
            add = Cache._add

            def committed(self: Cache, *arguments: object) -> None:
                add(self, *arguments)
                self._write_vectors()
                self._write_state()
                self.db.execute("COMMIT")
                self.db.execute("BEGIN")

            Cache._add = committed
        update_cache(world.store, world.trained, world.videos, quiet)
    finally:
        os._exit(0)


def test_an_open_index_answers_while_the_cache_is_updated(world):
    """An index that is open answers on while videos are added to the cache and taken out of it."""
    world.updated(4)
    opened = Index.load(world.store, world.trained, world.videos[:4])
    before = [h.text for h in opened.search("peel", 3)]
    world.updated(8)
    assert [h.text for h in opened.search("peel", 3)] == before
    remove_video(world.store, world.videos[0].video)
    names = {h.video for h in opened.search("peel", 50)}
    assert names <= {v.video for v in world.videos[1:4]}
