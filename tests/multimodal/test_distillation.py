"""Distillation in a store: the student is a model like any other, goes on where it was stopped, and what is refused."""

import json
import shutil
import signal

import joint_samples
import kitchen
import labels
import numpy as np
import pytest
import taught
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score

from multimodal import open_store
from multimodal.catalogue import Catalogue
from multimodal.distillation.lstm import check_head, distill_head, with_masked_copies
from multimodal.distillation.options import (
    DISTILBERT,
    HINTON,
    TINYBERT,
    DistillOptions,
    LstmOptions,
)
from multimodal.distillation.training import check_teacher
from multimodal.examples.packing import Example
from multimodal.finetuning.options import AGREEMENT, FineTuningOptions
from multimodal.finetuning.task_files import read_task
from multimodal.finetuning.training import fine_tune
from multimodal.inference.heads import heads_root, load_head
from multimodal.inference.trained import load_trained, model_digest
from multimodal.integrity import unused
from multimodal.joint.options import ModelOptions
from multimodal.library import usable
from multimodal.store import InputError, Store
from multimodal.training.students import teacher_of


def quiet(*_) -> None:
    pass


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Store, str]:
    return taught.store_with_teacher(tmp_path_factory.mktemp("taught"))


def test_a_student_is_a_model_of_the_store_with_a_card(made):
    store, codebook = made
    name, folder = taught.taught(store, codebook, DistillOptions(DISTILBERT))
    assert ModelOptions.load(folder).num_hidden_layers == 2
    assert teacher_of(store, name) == "teacher" and teacher_of(store, "teacher") is None
    trained = load_trained(store, name, codebook, "cpu")
    assert trained.has_alignment
    about = (folder / "README.md").read_text()
    assert (
        "By `distilbert` from model `teacher`" in about and "| layers × width | 4 × 32 | 2 × 32 | |" in about
    )
    parameters = sum(p.numel() for p in trained.model.parameters())
    assert f"| {parameters:,} |" in about and "ms of an answer" in about
    assert "No video was held out" not in about and "| next_token |" in about
    lines = [json.loads(line) for line in (store.model(name) / "metrics.jsonl").read_text().splitlines()]
    assert {"soft_targets", "cosine", "text", "loss"} <= set(lines[-1]) and "held_out" in lines[-1]
    before = {p: p.stat().st_mtime_ns for p in store.model(name).rglob("*")}
    assert taught.taught(store, codebook, DistillOptions(DISTILBERT)) == (name, folder)
    assert {p: p.stat().st_mtime_ns for p in store.model(name).rglob("*")} == before, "nothing is made twice"


def test_a_narrower_student_of_two_phases_leaves_nothing_of_the_first(made):
    store, codebook = made
    options = DistillOptions(TINYBERT, layers=2, hidden=16)
    name, folder = taught.taught(store, codebook, options)
    assert ModelOptions.load(folder).hidden_size == 16
    assert not (store.model(name) / "layers").exists() and not (folder / "terms.safetensors").exists()
    last = json.loads((store.model(name) / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["step"] == taught.STEPS // 2 and "soft_targets" in last and "text" not in last


@pytest.mark.parametrize(
    "options, moment, step",
    [
        (DistillOptions(TINYBERT, layers=2, hidden=16), "saved", 3),
        pytest.param(DistillOptions(TINYBERT, layers=2, hidden=16), "stepping", 2, marks=pytest.mark.long),
        pytest.param(DistillOptions(HINTON, layers=1, hidden=16), "stepping", 4, marks=pytest.mark.long),
        pytest.param(DistillOptions(DISTILBERT), "saving:model.safetensors", 6, marks=pytest.mark.long),
    ],
)
def test_killed_in_the_middle_it_goes_on_to_the_same_bits(tmp_path, options, moment, step):
    store, codebook = taught.store_with_teacher(tmp_path)
    other = Store(shutil.copytree(store.root, tmp_path / "other"))
    assert taught.killed_at(other, codebook, options, moment, step) == -signal.SIGKILL
    (name, folder), (again, resumed) = (taught.taught(s, codebook, options) for s in (store, other))
    assert name == again
    whole, in_two = (load_file(f / "model.safetensors") for f in (folder, resumed))
    assert whole.keys() == in_two.keys()
    assert all(np.array_equal(tensor, in_two[key]) for key, tensor in whole.items())


def test_what_cannot_be_a_teacher_is_refused_in_a_line(tmp_path):
    store, _ = taught.store_with_teacher(tmp_path, steps=3)
    with pytest.raises(InputError, match="step 3 of 6"):
        check_teacher(store, "teacher", DistillOptions())
    with pytest.raises(InputError, match="model nowhere"):
        check_teacher(store, "nowhere", DistillOptions())


def test_a_teacher_that_fills_blanks_by_another_network_is_refused(tmp_path):
    store, _ = taught.store_with_teacher(tmp_path, system={"name": "electra", "extra_terms": "replaced"})
    with pytest.raises(InputError, match="system electra"):
        check_teacher(store, "teacher", DistillOptions())


def test_a_teacher_of_the_model_in_use_is_not_told_as_unused(made):
    store, codebook = made
    name, _ = taught.taught(store, codebook, DistillOptions(DISTILBERT))
    with Catalogue(store.catalogue) as catalogue:
        catalogue.set_current("model", name)
        found = unused(store, catalogue)
        catalogue.set_current("model", "teacher")
    assert "models/teacher" not in found and "models/m" in found


@pytest.fixture(scope="module")
def tuned(learned, tmp_path_factory):
    """The small kitchen with a head that tells the action of a step."""
    store = Store(tmp_path_factory.mktemp("bilstm") / "store")
    trained = kitchen.fill(store, learned)
    rows = [(v, s, e, action) for v, s, e, action, _ in labels.steps()]
    file = labels.write(tmp_path_factory.mktemp("task") / "steps.csv", "video,start,end,label", rows)
    quick = FineTuningOptions(epochs=6, least_steps=10, learning_rate=2e-3, precision="fp32", kind="sequence")
    with Catalogue(store.catalogue) as catalogue:
        videos = usable(catalogue)
    fine_tune(store, trained, videos, read_task(file, "sequence"), "steps", quick, quiet)
    return store, trained, videos


def test_an_lstm_answers_as_the_head_that_it_learned_from(tuned):
    store, trained, videos = tuned
    options = LstmOptions(width=32, copies=4, learning_rate=1e-2)
    made = distill_head(store, trained, videos, "steps", "small", options, quiet)
    assert made.figures[AGREEMENT].value > 0.9 > made.figures[AGREEMENT].chance
    assert made.parameters[1] < made.parameters[0] and made.counts["train"] == 4 * 144
    with open_store(store.root) as opened:
        answer = opened.predict("held-100", head="small")
        truth = [action for v, _, _, action, _ in labels.steps() if v == "held-100.mp4"]
        assert accuracy_score(truth, [m.labels[0] for m in answer]) >= 5 / 6
        assert sum(answer[0].probabilities.values()) == pytest.approx(1)
    before = {p: p.stat().st_mtime_ns for p in heads_root(store).glob("*/**/*")}
    again = distill_head(store, trained, videos, "steps", "small", options, quiet)
    assert again.figures == made.figures
    assert {p: p.stat().st_mtime_ns for p in heads_root(store).glob("*/**/*")} == before
    address = json.loads((heads_root(store) / "small.json").read_text())["head"]
    stored = next((heads_root(store) / address).glob("step-*/lstm.safetensors"))
    assert not any(name.startswith("embeddings") for name in load_file(stored)), (
        "the model's rows stay the model's"
    )
    with Catalogue(store.catalogue, read_only=True) as catalogue:
        assert f"heads/{address}" not in unused(store, catalogue)


def test_what_an_lstm_cannot_learn_is_refused_in_a_line(tuned):
    store, trained, _ = tuned
    with pytest.raises(InputError, match="--name steps"):
        check_head(store, trained.name, "steps", "steps")
    with pytest.raises(InputError, match="--head nothing"):
        check_head(store, trained.name, "nothing", "other")
    path = heads_root(store) / "steps.json"
    about = json.loads(path.read_text())
    for changed, named in (
        ({"model_sha256": "0" * 64}, "belongs to model"),
        ({"shape": about["shape"] | {"kind": "span"}}, "of kind span"),
        ({"shape": about["shape"] | {"sentence": "to {label}"}}, "sentences"),
        ({"shape": about["shape"] | {"lstm": 8}}, "LSTM already"),
    ):
        (heads_root(store) / "odd.json").write_text(json.dumps(about | changed))
        with pytest.raises(InputError, match=named):
            check_head(store, trained.name, "odd", "other")
    (heads_root(store) / "odd.json").unlink()
    assert model_digest(trained.folder) == about["model_sha256"]
    assert load_head(store, trained, "steps").shape.kind == "sequence"


def test_copies_hide_words_and_clips_at_the_rate_and_no_mark():
    vocabulary = joint_samples.vocabulary()
    trained = type("Reader", (), {"vocabulary": vocabulary})
    ids = [vocabulary.cls_id, *range(20, 60), vocabulary.join, vocabulary.first_visual, vocabulary.sep]
    given = [(Example(ids, [0] * len(ids)), "a")] * 50
    found = with_masked_copies(trained, given, LstmOptions(copies=5, mask=0.2), np.random.default_rng(0))
    assert len(found) == 250 and [e.ids for e in found[:50]] == [ids] * 50
    copied = np.array([e.ids for e in found[50:]])
    assert (copied == vocabulary.mask)[:, [0, 41, 43]].sum() == 0
    assert (copied == vocabulary.mask).sum() / (200 * 41) == pytest.approx(0.2, abs=0.02)
    assert (
        len(with_masked_copies(trained, given, LstmOptions(most_examples=60), np.random.default_rng(0))) == 50
    )
