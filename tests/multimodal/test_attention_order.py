"""The order of attention: one rule makes the encoder BERT's, GPT's or XLNet's two streams.

Shapes: T tokens, H hidden.
"""

import dataclasses
import itertools

import joint_samples
import pytest
import torch
from transformers import BertConfig, BertLMHeadModel

from multimodal.examples.packing import Batch, Example, pack, sequence
from multimodal.joint.attention import MINIMUM_FILL, LengthBuckets, visible
from multimodal.joint.model import JointBert

V = joint_samples.vocabulary()
MODEL = joint_samples.model(3)
for weight in MODEL.parameters():
    weight.data += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel()))


def sequences() -> list[Example]:
    """Words and visual tokens of several lengths: some share a bucket, some do not."""
    found = []
    for words, tokens in (
        ("now cut the onion", 3),
        ("stir", 0),
        ("then we wash the apple", 2),
        ("peel", 20),
        ("wash", 16),
    ):
        ids, types = sequence(V, V.encode(words), [n % V.visual for n in range(tokens)])
        found.append(Example(ids, types))
    lengths = sorted(len(example.ids) for example in found)
    assert lengths[0] < MINIMUM_FILL * lengths[-1] and len(LengthBuckets.of(pack(found)).buckets) > 1
    return found


def with_order(examples: list[Example], order) -> Batch:
    """The packed examples, each with `order(length)`."""
    return pack([dataclasses.replace(example, order=order(len(example.ids))) for example in examples])


def causal_bert(model: JointBert) -> BertLMHeadModel:
    """`transformers`' decoder of the same weights."""
    o = model.options
    shape = {name: getattr(o, name) for name in (
        "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
        "max_position_embeddings", "type_vocab_size", "layer_norm_eps",
    )}  # fmt: skip
    other = BertLMHeadModel(BertConfig(**shape, is_decoder=True))
    missing, unexpected = other.load_state_dict(model.export_tensors(), strict=False)
    assert all("predictions.decoder" in name for name in missing)
    assert all("pooler" in name or "seq_relationship" in name for name in unexpected)
    return other.eval()


def logits(model: JointBert, batch: Batch) -> torch.Tensor:
    with torch.no_grad():
        return model.cloze(model.encode(batch))


def test_an_order_by_position_gives_the_logits_of_transformers_decoder():
    examples, other = sequences(), causal_bert(MODEL)
    ours = logits(MODEL, with_order(examples, lambda n: list(range(n)))).split([len(e.ids) for e in examples])
    for found, example in zip(ours, examples, strict=True):
        with torch.no_grad():
            ids, types = torch.tensor([example.ids]), torch.tensor([example.types])
            expected = other(input_ids=ids, token_type_ids=types).logits[0]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(torch.cat(ours), logits(MODEL, pack(examples)), atol=1e-2), (
        "without it, another"
    )


def test_one_rank_for_all_is_no_order():
    """The two paths of attention, with a mask of pairs and without, give the same within rounding."""
    examples = sequences()
    plain, ranked = logits(MODEL, pack(examples)), logits(MODEL, with_order(examples, lambda n: [0] * n))
    torch.testing.assert_close(ranked, plain, atol=1e-5, rtol=1e-5)


def test_the_padding_of_a_bucket_makes_no_gradient_a_nan():
    """A row of padding that saw nothing would have a softmax of 0 / 0."""
    model = JointBert(MODEL.options).train()
    model.load_tensors(MODEL.export_tensors())
    batch = with_order(sequences(), lambda n: list(range(n)))
    assert any(
        bucket.tokens < bucket.sequences * bucket.longest for bucket in LengthBuckets.of(batch).buckets
    )
    model.cloze(model.encode(batch)).square().sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


RANKS = [0, 4, 2, 5, 1, 3]
"""A permutation: each token's place in the order of factorization."""
PREDICTED = [3, 1, 5]
OTHER = Example([V.cls_id, V.mask, V.sep], [0] * 3, order=[0, 1, 2])


def two_streams() -> Batch:
    """Behind another sequence the tokens, then a query [MASK] at the position of each predicted one."""
    tokens = [V.cls_id, *V.encode("cut the onion now"), V.sep]
    ids = [*tokens, *[V.mask] * len(PREDICTED)]
    order = [*RANKS, *(~RANKS[position] for position in PREDICTED)]
    positions = [*range(len(tokens)), *PREDICTED]
    return pack([OTHER, Example(ids, [0] * len(ids), order=order, positions=positions)])


def allowed(batch: Batch, row: int, column: int) -> bool:
    """The rule: a token sees lower ranks and its own, a query lower ranks alone, and nobody sees a query.

    Every state depends on its own token, which the residual adds.
    """
    sequence_T, order_T = batch.sequence_T.tolist(), batch.order_T.tolist()
    if row == column:
        return True
    if sequence_T[row] != sequence_T[column] or order_T[column] < 0:
        return False
    rank = ~order_T[row] if order_T[row] < 0 else order_T[row]
    return order_T[column] < rank


def influences(batch: Batch) -> torch.Tensor:
    """The norm of the gradient of each token's state with respect to each token's embedding: [T, T]."""
    rows_TH = MODEL.bert["embeddings"].embedding_lookup(batch.ids_T)[0].detach().requires_grad_()
    x_TH = MODEL.encode(batch, rows_TH)
    direction_H = torch.randn(x_TH.shape[1], generator=torch.Generator().manual_seed(0))
    gradients = [torch.autograd.grad(x_H @ direction_H, rows_TH, retain_graph=True)[0] for x_H in x_TH]
    return torch.stack(gradients).norm(dim=-1)


def test_a_state_depends_on_what_the_order_lets_it_see_and_on_nothing_else():
    batch = two_streams()
    expected = [
        [allowed(batch, row, column) for column in range(batch.tokens)] for row in range(batch.tokens)
    ]
    assert (influences(batch) > 0).tolist() == expected
    without = influences(dataclasses.replace(batch, order_T=None)) > 0
    assert without[3:, 3:].all() and without.tolist() != expected, "the control: all see all"


def test_a_query_predicts_as_the_token_would_that_may_not_see_itself():
    """The state of a query is that of [MASK] at its position after the tokens of lower rank, in whatever batch."""
    batch = two_streams()
    queries_PH = MODEL.encode(batch)[-len(PREDICTED) :]
    ids_T = batch.ids_T[len(OTHER.ids) :]
    for position, query_H in zip(PREDICTED, queries_PH, strict=True):
        seen = sorted((p for p in range(len(RANKS)) if RANKS[p] < RANKS[position]), key=RANKS.__getitem__)
        ids, ranks = [*ids_T[seen].tolist(), V.mask], [*range(len(seen)), ~len(seen)]
        alone = pack([Example(ids, [0] * len(ids), order=ranks)])
        alone = dataclasses.replace(alone, positions_T=torch.tensor([*seen, position]))
        torch.testing.assert_close(query_H, MODEL.encode(alone)[-1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_the_rule_for_any_ranks(seed):
    order = torch.randint(-5, 5, (3, 7), generator=torch.Generator().manual_seed(seed))
    found = visible(order)
    for row, i, j in itertools.product(range(3), range(7), range(7)):
        mine, theirs = order[row, i].item(), order[row, j].item()
        rank = ~mine if mine < 0 else mine
        wanted = theirs >= 0 and (theirs < rank or (theirs == rank and mine >= 0))
        assert found[row, i, j].item() == wanted
