"""The vocabulary: words keep their ids, and no spoken text becomes a special or a visual token."""

import dataclasses
import json

import joint_samples
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from multimodal.examples.packing import sequence
from multimodal.vocabulary import SPECIALS, Vocabulary, visual_name

KITCHEN = joint_samples.vocabulary()
PIECES = [w for w in KITCHEN.words if w.isalpha()]


def test_the_order_of_ids():
    assert KITCHEN.name(0) == "[PAD]"
    assert KITCHEN.name(KITCHEN.join) == "[>]" and KITCHEN.join == len(KITCHEN.words)
    assert KITCHEN.name(KITCHEN.first_visual) == "v00000" and KITCHEN.first_visual == len(KITCHEN.words) + 1
    assert KITCHEN.name(KITCHEN.size - 1) == visual_name(KITCHEN.visual - 1) == "v00015"


@pytest.mark.parametrize(
    "text", ["[MASK]", "[>]", "v00012", "[CLS] [SEP] [PAD] [UNK]", "cut v00001 [unused0]"]
)
def test_special_words_in_a_transcript_stay_words(text):
    special = {KITCHEN.pad, KITCHEN.cls_id, KITCHEN.sep, KITCHEN.mask}
    ids = KITCHEN.encode(text)
    assert ids and not special & set(ids)
    assert all(i < len(KITCHEN.words) and not KITCHEN.words[i].startswith("[unused") for i in ids)


@given(st.text(max_size=80))
def test_nothing_said_becomes_a_special_or_visual_token(text):
    special = {KITCHEN.pad, KITCHEN.cls_id, KITCHEN.sep, KITCHEN.mask}
    assert all(i < len(KITCHEN.words) and i not in special for i in KITCHEN.encode(text))


@given(st.lists(st.sampled_from(PIECES), max_size=20))
def test_words_come_back(words):
    assert KITCHEN.decode(KITCHEN.encode(" ".join(words))) == " ".join(words)


def test_pieces_are_put_together_and_case_is_dropped():
    assert KITCHEN.decode(KITCHEN.encode("SLOWLY stir")) == "slowly stir"
    assert KITCHEN.decode([KITCHEN.join, KITCHEN.first_visual + 3]) == "[>] v00003"


def test_written_and_read_back(tmp_path):
    KITCHEN.write(tmp_path)
    assert Vocabulary.load(tmp_path) == KITCHEN
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert tokenizer.get_vocab_size() == KITCHEN.size
    for i in range(KITCHEN.size):
        assert tokenizer.id_to_token(i) == KITCHEN.name(i)
    assert tokenizer.token_to_id("v00000") == len(KITCHEN.words) + 1


def test_minilm_words_keep_their_ids(weights_or_skip, tmp_path):
    transformers = pytest.importorskip("transformers")
    file = weights_or_skip("minilm-l6").parent / "vocab.txt"
    real = Vocabulary.of_bert(file.parent, 1728)
    theirs = transformers.BertTokenizer(vocab=str(file), do_lower_case=True)
    for text in (
        "Now let's flip the pancake over; it's golden-brown!",
        "Crème brûlée, 250 g of jalapeños: naïve? (about 1/2 cup)",
        "数据 science & the world's    whitespace\tand\u200bjoiners",
        "antidisestablishmentarianism " + "x" * 150,
    ):
        assert real.encode(text) == theirs.encode(text, add_special_tokens=False)
    real.write(tmp_path)
    assert Vocabulary.load(tmp_path) == real
    assert Tokenizer.from_file(str(tmp_path / "tokenizer.json")).token_to_id("v00000") == len(real.words) + 1


def test_specials_are_never_stand_ins():
    words = {KITCHEN.words[i] for i in KITCHEN.replaceable_words}
    assert not words & {*SPECIALS, "[unused0]", "[unused1]"}
    assert {"[", "]", "cut", "##ly"} <= words
    assert len(dataclasses.replace(KITCHEN, visual=3).replaceable_words) == len(words)


def test_transformers_reads_the_tokenizer_with_our_ids(weights_or_skip, tmp_path):
    """The same ids for text, for text with [>] and visual tokens in it, and for a pair, with the model's token types."""
    transformers = pytest.importorskip("transformers")
    real = Vocabulary.of_bert(weights_or_skip("minilm-l6").parent, 12**3)
    real.write(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert len(theirs) == real.size
    words, tokens = "Now flip the crème brûlée, it's golden-brown!", [0, 7, 12**3 - 1]
    shown = " ".join(visual_name(t) for t in tokens)
    ids, types = sequence(real, real.encode(words), tokens)
    assert theirs(f"{words} [>] {shown}")["input_ids"] == ids
    pair = theirs(words, shown)
    assert (pair["input_ids"], pair["token_type_ids"]) == (ids, types)
    alone = theirs(words)
    assert (alone["input_ids"], alone["token_type_ids"]) == sequence(real, real.encode(words), None)
    masked = theirs("now [MASK] it", "v00001 [MASK]")["input_ids"]
    assert masked.count(real.mask) == 2 and theirs.mask_token_id == real.mask
    assert theirs.decode(ids, skip_special_tokens=True).endswith(shown), "a visual token is no special one"
    assert {theirs.cls_token_id, theirs.sep_token_id, theirs.pad_token_id} == {
        real.cls_id,
        real.sep,
        real.pad,
    }
    assert real.first_visual not in theirs("v000001 xv00000")["input_ids"]


@pytest.mark.parametrize("lower", [True, False])
def test_a_cased_vocabulary_keeps_case(tmp_path, lower):
    transformers = pytest.importorskip("transformers")
    words = [*SPECIALS, "cut", "Cut", "caf", "##e", "##é", "##E"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": lower}))
    found = Vocabulary.of_bert(tmp_path, 3)
    theirs = transformers.BertTokenizer(vocab=str(tmp_path / "vocab.txt"), do_lower_case=lower)
    for text in ("Cut café", "cut cafe", "CUT"):
        assert found.encode(text) == theirs.encode(text, add_special_tokens=False)
    assert found.encode("Cut") == [words.index("cut" if lower else "Cut")]
    (tmp_path / "ours").mkdir()
    found.write(tmp_path / "ours")
    assert Vocabulary.load(tmp_path / "ours") == found


def test_a_vocabulary_is_cut_at_line_feeds_alone(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIALS, "a\u2028b", "\x1c", "cut"]) + "\n")
    assert Vocabulary.of_bert(tmp_path, 1).words[-3:] == ("a\u2028b", "\x1c", "cut")
