"""`videobert export` and `import-model`: from one store to another, and what is refused before any work begins."""

import json

import pytest
from command import run_inside
from tiny_store import three_videos_to_train_on

from multimodal.catalogue import Catalogue
from multimodal.store import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return three_videos_to_train_on(tmp_path_factory.mktemp("store"))


@pytest.mark.long
def test_from_one_store_to_another(home, store, tmp_path, capsys):
    to, other = tmp_path / "given", tmp_path / "other"
    ended = home.run("export", "--to", to, "--store", store.root, "--json")
    assert ended.returncode == 0, ended.stderr
    made = json.loads(ended.stdout)
    assert made["model"] == "m" and made["folder"] == str(to) and (to / "manifest.json").is_file()
    ended = home.run("import-model", to, "--store", other)
    assert ended.returncode == 0, ended.stderr
    assert "model m" in ended.stdout and "4 visual tokens" in ended.stdout
    with Catalogue(Store(other).catalogue, read_only=True) as catalogue:
        assert (catalogue.current("next_model"), catalogue.current("codebook")) == ("m", made["codebook"])
    again = run_inside(capsys, "export", "--to", to, "--store", store.root)
    assert again.returncode == 2 and f"--to {to}: is there already" in again.stderr.splitlines()[-1]


def test_a_folder_that_is_no_model_makes_no_store(tmp_path, capsys):
    ended = run_inside(capsys, "import-model", tmp_path, "--store", tmp_path / "store")
    assert ended.returncode == 2 and "has no manifest.json" in ended.stderr.splitlines()[-1]
    assert not (tmp_path / "store").exists()
