"""Where a model starts: a checkpoint by name, or any BERT's folder; what is not one is refused in a line."""

import json
import shutil

import pytest

from multimodal.pretraining import text_start
from multimodal.store import InputError


@pytest.fixture
def bert(weights_or_skip, tmp_path):
    return shutil.copytree(weights_or_skip("minilm-l6").parent, tmp_path / "bert")


def test_a_folder_in_hugging_face_layout_is_a_start(bert):
    assert text_start(str(bert)) == bert


def test_a_name_that_is_neither(tmp_path):
    with pytest.raises(
        InputError,
        match=r"--text-start bert-base-uncased: config.json is not there; name minilm-l6, or a folder",
    ):
        text_start("bert-base-uncased")


def test_a_folder_without_a_vocabulary(bert):
    (bert / "vocab.txt").unlink()
    with pytest.raises(InputError, match="vocab.txt is not there"):
        text_start(str(bert))


def test_another_activation_is_not_read_as_gelu(bert):
    config = json.loads((bert / "config.json").read_text()) | {"hidden_act": "relu"}
    (bert / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="its activation is relu; only BERTs with gelu are read"):
        text_start(str(bert))
