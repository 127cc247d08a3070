"""Distances of a student from its teacher, against PyTorch's own losses over padded tensors of `transformers`' BERT."""

import copy
import dataclasses

import joint_samples
import padding
import pytest
import torch
import torch.nn.functional as F
import transformers

from multimodal.distillation.options import (
    DISTILBERT,
    HINTON,
    TINYBERT,
    DistillOptions,
    student_shape,
)
from multimodal.distillation.training import distillation_terms
from multimodal.examples.packing import pack
from multimodal.joint.bilstm import BiLstm
from multimodal.joint.students import mapped_layers, spread_layers, student_of
from multimodal.objectives.distillation import Cosine, DistillationObjective, SoftTargets, layer_terms
from multimodal.objectives.lstm_heads import LstmObjective, TaughtLogits
from multimodal.objectives.pretraining import pretraining_terms
from multimodal.objectives.weights import LossWeights
from multimodal.store import InputError
from multimodal.systems import System
from multimodal.terms import ATTENTION, COSINE, EMBEDDING, HIDDEN, JOINT, LABEL, LOGITS, SOFT, TEXT, VIDEO

V = joint_samples.vocabulary()
STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
TEMPERATURE = 3.0


def network(layers: int = 4, hidden: int = 32, seed: int = 3):
    made = joint_samples.model(
        seed, num_hidden_layers=layers, hidden_size=hidden, intermediate_size=2 * hidden, **STILL
    )
    generator = torch.Generator().manual_seed(seed)
    for parameter in made.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return made


@pytest.fixture(scope="module")
def drawn():
    """Masked sequences of several lengths, and the same as one batch."""
    source = joint_samples.examples(videos=4)
    found = [example for item in range(6) for example in source.draw(0, item)]
    return found, pack(found)


def distances(student, teacher, layers) -> DistillationObjective:
    """All distances from the teacher, and nothing else."""
    terms = [SoftTargets(TEMPERATURE), Cosine(), *layer_terms(student.options, teacher.options, layers)]
    return DistillationObjective(student, teacher, terms, {t.names[0]: 1.0 for t in terms}, V).eval()


def padded_states(model, examples, folder):
    """Logits, states after each layer and attention scores, as `transformers` has them; and which places are tokens."""
    folder.mkdir()
    model.save(folder)
    other = transformers.BertForPreTraining.from_pretrained(folder, attn_implementation="eager").eval()
    given = padding.padded(examples)
    asked = {name: given[name] for name in ("input_ids", "token_type_ids", "attention_mask")}
    with torch.no_grad():
        found = other(**asked, output_hidden_states=True)
    states, heads, scores = found.hidden_states, other.config.num_attention_heads, []
    for layer, x in zip(other.bert.encoder.layer, states[:-1], strict=True):
        q, k = (
            part(x).unflatten(-1, (heads, -1)).transpose(1, 2)
            for part in (layer.attention.self.query, layer.attention.self.key)
        )
        scores.append((q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).detach())
    return found.prediction_logits, states, scores, given["attention_mask"].bool(), given["labels"]


@pytest.mark.parametrize("hidden", [32, 16])
def test_distances_are_pytorchs_over_padded_tensors(drawn, hidden, tmp_path):
    examples, batch = drawn
    layers = mapped_layers(4, 2)
    teacher, student = network(), network(2, hidden, seed=5)
    ours = distances(student, teacher, layers)
    if hidden != 32:
        # The last states of another width have no cosine.
        terms = [t for t in ours.terms.values() if t.names[0] != COSINE]
        ours = DistillationObjective(student, teacher, terms, {t.names[0]: 1.0 for t in terms}, V).eval()
    found = {name: value.item() for name, value in ours.losses(batch).items()}

    own_logits, own, own_scores, there, labels = padded_states(student, examples, tmp_path / "student")
    logits, theirs, scores, _, _ = padded_states(teacher, examples, tmp_path / "teacher")
    asked = labels != -100
    soft, target = (x[asked] / TEMPERATURE for x in (own_logits, logits))
    expected = {
        SOFT: TEMPERATURE**2 * F.kl_div(F.log_softmax(soft, -1), F.softmax(target, -1), reduction="batchmean")
    }
    seen = (there[:, :, None] & there[:, None, :])[:, None].expand_as(scores[0])
    expected[ATTENTION] = sum(F.mse_loss(own_scores[i][seen], scores[j][seen]) for i, j in enumerate(layers))
    projected = {name: ours.terms[name].projection for name in (EMBEDDING, HIDDEN)}
    with torch.no_grad():
        expected[EMBEDDING] = F.mse_loss(projected[EMBEDDING](own[0][there]), theirs[0][there])
        expected[HIDDEN] = sum(
            F.mse_loss(projected[HIDDEN](own[i + 1][there]), theirs[j + 1][there])
            for i, j in enumerate(layers)
        )
    if hidden == 32:
        ones = torch.ones(int(there.sum()))
        expected[COSINE] = F.cosine_embedding_loss(own[-1][there], theirs[-1][there], ones)
    assert found == pytest.approx(
        {name: value.item() for name, value in expected.items()}, rel=1e-5, abs=1e-6
    )
    assert min(found.values()) > 1e-3


def test_a_student_that_is_its_teacher_has_no_distance(drawn):
    _, batch = drawn
    teacher = network()
    objective = distances(copy.deepcopy(teacher), teacher, mapped_layers(4, 4))
    for name, value in objective.losses(batch).items():
        assert value.item() == pytest.approx(0, abs=1e-6), name
        value.backward(retain_graph=True)
    assert max(float(p.grad.abs().max()) for p in objective.model.parameters() if p.grad is not None) < 1e-4


def test_layers_are_those_of_the_teacher_by_name():
    assert spread_layers(12, 6) == (0, 2, 4, 7, 9, 11)
    assert mapped_layers(12, 4) == (2, 5, 8, 11)
    teacher = network()
    shape = student_shape(teacher.options, DistillOptions(DISTILBERT))
    student, copied = student_of(teacher, shape, 0, spread_layers(4, 2)), spread_layers(4, 2)
    given = teacher.export_tensors()
    for name, tensor in student.export_tensors().items():
        theirs = name
        for own, layer in enumerate(copied):
            theirs = theirs.replace(f"encoder.layer.{own}.", f"encoder.layer.@{layer}.")
        assert torch.equal(tensor, given[theirs.replace("@", "")]), name
    assert student.options.type_vocab_size == 2, "the token types carry the modality"


def test_a_narrower_student_begins_with_the_teachers_rows_projected():
    teacher = network()
    shape = student_shape(teacher.options, DistillOptions(HINTON, layers=1, hidden=16, heads=2))
    student = student_of(teacher, shape, 0)
    assert (shape.num_hidden_layers, shape.hidden_size, shape.intermediate_size) == (1, 16, 64)
    own, theirs = (m.bert["embeddings"].word_embeddings.weight.detach() for m in (student, teacher))
    near = [torch.cdist(x - x.mean(0), x - x.mean(0)).flatten() for x in (own, theirs)]
    assert torch.corrcoef(torch.stack(near))[0, 1] > 0.7, "distances are kept in expectation"


@pytest.mark.parametrize(
    "method, expected",
    [(HINTON, {TEXT: 0.25, SOFT: 0.75}), (DISTILBERT, {TEXT: 2.0, SOFT: 5.0, COSINE: 1.0}), (TINYBERT, {SOFT: 1.0})],
)  # fmt: skip
def test_the_loss_of_a_method_is_the_weighted_sum_of_its_terms(drawn, method, expected):
    _, batch = drawn
    teacher, student = network(), network(2, seed=5)
    options = DistillOptions(method, temperature=2.0, alpha=0.75)
    own = pretraining_terms(student, V, System())
    terms, weights = distillation_terms(own, dataclasses.replace(LossWeights(), joint=0.5), options)
    objective = DistillationObjective(student, teacher, terms, weights, V).eval()
    found = {name: value.item() for name, value in objective.losses(batch).items()}
    assert expected.items() <= weights.items()
    if method != TINYBERT:
        assert weights[JOINT] == 0.5 * weights[TEXT] and weights[VIDEO] == weights[TEXT]
    else:
        assert not {TEXT, VIDEO, JOINT} & set(found), "soft targets stand in place of cloze"
    loss, _ = objective(batch, objective.counts(batch))
    assert loss.item() == pytest.approx(sum(weights[name] * value for name, value in found.items()), rel=1e-5)


def test_only_the_students_parameters_get_gradients(drawn):
    _, batch = drawn
    teacher, student = network(), network(2, 16, seed=5)
    before = copy.deepcopy(teacher.state_dict())
    terms = layer_terms(student.options, teacher.options, mapped_layers(4, 2))
    objective = DistillationObjective(student, teacher, terms, {t.names[0]: 1.0 for t in terms}, V).train()
    assert not teacher.training, "a teacher is read without dropout"
    loss, _ = objective(batch, objective.counts(batch))
    loss.backward()
    moved = {name for name, p in objective.named_parameters() if p.grad is not None}
    assert moved and not any(name.startswith("teacher.") for name in moved)
    assert {n for n in moved if n.startswith("terms.")} == {
        f"terms.{name}.projection.weight" for name in (EMBEDDING, HIDDEN)
    }
    assert "model.bert.encoder.layer.0.attention.self.query.weight" in moved
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())


def test_the_lstm_reads_packed_sequences_as_single_ones(drawn):
    """Each sequence by itself through PyTorch's LSTM; the summary is what both directions end with."""
    examples, batch = drawn
    torch.manual_seed(0)
    joint, network_ = network(), None
    network_ = BiLstm(joint, 8)
    states = network_.encode(batch)
    rows = joint.bert["embeddings"].word_embeddings.weight.detach()
    first = 0
    for example in examples:
        x = network_.LayerNorm(rows[torch.tensor(example.ids)])
        y, (last, _) = network_.lstm(x[:, None])
        own = states[first : first + len(x)]
        torch.testing.assert_close(own[1:-1], y[1:-1, 0])
        torch.testing.assert_close(own[0], last[:, 0].flatten())
        torch.testing.assert_close(own[-1], own[0])
        first += len(x)
    assert not any("embeddings" in name for name in network_.state_dict())


def test_the_distance_of_logits_is_pytorchs_and_0_for_its_own(drawn):
    examples, _ = drawn
    torch.manual_seed(0)
    asked = pack([dataclasses.replace(e, asks={LABEL: [(0, n)]}) for n, e in enumerate(examples)])
    target = torch.randn(len(examples), 3)
    objective = LstmObjective(BiLstm(network(), 8), TaughtLogits(16, target))
    own = objective.head.logits(objective.read(asked), asked.asks[LABEL][:, 0])
    loss = objective.losses(asked)[LOGITS]
    torch.testing.assert_close(loss, F.mse_loss(own, target))
    objective.head.teacher_KC.copy_(own.detach())
    assert objective.losses(asked)[LOGITS].item() == 0


@pytest.mark.parametrize(
    "options, named",
    [
        ({"layers": 5}, "--layers 5"),
        ({"hidden": 64}, "--hidden 64"),
        ({"hidden": 16}, "--hidden 16 with --method distilbert"),
        ({"method": HINTON, "hidden": 18}, "--hidden 18 with 4 heads"),
        ({"method": TINYBERT, "layers": 3}, "--layers 3 with --method tinybert"),
        ({"method": TINYBERT, "heads": 2}, "--heads 2 with --method tinybert"),
    ],
)
def test_a_student_that_does_not_fit_is_refused(options, named):
    shape = joint_samples.options(num_hidden_layers=4)
    with pytest.raises(InputError) as refused:
        student_shape(shape, DistillOptions(**options))
    assert named in str(refused.value) and "\n" not in str(refused.value)
