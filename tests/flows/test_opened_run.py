"""An opened run: who finds it, and when the model that it holds is loaded anew."""

import pytest
from tiny_store import add, finish, paint

from flows.opened_run import open_run
from flows.settings import Settings
from multimodal.catalogue import Catalogue
from multimodal.store import InputError, Store


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    folder = tmp_path_factory.mktemp("opened")
    made = Store(folder / "store")
    with Catalogue(made.catalogue) as catalogue:
        add(made, catalogue, paint(folder / "a.mp4", [0, 1] * 3), [0, 1] * 3, ["chop the carrot", "wash it"])
        finish(made, catalogue, [])
    return made


def test_a_stage_finds_the_run_that_is_open_with_its_settings(store, tmp_path):
    with open_run(Settings(store=store.root, epochs=3, device="cpu")) as run:
        with open_run(run.settings) as found:
            assert found is run
        with open_run(Settings(store=tmp_path / "other")) as other:
            assert other is not run and other.store.root == tmp_path / "other"
        with open_run(run.settings) as found:
            assert found is run
    with open_run(Settings(store=store.root, device="cpu")) as later:
        assert later is not run and later.settings.epochs == 3


def test_the_model_is_loaded_once_and_again_when_there_is_another(store):
    with open_run(Settings(store=store.root, device="cpu")) as run:
        first = run.trained
        assert run.trained is first
        run.set_model(first.name, first.codebook)
        assert run.trained is not first


def test_a_run_that_may_not_make_its_store(tmp_path):
    with (
        pytest.raises(InputError, match="nowhere"),
        open_run(Settings(store=tmp_path / "nowhere"), create=False),
    ):
        pytest.fail("it was opened")
