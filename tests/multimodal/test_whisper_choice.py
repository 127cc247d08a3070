"""`--whisper`: a published name, or a file that is known by its content."""

import pytest

from multimodal.catalogue import Video
from multimodal.intake import ingest, model_cache
from multimodal.intake.ingest_options import IngestOptions
from multimodal.store import InputError


def test_a_file_is_known_by_its_content(tmp_path):
    first, second = tmp_path / "a.pt", tmp_path / "b.pt"
    first.write_bytes(b"one")
    second.write_bytes(b"one")
    video = Video("0" * 64, "v.mp4", str(tmp_path / "v.mp4"), 0, "new", "")
    made = {ingest.whole_recipe(video, IngestOptions(whisper=str(path))) for path in (first, second)}
    assert len(made) == 1
    second.write_bytes(b"another")
    assert ingest.whole_recipe(video, IngestOptions(whisper=str(second))) not in made


def test_neither_a_name_nor_a_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"--whisper huge: .*tiny\.en"):
        IngestOptions(whisper="huge")


def test_a_file_that_is_no_model_is_refused_in_one_line(tmp_path):
    (tmp_path / "text.pt").write_text("not a checkpoint")
    with pytest.raises(InputError, match=r"--whisper .*text\.pt") as caught:
        model_cache.whisper(str(tmp_path / "text.pt"), "cpu")
    assert "\n" not in str(caught.value)
