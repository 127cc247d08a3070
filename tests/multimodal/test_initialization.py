"""Initialization: from a BERT's folder in the forms that such folders have, or from scratch; and the visual rows."""

import json
import shutil
from pathlib import Path

import joint_samples
import pytest
import torch
from safetensors.torch import load_file, save_file

from multimodal.examples.packing import Example, pack, sequence
from multimodal.joint.initialization import from_checkpoint, from_scratch, visual_rows
from multimodal.joint.layout import TABLE
from multimodal.joint.model import JointBert
from multimodal.joint.options import Shape
from multimodal.store import InputError
from multimodal.vocabulary import Vocabulary

transformers = pytest.importorskip("transformers")
V = joint_samples.vocabulary()
CENTROIDS = torch.randn(V.visual, 1024, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def text_bert() -> torch.nn.Module:
    small = transformers.BertConfig(vocab_size=len(V.words), hidden_size=32, num_hidden_layers=2,
                                    num_attention_heads=4, intermediate_size=64, max_position_embeddings=128)  # fmt: skip
    torch.manual_seed(0)
    bert = transformers.BertForPreTraining(small).eval()
    for parameter in bert.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return bert


@pytest.fixture
def folder(text_bert, tmp_path) -> Path:
    """As `transformers` saves a BERT, with the vocabulary in a vocab.txt."""
    text_bert.save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_text("".join(f"{w}\n" for w in V.words))
    return tmp_path


def rewrite(folder: Path, change) -> None:
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})


def first_release(name: str) -> str:
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


def as_first_release(folder: Path) -> None:
    """A pickle of old names, with a position table and a decoder written out."""
    given = load_file(folder / "model.safetensors")
    old = {first_release(name): tensor for name, tensor in given.items()}
    old["bert.embeddings.position_ids"] = torch.arange(128)[None]
    old["cls.predictions.decoder.weight"] = given[TABLE]
    torch.save(old, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def as_encoder_alone(folder: Path) -> None:
    rewrite(
        folder,
        lambda given: {n.removeprefix("bert."): t for n, t in given.items() if not n.startswith("cls.")},
    )


def as_half(folder: Path) -> None:
    rewrite(folder, lambda given: {n: t.half() for n, t in given.items()})


def with_tokenizer_json(folder: Path) -> None:
    transformers.BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    (folder / "vocab.txt").unlink(missing_ok=True)
    assert (folder / "tokenizer.json").is_file()


def logits(text_bert: torch.nn.Module, model: JointBert) -> tuple[tuple[torch.Tensor, ...], ...]:
    """Hidden states, cloze logits of the words and sequence logits of the same sentence in both."""
    ids, types = sequence(V, V.encode("now [MASK] the onion"), None)
    batch = pack([Example(ids, types)])
    with torch.no_grad():
        x_TH = model.encode(batch)
        answer = text_bert(
            torch.tensor([ids]), token_type_ids=torch.tensor([types]), output_hidden_states=True
        )
    mine = (x_TH, model.cloze(x_TH)[:, : len(V.words)], model.alignment(x_TH, batch)[0])
    theirs = (answer.hidden_states[-1][0], answer.prediction_logits[0], answer.seq_relationship_logits[0])
    return mine, theirs


def as_padded(folder: Path) -> None:
    """As `resize_token_embeddings(pad_to_multiple_of=64)` leaves a BERT: more rows than word pieces."""
    bert = transformers.BertForPreTraining.from_pretrained(folder)
    bert.resize_token_embeddings(len(V.words), pad_to_multiple_of=64)
    bert.save_pretrained(folder)
    assert len(load_file(folder / "model.safetensors")[TABLE]) == 64 > len(V.words)


@pytest.mark.parametrize(
    "form", [None, as_first_release, as_encoder_alone, as_half, with_tokenizer_json, as_padded]
)
def test_a_bert_in_each_form_keeps_its_answers(text_bert, folder, form):
    if form:
        form(folder)
    words = Vocabulary.of_bert(folder, V.visual)
    assert words == V
    model = from_checkpoint(folder, words, CENTROIDS, 0).eval()
    exact = {"atol": 2e-2, "rtol": 1e-2} if form is as_half else {"atol": 1e-5, "rtol": 1e-4}
    for mine, theirs in list(zip(*logits(text_bert, model), strict=True))[
        : 1 if form is as_encoder_alone else 3
    ]:
        torch.testing.assert_close(mine, theirs, **exact)


def test_minilm_keeps_its_words_and_takes_rows_for_tokens(weights_or_skip):
    folder = weights_or_skip("minilm-l6").parent
    given = load_file(folder / "model.safetensors")["embeddings.word_embeddings.weight"]
    words = Vocabulary.of_bert(folder, 16)
    model = from_checkpoint(folder, words, CENTROIDS, 0)
    table = model.state_dict()[TABLE]
    assert table.shape == (30_522 + 1 + 16, 384) and model.options.vocab_size == words.size
    assert torch.equal(table[:30_522], given)
    assert (table[30_523:] - given.mean(0)).std().item() == pytest.approx(given.std().item(), rel=0.1)
    assert all(p.isfinite().all() for p in model.parameters())


def test_frozen_or_trained_rows_begin_the_same(folder):
    trained, frozen = (from_checkpoint(folder, V, CENTROIDS, 0, frozen=f) for f in (False, True))
    assert (trained.options.frozen_rows, frozen.options.frozen_rows) == (0, V.visual)
    ours, theirs = trained.export_tensors(), frozen.export_tensors()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_model_from_scratch_has_the_shape_it_is_given(frozen):
    model = from_scratch(Shape(3, 48, 4), V, CENTROIDS, 5, frozen=frozen)
    o = model.options
    assert (o.num_hidden_layers, o.hidden_size, o.num_attention_heads, o.intermediate_size) == (3, 48, 4, 192)
    table = model.export_tensors()[TABLE]
    assert table.shape == (V.size, 48)
    assert table.std().item() == pytest.approx(0.02, rel=0.1)
    expected = visual_rows(CENTROIDS, 48, table[: len(V.words)], 5)
    assert torch.equal(table[V.first_visual :], expected)
    again = from_scratch(Shape(3, 48, 4), V, CENTROIDS, 5, frozen=frozen).export_tensors()
    assert all(torch.equal(tensor, again[name]) for name, tensor in model.export_tensors().items())


@pytest.mark.parametrize("hidden", [32, 768])
def test_dense_layers_from_scratch_have_the_gain_of_bert_base_at_every_width(hidden):
    layer = from_scratch(Shape(1, hidden, 4), V, CENTROIDS, 0).bert["encoder"]["layer"][0]
    x = torch.randn(400, hidden, generator=torch.Generator().manual_seed(0))
    for part in (layer.attention["self"].query, layer.intermediate["dense"]):
        assert part(x).std().item() == pytest.approx(0.02 * 768**0.5, rel=0.1)
    if hidden == 768:
        plain = JointBert(from_scratch(Shape(1, hidden, 4), V, CENTROIDS, 0).options).init_weights(0)
        query = plain.bert["encoder"]["layer"][0].attention["self"].query
        torch.testing.assert_close(layer.attention["self"].query.weight, query.weight)


def test_the_pad_id_is_the_vocabulary_s(folder):
    """Whatever the checkpoint's config.json says of it."""
    words = Vocabulary((*V.words[1:4], V.words[0], *V.words[4:]), V.visual)
    for said in (0, 7, None):
        configured(pad_token_id=said)(folder)
        assert from_checkpoint(folder, words, CENTROIDS, 0).options.pad_token_id == words.pad == 3


def configured(**wanted):
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text()) | wanted
        (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))

    return change


def saying(name: str, value: object):
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text()) | {name: value}
        (folder / "config.json").write_text(json.dumps(config))

    return change


def without(file: str):
    return lambda folder: (folder / file).unlink()


def holding(file: str, data: bytes):
    return lambda folder: (folder / file).write_bytes(data)


class Touch:
    def __reduce__(self):
        return (Path("pwned").touch, ())


def a_pickle_that_runs(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"bert.x": Touch()}, folder / "pytorch_model.bin")


def with_another_vocabulary(folder: Path) -> None:
    (folder / "vocab.txt").write_text("".join(f"{w}\n" for w in (*V.words, "fennel")))


def with_a_word_twice(folder: Path) -> None:
    (folder / "vocab.txt").write_text("".join(f"{w}\n" for w in (*V.words[:-1], V.words[-2])))


def with_another_tokenizer(folder: Path) -> None:
    with_tokenizer_json(folder)
    given = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(
        json.dumps(given | {"model": {"type": "BPE", "vocab": {}, "merges": []}})
    )


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (configured(hidden_act="relu"), ("hidden_act", "relu")),
        (configured(model_type="gpt2"), ("model_type", "gpt2")),
        (configured(model_type="roberta"), ("word_embeddings",)),
        (configured(position_embedding_type="relative_key"), ("position_embedding_type", "relative_key")),
        (configured(type_vocab_size=1), ("type_vocab_size", "1")),
        (saying("num_attention_heads", 5), ("hidden_size", "32", "num_attention_heads", "5")),
        (saying("num_attention_heads", 0), ("num_attention_heads", "0")),
        (saying("num_attention_heads", True), ("num_attention_heads", "true")),
        (saying("num_hidden_layers", 2.0), ("num_hidden_layers", "2.0")),
        (saying("hidden_size", "32"), ("hidden_size", '"32"')),
        (saying("hidden_size", -32), ("hidden_size", "-32")),
        (saying("intermediate_size", [64] * 99), ("intermediate_size", "[64, 64, ")),
        (saying("max_position_embeddings", None), ("max_position_embeddings", "null")),
        (saying("type_vocab_size", {}), ("type_vocab_size", "{}")),
        (saying("vocab_size", "46"), ("vocab_size", '"46"')),
        (saying("layer_norm_eps", "1e-12"), ("layer_norm_eps", '"1e-12"')),
        (saying("layer_norm_eps", float("nan")), ("layer_norm_eps", "NaN")),
        (saying("layer_norm_eps", 0), ("layer_norm_eps", "0")),
        (saying("hidden_dropout_prob", 1), ("hidden_dropout_prob", "1")),
        (saying("attention_probs_dropout_prob", None), ("attention_probs_dropout_prob", "null")),
        (configured(num_hidden_layers=None), ("config.json", "num_hidden_layers")),
        (configured(num_hidden_layers=3), ("num_hidden_layers", "3", "2")),
        (configured(num_hidden_layers=10**12), ("num_hidden_layers", str(10**12))),
        (configured(intermediate_size=128), ("intermediate_size", "128", "64")),
        (configured(intermediate_size=32), ("64 × 32", "config.json")),
        (configured(hidden_size=2**40), ("hidden_size", str(2**40), "32")),
        (configured(max_position_embeddings=2**50), ("max_position_embeddings", str(2**50))),
        (holding("config.json", b"{"), ("config.json",)),
        (without("vocab.txt"), ("tokenizer.json", "vocab.txt")),
        (holding("vocab.txt", b"\xff\xfe"), ("vocab.txt",)),
        (holding("vocab.txt", b"a\nb\n"), ("vocab.txt", "[PAD]")),
        (holding("tokenizer.json", b"[]"), ("tokenizer.json",)),
        (with_another_tokenizer, ("tokenizer.json", "BPE")),
        (with_a_word_twice, ("vocab.txt", "twice")),
        (with_another_vocabulary, (f"{len(V.words)} × 32", str(len(V.words) + 1))),
        (
            lambda f: (as_padded(f), saying("vocab_size", len(V.words))(f)),
            ("word_embeddings.weight", "64 × 32", str(len(V.words))),
        ),
        (
            lambda f: (as_padded(f), rewrite(f, lambda g: g | {TABLE: g[TABLE][:40].clone()})),
            ("word_embeddings.weight", "40 × 32", str(len(V.words))),
        ),
        (
            lambda f: (as_padded(f), rewrite(f, lambda g: g | {TABLE: g[TABLE][:, :16].clone()})),
            ("hidden_size", "32", "16"),
        ),
        (without("model.safetensors"), ("model.safetensors", "pytorch_model.bin")),
        (holding("model.safetensors", b"\0" * 64), ("model.safetensors",)),
        (a_pickle_that_runs, ("pytorch_model.bin",)),
    ],
)
def test_what_is_no_bert_of_this_vocabulary_is_refused_in_a_line(folder, change, named, monkeypatch):
    monkeypatch.chdir(folder)
    change(folder)
    with pytest.raises(InputError) as error:
        from_checkpoint(folder, Vocabulary.of_bert(folder, V.visual), CENTROIDS, 0)
    line = str(error.value).removeprefix(str(folder))
    assert all(part in line for part in named), line
    assert "\n" not in line and ";" in line
    assert not (folder / "pwned").exists()


def test_a_bert_without_a_pooler_is_read(folder):
    rewrite(folder, lambda g: {n: t for n, t in g.items() if "pooler" not in n})
    model = from_checkpoint(folder, V, CENTROIDS, 0)
    assert model.state_dict()["bert.pooler.dense.weight"].std().item() == pytest.approx(0.02, rel=0.1)


def test_a_joint_model_is_no_text_checkpoint(folder, tmp_path):
    made = tmp_path / "joint"
    made.mkdir()
    from_checkpoint(folder, V, CENTROIDS, 0).save(made)
    V.write(made)
    with pytest.raises(InputError, match=r"\[>\].*joint model"):
        Vocabulary.of_bert(made, V.visual)
    shutil.rmtree(made)


def test_visual_rows_have_the_spread_of_word_rows():
    words = torch.randn(500, 64, generator=torch.Generator().manual_seed(0)) * 0.05 + 0.3
    centroids = torch.rand(40, 1024, generator=torch.Generator().manual_seed(1)) ** 3 * 7
    centroids[::9] = torch.nan
    rows = visual_rows(centroids, 64, words, 4)
    assert rows.shape == (40, 64) and rows.isfinite().all()
    used = centroids.isfinite().all(1)
    for part in (rows[used], rows[~used]):
        assert (part - words.mean(0)).std().item() == pytest.approx(words.std().item(), rel=0.15)
    assert torch.equal(rows, visual_rows(centroids, 64, words, 4))
    assert not torch.allclose(rows, visual_rows(centroids, 64, words, 5))


def test_leaves_that_differ_only_beyond_the_model_s_width_are_told_apart():
    """Cutting the columns off would make them one; without centring their common part would hide what is theirs."""
    generator = torch.Generator().manual_seed(3)
    centroids = torch.full((40, 256), 50.0)
    centroids[:, 64:] += torch.rand(40, 192, generator=generator)
    words = torch.randn(500, 64, generator=generator) * 0.05 + 0.3
    rows = visual_rows(centroids, 64, words, 0)
    apart = torch.cdist(rows, rows)[~torch.eye(40, dtype=torch.bool)]
    assert apart.min() > 0.5 * apart.mean()
    assert (rows - rows.mean(0)).std().item() == pytest.approx(words.std().item(), rel=0.01)
    torch.testing.assert_close(rows.mean(0), words.mean(0), atol=1e-4, rtol=0)


def test_a_model_from_scratch_has_bert_s_defaults():
    """Everything but its size, as `transformers` has it."""
    options, bert = from_scratch(Shape(2, 32, 4), V, CENTROIDS, 0).options, transformers.BertConfig()
    for name in ("layer_norm_eps", "hidden_dropout_prob", "attention_probs_dropout_prob",
                 "max_position_embeddings", "type_vocab_size"):  # fmt: skip
        assert getattr(options, name) == getattr(bert, name), name
    assert options.layer_norm_eps == 1e-12


@pytest.mark.parametrize("hidden", [64, 256, 1024])
def test_visual_rows_keep_what_is_near_near(hidden):
    generator = torch.Generator().manual_seed(1)
    centres = torch.randn(4, 256, generator=generator)
    centroids = (centres[:, None] + 0.1 * torch.randn(4, 5, 256, generator=generator)).flatten(0, 1)
    rows = visual_rows(centroids, hidden, torch.randn(100, hidden, generator=generator) * 0.05, 0)
    theirs_DD, ours_DD = torch.cdist(centroids, centroids), torch.cdist(rows, rows)
    same = torch.arange(20)[:, None] // 5 == torch.arange(20)[None] // 5
    assert ours_DD[same].max() < 0.5 * ours_DD[~same].min()
    ratio = (ours_DD / theirs_DD)[~torch.eye(20, dtype=torch.bool)]
    assert ratio.std() / ratio.mean() < (0.01 if hidden >= 256 else 0.25)


@pytest.mark.parametrize("used", [0, 1, 2])
def test_visual_rows_of_a_codebook_that_hardly_exists(used):
    centroids = torch.full((8, 1024), torch.nan)
    centroids[:used] = 1.0
    rows = visual_rows(centroids, 64, torch.randn(50, 64), 0)
    assert rows.shape == (8, 64) and rows.isfinite().all()
