"""What a new codebook makes out of date."""

import pytest

from flows.cli import app
from multimodal.catalogue import Catalogue
from multimodal.codebook_in_use import out_of_date, remedy
from multimodal.store import Store

ALL = ("model", "captioner", "index", "evaluation")


@pytest.mark.parametrize(
    ("captioner", "old"),
    [(None, ("model", "index", "evaluation")), ("", ("model", "index", "evaluation")), ("of-old", ALL)],
    ids=["never made", "nothing to learn from", "made"],
)
def test_a_model_of_another_codebook_is_out_of_date_with_what_it_made(tmp_path, captioner, old):
    store = Store(tmp_path / "store")
    with Catalogue(store.catalogue) as catalogue:
        catalogue.set_current("codebook", "new")
        if captioner is not None:
            catalogue.set_current("captioner", captioner)
        assert out_of_date(catalogue) == ()
        for codebook, expected in (("new", ()), ("old", old)):
            catalogue.set_current("model_codebook", codebook)
            assert out_of_date(catalogue) == expected


def test_the_remedy_names_a_command_for_each():
    said = remedy(ALL)
    assert all(kind in said for kind in ALL) and "\n" not in said
    commands = [part.removeprefix("videobert ") for part in said.split("`")[1::2]]
    assert commands == ["pretrain", "captioner", "index", "evaluate"]
    assert all(app[command] for command in commands)
    assert "captioner" not in remedy(tuple(kind for kind in ALL if kind != "captioner"))
