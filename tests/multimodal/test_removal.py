"""Removal of a video: it is there or gone, never half; only the codebook and the model keep what they learned."""

import dataclasses
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import joint_samples
import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.numpy

from multimodal import removal
from multimodal.answers.cache import update_cache
from multimodal.answers.index import index
from multimodal.answers.search import Index
from multimodal.answers.token_names import update_token_names
from multimodal.catalogue import Catalogue, Video
from multimodal.library import register, tokens_table, usable
from multimodal.removal import Removed, finish_removals, remove
from multimodal.store import InputError, Store, canonical_json, changed_files, publish_folder, write_whole
from multimodal.training.checkpoints import step_folder
from multimodal.training.options import PretrainOptions
from multimodal.training.pieces import unknown_share
from multimodal.training.pretraining import kept_after_removals, model_name

CODEBOOK = "codebook"


def quiet(*_: object) -> None:
    pass


@dataclasses.dataclass
class World:
    store: Store
    trained: object
    videos: list[Video]
    originals: Path

    def found(self, word: str = '"now"') -> set[str]:
        with Catalogue(self.store.catalogue) as catalogue:
            left = usable(catalogue)
        return {h.name for h in Index.load(self.store, self.trained, left).search(word, 100)}

    def traces(self, video: Video) -> dict[str, list[str]]:
        """Where in the store its name, its words and its digest are found, by file."""
        marks = {"name": video.name.encode(), "words": b"zucchini", "digest": video.video.encode()}
        files = [p for p in self.store.root.rglob("*") if p.is_file() and p.name != ".lock"]
        return {
            what: sorted(
                p.relative_to(self.store.root).as_posix()
                for p in files
                if mark in p.read_bytes() or mark.decode() in p.name
            )
            for what, mark in marks.items()
        }


@pytest.fixture
def world(tmp_path) -> World:
    """A store of four videos with all that a run makes, but a trained model."""
    store, originals = Store(tmp_path / "store"), tmp_path / "videos"
    originals.mkdir()
    videos, examples, pictures = [], {}, {}
    for n, material in enumerate(joint_samples.materials(4)):
        path = originals / f"film-{n}.mp4"
        path.write_bytes(f"film {n}".encode())
        with Catalogue(store.catalogue) as catalogue:
            ((registered,), _) = register(catalogue, [path])
            video = dataclasses.replace(
                registered,
                state="done",
                seconds=27.0,
                clips=18,
                sentences=6,
                transcript="t",
                features="f",
                recipe="r",
            )
            catalogue.put(video)
        said = canonical_json(material.transcript.to_dict())
        if n == 1:
            said = said.replace("the", "the zucchini")
        write_whole(store.transcript(video.video, "t"), said.encode())
        write_whole(store.transcript(video.video, "older"), said.encode())
        features = safetensors.numpy.save(
            {"values": np.zeros((18, 4), np.float16), "starts": material.starts}
        )
        write_whole(store.features(video.video, "f"), features)
        tokens = store.tokens(CODEBOOK, video.video)
        tokens.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(tokens_table(material.starts, material.tokens), tokens)
        examples |= {str(t): [video.video, 0.0] for t in (2 * n, 2 * n + 1)}
        pictures |= {f"v{t:05d}.jpg": video.name.encode() for t in (2 * n, 2 * n + 1)}
        videos.append(video)
    with publish_folder(store.codebook(CODEBOOK)) as folder:
        (folder / "pictures").mkdir()
        for name, content in pictures.items():
            (folder / "pictures" / name).write_bytes(content)
        about = {"videos": [[v.video, "f"] for v in videos], "held_out": [], "words_only": [], "examples": examples,
                 "without_picture": [9]}  # fmt: skip
        (folder / "codebook.json").write_text(json.dumps(about))
    with Catalogue(store.catalogue) as catalogue:
        catalogue.set_current("codebook", CODEBOOK)
    write_whole(store.report, b"film-1.mp4 says zucchini")
    trained = joint_samples.trained(tmp_path / "model")
    index(store, trained, videos, quiet)
    update_cache(store, trained, videos, quiet)
    update_token_names(store, trained, videos)
    return World(store, trained, videos, originals)


def removed(world: World, *labels: str) -> list[Removed]:
    with world.store.writing(), Catalogue(world.store.catalogue) as catalogue:
        return remove(world.store, catalogue, labels)


def test_it_goes_everywhere_and_the_rest_stays(world):
    gone, others = world.videos[1], [world.videos[i] for i in (0, 2, 3)]
    assert "zucchini" in Index.load(world.store, world.trained, world.videos).search("zucchini")[0].text
    before = {p: p.read_bytes() for v in others for p in world.store.root.rglob(f"*{v.video}*")}
    (report,) = removed(world, "film-1")
    assert report == Removed(gone.video, "film-1.mp4", 8, True), (
        "2 transcripts, features, tokens, index, 2 pictures, report"
    )
    assert not list(world.store.root.rglob("token_names.json")), "they were counted from its words too"
    traces = world.traces(gone)
    assert traces == {
        "name": [],
        "words": [],
        "digest": ["catalogue.sqlite", "codebooks/codebook/codebook.json"],
    }
    assert world.found() == {v.name for v in others}
    assert {p: p.read_bytes() for p in before} == before
    assert (world.originals / "film-1.mp4").read_bytes() == b"film 1"
    codebook = world.store.codebook(CODEBOOK)
    about = json.loads((codebook / "codebook.json").read_text())
    assert changed_files(codebook) == [] and about["without_picture"] == [2, 3, 9]
    assert set(about["examples"]) == set("014567") and len(about["videos"]) == 4
    assert {p.name for p in (codebook / "pictures").iterdir()} == {
        f"v{t:05d}.jpg" for t in (0, 1, 4, 5, 6, 7)
    }


def test_by_digest_and_path_and_several_at_once(world):
    gone = removed(world, world.videos[0].video[:12], world.videos[2].path, "film-2.mp4")
    assert sorted(r.name for r in gone) == ["film-0.mp4", "film-2.mp4"]
    assert world.found() == {"film-1.mp4", "film-3.mp4"}


def test_a_label_that_means_nothing_removes_nothing(world):
    for labels in (("film-1", "film-9"), ("film-9",)):
        with pytest.raises(InputError, match="'film-9'"):
            removed(world, *labels)
    for label in ("FILM-1", "film-1.m"):  # questions take it; what is deleted is named in full
        with pytest.raises(InputError, match="film-1.mp4"):
            removed(world, label)
    assert len(world.found()) == 4
    removed(world, "film-1")
    with pytest.raises(InputError, match="'film-1'"):
        removed(world, "film-1")


def test_it_comes_back_as_new(world):
    before = world.videos[1]
    removed(world, "film-1")
    with Catalogue(world.store.catalogue) as catalogue:
        assert [v.video for v in catalogue.forgotten()] == [before.video] and not catalogue.forgotten(
            unfinished=True
        )
        ((again,), _) = register(catalogue, [world.originals / "film-1.mp4"])
        assert again == Video(before.video, "film-1.mp4", before.path, before.bytes) and again.state == "new"
        assert [v.video for v in catalogue.forgotten()] == [before.video], (
            "until a refit, as the model learned from it"
        )
        assert catalogue.forgotten(unfinished=True) == []


def test_the_model_keeps_its_address(world):
    """Else the next run would train a new one, though nobody asked for a refit. That run is another process: it cannot know
    what the removed videos said."""
    options = PretrainOptions(choose_tokenizer=True)
    name = model_name(world.store, world.videos, CODEBOOK, options)
    with publish_folder(step_folder(world.store.model(name), 1)) as folder:
        (folder / "model.safetensors").write_bytes(b"weights")
    removed(world, "film-1", "film-3")
    unknown_share.cache_clear()
    with Catalogue(world.store.catalogue) as catalogue:
        left, gone = usable(catalogue), catalogue.forgotten()
    assert model_name(world.store, left, CODEBOOK, options) != name
    assert kept_after_removals(world.store, name, CODEBOOK, left, gone, options)
    assert not kept_after_removals(world.store, name, CODEBOOK, left, gone[:1], options), "the control"


@pytest.mark.parametrize("after", range(0, 14, 2))
def test_killed_anywhere_it_is_there_or_gone_and_again_finishes(world, after):
    gone = world.videos[1]
    ended = killed(world, after)
    with Catalogue(world.store.catalogue) as catalogue:
        there = catalogue.get(gone.video) is not None
    assert ended == -signal.SIGKILL and there == (after == 0)
    assert ("film-1.mp4" in world.found()) == there
    assert [r.name for r in removed(world, "film-1")] == ["film-1.mp4"]
    assert world.traces(gone)["words"] == world.traces(gone)["name"] == []
    assert changed_files(world.store.codebook(CODEBOOK)) == []
    assert world.found() == {v.name for v in world.videos if v != gone}


def test_the_next_run_finishes_it_too(world):
    assert killed(world, 6) == -signal.SIGKILL
    assert world.traces(world.videos[1])["words"] != []
    with world.store.writing(), Catalogue(world.store.catalogue) as catalogue:
        assert [r.name for r in finish_removals(world.store, catalogue)] == ["film-1.mp4"]
        assert finish_removals(world.store, catalogue) == []
    assert world.traces(world.videos[1])["words"] == []


def test_a_careless_removal_would_be_found_out(world):
    """The control: files first and the catalogue last, killed in between, is a video that is listed and cannot be read."""
    video = world.videos[1]
    world.store.transcript(video.video, "t").unlink()
    next(world.store.index("untrained.step-0").glob(f"{video.video}.*.parquet")).unlink()
    with pytest.raises(InputError):
        world.found()


PLACES = (
    (Catalogue, "forget"), (removal, "remove_video"), (Path, "unlink"), (removal, "_delete_pictures"), (removal, "write_whole"),
    (Catalogue, "forgot"),
)  # fmt: skip


def counted(original: Callable, steps: Iterator[int]) -> Callable:
    def call(*arguments: object, **named: object) -> object:
        if next(steps, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **named)

    return call


def killed(world: World, after: int) -> int:
    """Removes film-1 in a child process that is killed after so many steps; returns how the child ended."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        steps = iter(range(after))
        for owner, name in PLACES:
            setattr(owner, name, counted(getattr(owner, name), steps))
        removed(world, "film-1")
    finally:
        os._exit(0)
