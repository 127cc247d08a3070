"""Writing against `transformers`' decoder with the same weights, sampling, rollouts, and what an order lets a blank see."""

import dataclasses
import itertools
from pathlib import Path

import joint_samples
import numpy as np
import ordered
import pytest
import tiny_store
import torch

from multimodal.answers.caption import caption, example_of
from multimodal.answers.classify import classify
from multimodal.answers.forecast import forecast, forecast_probabilities, horizon_probabilities
from multimodal.answers.opened_store import OpenedStore
from multimodal.catalogue import Catalogue
from multimodal.examples.packing import Example, pack, sequence
from multimodal.inference.cloze import (
    blank_log_probabilities,
    masked_logits,
    sentence,
    visual_probabilities,
)
from multimodal.inference.left_to_right import LIKELIEST, coming_probabilities, name_log_p, prompt, write
from multimodal.inference.sampling import SamplingOptions
from multimodal.inference.trained import TEXT_TYPE, Trained, load_trained
from multimodal.joint.cached import CachedReader
from multimodal.segments import HORIZONS
from multimodal.store import InputError
from multimodal.systems import LEFT_TO_RIGHT, PERMUTATION

V = joint_samples.vocabulary()
GPT, XLNET = ordered.objective(ordered.GPT), ordered.objective(ordered.XLNET)
WRITER = Trained("gpt", Path("step-0"), GPT.model, V, "codebook", False, attention=LEFT_TO_RIGHT)
PERMUTED = Trained("xlnet", Path("step-0"), XLNET.model, V, "codebook", attention=PERMUTATION)
DECODER = ordered.decoder(GPT)
PROMPTS = [prompt(WRITER, run) for run in ([1, 2, 3], [4], [], [5, 6, 7, 8, 9, 10])]


def next_logits(ids: list[int], types: list[int]) -> torch.Tensor:
    with torch.no_grad():
        found = DECODER(input_ids=torch.tensor([ids]), token_type_ids=torch.tensor([types]))
    return found.logits[0, -1]


def test_states_that_are_read_piece_by_piece_are_those_of_the_whole():
    whole = [([*ids, 40, 41, 42], [*types, 0, 0, 0]) for ids, types in PROMPTS]
    examples = [Example(ids, types, order=list(range(len(ids)))) for ids, types in whole]
    with torch.no_grad():
        encoded = GPT.model.encode(pack(examples)).split([len(ids) for ids, _ in whole])
        reader = CachedReader(GPT.model)
        longest = max(len(ids) for ids, _ in PROMPTS)
        padded = [[ids + [0] * (longest - len(ids)) for ids in part] for part in zip(*PROMPTS, strict=True)]
        lengths = torch.tensor([len(ids) for ids, _ in PROMPTS])
        x_NH = reader.read(*map(torch.tensor, padded), lengths)
        rows = torch.tensor([3, 0, 0, 2, 1])
        reader.select(rows)
        for place, piece in enumerate((40, 41, 42)):
            expected = torch.stack(
                [x[len(ids) - 4 + place] for x, (ids, _) in zip(encoded, whole, strict=True)]
            )
            torch.testing.assert_close(x_NH, expected if not place else expected[rows], atol=1e-5, rtol=1e-5)
            count = len(rows)
            new = torch.full((count, 1), piece)
            x_NH = reader.read(new, torch.zeros_like(new), torch.ones(count, dtype=torch.long))


def test_the_likeliest_text_is_that_of_transformers_step_by_step():
    allowed = torch.full((V.size,), -torch.inf)
    allowed[list(V.replaceable_words)] = 0
    for (ids, types), text in zip(PROMPTS, write(WRITER, PROMPTS, longest=7), strict=True):
        ids, types, log_ps = list(ids), list(types), []
        for place in itertools.count():
            allowed[V.sep] = 0 if place else -torch.inf
            best = (next_logits(ids, types) + allowed).log_softmax(-1).max(-1)
            log_ps.append(best.values.item())
            if best.indices == V.sep or place == 7:
                break
            ids, types = [*ids, best.indices.item()], [*types, TEXT_TYPE]
        assert list(text.ids) == ids[-len(text.ids) :] and 1 <= len(text.ids) <= 7
        assert text.log_p == pytest.approx(log_ps[: len(text.log_p)], abs=1e-4)


def test_a_draw_depends_on_its_seed_and_on_no_other_prompt():
    options = SamplingOptions(temperature=1.5, top_p=1.0, seed=4)
    together = write(WRITER, PROMPTS, options, 8)
    assert [write(WRITER, [one], options, 8)[0].ids for one in PROMPTS] == [text.ids for text in together]
    others = [write(WRITER, PROMPTS, dataclasses.replace(options, seed=seed), 8) for seed in range(5)]
    assert len({tuple(text.ids for text in texts) for texts in others}) == 5
    nearly = write(WRITER, PROMPTS, SamplingOptions(temperature=1.0, top_p=1e-9))
    assert [t.ids for t in nearly] == [t.ids for t in write(WRITER, PROMPTS, LIKELIEST)]


def test_examples_in_context_are_read_before_the_moment():
    shown = [(V.encode("cut the onion"), (1, 2)), (V.encode("stir"), (3,))]
    ids, types = prompt(WRITER, [4, 5], V.encode("now"), shown)
    first = V.first_visual
    assert ids == [
        V.cls_id, V.join, first + 1, first + 2, V.sep, *shown[0][0], V.sep, V.join, first + 3, V.sep, *shown[1][0], V.sep,
        V.join, first + 4, first + 5, V.sep, *V.encode("now"),
    ]  # fmt: skip
    assert len(ids) == len(types)
    materials = joint_samples.materials(2)
    told = example_of(WRITER, materials[1], 2.0)
    assert told[0] == V.encode(materials[1].transcript.sentences[0].text) and len(told[1]) == 3
    (found,) = caption(WRITER, materials[0], at=1.0, examples=[told] * 2)
    tokens = materials[0].moments()[0].tokens
    (expected,) = write(WRITER, [prompt(WRITER, tokens, (), [told] * 2)])
    assert found.score == expected.score and found.score != caption(WRITER, materials[0], at=1.0)[0].score
    many, _ = prompt(WRITER, [4, 5], (), shown * 30)
    assert 110 < len(many) <= 128 and many[-4:] == [V.join, first + 4, first + 5, V.sep]


def test_a_caption_goes_on_from_a_prompt():
    tokens = joint_samples.materials(1)[0].moments()[0].tokens
    (found,) = caption(WRITER, joint_samples.materials(1)[0], at=1.0, begun="Slowly cut")
    begun = V.encode("slowly cut")
    (expected,) = write(WRITER, [prompt(WRITER, tokens, begun)])
    assert found.text == sentence(V.decode([*begun, *expected.ids])) and found.text.startswith("Slowly cut")
    assert found.score == expected.score


def test_the_next_clip_and_names_are_asked_behind_examples():
    shown = [(V.encode("cut the onion"), (1, 2)), (V.encode("stir"), (3,))]
    first = V.first_visual
    ids = [
        V.cls_id,
        *shown[0][0],
        V.join,
        first + 1,
        first + 2,
        V.sep,
        *shown[1][0],
        V.join,
        first + 3,
        V.sep,
    ]
    types = [0, *[0] * 3, 1, 1, 1, 1, 0, 1, 1, 1]
    heard = V.encode("now")
    ids, types = [*ids, *heard, V.join, first + 4], [*types, 0, 1, 1]
    p = forecast_probabilities(WRITER, [[4]], 2, [heard], shown)
    expected = next_logits(ids, types)[first:].softmax(-1)
    torch.testing.assert_close(p[0, 0], expected, atol=1e-5, rtol=1e-5)
    careless = forecast_probabilities(WRITER, [[4]], 2, [heard])[0, 0]
    assert (careless - expected).abs().sum() > 1e-3
    verbs = ["cut", "stir"]
    by_prompt = name_log_p(
        WRITER,
        [prompt(WRITER, [4], V.encode("now let me show you how to"), shown)],
        [V.encode(v) for v in verbs],
    )
    (found, _) = classify(WRITER, [[4]], verbs, [], shown)
    torch.testing.assert_close(found, by_prompt)
    assert (found - classify(WRITER, [[4]], verbs, [])[0]).abs().max() > 1e-3


def test_coming_clips_are_the_sum_over_what_may_come_before_them():
    ids, types = sequence(V, None, [3, 1])
    context = (ids[:-1], types[:-1])
    (found,) = coming_probabilities(WRITER, [context], [2])
    visual = range(V.first_visual, V.size)
    first = next_logits(*context)[V.first_visual :].softmax(-1)
    torch.testing.assert_close(found[0], first, atol=1e-5, rtol=1e-5)
    second = torch.stack(
        [next_logits([*context[0], t], [*context[1], 1])[V.first_visual :].softmax(-1) for t in visual]
    )
    exact = first @ second
    careless = second[first.argmax()]
    assert (found[1] - exact).abs().sum() < 0.25 * (careless - exact).abs().sum()
    torch.testing.assert_close(found.sum(-1), torch.ones(2), atol=1e-5, rtol=1e-5)


def test_a_forecast_does_not_depend_on_the_questions_beside_it():
    contexts = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 10, 1]]
    together = horizon_probabilities(WRITER, contexts)
    assert together.shape == (3, len(HORIZONS), V.visual)
    for context, found in zip(contexts, together, strict=True):
        torch.testing.assert_close(horizon_probabilities(WRITER, [context])[0], found, atol=1e-4, rtol=1e-3)
    allowed = torch.arange(V.visual) < 4
    p = visual_probabilities(WRITER, [(), V.encode("cut")], [[1, -1, -1], [-1]], allowed=allowed)
    assert p.shape == (3, V.visual) and not p[:, 4:].any()


def test_names_are_as_likely_as_transformers_says():
    verbs, nouns = ["cut", "slowly"], ["onion", "apple"]
    runs = [[1, 2], []]
    found, of_nouns = classify(WRITER, runs, verbs, nouns)
    allowed = torch.full((V.size,), -torch.inf)
    allowed[list(V.replaceable_words)] = 0

    def log_p(ids, types, pieces):
        total = 0.0
        for piece in pieces:
            total += (next_logits(ids, types) + allowed).log_softmax(-1)[piece].item()
            ids, types = [*ids, piece], [*types, TEXT_TYPE]
        return total / len(pieces)

    start = V.encode("now let me show you how to")
    for run, row, noun_row in zip(runs, found, of_nouns, strict=True):
        expected = torch.tensor([log_p(*prompt(WRITER, run, start), V.encode(verb)) for verb in verbs])
        torch.testing.assert_close(row, expected, atol=1e-4, rtol=1e-4)
        shares = expected.softmax(0)
        for noun, value in zip(nouns, noun_row.tolist(), strict=True):
            said = [[*start, *V.encode(verb), *V.encode("the")] for verb in verbs]
            p = [np.exp(log_p(*prompt(WRITER, run, words), V.encode(noun))) for words in said]
            assert np.exp(value) == pytest.approx(
                float(shares @ torch.tensor(p, dtype=shares.dtype)), rel=1e-3
            )
    assert name_log_p(WRITER, [], [[1]]).shape == (0, 1)
    _, alone = classify(WRITER, runs, [], nouns)
    assert alone.shape == (2, 2)


@pytest.mark.parametrize(
    "ask",
    [
        lambda: blank_log_probabilities(WRITER, [[V.mask]], [()]),
        lambda: visual_probabilities(WRITER, [()], [[1, -1, 2]]),
        lambda: caption(WRITER, joint_samples.materials(1)[0], template="now [MASK] it"),
        lambda: caption(PERMUTED, joint_samples.materials(1)[0], sampling=SamplingOptions()),
        lambda: caption(PERMUTED, joint_samples.materials(1)[0], examples=[([40], (1,))]),
        lambda: caption(PERMUTED, joint_samples.materials(1)[0], begun="now"),
        lambda: classify(PERMUTED, [[1]], ["cut"], [], [([40], (1,))]),
        lambda: forecast(PERMUTED, joint_samples.materials(1)[0], 3.0, examples=[([40], (1,))]),
    ],
)
def test_what_a_model_cannot_give_is_refused_in_a_line_that_names_one_that_can(ask):
    with pytest.raises(InputError) as error:
        ask()
    said = str(error.value)
    assert "\n" not in said and ("--system videobert" in said or "--system gpt" in said)


def test_a_blank_of_a_permutation_comes_last_and_is_read_by_nobody():
    """It is answered as in training: by a query that sees all that is not asked, and no [MASK]."""
    ids, types = sequence(V, V.encode("now cut the onion"), [3, 1, 4])
    asked = [2, 4, 7]
    blanked = [V.mask if place in asked else token for place, token in enumerate(ids)]
    ((logits, counts),) = masked_logits(PERMUTED, [(blanked, types)])
    assert counts == [3]
    for row, place in zip(logits, asked, strict=True):
        seen = [p for p in range(len(ids)) if p not in asked]
        alone = Example(
            [*(ids[p] for p in seen), V.mask],
            [*(types[p] for p in seen), types[place]],
            order=[*[0] * len(seen), ~1],
            positions=[*seen, place],
        )
        expected = ordered.logits(XLNET, pack([alone]))[-1]
        torch.testing.assert_close(row, expected, atol=1e-5, rtol=1e-5)
    plain = dataclasses.replace(PERMUTED, attention="bidirectional")
    ((other, _),) = masked_logits(plain, [(blanked, types)])
    assert not torch.allclose(other, logits, atol=1e-2), "the control: blanks that all tokens read"


def test_a_store_is_asked_as_any_other(tmp_path):
    store = tiny_store.three_videos(tmp_path)
    codebook = Catalogue(store.catalogue, read_only=True).current("model_codebook")
    trained = dataclasses.replace(
        load_trained(store, "m", codebook, "cpu"), attention=LEFT_TO_RIGHT, has_alignment=False
    )
    with OpenedStore.of(store, Catalogue(store.catalogue, read_only=True), trained) as opened:
        plain = opened.caption("kept@1", by="model").captions
        drawn = opened.caption("kept@1", sampling=SamplingOptions(seed=3)).captions
        led = opened.caption("kept@1", examples=["a@1", "b@4"], prompt="now").captions
        assert all(c.text.startswith("Now") for c in led)
        assert {c.route for c in (*plain, *drawn, *led)} == {"written"}
        assert len({c.text for c in (*plain, *drawn, *led)}) > 1
        assert drawn == opened.caption("kept@1", sampling=SamplingOptions(seed=3)).captions
        assert len(opened.next("kept@3", by="model", rollout=12).rollout.clips) == 8
        assert opened.search("chop the carrot").hits and opened.imagine("chop", by="model").clips
        ranked = opened.classify("kept@1", verbs=["chop", "wash"], by="model").moments[0].names.verbs
        assert all(name.aligned is None for name in ranked)
        asked = opened.next("kept@3", examples=["a@1", "b@4"])
        assert asked.quality.method == "model" and asked != opened.next("kept@3", by="model")
        moments = opened.classify("kept@1", verbs=["chop", "wash"], examples=["a@1"]).moments
        assert [n.name for n in moments[0].names.verbs] and moments[0].names.verbs != ranked
        for ask in (opened.next, opened.classify):
            with pytest.raises(InputError, match="--examples: goes to the model"):
                ask("kept@3", examples=["a@1"], by="plain")
        for refused in (
            {"prompt": "now", "by": "plain"},
            {"prompt": ""},
            {"examples": ["a"]},
            {"examples": ["a@1"], "by": "plain"},
            {"template": "[MASK] it"},
        ):
            with pytest.raises(InputError) as error:
                opened.caption("kept@1", **refused)
            assert "\n" not in str(error.value) and f"--{next(iter(refused))}" in str(error.value)
