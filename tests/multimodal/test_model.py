"""The joint BERT against `transformers`, which nobody here wrote: same weights, same numbers."""

import dataclasses
import json
import re
from collections import Counter
from pathlib import Path

import joint_samples
import numpy as np
import padding
import pytest
import torch

from multimodal.examples.options import ExampleOptions
from multimodal.examples.packing import Example, pack, sequence
from multimodal.joint.initialization import from_checkpoint, from_scratch
from multimodal.joint.layout import FROZEN_VISUAL, TABLE
from multimodal.joint.model import JointBert
from multimodal.joint.options import Shape
from multimodal.objectives.pretraining import PretrainingObjective
from multimodal.terms import ALIGNMENT, CONTRAST, JOINT, TEXT, VIDEO
from multimodal.training.checkpoints import Progress
from multimodal.training.distributed import SINGLE_PROCESS
from multimodal.training.options import StepOptions
from multimodal.training.train_step import Trainer
from multimodal.vocabulary import Vocabulary

transformers = pytest.importorskip("transformers")
V = joint_samples.vocabulary()
KITCHEN = joint_samples.examples(wanted=ExampleOptions(join_neighbours=0.0))


def drawn(*terms: str) -> list[Example]:
    """Examples of different lengths that ask for one of the terms; `alignment` brings both kinds of pairs."""
    items = [*range(12), len(KITCHEN) - 1, len(KITCHEN) - 2]
    return [example for item in items for example in KITCHEN.draw(0, item) if set(terms) & set(example.asks)]


def losses(model: JointBert, examples: list[Example]) -> dict[str, torch.Tensor]:
    return PretrainingObjective(model, V).losses(pack(examples))


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
    words = Vocabulary.of_bert(folder, 27)
    return folder, words, from_checkpoint(folder, words, centroids, 0).eval()


def real_examples(words: Vocabulary) -> list[Example]:
    random = np.random.default_rng(0)
    found = []
    for n, text in enumerate(
        ("now flip the pancake over", "then let it cook for another minute, until it is brown")
    ):
        ids, types = sequence(words, words.encode(text), random.integers(27, size=3 + n).tolist())
        asked = [(position, ids[position]) for position in range(1, len(ids), 3)]
        hidden = [words.mask if i % 3 == 1 else t for i, t in enumerate(ids)]
        found.append(Example(hidden, types, {JOINT: asked, ALIGNMENT: [(0, n)]}))
    return found


def check_the_same(model: JointBert, other: torch.nn.Module, found: list[Example], pad: int) -> None:
    batch, grid = pack(found), padding.padded(found, pad)
    model.zero_grad()
    terms = losses(model, found)
    assert set(terms) == {JOINT, ALIGNMENT}
    loss = terms[JOINT] + terms[ALIGNMENT]
    answer = other(**grid)
    assert loss.item() == pytest.approx(answer.loss.item(), rel=1e-5)
    x_TH = model.encode(batch)
    ours_MV = model.cloze(x_TH[batch.asks[JOINT][:, 0]])
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
    found = drawn(ALIGNMENT)
    assert {padding.pair_label(example) for example in found} == {0, 1}
    check_the_same(model, theirs(model, tmp_path), found, V.pad)


def test_another_pad_id_is_told_to_transformers(tmp_path):
    """`transformers` gives the row that config.json names no gradient for what is read; here 0 is [UNK], 3 is [PAD]."""
    swapped = {"[PAD]": "[UNK]", "[UNK]": "[PAD]"}
    words = dataclasses.replace(V, words=tuple(swapped.get(w, w) for w in V.words), visual=27)
    assert (words.unknown, words.pad) == (0, 3)
    model = from_scratch(Shape(2, 32, 4), words, torch.randn(27, 64), 0).eval()
    other, found = theirs(model, tmp_path), real_examples(words)
    assert other.bert.embeddings.word_embeddings.padding_idx == words.pad
    assert any(0 in example.ids for example in found)
    assert not any(words.pad in example.ids for example in found)
    check_the_same(model, other, found, words.pad)


def test_a_model_started_from_minilm_opens_in_transformers(minilm, tmp_path):
    _, words, model = minilm
    check_the_same(model, theirs(model, tmp_path), real_examples(words), words.pad)


def test_the_labels_of_the_alignment_head_are_those_of_bert():
    """`transformers` says of `next_sentence_label`: 0 is a continuation, 1 a random sequence."""
    said = transformers.BertForPreTraining.forward.__doc__
    meaning = dict(re.findall(r"- (\d) indicates sequence B is a (\w+)", said))
    assert meaning == {"0": "continuation", "1": "random"}
    found = Counter()
    for item, segment in enumerate(KITCHEN.spoken):
        own = {V.first_visual + t for t in segment.tokens}
        for pair in (example for example in KITCHEN.draw(0, item) if ALIGNMENT in example.asks):
            belongs = {token for token in padding.read(pair) if token >= V.first_visual} <= own
            label = str(padding.pair_label(pair))
            assert meaning[label] == ("continuation" if belongs else "random")
            found[belongs] += 1
    assert min(found[True], found[False]) > 40


def test_each_cloze_term_is_the_mean_over_its_own_predictions(tmp_path):
    model = joint_samples.model(3)
    other = theirs(model, tmp_path)
    terms = losses(model, drawn(TEXT, VIDEO, JOINT, ALIGNMENT))
    assert set(terms) == {TEXT, VIDEO, JOINT, ALIGNMENT}
    for name in (TEXT, VIDEO, JOINT):
        grid = padding.padded(drawn(name), V.pad)
        logits = other(
            **{k: grid[k] for k in ("input_ids", "token_type_ids", "attention_mask")}
        ).prediction_logits
        expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), grid["labels"].flatten())
        assert terms[name].item() == pytest.approx(expected.item(), rel=1e-5)


def test_contrast_is_the_cross_entropy_of_pairs_both_ways_but_for_those_that_read_the_same():
    model = joint_samples.model(3)
    found = drawn(CONTRAST)
    found += [found[0], found[3]]
    assert all(0 in found[i].types and 1 in found[i + 1].types for i in range(0, len(found), 2))
    with torch.no_grad():
        e = torch.nn.functional.normalize(
            torch.stack([model.encode(pack([i])).mean(0) for i in found]), dim=-1
        )
    scores = e[::2] @ e[1::2].T / 0.05
    texts, videos = [i.ids for i in found[::2]], [i.ids for i in found[1::2]]
    lost = []
    for matrix in (scores, scores.T):
        for own, row in enumerate(matrix):
            others = [n for n in range(len(row)) if texts[n] != texts[own] and videos[n] != videos[own]]
            assert len(others) < len(row) - 1 or own not in (0, 1)
            lost.append(torch.logsumexp(row[[own, *others]], 0) - row[own])
    contrast = losses(model, found)[CONTRAST].item()
    assert contrast == pytest.approx(torch.stack(lost).mean().item(), rel=1e-4)


def test_minilm_hidden_states_on_real_sentences(minilm):
    """Every sentence of the sample corpus, and some that are harder to cut into words."""
    folder, words, model = minilm
    tokenizer = transformers.BertTokenizer(vocab=str(folder / "vocab.txt"), do_lower_case=True)
    reference = transformers.BertModel.from_pretrained(folder).eval()
    truth = json.loads((Path(__file__).parents[1] / "samples/truth.json").read_text())
    texts = sorted({step["sentence"] for video in truth["videos"] for step in video["steps"]})
    texts += [
        "Flip the crème brûlée over!",
        "Dating apps, e.g. OkCupid's, are used by 30% of people...",
        "Salt!",
    ]
    assert len(texts) > 100
    given = tokenizer(texts, padding=True, return_tensors="pt")
    batch = pack([Example(*sequence(words, words.encode(t), None)) for t in texts])
    with torch.no_grad():
        expected = reference(**given).last_hidden_state[given["attention_mask"].bool()]
        assert batch.ids_T.tolist() == given["input_ids"][given["attention_mask"].bool()].tolist()
        torch.testing.assert_close(model.encode(batch), expected, atol=2e-5, rtol=1e-4)


def test_the_states_of_a_sequence_do_not_depend_on_its_batch():
    model = joint_samples.model(5)
    found = drawn(TEXT, VIDEO, JOINT, ALIGNMENT, CONTRAST)
    with torch.no_grad():
        x_TH = model.encode(pack(found))
        together = x_TH.split([len(example.ids) for example in found])
        pooled, logits = model.embed(x_TH, pack(found)), model.alignment(x_TH, pack(found))
        for n, one in enumerate(found):
            alone = model.encode(pack([one]))
            torch.testing.assert_close(together[n], alone, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(pooled[n], model.embed(alone, pack([one]))[0], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(
                logits[n], model.alignment(alone, pack([one]))[0], atol=1e-5, rtol=1e-5
            )
    assert pooled.norm(dim=1).allclose(torch.ones(len(found)))


def test_initial_weights_are_a_function_of_the_seed():
    one, same, other = (joint_samples.model(s).state_dict() for s in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["bert.pooler.dense.weight"], other["bert.pooler.dense.weight"])
    assert one["bert.embeddings.word_embeddings.weight"].std().item() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize("frozen", [0, V.visual])
def test_saved_and_loaded(tmp_path, frozen):
    model = joint_samples.model(2, frozen_rows=frozen)
    model.save(tmp_path)
    again = JointBert.load(tmp_path)
    assert again.options == model.options and not again.training
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True)
    )
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "bert"


def same_but_frozen(model: JointBert) -> JointBert:
    frozen = JointBert(dataclasses.replace(model.options, frozen_rows=V.visual)).eval()
    frozen.load_tensors(model.export_tensors())
    return frozen


def test_frozen_rows_change_no_output_and_open_in_transformers(tmp_path):
    model = joint_samples.model(3)
    frozen, found = same_but_frozen(model), drawn(ALIGNMENT)
    assert frozen.export_tensors().keys() == model.state_dict().keys()
    with torch.no_grad():
        x_TH, y_TH = (m.encode(pack(found)) for m in (model, frozen))
        torch.testing.assert_close(x_TH, y_TH, atol=0, rtol=0)
        torch.testing.assert_close(model.cloze(x_TH), frozen.cloze(x_TH), atol=1e-6, rtol=1e-6)
    for m in (model, frozen):
        sum(losses(m, found).values()).backward()
    other = theirs(frozen, tmp_path)
    torch.testing.assert_close(other.state_dict()[TABLE], model.state_dict()[TABLE], atol=0, rtol=0)
    gradients = dict(model.named_parameters())
    for name, parameter in frozen.named_parameters():
        expected = gradients[name].grad[: len(parameter)]
        torch.testing.assert_close(parameter.grad, expected, atol=1e-6, rtol=1e-4)


def without_visual_gradient(model: JointBert) -> JointBert:
    """The careless way to freeze: rows that get no gradient, but stay with the optimizer."""
    words = torch.arange(V.size)[:, None] < V.first_visual
    model.bert["embeddings"].word_embeddings.weight.register_hook(lambda gradient: gradient * words)
    return model


@pytest.mark.parametrize(
    ("freeze", "frozen"),
    [(same_but_frozen, True), (without_visual_gradient, False), (lambda model: model, False)],
)
def test_only_frozen_rows_stay_as_they_are(freeze, frozen):
    """To the bit, with a weight decay that is felt; and everything else does move."""
    model = freeze(joint_samples.model(3))
    before = {name: tensor.clone() for name, tensor in model.export_tensors().items()}
    options = StepOptions(learning_rate=1e-2, weight_decay=5.0, precision="fp32")
    trainer = Trainer(PretrainingObjective(model, V), options, SINGLE_PROCESS).wrap()
    for step in range(1, 4):
        trainer.train_step([KITCHEN.batch([(step, item) for item in range(12)])], Progress(step, 10, 0, 0))
    after = model.export_tensors()
    visual = slice(V.first_visual, None)
    assert torch.equal(before[TABLE][visual], after[TABLE][visual]) == frozen
    moved = (before[TABLE] != after[TABLE]).any(1)
    assert moved[: V.first_visual].all(), "every word and [>]"
    assert all((before[name] != after[name]).any() for name in before if not name.endswith("key.bias"))
    assert (FROZEN_VISUAL in model.state_dict()) == frozen


def test_the_paper_s_vocabulary_in_one_step(minilm):
    """30,522 word pieces, [>] and 12^4 visual tokens; the last of them are read, asked for and learned."""
    whole = dataclasses.replace(minilm[1], visual=12**4)
    assert whole.size == 51_259
    model = joint_samples.model(0, vocab_size=whole.size)
    last = list(range(12**4 - 6, 12**4))
    ids, types = sequence(whole, whole.encode("stir the bowl"), last)
    assert max(ids) == 51_258
    asks = {JOINT: [(position, ids[position]) for position in range(6, 10)], ALIGNMENT: [(0, 0)]}
    before = model.export_tensors()[TABLE].clone()
    trainer = Trainer(
        PretrainingObjective(model, whole), StepOptions(precision="fp32"), SINGLE_PROCESS
    ).wrap()
    terms = trainer.train_step([pack([Example(ids, types, asks)])], Progress(1, 10, 0, 0))
    assert terms[JOINT] == pytest.approx(np.log(whole.size), rel=0.05), "it knows nothing yet"
    assert (model.export_tensors()[TABLE] - before)[-6:].abs().max() > 0
