"""ALBERT's parts: n-gram masks, shared layers, a factorised table; against `transformers` and by counting."""

import dataclasses
import json
from collections import Counter

import joint_samples
import numpy as np
import padding
import pytest
import random_store
import torch
from safetensors.torch import load_file

from multimodal.examples.corruption import MASKED, REPLACED, mask_tokens
from multimodal.examples.packing import pack, sequence
from multimodal.examples.units import mask_ngrams, whole_words
from multimodal.joint.layers import SHARED
from multimodal.joint.layout import BESIDE, TABLE
from multimodal.joint.model import JointBert
from multimodal.joint.options import Shape
from multimodal.objectives.pretraining import PretrainingObjective
from multimodal.store import InputError
from multimodal.systems import SYSTEMS, System
from multimodal.terms import JOINT, ORDER
from multimodal.training import checkpoints
from multimodal.training.options import PretrainOptions
from multimodal.training.pretraining import pretrain
from multimodal.vocabulary import Vocabulary

transformers = pytest.importorskip("transformers")
V = joint_samples.vocabulary()
ALBERT = SYSTEMS["albert"]
WORDS = V.words.index("cut"), V.words.index("apple")


def shaken(model: JointBert) -> JointBert:
    """Weights that are not those of the initialization, biases and LayerNorms too."""
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(
            parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())
        )
    return model.eval()


# n-gram masks


def spans(chosen: list[int]) -> list[int]:
    """The lengths of the stretches of neighbouring positions."""
    breaks = np.flatnonzero(np.diff(sorted(chosen)) != 1) + 1
    return [len(part) for part in np.split(np.array(sorted(chosen)), breaks)]


def test_the_lengths_of_ngrams_go_by_one_over_n():
    """Sparse masks of a long sequence, so that n-grams hardly meet and the last is hardly ever cut."""
    ids, types = sequence(V, [WORDS[0]] * 4000, None, 4002)
    lengths = Counter()
    for seed in range(40):
        asked = mask_ngrams(V, ids, types, JOINT, np.random.default_rng(seed), 0.01).asks[JOINT]
        lengths.update(spans([position for position, _ in asked]))
    total = sum(lengths[n] for n in (1, 2, 3))
    assert total > 500 and sum(lengths.values()) - total < 0.03 * total
    for n in (1, 2, 3):
        expected = (1 / n) / (1 + 1 / 2 + 1 / 3)
        # A few n-grams touch, and one a sequence is cut: two hundredths beside the spread.
        assert lengths[n] / total == pytest.approx(
            expected, abs=0.02 + 4 * (expected * (1 - expected) / total) ** 0.5
        )


@pytest.mark.parametrize("words, tokens", [(40, 0), (0, 30), (25, 25), (1, 1), (3, 0)])
def test_as_many_tokens_are_hidden_as_one_by_one(words, tokens):
    random = np.random.default_rng(words)
    text = random.integers(*WORDS, size=words).tolist()
    ids, types = sequence(V, text, random.integers(V.visual, size=tokens).tolist())
    for seed in range(30):
        one = mask_tokens(V, ids, types, JOINT, np.random.default_rng(seed), 0.15)
        grams = mask_ngrams(V, ids, types, JOINT, np.random.default_rng(seed), 0.15)
        assert len(grams.asks[JOINT]) == len(one.asks[JOINT])
        assert padding.read(grams) == ids
        assert not {position for position, _ in grams.asks[JOINT]} & {
            0,
            len(ids) - 1,
            words + 1 if tokens else 0,
        }


def test_words_are_hidden_whole():
    slow, ly, the = (V.words.index(word) for word in ("slow", "##ly", "the"))
    ids, types = sequence(V, [the, slow, ly, the, slow, ly] * 6, [1, 2])
    first, second = whole_words(V, ids)
    assert first[:3] == [range(1, 2), range(2, 4), range(4, 5)] and second == [range(38, 39), range(39, 40)]
    whole = 0
    for seed in range(50):
        asked = {
            p for p, _ in mask_ngrams(V, ids, types, JOINT, np.random.default_rng(seed), 0.3).asks[JOINT]
        }
        pieces = [(p, p + 1) for p in range(1, 37) if ids[p] == slow]
        assert all((first in asked) == (last in asked) for first, last in pieces)
        whole += sum(first in asked for first, _ in pieces)
    assert whole > 50


def test_a_word_longer_than_the_budget_is_hidden_in_part():
    unk = [V.words.index(piece) for piece in ("un", "##k", "##0", "##1")]
    ids, types = sequence(V, unk, None)
    found = mask_ngrams(V, ids, types, JOINT, np.random.default_rng(0), 0.15)
    assert len(found.asks[JOINT]) == 1 and padding.read(found) == ids
    empty = sequence(V, None, None)
    assert mask_ngrams(V, *empty, JOINT, np.random.default_rng(0), 0.15).asks == {JOINT: []}


def test_eighty_ten_ten():
    ids, types = sequence(V, [WORDS[0]] * 2000, [1] * 2000, 4003)
    fate = Counter()
    for seed in range(5):
        found = mask_ngrams(V, ids, types, JOINT, np.random.default_rng(seed), 0.15)
        for position, label in found.asks[JOINT]:
            now = found.ids[position]
            fate["mask" if now == V.mask else "kept" if now == label else "other"] += 1
            assert now == V.mask or (now >= V.first_visual) == (label >= V.first_visual)
    total = sum(fate.values())
    # A replacement may be the token itself: one word or token of so many.
    for name, share in (("mask", MASKED), ("other", REPLACED), ("kept", 1 - MASKED - REPLACED)):
        assert fate[name] / total == pytest.approx(share, abs=0.02)


# the network


def system(**parts) -> System:
    return dataclasses.replace(ALBERT, **parts)


def pairs(row: System = ALBERT) -> list:
    examples = joint_samples.examples(1, system=row)
    return [e for item in range(14) for e in examples.draw(0, item) if ORDER in e.asks]


@pytest.mark.parametrize("embedding_size", [0, 8])
def test_loss_and_logits_are_those_of_transformers(embedding_size):
    """`AlbertForPreTraining` of full width, whose projection into the network is the identity: the factorised table as its
    product. (ALBERT puts positions and LayerNorm before its projection; ours come after it, as BERT has them.)"""
    row = system(embedding_size=embedding_size)
    model = shaken(joint_samples.model_of(row, 3))
    o = model.options
    config = transformers.AlbertConfig(
        vocab_size=o.vocab_size, embedding_size=o.hidden_size, hidden_size=o.hidden_size,
        num_hidden_layers=o.num_hidden_layers, num_attention_heads=o.num_attention_heads,
        intermediate_size=o.intermediate_size, max_position_embeddings=o.max_position_embeddings,
        hidden_act="gelu", layer_norm_eps=o.layer_norm_eps, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        classifier_dropout_prob=0.0,
    )  # fmt: skip
    other = transformers.AlbertForPreTraining(config).eval()
    ours, layer = model.export_tensors(), "bert.encoder.layer.0."
    theirs = {
        "albert.encoder.embedding_hidden_mapping_in.weight": torch.eye(o.hidden_size),
        "albert.encoder.embedding_hidden_mapping_in.bias": torch.zeros(o.hidden_size),
        "albert.pooler.weight": ours["bert.pooler.dense.weight"],
        "albert.pooler.bias": ours["bert.pooler.dense.bias"],
        "predictions.bias": ours["cls.predictions.bias"],
        "predictions.decoder.bias": ours["cls.predictions.bias"],
        "predictions.decoder.weight": ours[TABLE],
    }
    names = {
        "attention.self.query": "attention.query", "attention.self.key": "attention.key",
        "attention.self.value": "attention.value", "attention.output.dense": "attention.dense",
        "attention.output.LayerNorm": "attention.LayerNorm", "intermediate.dense": "ffn", "output.dense": "ffn_output",
        "output.LayerNorm": "full_layer_layer_norm",
    }  # fmt: skip
    group = "albert.encoder.albert_layer_groups.0.albert_layers.0."
    for kind in ("weight", "bias"):
        theirs |= {f"{group}{b}.{kind}": ours[f"{layer}{a}.{kind}"] for a, b in names.items()}
        theirs |= {
            f"predictions.dense.{kind}": ours[f"cls.predictions.transform.dense.{kind}"],
            f"predictions.LayerNorm.{kind}": ours[f"cls.predictions.transform.LayerNorm.{kind}"],
            f"sop_classifier.classifier.{kind}": ours[f"cls.seq_relationship.{kind}"],
            f"albert.embeddings.LayerNorm.{kind}": ours[f"bert.embeddings.LayerNorm.{kind}"],
        }
    for name in ("word_embeddings", "position_embeddings", "token_type_embeddings"):
        theirs[f"albert.embeddings.{name}.weight"] = ours[f"bert.embeddings.{name}.weight"]
    missing, unexpected = other.load_state_dict(theirs, strict=False)
    assert not unexpected and all("position_ids" in name or "token_type_ids" in name for name in missing)
    found = pairs(row)
    grid = padding.padded(found, V.pad)
    grid["sentence_order_label"] = grid.pop("next_sentence_label")
    assert set(grid["sentence_order_label"].tolist()) == {0, 1}
    answer, batch = other(**grid), pack(found)
    terms = PretrainingObjective(model, V, system=row).losses(batch)
    assert terms[JOINT].item() + terms[ORDER].item() == pytest.approx(answer.loss.item(), rel=1e-5)
    x_TH = model.encode(batch)
    torch.testing.assert_close(model.alignment(x_TH, batch), answer.sop_logits, atol=1e-5, rtol=1e-5)
    logits = model.cloze(x_TH[batch.asks[JOINT][:, 0]])
    torch.testing.assert_close(logits, answer.prediction_logits[grid["labels"] != -100], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("share_layers", SHARED)
@pytest.mark.parametrize("embedding_size", [0, 8])
def test_unique_parameters(share_layers, embedding_size):
    row = system(share_layers=share_layers, embedding_size=embedding_size)
    model = joint_samples.model_of(row, num_hidden_layers=3)
    o = model.options
    H, F, L = o.hidden_size, o.intermediate_size, 3
    attention, feed_forward = 4 * (H * H + H) + 2 * H, 2 * H * F + F + H + 2 * H
    attentions = 1 if share_layers in ("attention", "all") else L
    feed_forwards = 1 if share_layers in ("feed-forward", "all") else L
    words, E = o.vocab_size - V.visual, embedding_size
    table = words * E + E * H + V.visual * H if E else o.vocab_size * H
    embeddings = table + o.max_position_embeddings * H + 2 * H + 2 * H
    heads = (H * H + H) + (H * H + H + 2 * H + o.vocab_size) + (2 * H + 2)
    expected = attentions * attention + feed_forwards * feed_forward + embeddings + heads
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


@pytest.mark.parametrize("share_layers", SHARED)
def test_the_gradient_of_a_shared_weight_is_the_sum_over_the_layers(share_layers):
    row = system(share_layers=share_layers, embedding_size=0)
    model = shaken(joint_samples.model_of(row, 3))
    written_out = JointBert(model.options.written_out).eval()
    written_out.load_tensors(model.export_tensors())
    found = pack(pairs())
    for one in (model, written_out):
        sum(PretrainingObjective(one, V, system=row).losses(found).values()).backward()
    gradients = {name: parameter.grad for name, parameter in written_out.named_parameters()}
    own = dict(model.named_parameters())
    for name, parameter in own.items():
        part = name.removeprefix("bert.encoder.layer.0.")
        shared = part != name and part.split(".")[0] in SHARED[share_layers]
        layers = range(model.options.num_hidden_layers) if shared else [0]
        names = [f"bert.encoder.layer.{n}.{part}" for n in layers] if part != name else [name]
        expected = sum(gradients[n] for n in names)
        torch.testing.assert_close(
            parameter.grad, expected, atol=1e-6, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
        )
    assert len(own) < len(gradients) or share_layers == "none"


def test_the_gradients_of_the_factors_are_those_of_their_product():
    """By the chain rule: of A in A·B it is G·Bᵀ, of B it is Aᵀ·G, with G the gradient of the table that is multiplied out."""
    model = shaken(joint_samples.model_of(system(share_layers="none", embedding_size=8), 3))
    whole = JointBert(model.options.written_out).eval()
    whole.load_tensors(model.export_tensors())
    found = pack(pairs())
    for one in (model, whole):
        sum(PretrainingObjective(one, V, system=ALBERT).losses(found).values()).backward()
    gradient_VH = dict(whole.named_parameters())[TABLE].grad
    own, words = model.bert["embeddings"], len(gradient_VH) - V.visual
    close = {"atol": 1e-6, "rtol": 1e-4}
    projection_HE = own.projection.weight
    torch.testing.assert_close(own.word_embeddings.weight.grad, gradient_VH[:words] @ projection_HE, **close)
    torch.testing.assert_close(
        projection_HE.grad, gradient_VH[:words].T @ own.word_embeddings.weight.detach(), **close
    )
    torch.testing.assert_close(own.visual_embeddings.weight.grad, gradient_VH[words:], **close)


def test_a_factorised_table_begins_as_the_nearest_one_of_its_rank():
    plain = shaken(joint_samples.model(5))
    table = plain.export_tensors()[TABLE]
    words = table[: -V.visual]
    found = JointBert(dataclasses.replace(plain.options, embedding_size=8, visual_rows=V.visual))
    found.load_tensors(plain.export_tensors())
    u, s, v = torch.linalg.svd(words.detach(), full_matrices=False)
    nearest = u[:, :8] * s[:8] @ v[:8]
    torch.testing.assert_close(found.export_tensors()[TABLE][: -V.visual], nearest, atol=1e-5, rtol=1e-4)
    assert torch.equal(found.export_tensors()[TABLE][-V.visual :], table[-V.visual :])


# training


@pytest.mark.parametrize("visual_rows", ["trained", "frozen"])
def test_a_training_leaves_the_view_and_the_factors_beside_it(visual_rows, tmp_path, weights_or_skip):
    weights_or_skip("minilm-l6")
    store, videos, codebook = random_store.made(tmp_path / "store")
    training = joint_samples.training(most_steps=4, least_steps=4, examples_per_step=6)
    options = PretrainOptions(
        "none", Shape(2, 32, 4), visual_rows, training=training, system=system(embedding_size=8)
    )

    def run(stop: int | None = None):
        def report(done: int, total: int, words: str) -> None:
            if stop is not None and done > stop:
                raise InterruptedError

        every = dataclasses.replace(options, training=dataclasses.replace(training, checkpoint_steps=2))
        return pretrain(store, videos, codebook, every, "cpu", report)

    with pytest.raises(InterruptedError):
        run(stop=2)
    (model,) = store.model("x").parent.iterdir()
    half = checkpoints.latest(model)
    assert half.name == "step-2" and (half / BESIDE).exists()
    _, folder = run()
    again = load_file(folder / "model.safetensors") | load_file(folder / BESIDE)
    other = random_store.made(tmp_path / "another")
    whole = pretrain(*other, dataclasses.replace(options, training=dataclasses.replace(training, checkpoint_steps=2)),
                     "cpu", random_store.quiet)[1]  # fmt: skip
    in_one_go = load_file(whole / "model.safetensors") | load_file(whole / BESIDE)
    assert again.keys() == in_one_go.keys()
    assert all(torch.equal(again[tensor], in_one_go[tensor]) for tensor in again)
    for part in ("attention.self.query.weight", "output.dense.bias"):
        assert torch.equal(again[f"bert.encoder.layer.0.{part}"], again[f"bert.encoder.layer.1.{part}"])
    config = json.loads((folder / "config.json").read_text())
    assert not {"share_layers", "embedding_size"} & config.keys()
    opened, about = transformers.BertForPreTraining.from_pretrained(folder, output_loading_info=True)
    assert not about["missing_keys"] and not about["unexpected_keys"] and not about["mismatched_keys"]
    vocabulary = Vocabulary.load(folder)
    factors = [again[f"factor.bert.embeddings.{name}.weight"] for name in ("word_embeddings", "projection")]
    assert opened.bert.embeddings.word_embeddings.weight.shape == (vocabulary.size, 32)
    rows = opened.bert.embeddings.word_embeddings.weight
    join = vocabulary.join
    torch.testing.assert_close(rows[join], factors[0][-1] @ factors[1].T, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    "options, system, named",
    [
        ({"text_start": "minilm-l6"}, ALBERT, ("--text-start minilm-l6", "--share-layers all")),
        (
            {"text_start": "none", "shape": Shape(2, 128, 4)},
            dataclasses.replace(ALBERT, embedding_size=200),
            ("--embedding-size 200", "128"),
        ),
    ],
)
def test_what_cannot_work_together_is_refused_in_one_line(options, system, named):
    with pytest.raises(InputError) as error:
        PretrainOptions(**options, system=system)
    assert "\n" not in str(error.value) and all(name in str(error.value) for name in named)


@pytest.mark.parametrize("hidden, size", [(128, 64), (96, 48), (144, 128)])
def test_the_row_s_own_table_is_half_as_wide_as_a_narrow_network(hidden, size):
    options = PretrainOptions("none", Shape(2, hidden, 4), system=ALBERT)
    assert options.system.embedding_size == size
    assert dataclasses.replace(options).for_address() == options.for_address()
