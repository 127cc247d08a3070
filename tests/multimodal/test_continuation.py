"""A joint model gone on from: what is carried over, by which tokens, what the card says of it, what is refused."""

import dataclasses
import json
import shutil
from pathlib import Path

import joint_samples
import numpy as np
import pytest
import random_store
import torch
from random_store import quiet

from multimodal.byte_pairs import load_vocabulary
from multimodal.catalogue import Catalogue
from multimodal.joint.initialization import visual_rows
from multimodal.joint.layout import TABLE, read_tensors
from multimodal.joint.model import JointBert
from multimodal.joint.options import Shape
from multimodal.store import InputError, Store, file_digest
from multimodal.systems import SYSTEMS
from multimodal.tokens import TokenOptions, encode_videos, fit_codebook, load_codebook
from multimodal.training import checkpoints, pretraining
from multimodal.training.options import PretrainOptions
from multimodal.training.pretraining import model_name, pretrain
from multimodal.training.start import check_start
from vision.codebook import Codebook, CodebookOptions

FEW = joint_samples.training(most_steps=2, examples_per_step=6)
WORDS = joint_samples.vocabulary().words


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    joint_samples.model(vocab_size=len(WORDS)).save(folder)
    (folder / "vocab.txt").write_text("".join(f"{w}\n" for w in WORDS))
    return folder


def in_use(store: Store, videos: list, codebook: str, name: str) -> None:
    with Catalogue(store.catalogue) as catalogue:
        for video in videos:
            catalogue.put(video)
        catalogue.set_together({"codebook": codebook, "model": name, "model_codebook": codebook})


@pytest.fixture(scope="module")
def origin(tmp_path_factory, bert):
    """A store of five videos, the last held out, its codebook and the folder of its model."""
    root = tmp_path_factory.mktemp("origin") / "store"
    with Catalogue(Store(root).catalogue):
        pass
    store, videos, codebook = random_store.made(root, 5)
    options = PretrainOptions(text_start=str(bert), training=FEW)
    name, folder = pretrain(store, videos, codebook, options, "cpu", quiet)
    in_use(store, videos, codebook, name)
    return store, videos, codebook, folder


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Another library: four other videos, and a codebook of four tokens."""
    store = Store(tmp_path_factory.mktemp("own") / "store")
    videos = [random_store.put(store, n) for n in (5, 6, 7, 4)]
    codebook = fit_codebook(store, videos[:3], videos[3:], TokenOptions(k=4, depth=1), quiet)
    encode_videos(store, codebook, videos, quiet)
    return store, videos, codebook


def begun(monkeypatch, store, videos, codebook, options, say=quiet):
    """The objective that a training begins with, its examples and its card; no step is made."""
    seen = {}

    def capture(root, begin, examples, *_, card, **__):
        seen.update(objective=begin(None), examples=examples, card=card, begin=begin)
        return root

    with monkeypatch.context() as patched:
        patched.setattr(pretraining, "train", capture)
        pretrain(store, videos, codebook, options, "cpu", quiet, say=say)
    return seen


def whole(objective) -> dict[str, torch.Tensor]:
    """The weights as a model folder would hold them."""
    options = objective.model.options.written_out
    return objective.trimmed.restore(objective.model.export_tensors(), options)


@pytest.mark.parametrize(
    "system",
    [
        "videobert",
        "electra",
        "t5",
        *(pytest.param(s, marks=pytest.mark.long) for s in ("structbert", "gpt", "roberta")),
    ],
)
def test_with_the_same_codebook_all_goes_on_to_the_bit(system, tmp_path, bert, monkeypatch):
    """Also the heads, the parameters of terms, and with them the first loss."""
    store, videos, codebook = random_store.made(tmp_path / "store")
    row = SYSTEMS[system]
    first = {"shape": Shape(2, 32, 2)} if system == "roberta" else {}
    start = "none" if system == "roberta" else str(bert)
    options = PretrainOptions(text_start=start, training=FEW, system=row, **first)
    _, folder = pretrain(store, videos, codebook, options, "cpu", quiet)
    going_on = PretrainOptions(
        text_start=str(folder), training=dataclasses.replace(FEW, seed=3), system=row, visual_start="new"
    )
    seen = begun(monkeypatch, store, videos, codebook, going_on)
    before = seen["begin"](folder)
    before.load(folder)
    theirs, ours = before.state_dict(), seen["objective"].state_dict()
    assert theirs.keys() == ours.keys()
    assert [name for name in theirs if not torch.equal(theirs[name], ours[name])] == []
    batch = seen["examples"].batch([(0, item) for item in range(4)])
    with torch.no_grad():
        losses = [o.eval().losses(batch) for o in (before, seen["objective"])]
    assert losses[0].keys() and losses[0] == losses[1]
    about = seen["card"]["start"]
    assert about["same_codebook"] and about["visual_tokens_anew"] == 0


def test_tokens_are_those_of_the_nearest_centroids_as_numpy_finds_them(origin, own, monkeypatch):
    """And what shows something else begins as every model begins."""
    store, _, codebook, folder = origin
    ours, theirs = load_codebook(own[0], own[2]), load_codebook(store, codebook)
    one, other = (c.leaf_centroids().astype(np.float64) for c in (ours, theirs))
    apart = ((one[:, None] - other[None]) ** 2).sum(-1)
    mean = (other * theirs.counts_[:, None])[theirs.used_].sum(0) / theirs.counts_.sum()
    nearest = np.where(np.isnan(apart), np.inf, apart)
    wanted = np.where(nearest.min(1) < ((one - mean) ** 2).sum(1), nearest.argmin(1), -1)
    assert np.array_equal(ours.leaves_in(theirs), wanted)
    options = PretrainOptions(text_start=str(folder), training=FEW)
    seen = begun(monkeypatch, *own, options)
    given, vocabulary = read_tensors(folder), load_vocabulary(folder)
    made = whole(seen["objective"])
    words = given[TABLE][: len(vocabulary.words)]
    anew = visual_rows(torch.from_numpy(ours.leaf_centroids()), 32, words, FEW.seed)
    assert torch.equal(made[TABLE][: vocabulary.first_visual], given[TABLE][: vocabulary.first_visual])
    bias = "cls.predictions.bias"
    for token, place in enumerate(wanted):
        row, old = vocabulary.first_visual + token, vocabulary.first_visual + place
        assert torch.equal(made[TABLE][row], given[TABLE][old] if place >= 0 else anew[token])
        assert made[bias][row] == (given[bias][old] if place >= 0 else 0)
    assert all(torch.equal(made[n], given[n]) for n in given if n not in (TABLE, bias))


def centroids(rows: list[list[float]], counts: list[int]) -> Codebook:
    """A codebook of one level with these leaves; an empty row is an unused one."""
    used = np.array([bool(row) for row in rows])
    values = np.array([row or [0.0] * 3 for row in rows], np.float32)
    arrays = {
        "centroids.1": values, "used.1": used, "counts": np.array(counts), "quantisation_error": np.array([0.5]),
    }  # fmt: skip
    return Codebook.from_arrays(CodebookOptions(k=len(rows), depth=1), arrays)


def test_only_a_token_that_is_like_none_begins_anew():
    other = centroids([[1, 0, 0], [], [0, 1, 0]], [5, 0, 5])
    ours = centroids([[0.9, 0.1, 0], [], [0.1, 0.9, 0], [0, 0, 1]], [1, 0, 1, 1])
    assert ours.leaves_in(other).tolist() == [0, -1, 2, -1], (
        "the third axis is nearer to the mean than to either"
    )


def test_all_visual_tokens_begin_anew_where_that_is_said(origin, own, monkeypatch):
    _, _, _, folder = origin
    seen = begun(monkeypatch, *own, PretrainOptions(text_start=str(folder), training=FEW, visual_start="new"))
    assert seen["card"]["start"]["visual_tokens_carried"] == 0
    given, made = read_tensors(folder), whole(seen["objective"])
    rows = load_vocabulary(folder).visual_ids
    assert not any(torch.equal(row, old) for row in made[TABLE][rows] for old in given[TABLE][rows])
    assert torch.equal(made["bert.pooler.dense.weight"], given["bert.pooler.dense.weight"])


def test_it_trains_and_its_card_says_what_it_was_started_from_without_a_path(origin, own, tmp_path):
    store, _, codebook, folder = origin
    said = []
    options = PretrainOptions(text_start=str(store.root), training=FEW)
    _, made = pretrain(*own, options, "cpu", quiet, say=said.append)
    (line,) = [line for line in said if "goes on from" in line]
    card, text = json.loads((made / "card.json").read_text()), (made / "README.md").read_text()
    about = card["start"]
    assert (about["model"], about["codebook"], about["learned_held_out"]) == (folder.parent.name, codebook, 0)
    assert line in text and about["sha256"][:12] in text
    assert str(store.root.parent) not in text + json.dumps(card)
    assert JointBert.load(made).options.vocab_size == len(WORDS) + 1 + 4


def test_held_out_videos_that_the_start_learned_from_are_told(origin, tmp_path, monkeypatch):
    """The library's held-out video is one that the start has learned."""
    _, videos, _, folder = origin
    store = Store(tmp_path / "store")
    own = [random_store.put(store, n) for n in (6, 7, 0)]
    assert own[-1].video == videos[0].video
    codebook = fit_codebook(store, own[:2], own[2:], TokenOptions(k=3, depth=1), quiet)
    encode_videos(store, codebook, own, quiet)
    said = []
    begun(
        monkeypatch, store, own, codebook, PretrainOptions(text_start=str(folder), training=FEW), said.append
    )
    assert any("1 of the videos that are held out here" in line for line in said)


def test_a_store_its_model_s_folder_and_a_moved_one_are_the_same_start(origin, own, tmp_path):
    store, _, _, folder = origin
    moved = shutil.copytree(store.root, tmp_path / "elsewhere") / folder.relative_to(store.root)
    starts = [store.root, folder.parent, folder, moved]
    made = {
        model_name(*own, PretrainOptions(text_start=str(start), training=FEW, visual_start=how))
        for start in starts
        for how in ("nearest", "new")
    }
    assert len(made) == 2, "how visual tokens begin counts, where the model lies does not"


def without(name: str):
    return lambda folder: (folder / name).unlink()


def with_byte_flipped(name: str):
    def change(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / name).write_bytes(data)

    return change


@pytest.mark.parametrize(
    ("change", "more", "named"),
    [
        (without("manifest.json"), {}, "manifest.json"),
        (without("tokenizer.json"), {}, "tokenizer.json"),
        (with_byte_flipped("model.safetensors"), {}, "model.safetensors"),
        (with_byte_flipped("card.json"), {}, "card.json"),
        (quiet, {"system": SYSTEMS["electra"]}, "--extra-terms none"),
        (quiet, {"system": SYSTEMS["gpt"]}, "--system videobert"),
        (quiet, {"shape": Shape(2, 64, 4)}, "2 layers × 32"),
        (
            quiet,
            {"examples": dataclasses.replace(PretrainOptions().examples, longest=200)},
            "128 positions",
        ),
    ],
)
def test_what_cannot_be_gone_on_from_is_one_line_and_nothing_is_loaded(
    origin, own, tmp_path, monkeypatch, change, more, named
):
    folder = shutil.copytree(origin[3], tmp_path / "model" / origin[3].name)
    change(folder)
    monkeypatch.setattr(pretraining, "gather", lambda *_: pytest.fail("videos were read"))
    options = PretrainOptions(**{"text_start": str(folder), "training": FEW} | more)
    for attempt in (
        lambda: check_start(own[0], options),
        lambda: pretrain(*own, options, "cpu", quiet),
    ):
        with pytest.raises(InputError) as error:
            attempt()
        line = str(error.value)
        assert named in line and line.startswith("--text-start") and "\n" not in line and ";" in line


def seal(folder: Path) -> None:
    """The manifest of what lies there now."""
    files = {p.name: file_digest(p) for p in folder.iterdir() if p.name != "manifest.json"}
    (folder / "manifest.json").write_text(json.dumps({"files": files}))


def test_a_start_whose_parts_do_not_belong_together_is_one_line(origin, own, tmp_path):
    """With digests that are right: it came so."""
    folder = shutil.copytree(origin[3], tmp_path / "model" / origin[3].name)
    options = PretrainOptions(text_start=str(folder), training=FEW, visual_start="new")
    (folder / "terms.safetensors").write_bytes(b"\0" * 64)
    seal(folder)
    with pytest.raises(InputError, match=r"^--text-start .*terms.safetensors cannot be taken over"):
        pretrain(*own, options, "cpu", quiet)
    (folder / "terms.safetensors").unlink()
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | {"codebook": own[2]}))
    seal(folder)
    with pytest.raises(InputError, match="its codebook has 4 tokens, its vocabulary 9"):
        pretrain(*own, options, "cpu", quiet)


def test_a_start_without_a_model_and_the_store_itself_are_refused(origin, tmp_path):
    empty = Store(tmp_path / "empty")
    with Catalogue(empty.catalogue):
        pass
    with pytest.raises(InputError, match="is a store without a model"):
        check_start(origin[0], PretrainOptions(text_start=str(empty.root)))
    with pytest.raises(InputError, match=f"this store itself.*{origin[3]}"):
        check_start(origin[0], PretrainOptions(text_start=str(origin[0].root)))


def test_tokens_without_centroids_or_of_other_features_are_never_near(origin, own, tmp_path):
    _, _, _, folder = origin
    store = Store(tmp_path / "store")
    videos = [random_store.put(store, n, imported=True) for n in range(3)]
    codebook = fit_codebook(store, videos, [], TokenOptions(), quiet)
    encode_videos(store, codebook, videos, quiet)
    options = PretrainOptions(text_start=str(folder), training=FEW)
    with pytest.raises(InputError, match="16 numbers wide.*imported tokens.*--visual-start new"):
        pretrain(store, videos, codebook, options, "cpu", quiet)
    made = dataclasses.replace(options, visual_start="new")
    _, on_tokens = pretrain(store, videos, codebook, made, "cpu", quiet)
    assert checkpoints.latest(on_tokens.parent) == on_tokens
    codebook = fit_codebook(store, videos[:2], [], TokenOptions(), quiet)
    encode_videos(store, codebook, videos, quiet)
    on = dataclasses.replace(options, text_start=str(on_tokens))
    with pytest.raises(InputError, match="no centroids.*--visual-start new"):
        pretrain(store, videos[:2], codebook, on, "cpu", quiet)
    alone = shutil.copytree(folder, tmp_path / "alone" / folder.name)
    with pytest.raises(InputError, match="not beside the model.*--visual-start new"):
        pretrain(*own, dataclasses.replace(options, text_start=str(alone)), "cpu", quiet)
