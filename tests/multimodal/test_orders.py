"""Systems that read in an order: left to right against `transformers`' decoder, permutations by gradients and by perturbation.

Shapes: T tokens, M predictions, V vocabulary.
"""

import collections
import dataclasses
import itertools

import joint_samples
import numpy as np
import pytest
import torch
from ordered import GPT, XLNET, decoder, logits, objective

from multimodal.examples.orders import ORDERS, permuted, unmasked
from multimodal.examples.packing import Example, pack, sequence
from multimodal.store import InputError
from multimodal.systems import LEFT_TO_RIGHT, NONE, PERMUTATION, System
from multimodal.terms import JOINT, TEXT, VIDEO

V = joint_samples.vocabulary()
PREDICTIONS = (TEXT, VIDEO, JOINT)


def drawn(system: System, step: int = 5) -> list[Example]:
    examples = joint_samples.examples(system=system)
    return [e for item in range(0, len(examples), step) for e in examples.draw(0, item)]


def predictions(example: Example) -> list[tuple[int, int]]:
    return [asked for term in PREDICTIONS for asked in example.asks.get(term, ())]


def test_loss_and_logits_of_left_to_right_are_those_of_transformers():
    found, examples = objective(GPT), [e for e in drawn(GPT) if predictions(e)]
    other, batch = decoder(found), pack(examples)
    ours = found.model.cloze(found.read(batch).x_TH).split([len(e.ids) for e in examples])
    total, count = 0.0, 0
    for logits_TV, example in zip(ours, examples, strict=True):
        ids = torch.tensor([example.ids])
        theirs = other(input_ids=ids, token_type_ids=torch.tensor([example.types]), labels=ids)
        torch.testing.assert_close(logits_TV, theirs.logits[0], atol=1e-5, rtol=1e-5)
        total, count = total + theirs.loss.item() * (len(example.ids) - 1), count + len(example.ids) - 1
    sums = dict(zip(found.names, found._sums(batch, lambda rows: rows).tolist(), strict=True))
    counts = dict(zip(found.names, found.counts(batch).tolist(), strict=True))
    assert sum(counts[name] for name in PREDICTIONS) == count
    loss = sum(sums[name] for name in PREDICTIONS) / count
    assert loss == pytest.approx(total / count, abs=1e-5, rel=1e-5)


def test_left_to_right_has_the_words_first_as_often_as_the_video():
    examples = [e for epoch in range(20) for e in joint_samples.examples(system=GPT).draw(epoch, 3)]
    first = collections.Counter(e.ids[1] == V.join for e in examples if JOINT in e.asks)
    assert set(first) == {False, True} and abs(first[True] - 10) <= 7
    (video,) = {
        tuple(e.ids) for e in examples if JOINT in e.asks and e.ids[1] == V.join and len(e.ids) < 12
    } or {()}
    words = V.decode([i for i in video if i < len(V.words) and i not in V.specials])
    assert not video or words.startswith("now")


def identity(masked: Example) -> Example:
    """A permutation that is none: the asked tokens in the order in which they stand."""

    class Sorted:
        def permutation(self, count: int) -> np.ndarray:
            return np.arange(count)

    return permuted(masked, V, Sorted())


def test_the_identity_permutation_is_left_to_right():
    """All tokens but the first are asked. Content states are those of `transformers`' decoder, and the query of a place is
    what it says at a [MASK] behind the tokens before it that does not see itself."""
    found = objective(XLNET)
    other, masked = decoder(found), decoder(found, left_to_right=False)
    ids, types = sequence(V, V.encode("now cut the onion"), [3, 1, 4])
    example = identity(Example(ids, types, {JOINT: list(enumerate(ids))[1:]}))
    assert example.order[: len(ids)] == list(range(len(ids)))
    logits_TV = found.model.cloze(found.model.encode(pack([example])))
    read, kinds = torch.tensor([ids]), torch.tensor([types])
    with torch.no_grad():
        content = other(input_ids=read, token_type_ids=kinds).logits[0]
        torch.testing.assert_close(logits_TV[: len(ids)], content, atol=1e-5, rtol=1e-5)
        for query, place in enumerate(range(1, len(ids)), len(ids)):
            prefix = torch.tensor([[*ids[:place], V.mask]])
            seen = torch.ones(1, 1, place + 1, place + 1).tril().bool()
            seen[..., -1, -1] = False
            given = {"token_type_ids": kinds[:, : place + 1], "attention_mask": seen}
            expected = masked(input_ids=prefix, **given).logits[0, -1]
            torch.testing.assert_close(logits_TV[query], expected, atol=1e-5, rtol=1e-5)


def test_two_streams_are_transformers_network_under_their_mask():
    found = objective(XLNET)
    masked = decoder(found, left_to_right=False)
    for example in [e for e in drawn(XLNET, 11) if predictions(e)][:6]:
        places = range(len(example.ids))
        seen = [[[sees(XLNET, example, one, other) for other in places] for one in places]]
        given = {"token_type_ids": example.types, "position_ids": example.positions, "attention_mask": seen}
        with torch.no_grad():
            expected = masked(
                input_ids=torch.tensor([example.ids]),
                **{name: torch.tensor([some]) for name, some in given.items()},
            )
        torch.testing.assert_close(logits(found, pack([example])), expected.logits[0], atol=1e-5, rtol=1e-5)


def sees(system: System, example: Example, one: int, other: int) -> bool:
    """The rule, as the papers have it: all before it and itself; a query all before it, and nobody a query."""
    if example.order[other] < 0:
        return False
    if system is GPT:
        return other <= one
    mine, theirs = rank(example, one), rank(example, other)
    return theirs < mine or (theirs == mine and example.order[one] >= 0)


def rank(example: Example, place: int) -> int:
    order = example.order[place]
    return ~order if order < 0 else order


def test_a_prediction_depends_on_what_its_order_allows_and_on_nothing_else():
    """Over all pairs of a prediction and a token: the gradient is zero exactly where the order forbids it."""
    for system in (GPT, XLNET):
        found = objective(system)
        for example in [e for e in drawn(system, 11) if predictions(e)][:6]:
            batch = pack([example])
            rows_TH = (
                found.model.bert["embeddings"].embedding_lookup(batch.ids_T)[0].detach().requires_grad_()
            )
            x_TH = found.model.encode(batch, rows_TH)
            direction_H = torch.randn(x_TH.shape[1], generator=torch.Generator().manual_seed(0))
            for place, label in predictions(example):
                (gradient_TH,) = torch.autograd.grad(x_TH[place] @ direction_H, rows_TH, retain_graph=True)
                for other in range(len(example.ids)):
                    # Each state depends on its own row, which the residual adds: of a query that is [MASK]'s.
                    visible = other == place or sees(system, example, place, other)
                    assert bool(gradient_TH[other].any()) == visible, (system.name, place, other)
                own = predicted_token(system, example, place)
                assert example.ids[own] == label and not gradient_TH[own].any(), "its own answer is not seen"


def predicted_token(system: System, example: Example, place: int) -> int:
    """The place at which the token that is asked for stands."""
    return place + 1 if system is GPT else example.positions[place]


@pytest.mark.parametrize("system", [GPT, XLNET], ids=lambda system: system.name)
def test_another_answer_changes_no_prediction_of_it(system):
    """What is asked, and what comes after it in the order, is replaced: the logits of the prediction stay to the bit."""
    found = objective(system)
    for example in [e for e in drawn(system, 13) if predictions(e)][:8]:
        before = logits(found, pack([example]))
        for place, _ in predictions(example)[::3]:
            own = predicted_token(system, example, place)
            hidden = [
                p
                for p in range(len(example.ids))
                if example.order[p] >= 0 and rank(example, p) >= rank(example, own)
            ]
            assert own in hidden
            ids = list(example.ids)
            for p in hidden:
                ids[p] = V.first_visual if ids[p] != V.first_visual else V.first_visual + 1
            after = logits(found, pack([dataclasses.replace(example, ids=ids)]))
            assert torch.equal(after[place], before[place])
            assert not torch.equal(after[own], before[own]), "the control: its own state is another"


def test_one_token_in_six_is_predicted_and_every_order_comes():
    examples = joint_samples.examples(system=XLNET)
    orders = collections.Counter()
    ids, types = sequence(
        V, V.encode("now let me show you how to cut the onion and the apple"), list(range(5))
    )
    for seed in range(600):
        random = np.random.default_rng(seed)
        found = examples.hidden(ids, types, JOINT, random)
        asked = [found.positions[place] for place, _ in found.asks[JOINT]]
        assert len(asked) == 3 == round(18 / 6) and found.ids[: len(ids)] == ids
        assert V.mask not in found.ids[: len(ids)], "no token reads a [MASK]"
        assert sorted(found.order[p] for p in asked) == [1, 2, 3]
        orders[tuple(np.argsort([found.order[p] for p in sorted(asked)]))] += 1
    assert len(orders) == 6 and min(orders.values()) > 600 / 6 / 2
    assert {len(e.asks[VIDEO]) for e in (examples.draw(0, len(examples) - 1))} <= set(range(1, 9))


def test_whole_sequences_are_read_by_all_and_keep_their_pairs():
    """Contrast and alignment are asked of sequences without a query; all of a batch have an order."""
    found = drawn(XLNET)
    whole = [e for e in found if not predictions(e)]
    assert whole and all(set(e.order) == {0} or V.mask in e.ids for e in whole)
    assert all(e.order is not None for e in (*found, *drawn(GPT)))


def test_what_is_asked_is_put_back():
    masked = Example([V.cls_id, V.mask, 40, V.sep], [0] * 4, {TEXT: [(1, 41), (2, 42)]})
    assert unmasked(masked) == [V.cls_id, 41, 42, V.sep]
    assert ORDERS["bidirectional"].read(masked) is masked


@pytest.mark.parametrize(
    "parts, options",
    [
        ({"attention": LEFT_TO_RIGHT}, ("--pair-task alignment", "--attention left-to-right")),
        ({"attention": LEFT_TO_RIGHT, "pair_task": NONE, "mask_unit": "spans"}, ("--mask-unit spans", "--attention")),
        ({"attention": PERMUTATION, "extra_terms": "replaced"}, ("--extra-terms replaced", "--attention permutation")),
    ],
)  # fmt: skip
def test_parts_that_no_order_allows_are_refused_in_a_line_with_both(parts, options):
    with pytest.raises(InputError) as error:
        System("own", **parts)
    assert "\n" not in str(error.value) and all(option in str(error.value) for option in options)


def test_masks_of_any_unit_can_be_predicted_in_an_order():
    for unit, pair_task in itertools.product(("spans", "n-grams", "phrases"), ("alignment", "order", "none")):
        mixed = System("mixed", mask_unit=unit, pair_task=pair_task, attention=PERMUTATION)
        found = objective(mixed).train()
        loss, _ = found(batch := pack(drawn(mixed, 20)), found.counts(batch))
        assert torch.isfinite(loss)
