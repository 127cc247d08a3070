"""A store with malicious content: no code is run, nothing outside is read or removed, and errors are one line."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from multimodal.catalogue import Catalogue, Video
from multimodal.inference.trained import load_trained
from multimodal.joint.model import JointBert
from multimodal.joint.options import ModelOptions
from multimodal.store import InputError, Store, publish_folder
from multimodal.training.checkpoints import check
from multimodal.vocabulary import Vocabulary

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cut", "the", "onion")


class Trap:
    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


def model(store: Store) -> Path:
    folder = store.model("m") / "step-1"
    options = ModelOptions(
        len(WORDS) + 4, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    with publish_folder(folder) as beside:
        JointBert(options).init_weights(0).save(beside)
        Vocabulary(WORDS, 3).write(beside)
    return folder


def test_the_untouched_model_opens(store):
    check(model(store))
    assert load_trained(store, "m", "c", "cpu").vocabulary == Vocabulary(WORDS, 3)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_pickle_in_a_model_folder_is_not_run(store, tmp_path, name):
    folder, trap = model(store), tmp_path / "trap"
    (folder / name).write_bytes(pickle.dumps(Trap(trap)))
    with pytest.raises(InputError, match=name):
        load_trained(store, "m", "c", "cpu")
    assert not trap.exists()


def test_a_pickle_beside_the_model_is_not_run(store, tmp_path):
    folder, trap = model(store), tmp_path / "trap"
    for name in ("pytorch_model.bin", "training_args.bin", "model.pkl"):
        (folder / name).write_bytes(pickle.dumps(Trap(trap)))
    with pytest.raises(InputError, match="model.pkl|pytorch_model.bin|training_args.bin"):
        load_trained(store, "m", "c", "cpu")
    assert not trap.exists()


def test_only_what_is_opened_is_hashed(store):
    """A question reads no optimizer state, so it does not pay for its check; the check of everything still finds it."""
    folder = model(store)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "optimizer.safetensors").write_bytes(b"changed")
    manifest["files"]["optimizer.safetensors"] = "0" * 64
    (folder / "manifest.json").write_text(json.dumps(manifest))
    load_trained(store, "m", "c", "cpu")
    with pytest.raises(InputError, match="optimizer.safetensors"):
        check(folder)


def test_a_manifest_that_names_files_elsewhere_is_refused(store, tmp_path):
    folder = model(store)
    (tmp_path / "secret").write_text("s")
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in ("../../../../secret", "/etc/hostname", "config.json/../../../../../secret"):
        changed = {"files": manifest["files"] | {name: "0" * 64}}
        (folder / "manifest.json").write_text(json.dumps(changed))
        with pytest.raises(InputError, match="not as"):
            check(folder)


def test_sweeping_does_not_follow_links_out_of_the_store(store, tmp_path):
    outside = tmp_path / "outside"
    (outside / ".precious.part").mkdir(parents=True)
    (outside / ".precious.part" / "file").write_text("keep")
    (store.root / ".link.part").symlink_to(outside)
    (store.root / "codebooks").symlink_to(outside)
    (store.root / ".file.part").symlink_to(outside / ".precious.part" / "file")
    with store.writing():
        pass
    assert (outside / ".precious.part" / "file").read_text() == "keep"
    assert not (store.root / ".link.part").is_symlink() and not (store.root / ".file.part").is_symlink()


def test_a_lock_that_is_full_of_words_is_only_shown(store):
    (store.root / ".lock").write_text("x" * 100 + "\n" * 3)
    with store.writing():
        assert (store.root / ".lock").read_text().split()[0] == str(os.getpid())


@pytest.mark.parametrize(
    "name", ["'; DROP TABLE videos; --", "../../etc/passwd", "a\nb\x1b[31m.mp4", "%s{}", ""]
)
def test_a_strange_name_is_only_a_label(store, name):
    with Catalogue(store.catalogue) as catalogue:
        catalogue.put(Video("a" * 64, name, f"/videos/{name}", 1, "done"))
        assert catalogue.find("a" * 64).name == catalogue.find(name).name == name
        assert len(catalogue.videos()) == 1
        with pytest.raises(InputError):
            catalogue.find(name + "?")


@pytest.mark.parametrize("at", [0, 20, 100, 2000, 4096, 8200, 12200, 16300])
def test_a_damaged_catalogue_is_an_error_in_words(store, at):
    with Catalogue(store.catalogue) as catalogue:
        catalogue.put(Video("a" * 64, "a.mp4", "/a.mp4", 1))
    for beside in ("-wal", "-shm"):
        Path(f"{store.catalogue}{beside}").unlink(missing_ok=True)
    data = bytearray(store.catalogue.read_bytes())
    data[at : at + 200] = np.random.default_rng(0).bytes(200)
    store.catalogue.write_bytes(data)
    try:
        with Catalogue(store.catalogue) as catalogue:
            catalogue.videos()
            assert catalogue.get("a" * 64) in (None, Video("a" * 64, "a.mp4", "/a.mp4", 1))
    except InputError as error:
        assert "catalogue" in str(error) and "\n" not in str(error)
    else:
        assert at > 100, "a damaged header is always found"
