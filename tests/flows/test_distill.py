"""`videobert distill`: the student becomes the store's model, later runs keep it, and the teacher can come back."""

import json

import pytest
import taught
from command import run_inside

import flows.distill
import flows.pretrain
from flows.opened_run import open_run
from flows.settings import Settings
from multimodal.catalogue import Catalogue
from multimodal.store import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return taught.store_with_teacher(tmp_path_factory.mktemp("store"))[0]


def in_use(store: Store) -> str:
    with Catalogue(store.catalogue, read_only=True) as catalogue:
        return catalogue.current("next_model") or catalogue.current("model")


@pytest.fixture
def no_server(monkeypatch):
    """Tasks are called as functions."""
    monkeypatch.setattr(flows.pretrain, "train", flows.pretrain.train.fn)
    monkeypatch.setattr(flows.distill, "teach", flows.distill.teach.fn)


def pretrained(store: Store, monkeypatch, wanted: str) -> str:
    """What the flow `pretrain` makes the store's model where a run of its settings asks for the model `wanted`."""
    monkeypatch.setattr(flows.pretrain, "model_name", lambda *_: wanted)
    monkeypatch.setattr(flows.pretrain, "pretrain", lambda *_, **__: (wanted, None))
    return flows.pretrain.pretrain_model.fn(Settings(store=store.root))


def distilled(store: Store, *, undo: bool = False) -> str:
    return flows.distill.distill_model.fn(undo=undo, settings=Settings(store=store.root))


@pytest.mark.long
def test_the_command_makes_the_student_the_stores_model(home, store):
    ended = home.run("distill", "--store", store.root, "--json")
    assert ended.returncode == 0, ended.stderr
    student = json.loads(ended.stdout)["model"]
    assert in_use(store) == student != "teacher"


def test_the_student_stays_in_use_until_its_teacher_comes_back(tmp_path, monkeypatch, capsys, no_server):
    store = taught.store_with_teacher(tmp_path)[0]
    student = distilled(store)
    assert in_use(store) == student == pretrained(store, monkeypatch, "teacher")
    assert "a student of model teacher" in capsys.readouterr().err
    assert distilled(store) == student, "of the teacher again, not of the student"
    assert distilled(store, undo=True) == "teacher" == in_use(store)
    assert pretrained(store, monkeypatch, "teacher") == "teacher"
    assert distilled(store) == student == in_use(store)
    assert pretrained(store, monkeypatch, "another") == "another"
    assert f"the teacher of {student}" in capsys.readouterr().err
    assert store.model(student).is_dir() and store.model("teacher").is_dir(), "neither is lost"


def test_a_student_of_an_imported_model_needs_no_text_start(tmp_path, no_server):
    store = taught.store_with_teacher(tmp_path)[0]
    with Catalogue(store.catalogue) as catalogue:
        codebook = catalogue.current("codebook")
    distilled(store)
    with open_run(Settings(store=store.root)) as run:
        assert flows.pretrain.may_begin_anew(run), "the control"
        run.catalogue.set_together({"imported_model": "teacher", "imported_codebook": codebook})
        assert not flows.pretrain.may_begin_anew(run)


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Store:
    """A store whose model is no student."""
    return taught.store_with_teacher(tmp_path_factory.mktemp("plain"))[0]


@pytest.mark.parametrize(
    "given, named",
    [
        (["--undo"], "--undo"),
        (["--layers", "5"], "--layers 5"),
        (["--method", "bilstm"], "--head"),
        (["--head", "steps"], "--method bilstm"),
        (["--name", "small"], "--name small"),
        (["--method", "bilstm", "--head", "steps"], "--head steps"),
    ],
)
def test_what_cannot_be_is_one_line(plain, capsys, given, named):
    ended = run_inside(capsys, "distill", *given, "--store", plain.root)
    assert ended.returncode == 2 and ended.stdout == ""
    *_, line = ended.stderr.splitlines()
    assert line.startswith("videobert: ") and named in line
