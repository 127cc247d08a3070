"""Byte-level byte pairs: learned alike everywhere, nothing is unknown, and a RoBERTa is the BERT that it is."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import joint_samples
import numpy as np
import padding
import pytest
import random_store
import torch
from hypothesis import given
from hypothesis import strategies as st

from flows.settings import Settings
from multimodal.byte_pairs import BytePairVocabulary, load_vocabulary
from multimodal.examples.packing import Example, pack, sequence
from multimodal.inference.trained import load_trained
from multimodal.joint.initialization import from_checkpoint
from multimodal.joint.options import Shape
from multimodal.store import InputError
from multimodal.systems import SYSTEMS
from multimodal.terms import TEXT
from multimodal.training import checkpoints
from multimodal.training.options import PretrainOptions
from multimodal.training.pretraining import pretrain
from multimodal.vocabulary import SPECIALS, TrimmedVocabulary, Vocabulary

transformers = pytest.importorskip("transformers")
SAID = [s.text for m in joint_samples.materials() for s in m.transcript.sentences] + [
    "Crème brûlée, don't burn it: 3.5 minutes!",
    "crème brûlée again; don't.",
]
V = BytePairVocabulary.learn(SAID, 16)
ROBERTA = SYSTEMS["roberta"]
LEARN = "import sys, json; from multimodal.byte_pairs import *; v = BytePairVocabulary.learn(json.load(sys.stdin), 3); print(json.dumps([v.words, v.merges]))"  # fmt: skip


def pairs_counted(words: dict[tuple[str, ...], int]) -> dict[tuple[str, str], int]:
    counts: dict[tuple[str, str], int] = {}
    for word, n in words.items():
        for pair in zip(word, word[1:], strict=False):
            counts[pair] = counts.get(pair, 0) + n
    return counts


def test_each_merge_is_of_a_most_frequent_pair():
    """Sennrich et al. 2016, algorithm 1, written out over the pre-tokenized words."""
    words: dict[tuple[str, ...], int] = {}
    for text in SAID:
        parts = V._tokenizer
        for word, _ in parts.pre_tokenizer.pre_tokenize_str(parts.normalizer.normalize_str(f" {text}")):
            words[tuple(word)] = words.get(tuple(word), 0) + 1
    assert len(V.merges) > 50
    for one, other in V.merges:
        counts = pairs_counted(words)
        assert counts[one, other] == max(counts.values()) >= 2
        merged: dict[tuple[str, ...], int] = {}
        for word, n in words.items():
            pieces: list[str] = []
            for piece in word:
                both = bool(pieces) and (pieces[-1], piece) == (one, other)
                pieces[-1:] = [one + other] if both else [*pieces[-1:], piece]
            merged[tuple(pieces)] = merged.get(tuple(pieces), 0) + n
        words = merged
    assert max(pairs_counted(words).values()) < 2, "no pair is left that occurs twice"


def test_another_process_and_another_order_learn_the_same(child_environment):
    wanted = [list(V.words), [list(pair) for pair in V.merges]]
    for texts, threads in ((SAID, "1"), (SAID[::-1], "4")):
        found = subprocess.run([sys.executable, "-c", LEARN], input=json.dumps(texts), text=True, check=True,
                               capture_output=True, env=child_environment | {"RAYON_NUM_THREADS": threads})  # fmt: skip
        assert json.loads(found.stdout) == wanted


@given(st.text(max_size=60))
def test_nothing_is_unknown_and_no_text_becomes_a_special_or_visual_token(text):
    ids = V.encode(text)
    assert all(i < len(V.words) for i in ids) and not V.specials & set(ids)
    again = BytePairVocabulary(V.words, 16, V.lowercase, None, V.merges)
    assert again.encode(text) == ids


@given(st.lists(st.sampled_from(["cut", "the", "onion", "brûlée", "slowly", "wok", "ingwer"]), min_size=1))
def test_words_come_back(words):
    assert V.decode(V.encode(" ".join(words))) == " ".join(words)


def test_marks_and_case():
    assert V.decode(V.encode("Now CUT the onion, don't.")) == "now cut the onion, don't."
    assert V.decode([V.join, V.first_visual + 3, *V.encode("cut it"), V.mask]) == "[>] v00003 cut it [MASK]"
    assert V.encode(".") == V.encode("cut.")[-1:], "a mark after a blank is that after a word"


def test_which_pieces_begin_a_word():
    ids = V.encode("onion ingwer.")
    begins = [i not in V.continuing_pieces for i in ids]
    assert begins[0] and begins[-1] and not all(begins)
    assert V.spellings[V.encode("onion")[0]] == "onion"
    trimmed = TrimmedVocabulary.of(V, ids)
    own = trimmed.encode("onion ingwer.")
    assert [i not in trimmed.continuing_pieces for i in own] == begins
    assert [trimmed.spellings[i] for i in own] == [V.spellings[i] for i in ids]


def test_written_and_read_back(tmp_path):
    V.write(tmp_path)
    assert load_vocabulary(tmp_path) == V
    words = joint_samples.vocabulary()
    words.write(tmp_path)
    assert load_vocabulary(tmp_path) == words and type(load_vocabulary(tmp_path)) is Vocabulary


def test_transformers_reads_the_tokenizer(tmp_path):
    V.write(tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    found = tokenizer("Now [MASK] the onion.", "v00000 v00011")
    text = [*V.encode("now"), V.mask, *V.encode("the onion.")]
    ids, types = sequence(V, text, [0, 11])
    assert (found["input_ids"], found["token_type_ids"]) == (ids, types)


# training


@pytest.fixture
def kitchen(tmp_path):
    return random_store.made(tmp_path / "store")


def options(**parts) -> PretrainOptions:
    training = joint_samples.training(most_steps=4, least_steps=4, examples_per_step=4, checkpoint_steps=2)
    return PretrainOptions(
        "none", Shape(1, 24, 2), training=training, system=dataclasses.replace(ROBERTA, **parts)
    )


def test_pieces_are_learned_from_the_training_videos_and_a_stopped_training_keeps_them(kitchen, monkeypatch):
    store, videos, codebook = kitchen

    def stopped(done: int, total: int, words: str) -> None:
        if done == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        pretrain(store, videos, codebook, options(), "cpu", stopped)
    said = [s.text for m in joint_samples.materials()[:3] for s in m.transcript.sentences[:4]]
    expected = BytePairVocabulary.learn(said, 9)
    root = next(store.model("x").parent.iterdir())
    assert load_vocabulary(checkpoints.latest(root)) == expected
    monkeypatch.setattr(BytePairVocabulary, "learn", lambda *_: pytest.fail("it is learned already"))
    name, folder = pretrain(store, videos, codebook, options(), "cpu", random_store.quiet)
    assert load_trained(store, name, codebook, "cpu").vocabulary == expected
    assert folder.name == "step-4"


@pytest.fixture(scope="module")
def roberta(tmp_path_factory) -> Path:
    """A RoBERTa of random weights in Hugging Face layout, with a tokenizer of its own specials."""
    folder = tmp_path_factory.mktemp("roberta")
    special = dict(zip(SPECIALS, ("<pad>", "<unk>", "<s>", "</s>", "<mask>"), strict=True))
    names = [special.get(word, word) for word in V.words]
    (folder / "vocab.json").write_text(json.dumps({name: i for i, name in enumerate(names)}))
    merges = "".join(f"{one} {other}\n" for one, other in V.merges)
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}")
    config = transformers.RobertaConfig(
        vocab_size=len(names), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=130, type_vocab_size=1, pad_token_id=0, layer_norm_eps=1e-5,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.RobertaForMaskedLM(config)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape)
    model.save_pretrained(folder)
    return folder


def test_a_roberta_is_the_bert_that_it_is(roberta):
    """The logits of `RobertaForMaskedLM`, which is not ours, over its own words."""
    words = BytePairVocabulary.of_roberta(roberta, 5)
    assert words.words[:5] == V.words[:5] and not words.lowercase
    model = from_checkpoint(roberta, words, torch.randn(5, 32), 0).eval()
    other = transformers.RobertaForMaskedLM.from_pretrained(roberta).eval()
    found = []
    for text in ("now cut the onion", "then we stir it slowly in a bowl"):
        ids, types = sequence(words, words.encode(text), None)
        hidden = [words.mask if n == 2 else i for n, i in enumerate(ids)]
        found.append(Example(hidden, types, {TEXT: [(2, ids[2])]}))
    batch, grid = pack(found), padding.padded(found, words.pad)
    answer = other(input_ids=grid["input_ids"], attention_mask=grid["attention_mask"]).logits
    logits = model.cloze(model.encode(batch))
    theirs = answer[grid["attention_mask"].bool()]
    torch.testing.assert_close(logits[:, : len(words.words)], theirs, atol=1e-5, rtol=1e-5)


def test_a_training_begins_with_a_roberta(kitchen, roberta):
    store, videos, codebook = kitchen
    begun = dataclasses.replace(options(), text_start=str(roberta), shape=None)
    name, _ = pretrain(store, videos, codebook, begun, "cpu", random_store.quiet)
    trained = load_trained(store, name, codebook, "cpu")
    assert trained.vocabulary.words == BytePairVocabulary.of_roberta(roberta, 9).words
    assert (
        trained.model.options.max_position_embeddings == 129
        and np.isfinite(trained.model.export_tensors()["cls.predictions.bias"].numpy()).all()
    )


# what is refused


def refused(make) -> str:
    with pytest.raises(InputError) as error:
        make()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_words_of_a_bert_are_no_byte_pairs(kitchen, roberta, tmp_path):
    said = refused(lambda: PretrainOptions("minilm-l6", system=ROBERTA))
    assert "--text-start minilm-l6" in said and "--tokenizer byte-bpe" in said
    bert = tmp_path / "bert"
    small = transformers.BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
                                    intermediate_size=8)  # fmt: skip
    transformers.BertForPreTraining(small).save_pretrained(bert)
    for folder, tokenizer in ((bert, "byte-bpe"), (roberta, "wordpiece")):
        wanted = dataclasses.replace(options(tokenizer=tokenizer), text_start=str(folder), shape=None)
        said = refused(lambda wanted=wanted: pretrain(*kitchen, wanted, "cpu", random_store.quiet))
        assert f"--text-start {folder}" in said and f"--tokenizer {tokenizer}" in said


def test_a_system_that_fits_no_bert_begins_at_random_by_itself():
    assert Settings(system="roberta").pretrain.text_start == "none"
    assert Settings(system="roberta", tokenizer="wordpiece").pretrain.text_start == "minilm-l6"
    assert "--tokenizer" in refused(lambda: Settings(system="roberta", text_start="minilm-l6"))


@pytest.mark.parametrize("broken", [{}, {"vocab.json": "[]"}, {"vocab.json": "{}", "merges.txt": ""}])
def test_a_folder_without_byte_pairs_is_refused(broken, tmp_path):
    for name, text in broken.items():
        (tmp_path / name).write_text(text)
    assert str(tmp_path) in refused(lambda: BytePairVocabulary.of_roberta(tmp_path, 3))
