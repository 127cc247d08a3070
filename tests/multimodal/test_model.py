"""The joint BERT against `transformers`, which nobody here wrote: same weights, same numbers."""

import json

import joint_samples
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from multimodal.examples import ExampleOptions, Input, pack, sequence, unmasked
from multimodal.model import JointBert
from multimodal.objectives import losses
from multimodal.starting import start_from, visual_rows
from multimodal.vocabulary import Vocabulary

transformers = pytest.importorskip("transformers")
V = joint_samples.vocabulary()
KITCHEN = joint_samples.examples(wanted=ExampleOptions(join_neighbours=0.0))


def inputs(regimes=("text", "video", "joint"), epoch: int = 0) -> list[Input]:
    """Sequences of different lengths, aligned and misaligned ones among them."""
    every = [*range(12), len(KITCHEN) - 1, len(KITCHEN) - 2]
    named = dict(enumerate(("text", "video", "joint", "tower")))
    return [i for item in every for i in KITCHEN.draw(epoch, item) if named[i.regime] in regimes]


def padded(found: list[Input], pad: int) -> dict[str, torch.Tensor]:
    """The same sequences as `transformers` wants them: a padded grid."""
    longest = max(len(i.ids) for i in found)
    columns = {
        "input_ids": [i.ids + [pad] * (longest - len(i.ids)) for i in found],
        "token_type_ids": [i.types + [0] * (longest - len(i.ids)) for i in found],
        "attention_mask": [[1] * len(i.ids) + [0] * (longest - len(i.ids)) for i in found],
        "labels": [i.labels + [-100] * (longest - len(i.ids)) for i in found],
        "next_sentence_label": [i.aligned for i in found],
    }
    return {name: torch.tensor(rows) for name, rows in columns.items()}


def theirs(model: JointBert, folder) -> torch.nn.Module:
    model.save(folder)
    other, about = transformers.BertForPreTraining.from_pretrained(folder, output_loading_info=True)
    assert not about["missing_keys"] and not about["unexpected_keys"] and not about["mismatched_keys"]
    return other.eval()


@pytest.fixture(scope="module")
def minilm(request) -> tuple:
    """A model that starts from MiniLM with 27 leaves, some of them unused, and its vocabulary."""
    folder = request.getfixturevalue("weights_or_skip")("minilm-l6").parent
    centroids = torch.randn(27, 1024, generator=torch.Generator().manual_seed(1)).abs()
    centroids[5::7] = torch.nan
    words = Vocabulary.from_file(folder / "vocab.txt", 27)
    return folder, words, centroids, start_from(folder, len(words.words), centroids, 0).eval()


def real_inputs(words: Vocabulary) -> list[Input]:
    random = np.random.default_rng(0)
    found = []
    for n, text in enumerate(
        ("now flip the pancake over", "then let it cook for another minute, until it is brown")
    ):
        ids, types = sequence(words, words.encode(text), random.integers(27, size=3 + n).tolist())
        labels = [t if i % 3 == 1 else -100 for i, t in enumerate(ids)]
        hidden = [words.mask if i % 3 == 1 else t for i, t in enumerate(ids)]
        found.append(Input(hidden, types, labels, 2, n))
    return found


def check_the_same(model: JointBert, other: torch.nn.Module, found: list[Input], pad: int) -> None:
    batch, grid = pack(found), padded(found, pad)
    model.zero_grad()
    terms = losses(model, batch)
    assert set(terms) == {"joint", "alignment"}
    loss = terms["joint"] + terms["alignment"]
    answer = other(**grid)
    assert loss.item() == pytest.approx(answer.loss.item(), rel=1e-5)
    x_TH = model.encode(batch)
    ours_MV = model.cloze(x_TH[batch.asked_M])
    theirs_MV = answer.prediction_logits[grid["labels"] != -100]
    torch.testing.assert_close(ours_MV, theirs_MV, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        model.alignment(x_TH, batch), answer.seq_relationship_logits, atol=1e-4, rtol=1e-4
    )
    loss.backward()
    answer.loss.backward()
    gradients = dict(other.named_parameters())
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(
            parameter.grad, gradients[name].grad, atol=2e-6, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_loss_logits_and_gradients_of_a_random_model(tmp_path):
    model = joint_samples.model(3)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(
            parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())
        )
    found = inputs(("joint",))
    assert {i.aligned for i in found} == {0, 1}
    check_the_same(model, theirs(model, tmp_path), found, V.pad)


def test_a_model_started_from_minilm_opens_in_transformers(minilm, tmp_path):
    _, words, _, model = minilm
    check_the_same(model, theirs(model, tmp_path), real_inputs(words), words.pad)


def test_the_terms_of_the_loss_by_regime(tmp_path):
    model = joint_samples.model(3)
    other = theirs(model, tmp_path)
    terms = losses(model, pack(inputs(("text", "video", "joint"))))
    assert set(terms) == {"text", "video", "joint", "alignment"}
    for name in ("text", "video", "joint"):
        grid = padded(inputs((name,)), V.pad)
        logits = other(
            **{k: grid[k] for k in ("input_ids", "token_type_ids", "attention_mask")}
        ).prediction_logits
        expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), grid["labels"].flatten())
        assert terms[name].item() == pytest.approx(expected.item(), rel=1e-5)


def test_contrast_is_the_cross_entropy_of_pairs_both_ways():
    model = joint_samples.model(3)
    found = inputs(("tower",))
    terms = losses(model, pack(found))
    with torch.no_grad():
        towers = [model.encode(pack([i])).mean(0) for i in found]
    e = torch.nn.functional.normalize(torch.stack(towers), dim=-1)
    text, video = e[::2], e[1::2]
    assert all(0 in found[i].types and 1 in found[i + 1].types for i in range(0, len(found), 2))
    scores = text @ video.T / 0.05
    own = torch.arange(len(scores))
    ce = torch.nn.functional.cross_entropy
    assert terms["contrast"].item() == pytest.approx(
        ((ce(scores, own) + ce(scores.T, own)) / 2).item(), rel=1e-4
    )


def test_minilm_hidden_states_on_real_sentences(minilm):
    folder, words, _, model = minilm
    tokenizer = transformers.BertTokenizer(vocab=str(folder / "vocab.txt"), do_lower_case=True)
    reference = transformers.BertModel.from_pretrained(folder).eval()
    texts = [
        "Flip the pancake over.",
        "Dating apps are used by people of every age, and for many reasons.",
        "Salt!",
    ]
    given = tokenizer(texts, padding=True, return_tensors="pt")
    batch = pack([unmasked(*sequence(words, words.encode(t), None)) for t in texts])
    with torch.no_grad():
        expected = reference(**given).last_hidden_state[given["attention_mask"].bool()]
        found = model.encode(batch)
        assert batch.ids_T.tolist() == given["input_ids"][given["attention_mask"].bool()].tolist()
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


def test_a_sequence_does_not_feel_its_batch():
    model = joint_samples.model(5)
    found = inputs(("text", "video", "joint", "tower"))
    with torch.no_grad():
        together = model.encode(pack(found)).split([len(i.ids) for i in found])
        pooled, logits = (
            model.embed(torch.cat(together), pack(found)),
            model.alignment(torch.cat(together), pack(found)),
        )
        for n, one in enumerate(found):
            alone = model.encode(pack([one]))
            torch.testing.assert_close(together[n], alone, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(pooled[n], model.embed(alone, pack([one]))[0], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(
                logits[n], model.alignment(alone, pack([one]))[0], atol=1e-5, rtol=1e-5
            )
    assert pooled.norm(dim=1).allclose(torch.ones(len(found)))


def test_the_start_is_a_function_of_the_seed():
    one, same, other = (joint_samples.model(s).state_dict() for s in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["bert.pooler.dense.weight"], other["bert.pooler.dense.weight"])
    assert one["bert.embeddings.word_embeddings.weight"].std().item() == pytest.approx(0.02, rel=0.1)


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


def test_minilm_keeps_its_words_and_takes_rows_for_tokens(minilm):
    folder, words, _, model = minilm
    given = load_file(folder / "model.safetensors")["embeddings.word_embeddings.weight"]
    table = model.state_dict()["bert.embeddings.word_embeddings.weight"]
    assert table.shape == (30_522 + 1 + 27, 384) and model.options.vocab_size == words.size
    assert torch.equal(table[:30_522], given)
    assert (table[30_523:] - given.mean(0)).std().item() == pytest.approx(given.std().item(), rel=0.1)
    assert all(p.isfinite().all() for p in model.parameters())


def test_a_start_from_bert_with_heads_keeps_them(tmp_path):
    small = transformers.BertConfig(vocab_size=len(V.words), hidden_size=32, num_hidden_layers=2,
                                    num_attention_heads=4, intermediate_size=64, max_position_embeddings=128)  # fmt: skip
    torch.manual_seed(0)
    text_bert = transformers.BertForPreTraining(small).eval()
    with torch.no_grad():
        text_bert.cls.predictions.bias.normal_()
    text_bert.save_pretrained(tmp_path)
    model = start_from(tmp_path, len(V.words), torch.randn(16, 1024), 0).eval()
    found = [unmasked(*sequence(V, V.encode("now [MASK] the onion"), None))]
    with torch.no_grad():
        batch = pack(found)
        x_TH = model.encode(batch)
        answer = text_bert(
            **{k: padded(found, V.pad)[k] for k in ("input_ids", "token_type_ids", "attention_mask")}
        )
        torch.testing.assert_close(
            model.cloze(x_TH)[:, : len(V.words)], answer.prediction_logits[0], atol=1e-5, rtol=1e-4
        )
        torch.testing.assert_close(
            model.alignment(x_TH, batch), answer.seq_relationship_logits, atol=1e-5, rtol=1e-4
        )


def test_saved_and_loaded(tmp_path):
    model = joint_samples.model(2)
    model.save(tmp_path)
    again = JointBert.load(tmp_path)
    assert again.options == model.options and not again.training
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True)
    )
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "bert"
