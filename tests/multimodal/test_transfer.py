"""Export and import of a model: the same answers elsewhere, nothing of the videos in the folder, and what is refused."""

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import stages
from imported_corpus import CLIP, write_bert, write_corpus

from flows.importing import Imports
from flows.opened_run import open_run
from flows.pretrain import train
from flows.settings import Settings
from multimodal import open_store
from multimodal.answers import answer_json
from multimodal.catalogue import Catalogue
from multimodal.damage import can_be_made_again
from multimodal.integrity import examine
from multimodal.library import usable
from multimodal.store import InputError, Store, canonical_json, file_digest
from multimodal.tokens import read_codebook, train_and_held_out
from multimodal.training import checkpoints
from multimodal.transfer.exporting import export_model
from multimodal.transfer.importing import import_model

transformers = pytest.importorskip("transformers")
MADE = ("import", "codebook", "pretrain", "index")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "corpus", videos=4, clips=8)


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> Path:
    return write_bert(tmp_path_factory.mktemp("bert") / "bert")


@pytest.fixture(scope="module")
def origin(tmp_path_factory, corpus, bert) -> Store:
    """A store of four imported videos with a trained model and its index."""
    root = tmp_path_factory.mktemp("origin") / "store"
    stages.work(root, corpus, bert, MADE)
    return Store(root)


@pytest.fixture(scope="module")
def exported(origin, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("given") / "model"
    with Catalogue(origin.catalogue, read_only=True) as catalogue:
        export_model(origin, catalogue, folder)
    return folder


@pytest.fixture(scope="module")
def taken(exported, corpus, tmp_path_factory) -> Store:
    """An empty store that took the folder in, and then the videos."""
    root = tmp_path_factory.mktemp("taken") / "store"
    with open_run(Settings(store=root)) as run:
        import_model(run.store, run.catalogue, exported)
        run.given = [], Imports(paths=(corpus,), stride=CLIP)
        for stage in MADE:
            stages.STAGES[stage](run)
    return Store(root)


@pytest.fixture
def folder(exported, tmp_path) -> Path:
    return shutil.copytree(exported, tmp_path / "folder")


def current(store: Store) -> dict[str, str | None]:
    kinds = ("codebook", "model", "model_codebook", "next_model", "next_model_codebook", "imported_model")
    with Catalogue(store.catalogue, read_only=True) as catalogue:
        return {kind: catalogue.current(kind) for kind in kinds}


def test_elsewhere_the_same_videos_have_the_same_tokens_and_answers(origin, taken):
    assert current(taken)["model"] == current(origin)["model"]
    with open_store(origin.root) as one, open_store(taken.root) as other:
        for name in ("video00000", "video00003"):
            assert one.tokens(name).equals(other.tokens(name))
            for at in (f"{name}@3", f"{name}@9"):
                found = [answer_json.forecast_document(s.next(at, by="model")) for s in (one, other)]
                assert found[0]["horizons"] == found[1]["horizons"] and found[0]["horizons"]
            said = [answer_json.caption_document(s.caption(name, by="model")) for s in (one, other)]
            assert said[0]["captions"] == said[1]["captions"] and said[0]["captions"]
        for text in ("peel the carrot", *said_in(one)[:2]):
            hits = [answer_json.search_document(s.search(text)) for s in (one, other)]
            assert hits[0] == hits[1] and hits[0]["hits"]


def said_in(store) -> list[str]:
    return [segment["text"] for segment in store.segments().to_pylist() if segment["text"]]


def test_nothing_of_the_videos_and_no_path_is_in_it(origin, exported, corpus, bert):
    with Catalogue(origin.catalogue, read_only=True) as catalogue:
        videos = usable(catalogue)
    said = [line.split(",", 3)[3] for line in (corpus / "captions.csv").read_text().splitlines()[1:]]
    words = {" ".join(text.lower().rstrip(".").split()[:4]) for text in said}
    hidden = [
        *said,
        *words,
        *(v.name for v in videos),
        str(origin.root),
        str(corpus),
        str(bert),
        str(Path.home()),
    ]
    for file in (p for p in exported.rglob("*") if p.is_file()):
        held = file.read_bytes().lower()
        assert [text for text in hidden if text.lower().encode() in held] == [], file.name
    assert not (exported / "codebook/pictures").exists()


def test_it_opens_in_transformers_with_the_whole_vocabulary(origin, exported):
    theirs, about = transformers.BertForPreTraining.from_pretrained(exported, output_loading_info=True)
    assert not about["missing_keys"] and not about["unexpected_keys"] and not about["mismatched_keys"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(exported)
    assert len(tokenizer) == theirs.config.vocab_size
    fitted = read_codebook(origin.codebook(current(origin)["codebook"]))
    given = np.random.default_rng(1).normal(size=(5, fitted.centroids_[0].shape[1])).astype(np.float32)
    assert json.loads((exported / "codebook/codebook.json").read_text())["tokens"] == len(fitted.used_)
    from multimodal.tokens import codebook_in

    assert np.array_equal(codebook_in(exported / "codebook").encode(given), fitted.encode(given))


def test_a_run_keeps_an_imported_model_until_it_is_told_otherwise(taken, exported, tmp_path):
    store = Store(shutil.copytree(taken.root, tmp_path / "store"))
    name, codebook = current(store)["model"], current(store)["codebook"]
    with open_run(Settings(store=store.root, epochs=1)) as run:
        assert train.fn(run, codebook) == name
        learned, held_out = train_and_held_out(store, run.videos, codebook)
        assert len(learned) == 4 and held_out == [], "the split of this store, which is kept"
    with open_run(Settings(store=store.root, epochs=1, text_start=str(exported))) as run:
        made = train.fn(run, codebook)
        assert made != name
        card = json.loads((checkpoints.latest(store.model(made)) / "card.json").read_text())
    assert card["start"]["model"] == name and card["start"]["same_codebook"]
    assert card["start"]["visual_tokens_anew"] == 0


def test_pictures_go_where_they_are_asked_for(origin, tmp_path):
    with Catalogue(origin.catalogue, read_only=True) as catalogue:
        made = export_model(
            origin, catalogue, tmp_path / "model", current(origin)["model"][:4], pictures=True
        )
    assert made.model == current(origin)["model"] and made.bytes > 0
    with (
        pytest.raises(InputError, match="is there already"),
        Catalogue(origin.catalogue, read_only=True) as opened,
    ):
        export_model(origin, opened, tmp_path / "model")
    with (
        pytest.raises(InputError, match="model nothing"),
        Catalogue(origin.catalogue, read_only=True) as opened,
    ):
        export_model(origin, opened, tmp_path / "other", "nothing")
    assert not (tmp_path / "other").exists()


def refused(folder: Path, root: Path) -> str:
    """The line that an import into a new store ends with; the store is then as it was."""
    store = Store(root)
    with store.writing(), Catalogue(store.catalogue) as catalogue:
        with pytest.raises(InputError) as error:
            import_model(store, catalogue, folder)
        assert catalogue.current("codebook") is None and catalogue.current("next_model") is None
    left = [p for kind in ("models", "codebooks") for p in (root / kind).rglob("*") if p.is_file()]
    assert left == []
    line = str(error.value)
    assert "\n" not in line and ";" in line
    return line


def test_an_altered_byte_of_any_file_is_refused(folder, tmp_path):
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    assert len(files) >= 10
    for number, file in enumerate(files):
        data = file.read_bytes()
        flipped = bytearray(data)
        flipped[len(data) // 2] ^= 4
        file.write_bytes(flipped)
        line = refused(folder, tmp_path / f"store{number}")
        # Which digest of the manifest was altered is told as its file's.
        assert file.name in line or file.name == "manifest.json", (file.name, line)
        file.unlink()
        assert file.name in refused(folder, tmp_path / f"store{number}")
        file.write_bytes(data)


def seal(folder: Path) -> None:
    """The manifest of what lies there now, as somebody who means harm would write it."""
    files = [p for p in folder.rglob("*") if p.is_file() and p.name != "manifest.json"]
    sums = {p.relative_to(folder).as_posix(): file_digest(p) for p in files}
    (folder / "manifest.json").write_text(canonical_json({"files": sums}))


def changed(name: str, change):
    def apply(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        change(content)
        (folder / name).write_text(json.dumps(content))

    return apply


def link(folder: Path) -> None:
    (folder / "README.md").unlink()
    (folder / "README.md").symlink_to("/etc/passwd")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (changed("export.json", lambda c: c.update(format=2)), "format 2.*reads 1"),
        (changed("export.json", lambda c: c.update(model="../../outside")), "no model that can be stored"),
        (changed("export.json", lambda c: c.update(step="step-x")), "no step"),
        (changed("export.json", lambda c: c.update(codebook=".hidden")), "no codebook"),
        (lambda f: (f / "pytorch_model.bin").write_bytes(b"\x80\x02."), "pytorch_model.bin.*no part"),
        (changed("config.json", lambda c: c.update(hidden_size=10**9)), "hidden_size"),
        (changed("config.json", lambda c: c.update(vocab_size=7)), "the model cannot be opened"),
        (changed("card.json", lambda c: c.update(codebook="another")), "codebook another"),
        (changed("card.json", lambda c: c.update(unknown_pieces={"a": "b"})), "the model cannot be opened"),
        (changed("card.json", lambda c: c["options"].update(system={"name": "x", "speed": 9})), "speed"),
        (changed("trainer.json", lambda c: c.update(steps=c["steps"] + 1)), "was not ended"),
        (changed("codebook/codebook.json", lambda c: c["options"].update(k=3)), "the codebook cannot be opened"),
        (changed("codebook/codebook.json", lambda c: c["options"].update(k=2**40)), "the codebook cannot be"),
        (changed("codebook/codebook.json", lambda c: c.update(examples={"0": ["a", 1.5]})), "names moments"),
        (changed("codebook/codebook.json", lambda c: c.pop("fitted_elsewhere")), "fitted_elsewhere"),
        (lambda f: (f / "tokenizer.json").write_text("[]"), "the model cannot be opened"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 64), "header"),
        (link, "README.md is missing or no file"),
    ],
)  # fmt: skip
def test_a_folder_that_was_made_to_harm_is_one_line(folder, tmp_path, change, named):
    import re

    change(folder)
    seal(folder)
    line = refused(folder, tmp_path / "store")
    assert re.search(named, line), line


def test_a_store_with_a_model_or_with_other_features_refuses_it(origin, exported, tmp_path):
    with Catalogue(origin.catalogue) as catalogue, pytest.raises(InputError, match="a model of its own"):
        import_model(origin, catalogue, exported)
    assert current(origin)["imported_model"] is None
    wide = tmp_path / "wide"
    wide.mkdir()
    np.save(wide / "other.npy", np.ones((3, 24), np.float32))
    with open_run(Settings(store=tmp_path / "store")) as run:
        run.given = [], Imports(paths=(wide,), stride=CLIP)
        stages.STAGES["import"](run)
        with pytest.raises(InputError, match="video other: .*24 numbers wide.*16 numbers wide"):
            import_model(run.store, run.catalogue, exported)
        assert run.catalogue.current("codebook") is None


def test_a_damaged_import_is_told_and_mended_by_another(taken, exported, tmp_path):
    store = Store(shutil.copytree(taken.root, tmp_path / "store"))
    weights = checkpoints.latest(store.model(current(store)["model"])) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with store.writing(), Catalogue(store.catalogue) as catalogue:
        assert not can_be_made_again(store, catalogue, weights.parent), "no run trains another in its place"
        (fault,) = examine(store, catalogue, lambda *_: None)[1]
        assert "import it again" in fault.remedy
        import_model(store, catalogue, exported)
        assert examine(store, catalogue, lambda *_: None)[1] == []
        assert catalogue.current("next_model") is None, "it is in use already, with its index"


def killed(work, at: int, monkeypatch) -> None:
    """Does the work in a copy of this process, which ends by SIGKILL when it copies its file number ``at``."""
    child = os.fork()
    if child:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        return
    copy, done = shutil.copyfile, []

    def copied(source, to):
        done.append(to)
        if len(done) == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return copy(source, to)

    try:
        monkeypatch.setattr(shutil, "copyfile", copied)
        work()
    finally:
        os._exit(1)


def test_killed_in_between_nothing_is_half(origin, exported, tmp_path, monkeypatch):
    to, store = tmp_path / "given" / "model", Store(tmp_path / "store")
    to.parent.mkdir()

    def give() -> None:
        with Catalogue(origin.catalogue, read_only=True) as catalogue:
            export_model(origin, catalogue, to)

    def take() -> None:
        with store.writing(), Catalogue(store.catalogue) as catalogue:
            import_model(store, catalogue, exported)

    for at in (1, 4):
        killed(give, at, monkeypatch)
        assert not to.exists()
        killed(take, at, monkeypatch)
        assert current(store)["next_model"] is None
    give()
    assert [p.name for p in to.parent.iterdir()] == ["model"], "what the killed ones left is gone"
    take()
    assert current(store)["next_model"] == current(origin)["model"]
    assert not list(store.root.rglob("*.part"))
