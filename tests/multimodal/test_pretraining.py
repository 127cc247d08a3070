"""Pre-training from a store: the initial weights, the address, the options, the model card."""

import contextlib
import dataclasses
import json
import shutil
from pathlib import Path

import joint_samples
import numpy as np
import padding
import pytest
import random_store
import safetensors.numpy
import torch
import yaml
from random_store import put, quiet

from multimodal.catalogue import Video
from multimodal.examples.options import ExampleOptions
from multimodal.examples.packing import Example, pack
from multimodal.inference.trained import load_trained
from multimodal.joint.initialization import visual_rows
from multimodal.joint.layout import TABLE
from multimodal.joint.model import JointBert
from multimodal.joint.options import Shape
from multimodal.objectives.weights import LossWeights
from multimodal.store import InputError, Store, canonical_json, write_artefact
from multimodal.tokens import TokenOptions, encode_videos, fit_codebook, load_codebook
from multimodal.training import checkpoints, pretraining
from multimodal.training.model_card import digest_of
from multimodal.training.options import PretrainOptions, TrainingOptions
from multimodal.training.pretraining import model_name, pretrain
from multimodal.training.start import text_start

transformers = pytest.importorskip("transformers")
WORDS = joint_samples.vocabulary().words
FEW = joint_samples.training(most_steps=3, examples_per_step=6)


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory) -> tuple[Store, list[Video], str]:
    return random_store.made(tmp_path_factory.mktemp("kitchen") / "store")


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    small = transformers.BertConfig(vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=2,
                                    num_attention_heads=4, intermediate_size=64, max_position_embeddings=128)  # fmt: skip
    torch.manual_seed(0)
    transformers.BertForPreTraining(small).save_pretrained(folder)
    (folder / "vocab.txt").write_text("".join(f"{w}\n" for w in WORDS))
    return folder


def made(kitchen, **options) -> Path:
    store, videos, codebook = kitchen
    return pretrain(store, videos, codebook, PretrainOptions(**{"training": FEW} | options), "cpu", quiet)[1]


def test_what_is_held_out_is_judged_and_never_learned_from(bert, tmp_path):
    """Other words and pictures in the held-out video change its losses and not a bit of the weights."""

    def weights_and_losses(name: str, **changed: int) -> tuple[dict[str, np.ndarray], list[dict[str, float]]]:
        store = Store(tmp_path / name)
        videos = [put(store, n, content=changed.get(f"video_{n}")) for n in range(4)]
        codebook = fit_codebook(store, videos[:3], videos[3:], TokenOptions(k=3, depth=2), quiet)
        encode_videos(store, codebook, videos, quiet)
        folder = made(
            (store, videos, codebook),
            text_start=str(bert),
            training=dataclasses.replace(FEW, examples_per_step=12),
        )
        lines = (folder.parent / "metrics.jsonl").read_text().splitlines()
        return safetensors.numpy.load_file(folder / "model.safetensors"), [
            json.loads(x)["held_out"] for x in lines
        ]

    plain, judged = weights_and_losses("plain")
    same, otherwise = weights_and_losses("other video held out", video_3=4)
    assert all(np.array_equal(plain[name], same[name]) for name in plain)
    assert all(a[term] != b[term] for a, b in zip(judged, otherwise, strict=True) for term in a)
    other, _ = weights_and_losses("other video learned", video_0=4)
    assert not all(np.array_equal(plain[name], other[name]) for name in plain)


@pytest.mark.parametrize("rows", ["frozen", "trained"])
def test_visual_rows_are_the_centroids_and_stay_so_where_frozen(kitchen, bert, rows):
    store, _, codebook = kitchen
    folder = made(kitchen, text_start=str(bert), visual_rows=rows)
    given = safetensors.numpy.load_file(bert / "model.safetensors")[TABLE]
    centroids = torch.from_numpy(load_codebook(store, codebook).leaf_centroids())
    began = visual_rows(centroids, 32, torch.from_numpy(given), 0)
    table = JointBert.load(folder).export_tensors()[TABLE]
    assert torch.equal(table[-9:], began) == (rows == "frozen")
    torch.testing.assert_close(table[-9:], began, atol=0.02, rtol=0)
    trained = load_trained(store, folder.parent.name, codebook, "cpu")
    assert trained.vocabulary.size == len(table) == len(WORDS) + 1 + 9


def test_a_checkpoint_opens_in_transformers_and_says_the_same(kitchen, bert):
    store, _, codebook = kitchen
    folder = made(kitchen, text_start=str(bert), visual_rows="frozen")
    theirs, about = transformers.BertForPreTraining.from_pretrained(folder, output_loading_info=True)
    assert not about["missing_keys"] and not about["unexpected_keys"] and not about["mismatched_keys"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    given = tokenizer("now cut the [MASK]", "v00003 [MASK] v00008", return_tensors="pt")
    trained = load_trained(store, folder.parent.name, codebook, "cpu")
    batch = pack([Example(given["input_ids"][0].tolist(), given["token_type_ids"][0].tolist())])
    with torch.no_grad():
        answer = theirs.eval()(**given)
        x_TH = trained.model.encode(batch)
        torch.testing.assert_close(
            trained.model.cloze(x_TH), answer.prediction_logits[0], atol=1e-4, rtol=1e-4
        )
        torch.testing.assert_close(
            trained.model.alignment(x_TH, batch), answer.seq_relationship_logits, atol=1e-4, rtol=1e-4
        )


def test_the_model_card(kitchen, bert):
    _, videos, codebook = kitchen
    options = PretrainOptions(text_start=str(bert), training=dataclasses.replace(FEW, seed=1))
    folder = made(kitchen, **{f.name: getattr(options, f.name) for f in dataclasses.fields(options)})
    _, header, text = (folder / "README.md").read_text().split("---\n", 2)
    about = yaml.safe_load(header)
    assert about["library_name"] == "transformers" and about["pipeline_tag"] == "fill-mask"
    assert f"codebook: `{codebook}`" in text
    for part, name in ((videos[:3], "learned from: 3"), (videos[3:], "held out: 1")):
        assert f"{name} videos, digest `{digest_of([v.video for v in part])}`" in text
    lines = [json.loads(line) for line in (folder.parent / "metrics.jsonl").read_text().splitlines()]
    assert "After step 3 of 3" in text and f"(`loss`) | {lines[-1]['loss']:.4f} |" in text
    assert f"| {lines[-1]['held_out']['text']:.4f} |" in text
    given = json.loads(text.split("```json\n")[1].split("```")[0])
    assert given.pop("text_start").startswith(f"{bert.name} (sha256 ") and str(bert) not in text
    expected = json.loads(canonical_json(options))
    del expected["text_start"]
    assert given == expected, "every other option"
    for heading in ("## Data", "## Numbers", "## Options", "## Limits", "## How to open it"):
        assert heading in text
    code = text.split("```python\n")[1].split("```")[0].replace("FOLDER", repr(str(folder)))
    scope: dict = {}
    exec(compile(code, "README.md", "exec"), scope)  # noqa: S102 - the card's own words
    assert scope["logits"].shape[-1] == len(WORDS) + 1 + 9


def test_from_nothing_with_the_words_of_minilm(kitchen, weights_or_skip):
    weights_or_skip("minilm-l6")
    shape = Shape(1, 24, 2)
    training = dataclasses.replace(FEW, most_steps=1, examples_per_step=2)
    folder = made(kitchen, text_start="none", shape=shape, training=training)
    options = JointBert.load(folder).options
    assert (options.vocab_size, options.hidden_size, options.num_hidden_layers) == (30_522 + 1 + 9, 24, 1)


@pytest.mark.parametrize(
    ("weights", "terms"),
    [
        ({}, {"text", "video", "joint", "alignment", "contrast"}),
        ({"joint": 0}, {"text", "video", "alignment", "contrast"}),
        ({"video": 0, "joint": 0, "alignment": 0, "contrast": 0}, {"text"}),
        ({"text": 0, "joint": 0, "alignment": 0, "contrast": 0}, {"video"}),
        ({"text": 0, "video": 0, "contrast": 0}, {"joint", "alignment"}),
    ],
)
def test_a_term_of_weight_0_is_not_there(kitchen, bert, weights, terms):
    training = dataclasses.replace(FEW, examples_per_step=12, weights=LossWeights(**weights))
    folder = made(kitchen, text_start=str(bert), training=training)
    for line in (folder.parent / "metrics.jsonl").read_text().splitlines():
        found = json.loads(line)
        held_out = found.pop("held_out")
        assert set(found) - {"step", "learning_rate", "loss"} == terms
        # Along the way few held-out examples are sampled, which may not ask all terms.
        assert set(held_out) <= terms if found["step"] < FEW.most_steps else set(held_out) == terms
        assert found["loss"] == pytest.approx(sum(found[t] for t in terms), rel=1e-5)


def test_every_option_is_in_the_name(kitchen, bert, tmp_path):
    store, videos, codebook = kitchen
    plain = PretrainOptions(text_start=str(bert))
    other = shutil.copytree(bert, tmp_path / "other")
    config = json.loads((other / "config.json").read_text()) | {"hidden_dropout_prob": 0.0}
    (other / "config.json").write_text(json.dumps(config))
    examples = (
        ExampleOptions(mask=0.2),
        ExampleOptions(in_video_negative_rate=0.5),
        ExampleOptions(subsample=5),
        ExampleOptions(near_rate=0.3),
    )
    training = (
        TrainingOptions(weights=LossWeights(joint=0.0)),
        TrainingOptions(seed=1),
        TrainingOptions(learning_rate=1e-4),
    )
    options = [
        plain,
        dataclasses.replace(plain, text_start=str(other)),
        dataclasses.replace(plain, visual_rows="frozen"),
        *(dataclasses.replace(plain, examples=e) for e in examples),
        *(dataclasses.replace(plain, training=t) for t in training),
        *(PretrainOptions(text_start="none", shape=s) for s in (Shape(1, 24, 2), Shape(2, 24, 2))),
    ]
    names = [model_name(store, videos, codebook, o) for o in options]
    assert len(set(names)) == len(names)
    moved = shutil.copytree(bert, tmp_path / "moved")
    again = dataclasses.replace(plain, text_start=str(moved))
    assert model_name(store, videos, codebook, again) == names[0], "a checkpoint counts by its content"


class Killed(BaseException):
    """The end of a run, from its report."""


def test_a_model_left_unfinished_is_told_where_other_options_begin_another(kitchen, bert, tmp_path):
    given, videos, codebook = kitchen
    store = Store(tmp_path / "store")
    shutil.copytree(given.root, store.root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("models"))
    told: list[str] = []

    def run(stop: int = 99, **options: object) -> str:
        training = dataclasses.replace(FEW, checkpoint_seconds=0.0, **options)

        def report(done: int, total: int, words: str) -> None:
            if done == stop:
                raise Killed

        wanted = PretrainOptions(text_start=str(bert), training=training)
        told.clear()
        with contextlib.suppress(Killed):
            pretrain(store, videos, codebook, wanted, "cpu", report, say=told.append)
        return model_name(store, videos, codebook, wanted)

    first = run(stop=3)
    assert told == [] and checkpoints.latest(store.model(first)).name == "step-2"
    second = run(stop=3, accumulate=2, weights=LossWeights(joint=0.5))
    (line,) = told
    assert line.startswith(f"model {first}: left at step 2 of 3") and second in line
    assert "accumulate 1 there, 2 here" in line and "weights joint 1.0 there, 0.5 here" in line
    assert line.endswith(str(store.model(first))) and "\n" not in line
    run(stop=3, accumulate=2, weights=LossWeights(joint=0.5))
    assert told == [], "it goes on, as it did before"
    run()
    assert told == [] and checkpoints.latest(store.model(first)).name == "step-3"
    run(seed=1)
    assert [line.split(":")[0] for line in told] == [f"model {second}"], "the finished one is in nobody's way"
    (checkpoints.latest(store.model(second)) / "trainer.json").write_text("{")
    run(seed=2)
    assert told == [], "what cannot be read hinders no other model"


def test_tokens_without_centroids_have_no_rows_to_freeze_and_none_near(bert, tmp_path):
    store = Store(tmp_path / "store")
    videos = [put(store, n, imported=True) for n in range(2)]
    codebook = fit_codebook(store, videos, [], TokenOptions(), quiet)
    encode_videos(store, codebook, videos, quiet)
    given = store, videos, codebook
    with pytest.raises(InputError, match=f"^--visual-rows frozen: .*{codebook}.* centroids"):
        made(given, text_start=str(bert), visual_rows="frozen")
    with pytest.raises(InputError, match=f"^--corrupt near: .*{codebook}.* centroid"):
        made(given, text_start=str(bert), examples=ExampleOptions(near_rate=0.3))
    assert made(given, text_start=str(bert)).is_dir()


@pytest.mark.parametrize("imported", [False, True])
def test_the_leaves_that_clips_fell_into_stand_in_for_others(bert, tmp_path, monkeypatch, imported):
    store = Store(tmp_path / "store")
    videos = [put(store, n, imported) for n in range(3)]
    codebook = fit_codebook(store, videos[:2], videos[2:], TokenOptions(k=12, depth=3), quiet)
    encode_videos(store, codebook, videos, quiet)
    used = set(np.flatnonzero(load_codebook(store, codebook).used_).tolist())
    assert len(used) < 30
    given = []
    monkeypatch.setattr(pretraining, "train", lambda *now, **_: given.extend(now[2:4]) or tmp_path)
    made((store, videos, codebook), text_start=str(bert), examples=ExampleOptions(mask=0.5))
    for examples in given:
        first = examples.vocabulary.first_visual
        drawn = [
            e for epoch in range(40) for item in range(len(examples)) for e in examples.draw(epoch, item)
        ]
        swapped = {now - first for e in drawn for now, label in zip(e.ids, padding.labels(e), strict=True)
                   if label >= first and now >= first and now != label}  # fmt: skip
        assert len(swapped) > 3 and swapped <= used


def test_what_cannot_be_learned_is_said_and_stands_in_the_model_card(kitchen, bert, tmp_path):
    store = Store(tmp_path / "store")
    video = put(store, 0, imported=True)
    found = safetensors.numpy.load_file(store.features(video.video, "f"))
    about = {"about": json.dumps({"problems": [], "reader": "pyav", "recipe": {}})}
    same = found | {"tokens": np.zeros_like(found["tokens"])}
    write_artefact(store.features(video.video, "f"), safetensors.numpy.save(same, metadata=about))
    codebook = fit_codebook(store, [video], [], TokenOptions(), quiet)
    encode_videos(store, codebook, [video], quiet)
    options = PretrainOptions(text_start=str(bert), training=FEW)
    said = []
    _, folder = pretrain(store, [video], codebook, options, "cpu", quiet, say=said.append)
    notice = "alignment learns nothing"
    assert len(said) == 1 and said[0].startswith(notice)
    assert f"- {notice}" in (folder / "README.md").read_text()
    assert json.loads((folder / "card.json").read_text())["notice"].startswith(notice)
    assert "notice" not in json.loads((made(kitchen, text_start=str(bert)) / "card.json").read_text())


def test_a_text_checkpoint_with_too_few_positions(kitchen, bert):
    options = {"text_start": str(bert), "examples": ExampleOptions(longest=200)}
    with pytest.raises(InputError, match="^--text-start .* 128 positions.* 200 tokens"):
        made(kitchen, **options)


def test_a_folder_in_hugging_face_layout_is_a_start(bert):
    assert text_start(str(bert)) == bert


@pytest.mark.parametrize(("name", "why"), [("bert-tiny", "no folder"), (".", "no config.json")])
def test_a_name_that_is_neither(name, why, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"--text-start {name}: .*{why}.* minilm-l6 or none") as error:
        text_start(name)
    assert "\n" not in str(error.value)
