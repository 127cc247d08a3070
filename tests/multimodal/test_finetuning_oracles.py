"""Fine-tuning against `transformers`, which nobody here wrote: the same weights, the same loss and gradients; and what moves."""

import copy

import joint_samples
import numpy as np
import padding
import pytest
import torch
import transformers

from multimodal.examples.packing import Example, pack, sequence
from multimodal.inference.head_shapes import HeadShape
from multimodal.inference.trained import Trained
from multimodal.joint.adapters import adapt, moved_parameters
from multimodal.joint.model import init_weights
from multimodal.objectives.finetuning import Choice, FineTuningObjective, Labels, Span, TaskHead
from multimodal.store import InputError
from multimodal.systems import LEFT_TO_RIGHT
from multimodal.terms import CHOICE, LABEL, SPAN

V = joint_samples.vocabulary()
IGNORED = -100


def model():
    """Random weights that are large enough to tell a difference; without dropout."""
    made = joint_samples.model(3, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    for parameter in made.parameters():
        parameter.data += 0.1 * torch.randn(
            parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())
        )
    return made


def sequences(count: int = 6) -> list[tuple[list[int], list[int]]]:
    """Words and visual tokens of several lengths."""
    random = np.random.default_rng(0)
    texts = [
        "now cut the onion.",
        "wash the apple",
        "then we stir",
        "peel the carrot in a bowl",
        "you",
        "and the potato",
    ]
    return [
        sequence(V, V.encode(text), random.integers(16, size=2 + n).tolist())
        for n, text in enumerate(texts[:count])
    ]


def theirs(kind: str, ours: FineTuningObjective, folder, **config) -> torch.nn.Module:
    """A model of `transformers` with the same encoder and the same head."""
    ours.model.save(folder)
    other = getattr(transformers, f"BertFor{kind}").from_pretrained(folder, **config).eval()
    (term,) = ours.terms.values()
    head = getattr(other, "qa_outputs", None) or other.classifier
    head.load_state_dict(term.classifier.state_dict())
    return other


def objective(term: TaskHead, how: str = "full") -> FineTuningObjective:
    made = model()
    adapt(made, how, 8, 4, pooled=term.pooled)
    init_weights(term, 5)
    term.classifier.bias.data += 0.3
    term.begin(made)
    return FineTuningObjective(made, term).eval()


def check_the_same(ours: FineTuningObjective, other: torch.nn.Module, examples: list[Example], grid) -> None:
    (loss,) = ours.losses(pack(examples)).values()
    answer = other(**grid)
    assert loss.item() == pytest.approx(answer.loss.item(), abs=1e-5)
    loss.backward()
    answer.loss.backward()
    gradients = {name: p.grad for name, p in other.named_parameters()}
    compared = 0
    for name, parameter in moved_parameters(ours.model).items():
        if parameter.grad is not None or gradients.get(name) is not None:
            torch.testing.assert_close(
                parameter.grad, gradients[name], atol=1e-5, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}"
            )
            compared += 1
    assert compared > 30
    (term,) = ours.terms.values()
    head = getattr(other, "qa_outputs", None) or other.classifier
    for own, its in zip(term.classifier.parameters(), head.parameters(), strict=True):
        torch.testing.assert_close(own.grad, its.grad, atol=1e-5, rtol=1e-3)


def grid_of(examples: list[Example]) -> dict[str, torch.Tensor]:
    found = padding.padded(examples, V.pad)
    return {name: found[name] for name in ("input_ids", "token_type_ids", "attention_mask")}


@pytest.mark.parametrize("loss", ["one", "several", "number"])
def test_labels_of_sequences(tmp_path, loss):
    targets = {"one": torch.eye(3), "several": torch.tensor([[1.0, 0, 1], [0, 0, 0], [0, 1, 1]]), "number": torch.tensor([[0.3], [-1.2], [2.0]])}[loss]  # fmt: skip
    rows = [0, 2, 1, 1, 0, 2]
    examples = [Example(*s, {LABEL: [(0, row)]}) for s, row in zip(sequences(), rows, strict=True)]
    ours = objective(Labels(model().options, targets, loss, pooled=True))
    problem = {
        "one": "single_label_classification",
        "several": "multi_label_classification",
        "number": "regression",
    }
    other = theirs(
        "SequenceClassification", ours, tmp_path, num_labels=targets.shape[1], problem_type=problem[loss]
    )
    labels = torch.tensor(rows) if loss == "one" else targets[rows].squeeze(-1)
    check_the_same(ours, other, examples, grid_of(examples) | {"labels": labels})


def test_labels_of_tokens(tmp_path):
    random = np.random.default_rng(1)
    examples, labels = [], []
    for ids, types in sequences():
        asked = {int(p): int(random.integers(4)) for p in random.permutation(len(ids))[:3]}
        examples.append(Example(ids, types, {LABEL: sorted(asked.items())}))
        labels.append([asked.get(p, IGNORED) for p in range(max(len(s[0]) for s in sequences()))])
    ours = objective(Labels(model().options, torch.eye(4), "one", pooled=False))
    other = theirs("TokenClassification", ours, tmp_path, num_labels=4)
    check_the_same(ours, other, examples, grid_of(examples) | {"labels": torch.tensor(labels)})


def test_spans(tmp_path):
    """Of equal lengths: `transformers` takes the softmax over the padding, too."""
    spans = [(3, 4), (0, 0), (2, 2), (5, 7)]
    read = [sequence(V, V.encode("then we stir"), [n, 2 * n + 1, 3]) for n in range(4)]
    examples = [Example(*s, {SPAN: [(*span, 0)]}) for s, span in zip(read, spans, strict=True)]
    ours = objective(Span(model().options))
    other = theirs("QuestionAnswering", ours, tmp_path)
    start, end = torch.tensor(spans).T
    check_the_same(
        ours, other, examples, grid_of(examples) | {"start_positions": start, "end_positions": end}
    )


def test_a_choice_of_sentences(tmp_path):
    right = [1, 2]
    examples = [Example(*s, {CHOICE: [(0, int(right[n // 3] == n % 3))]}) for n, s in enumerate(sequences())]
    ours = objective(Choice(model().options, 3))
    other = theirs("MultipleChoice", ours, tmp_path)
    grid = {name: t.view(2, 3, -1) for name, t in grid_of(examples).items()}
    check_the_same(ours, other, examples, grid | {"labels": torch.tensor(right)})
    aligned = ours.model.alignment(ours.model.encode(pack(examples)), pack(examples))
    logits = ours.terms[CHOICE].logits(ours.read(pack(examples)), pack(examples).asks[CHOICE][:, 0])
    torch.testing.assert_close(logits[:, 0], aligned[:, 0] - aligned[:, 1]), "it begins as the alignment head"


MOVES = {
    "full": lambda name: name.startswith("bert."),
    "head": lambda name: name.startswith("bert.pooler."),
    "adapters": lambda name: (
        name.startswith("bert.") and (".adapter." in name or ".LayerNorm." in name or "pooler" in name)
    ),
    "lora": lambda name: ".lora_" in name or "pooler" in name,
    "top:1": lambda name: name.startswith(("bert.encoder.layer.1.", "bert.pooler.")),
}


@pytest.mark.parametrize("how", MOVES)
def test_only_what_is_listed_gets_a_gradient(how):
    ours = objective(Labels(model().options, torch.eye(3), "one", pooled=True), how)
    ours.train()
    before = copy.deepcopy(ours.state_dict())
    examples = [Example(*s, {LABEL: [(0, n % 3)]}) for n, s in enumerate(sequences())]
    optimizer = torch.optim.AdamW(ours.parameters(), lr=1e-2, weight_decay=0.1)
    for _ in range(2):  # of a low rank only one side has a gradient at the start
        ours.losses(pack(examples))[LABEL].backward()
        optimizer.step()
    after = ours.state_dict()
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    expected = {f"model.{n}" for n in before_names(ours) if MOVES[how](n)} | {
        "terms.label.classifier.weight",
        "terms.label.classifier.bias",
    }
    assert changed == expected
    assert all((p.grad is not None) == p.requires_grad for p in ours.parameters())


def before_names(ours: FineTuningObjective) -> list[str]:
    return [name for name, _ in ours.model.named_parameters()]


@pytest.mark.parametrize("how", ["adapters", "lora"])
def test_an_adapter_changes_nothing_at_its_start(how):
    plain, adapted = model(), model()
    adapt(adapted, how, 64, 8, pooled=True)
    batch = pack([Example(*s) for s in sequences()])
    with torch.no_grad():
        assert (plain.encode(batch) - adapted.encode(batch)).abs().max() < 1e-2
        for parameter in moved_parameters(adapted).values():
            parameter += 0.1
        assert (plain.encode(batch) - adapted.encode(batch)).abs().max() > 1e-2, "the control"


@pytest.mark.parametrize("how", ["top:3", "top:0", "top:", "adaptors"])
def test_what_cannot_move_is_refused_in_a_line(how):
    with pytest.raises(InputError, match=f"--adapt {how}"):
        adapt(model(), how, 8, 4, pooled=True)


def test_balanced_classes_weigh_the_same():
    """With weights n / (C · n_c) the loss is the mean over the classes of their mean losses."""
    rows = [0, 0, 0, 0, 1, 2]
    examples = [Example(*s, {LABEL: [(0, row)]}) for s, row in zip(sequences(), rows, strict=True)]
    weights = torch.tensor([6 / (3 * 4), 6 / 3, 6 / 3])
    ours = objective(Labels(model().options, torch.eye(3), "one", pooled=True, weight_C=weights))
    alone = objective(Labels(model().options, torch.eye(3), "one", pooled=True))
    each = [
        torch.stack(
            [alone.losses(pack([e]))[LABEL] for e, row in zip(examples, rows, strict=True) if row == c]
        ).mean()
        for c in range(3)
    ]
    assert ours.losses(pack(examples))[LABEL].item() == pytest.approx(
        torch.stack(each).mean().item(), rel=1e-5
    )


def test_a_model_that_reads_left_to_right_is_asked_at_the_end(tmp_path):
    from multimodal.inference.heads import Head, answer_sequences

    trained = Trained("m", tmp_path, model(), V, "c", attention=LEFT_TO_RIGHT)
    shape = HeadShape("sequence", "both", ("a", "b"))
    head = Head("h", shape, shape.make(trained).eval())
    ids, types = sequences(1)[0]
    other = [*ids[:-2], V.first_visual + 3, ids[-1]]
    one, two = answer_sequences(trained, head, [(ids, types), (other, types)])
    assert one.sum() == pytest.approx(1) and not np.allclose(one, two), "all of it was read"
