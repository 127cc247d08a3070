"""Pair tasks of two segments: what is drawn, and the loss against `transformers`."""

from collections import Counter

import joint_samples
import padding
import pytest
import torch

from multimodal.examples.options import ExampleOptions
from multimodal.examples.packing import TEXT_TYPE, VIDEO_TYPE, Example, pack, pair_sequence
from multimodal.examples.pairs import NEXT, OTHER, PREVIOUS
from multimodal.examples.sampling import Examples
from multimodal.objectives.pretraining import PretrainingObjective
from multimodal.segments import Segment
from multimodal.systems import System
from multimodal.terms import JOINT, NEIGHBOUR, NEXT_SEGMENT, ORDER, TEXT

transformers = pytest.importorskip("transformers")
V = joint_samples.vocabulary()
TERMS = {"next-segment": NEXT_SEGMENT, "order": ORDER}
every_task = pytest.mark.parametrize("task", TERMS)


def corpus(videos: int = 3, segments: int = 4, tokens: bool = True) -> list[Segment]:
    """Each segment says and shows a token of its own, so that what is drawn tells where it is from."""
    things = [*joint_samples.ACTIONS, *joint_samples.THINGS, "bowl", "slow", "the", "we"]
    return [
        Segment(str(v), i * 5.0, i * 5.0 + 5, things[v * segments + i],
                (v * segments + i,) * 3 if tokens else (), (3 * i, 3 * i + 1, 3 * i + 2) if tokens else ())
        for v in range(videos) for i in range(segments)
    ]  # fmt: skip


def examples_of(task: str, found: list[Segment], **options) -> Examples:
    wanted = ExampleOptions(**{"join_neighbours": 0.0, "mask": 1e-9} | options)
    return Examples.of(V, found, [], wanted, 0, system=System(pair_task=task))


def pairs(examples: Examples, task: str, epochs: int = 40) -> list[Example]:
    drawn = [
        e for epoch in range(epochs) for item in range(len(examples)) for e in examples.draw(epoch, item)
    ]
    return [example for example in drawn if TERMS[task] in example.asks]


def places(example: Example, segments: list[Segment]) -> list[int]:
    """The segments of which the two parts are, by the words in them."""
    of = {V.encode(segment.text)[0]: n for n, segment in enumerate(segments)}
    return [of[token] for token in padding.read(example) if token in of]


@every_task
def test_the_second_part_is_what_the_label_says(task):
    found = corpus()
    drawn = pairs(examples_of(task, found), task)
    assert len(drawn) == 40 * len(found)
    labels = Counter(padding.pair_label(example) for example in drawn)
    assert abs(labels[0] / len(drawn) - 0.5) < 5 * (0.25 / len(drawn)) ** 0.5
    for example in drawn:
        first, second = places(example, found)
        follows = found[second].video == found[first].video and second == first + 1
        if padding.pair_label(example) == 0:
            assert follows
        elif task == "order":
            assert found[first].video == found[second].video and first == second + 1
        else:
            assert found[first].video != found[second].video


def test_each_segment_of_another_video_is_as_likely():
    found = corpus()
    drawn = pairs(examples_of("next-segment", found), "next-segment", 200)
    second = Counter(places(e, found)[1] for e in drawn if padding.pair_label(e) and places(e, found)[0] < 4)
    assert set(second) == set(range(4, 12))
    expected = sum(second.values()) / 8
    assert all(abs(count - expected) < 5 * expected**0.5 for count in second.values())


def test_two_segments_in_a_sequence():
    ids, types = pair_sequence(V, ([7, 8], [1]), ([9], [2, 3]))
    cls, sep, join, first = V.cls_id, V.sep, V.join, V.first_visual
    assert ids == [cls, 7, 8, join, first + 1, sep, 9, join, first + 2, first + 3, sep]
    assert types == [TEXT_TYPE] * 3 + [VIDEO_TYPE] * 3 + [TEXT_TYPE] + [VIDEO_TYPE] * 4
    long = pair_sequence(V, ([7] * 99, [1] * 99), ([9] * 99, [2] * 99), 32)[0]
    assert len(long) == 32 and long.count(sep) == 2 and long.count(join) == 2


@every_task
def test_segments_that_show_nothing_are_pairs_of_words(task):
    drawn = pairs(examples_of(task, corpus(tokens=False), mask=0.15), task, 2)
    assert drawn and all(TEXT in example.asks and JOINT not in example.asks for example in drawn)


@every_task
@pytest.mark.parametrize("videos, segments", [(1, 1), (4, 1), (1, 4), (2, 4)])
def test_what_cannot_be_learned_is_said(task, videos, segments):
    examples = examples_of(task, corpus(videos, segments))
    labels = {padding.pair_label(example) for example in pairs(examples, task, 10)}
    assert bool(examples.notice) == (labels != {0, 1})
    assert examples.notice.startswith(f"{task} learns nothing" if examples.notice else "")


@every_task
def test_without_weight_no_pair_is_drawn(task):
    system = System(pair_task=task)
    examples = Examples.of(V, corpus(), [], ExampleOptions(), 0, system.terms - {TERMS[task]}, system=system)
    assert not pairs(examples, task, 2)


@every_task
def test_loss_and_logits_are_those_of_transformers(task, tmp_path):
    """`BertForPreTraining`, whose second head is asked whether a segment follows; also where its order is asked."""
    model = joint_samples.model(3)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(
            parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())
        )
    model.save(tmp_path)
    other = transformers.BertForPreTraining.from_pretrained(tmp_path).eval()
    found = pairs(examples_of(task, corpus(), mask=0.15), task, 2)
    batch, grid = pack(found), padding.padded(found, V.pad)
    assert {padding.pair_label(example) for example in found} == {0, 1}
    terms = PretrainingObjective(model, V, system=System(pair_task=task)).losses(batch)
    answer = other(**grid)
    assert terms[JOINT].item() + terms[TERMS[task]].item() == pytest.approx(answer.loss.item(), rel=1e-5)
    x_TH = model.encode(batch)
    torch.testing.assert_close(
        model.alignment(x_TH, batch), answer.seq_relationship_logits, atol=1e-5, rtol=1e-5
    )
    asked = model.cloze(x_TH[batch.asks[JOINT][:, 0]])
    theirs = answer.prediction_logits[grid["labels"] != -100]
    torch.testing.assert_close(asked, theirs, atol=1e-5, rtol=1e-5)


def neighbours(videos: int = 3, segments: int = 4, **options) -> tuple[list[Segment], list[Example]]:
    found = corpus(videos, segments)
    examples = examples_of("neighbour", found, **options)
    drawn = [e for epoch in range(60) for item in range(len(examples)) for e in examples.draw(epoch, item)]
    return found, [example for example in drawn if NEIGHBOUR in example.asks]


@pytest.mark.parametrize("videos, kinds", [(3, {NEXT, PREVIOUS, OTHER}), (1, {NEXT, PREVIOUS})])
def test_next_previous_or_other(videos, kinds):
    """Each a third of the pairs; in a library of one video there is no other one."""
    found, drawn = neighbours(videos)
    labels = Counter()
    for example in drawn:
        first, second = places(example, found)
        label = example.asks[NEIGHBOUR][0][-1]
        labels[label] += 1
        if label == OTHER:
            assert found[first].video != found[second].video
        else:
            assert found[first].video == found[second].video
            assert second - first == (1 if label == NEXT else -1)
    assert set(labels) == kinds
    if len(kinds) == 3:
        assert all(abs(n / len(drawn) - 1 / 3) < 5 * (2 / 9 / len(drawn)) ** 0.5 for n in labels.values())


def test_three_labels_have_the_loss_of_transformers(tmp_path):
    """`BertForSequenceClassification`: a dense layer on the pooled state."""
    model = joint_samples.model(3)
    _, drawn = neighbours(mask=0.15)
    found = PretrainingObjective(model, V, system=System(pair_task="neighbour"), seed=3).eval()
    head = found.terms[NEIGHBOUR].classifier
    head.weight.data.normal_()
    model.save(tmp_path)
    other = transformers.BertForSequenceClassification.from_pretrained(tmp_path, num_labels=3).eval()
    other.classifier.load_state_dict(head.state_dict())
    grid = padding.padded(drawn[:24], V.pad)
    labels = torch.tensor([example.asks[NEIGHBOUR][0][-1] for example in drawn[:24]])
    answer = other(grid["input_ids"], grid["attention_mask"], grid["token_type_ids"], labels=labels)
    loss = found.losses(pack(drawn[:24]))[NEIGHBOUR]
    assert loss.item() == pytest.approx(answer.loss.item(), rel=1e-5)
