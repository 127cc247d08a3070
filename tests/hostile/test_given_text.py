"""Caption files and text checkpoints that were made to cost time and memory, or to run code."""

import json
import resource
import time
import zipfile
from pathlib import Path

import imported_corpus
import pytest
import torch

from multimodal.intake import caption_reading
from multimodal.intake.sandbox import Limits
from multimodal.joint.bert_checkpoint import LARGEST_HEADER, read_bert
from multimodal.joint.weights_pickle import read_weights_pickle
from multimodal.store import InputError
from multimodal.vocabulary import LARGEST_TOKENIZER, Vocabulary
from speech import caption_files
from speech.cues import Cue
from speech.errors import SpeechError

CUE = "WEBVTT\n\n00:01.000 --> 00:05.000\n"


def test_one_cue_of_4_mb_is_refused_in_a_line_and_read_in_the_child(tmp_path):
    """It took 39 s and 1 GB in the process that holds the store. The files beside it are read."""
    large, small = tmp_path / "a.vtt", tmp_path / "b.vtt"
    large.write_text(CUE + "word " * 800_000 + "\n")
    small.write_text(CUE + "Peel them.\n")
    before = resource.getrusage(resource.RUSAGE_SELF)
    found = caption_reading.read_files([large, small], [None, None], None, None, Limits())
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert "4000000 characters" in found[0].problem and "part it" in found[0].problem
    assert found[0].problem.startswith("a.vtt") and "\n" not in found[0].problem
    assert (found[1].problem, found[1].held) == ("", "1 cue")
    assert after.ru_utime - before.ru_utime < 1 and after.ru_maxrss - before.ru_maxrss < 50 << 10


def test_a_file_that_stops_its_child_costs_itself_alone(tmp_path):
    files = [tmp_path / f"{n}.vtt" for n in range(2)]
    for file in files:
        file.write_text(CUE + "Peel them.\n")
    found = caption_reading.read_files(files, [None, None], None, None, Limits(seconds=0.01))
    assert [f.problem.endswith("leave the file out, or split it") for f in found] == [True, True]


@pytest.mark.parametrize(
    ("cues", "says"),
    [
        ([Cue(1, 2, "a")] * (caption_files.MOST_CUES + 1), "200001 cues"),
        ([Cue(1, 2, "a" * 1_000_000)] * 9, "9000000 characters"),
    ],
)
def test_more_text_than_anybody_speaks_is_refused(cues, says):
    with pytest.raises(SpeechError, match=f": {says}.*at most.*split it"):
        caption_files.of_cues(cues)
    assert caption_files.of_cues(cues[:8]).cues, "the control"


class Trap:
    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


def test_a_checkpoint_of_before_2020_is_read_and_its_numbers_are_the_same(tmp_path):
    tensors = {"a": torch.randn(30, 20).half(), "b": torch.arange(5), "c": torch.randn(3).t()}
    for new in (False, True):
        torch.save(tensors | {"n": 7}, tmp_path / "w.bin", _use_new_zipfile_serialization=new)
        found = read_weights_pickle(tmp_path / "w.bin")
        assert {
            name: torch.equal(found[name].float(), tensors[name].float()) for name in found
        } == dict.fromkeys("abc", True)


def test_a_packed_checkpoint_is_refused_before_it_is_unpacked(tmp_path):
    torch.save({"a": torch.zeros(10 << 20)}, tmp_path / "plain.bin")
    with (
        zipfile.ZipFile(tmp_path / "plain.bin") as plain,
        zipfile.ZipFile(tmp_path / "packed.bin", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for member in plain.namelist():
            packed.writestr(member, plain.read(member))
    assert (tmp_path / "packed.bin").stat().st_size * 500 < (tmp_path / "plain.bin").stat().st_size
    assert torch.load(tmp_path / "packed.bin", weights_only=True)["a"].numel() == 10 << 20, "the control"
    with pytest.raises(InputError, match="packed.bin: its members are packed.*safetensors"):
        read_weights_pickle(tmp_path / "packed.bin")


def test_a_tensor_that_shows_one_number_many_times_is_refused(tmp_path):
    torch.save({"a": torch.zeros(1).expand(100_000, 100_000)}, tmp_path / "w.bin")
    with pytest.raises(InputError, match="w.bin: its tensors have more numbers"):
        read_weights_pickle(tmp_path / "w.bin")


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    torch.save({"a": Trap(tmp_path / "trap")}, tmp_path / "w.bin")
    with pytest.raises(InputError, match=r"w.bin: cannot be read as weights"):
        read_weights_pickle(tmp_path / "w.bin")
    assert not (tmp_path / "trap").exists()
    torch.load(tmp_path / "w.bin", weights_only=False)
    assert (tmp_path / "trap").exists(), "the control"


def test_a_tokenizer_is_read_as_words_alone_and_no_larger_than_any_there_is(tmp_path):
    """Its patterns are not compiled, so none of them can take exponential time."""
    folder = imported_corpus.write_bert(tmp_path / "bert")
    words = (folder / "vocab.txt").read_text().split()
    endless = {"type": "Split", "pattern": {"Regex": "(x+x+)+y"}, "behavior": "Isolated", "invert": False}
    tokenizer = {
        "model": {"type": "WordPiece", "vocab": {word: n for n, word in enumerate(words)}},
        "normalizer": {"type": "BertNormalizer", "lowercase": True, "strip_accents": None},
        "pre_tokenizer": endless,
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    began = time.process_time()
    try:
        assert Vocabulary.of_bert(folder, 4).encode("x" * 64)
    except InputError as error:
        assert "tokenizer.json" in str(error)
    assert time.process_time() - began < 5
    with (folder / "tokenizer.json").open("r+b") as file:
        file.truncate(LARGEST_TOKENIZER + 1)
    with pytest.raises(InputError, match="bytes"):
        Vocabulary.of_bert(folder, 4)


def test_a_header_of_safetensors_is_no_longer_than_any_there_is(tmp_path):
    """One of 95 MB, which the format admits, takes 80 CPU seconds and 2 GB."""
    folder = imported_corpus.write_bert(tmp_path / "bert")
    read_bert(folder)
    (folder / "model.safetensors").write_bytes(
        (LARGEST_HEADER + 8).to_bytes(8, "little") + bytes(LARGEST_HEADER + 8)
    )
    with pytest.raises(InputError, match="header"):
        read_bert(folder)
