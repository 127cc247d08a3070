"""Captions, next clips, verbs and nouns: probabilities that add up, and errors in words."""

import dataclasses
import math

import joint_samples
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from transformers import TemperatureLogitsWarper, TopPLogitsWarper

from multimodal.answers import session
from multimodal.answers.caption import caption, moment_at
from multimodal.answers.classify import classify, classify_moments
from multimodal.answers.forecast import forecast, forecast_probabilities, rollout, words_before
from multimodal.catalogue import Catalogue, Video
from multimodal.examples.packing import Example, pack, sequence
from multimodal.inference.cloze import blank_log_probabilities, fill_blanks, sentence, template_ids
from multimodal.inference.embedding import alignment_probability
from multimodal.inference.sampling import SamplingOptions, nucleus, sample
from multimodal.library import Material
from multimodal.segments import CONTEXT, HORIZONS
from multimodal.store import InputError, Store
from multimodal.vocabulary import TEMPLATE
from speech.sentences import Transcript, Word
from vision.clips import CLIP_SECONDS

VIDEO = joint_samples.material("v", [(0, 0), (1, 1), (2, 2)])
BLIND = Material(
    Video("b", "blind.mp4", "/b", 1, "partial"), VIDEO.transcript, np.zeros(0), np.zeros(0, np.int64)
)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    return joint_samples.trained(tmp_path_factory.mktemp("model"))


def test_blanks_are_distributions_over_words(untrained):
    ids = template_ids(untrained, TEMPLATE)
    assert ids.count(untrained.vocabulary.mask) == 2
    found = blank_log_probabilities(
        untrained, [ids] * 70 + [template_ids(untrained, "[MASK] in")], [[1, 2]] * 69 + [[], [3]]
    )
    assert [f.shape for f in found] == [(2, len(untrained.vocabulary.words))] * 70 + [
        (1, len(untrained.vocabulary.words))
    ]
    for f in found:
        assert f.exp().sum(-1).tolist() == pytest.approx([1.0] * len(f), abs=1e-5)
        special = [i for i in range(f.shape[1]) if i not in untrained.vocabulary.replaceable_words]
        assert torch.isinf(f[:, special]).all()
    torch.testing.assert_close(found[0], found[68])
    assert not torch.allclose(found[0], found[69]), "the picture has its part"


def test_masked_tokens_are_no_blanks(untrained):
    (one,) = blank_log_probabilities(untrained, [template_ids(untrained, "[MASK] the onion")], [[-1, 3, -1]])
    assert len(one) == 1


def test_a_template_without_a_blank_is_an_error(untrained):
    with pytest.raises(InputError, match="--template"):
        caption(untrained, VIDEO, template="now cut the onion")


def test_a_caption_a_moment(untrained):
    found = caption(untrained, VIDEO)
    assert [(c.start, c.end) for c in found] == [(m.start, m.end) for m in VIDEO.moments()]
    for c in found:
        assert (
            c.text.startswith("Now let me show you how to ")
            and c.text.endswith(".")
            and "[MASK]" not in c.text
        )
        assert 0 < c.score <= 1 and c.route == "template"
    assert caption(untrained, VIDEO) == found
    assert caption(untrained, VIDEO, at=5.0) == [found[1]]
    assert caption(untrained, VIDEO, at=0.0) == [found[0]] and caption(untrained, VIDEO, at=13.5) == [
        found[2]
    ]


def test_the_score_is_that_of_the_words(untrained):
    text, score = fill_blanks(untrained, "[MASK] the onion", [1])
    (log_p,) = blank_log_probabilities(untrained, [template_ids(untrained, "[MASK] the onion")], [[1]])
    word = untrained.vocabulary.encode(text.split()[0])
    assert len(word) == 1 and score == pytest.approx(log_p[0, word[0]].exp().item(), rel=1e-5)


def test_captions_of_a_model_that_learned(learned):
    found = caption(
        learned, joint_samples.materials(1, seed=50, kinds=6)[0], template="now [MASK] the [MASK]."
    )
    spoken = [s.text for s in joint_samples.materials(1, seed=50, kinds=6)[0].spoken()]
    right = [c.text.lower() == s for c, s in zip(found, spoken, strict=True)]
    assert sum(right) >= 3, f"chance is a sixth: {[c.text for c in found]} for {spoken}"


@pytest.mark.parametrize("at", [-0.1, 13.6, 1e9, float("nan"), float("inf")])
def test_a_moment_outside_the_video(untrained, at):
    with pytest.raises(InputError, match=r"v.mp4@.*13.5 s"):
        caption(untrained, VIDEO, at=at)
    with pytest.raises(InputError, match=r"v.mp4@.*1.5 s"):
        forecast(untrained, VIDEO, at)


def test_a_video_that_cannot_be_seen(untrained):
    with pytest.raises(InputError, match="blind.mp4"):
        caption(untrained, BLIND)
    with pytest.raises(InputError, match="blind.mp4"):
        forecast(untrained, BLIND, 3.0)


def test_the_nearest_moment_where_none_is_shown():
    gap = dataclasses.replace(
        VIDEO,
        starts=np.array([0.0, 1.5, 9.0]),
        tokens=np.array([1, 2, 3]),
        transcript=Transcript(None, {}, ()),
    )
    gap = dataclasses.replace(gap, video=dataclasses.replace(gap.video, seconds=12.0))
    shown = gap.moments()
    assert moment_at(gap, shown, 11.9) == shown[-1]


def test_sentences_as_a_person_writes():
    assert sentence("now let ' s cut , then stir .") == "Now let's cut, then stir."


def test_next_is_a_distribution_over_the_tokens(untrained):
    contexts = [[1], [1, 2, 3], list(range(16))]
    found = forecast_probabilities(untrained, contexts, 8)
    assert found.shape == (3, 8, joint_samples.VISUAL)
    assert found.sum(-1).flatten().tolist() == pytest.approx([1.0] * 24, abs=1e-5)
    v = untrained.vocabulary
    for context, p in zip(contexts, found, strict=True):
        each = []
        for length in range(1, CONTEXT + 1):
            batch = pack([Example(*sequence(v, None, [*context[-length:], *[-1] * 8]))])
            with torch.no_grad():
                logits = untrained.model.cloze(untrained.model.encode(batch))[batch.ids_T == v.mask]
            each.append(logits[:, v.first_visual :].softmax(-1))
        torch.testing.assert_close(p, torch.stack(each).mean(0), atol=1e-5, rtol=1e-4)


def test_next_reads_as_many_clips_as_were_learned_from(untrained):
    contexts = [list(range(12)), [15, 14, *range(2, 12)]]
    usual = forecast_probabilities(untrained, contexts, 2)
    torch.testing.assert_close(usual[0], usual[1])
    longer = forecast_probabilities(dataclasses.replace(untrained, context=12), contexts, 2)
    assert not torch.allclose(longer[0], longer[1], atol=1e-6)


def test_next(untrained):
    found = forecast(untrained, VIDEO, 5.9, top=4)
    assert [h.seconds for h in found] == [h * CLIP_SECONDS for h in HORIZONS] == [1.5, 3.0, 6.0, 12.0]
    for horizon, ahead in zip(found, HORIZONS, strict=True):
        expected = forecast_probabilities(untrained, [VIDEO.tokens[:3].tolist()], ahead)[0]
        p = [p for _, p in horizon.tokens]
        assert len(p) == 4 and p == sorted(p, reverse=True)
        for token, probability in horizon.tokens:
            assert probability == pytest.approx(expected[ahead - 1, token].item(), rel=1e-5)
        assert horizon.tokens[0][0] == expected[ahead - 1].argmax()
    assert len(forecast(untrained, VIDEO, 3.0, top=1000)[0].tokens) == joint_samples.VISUAL
    with pytest.raises(InputError, match=r"@1.4: .*1.5 s"):
        forecast(untrained, VIDEO, 1.4)


def test_next_does_not_look_ahead(untrained):
    other = dataclasses.replace(VIDEO, tokens=np.where(VIDEO.starts >= 4.5, 15, VIDEO.tokens))
    assert forecast(untrained, other, 4.5) == forecast(untrained, VIDEO, 4.5)
    assert forecast(untrained, other, 6.0) != forecast(untrained, VIDEO, 6.0)


def test_verbs_and_nouns(untrained):
    verbs, nouns = classify(untrained, [[1, 1], [], [7]], joint_samples.ACTIONS, joint_samples.THINGS)
    assert verbs.shape == (3, 4) and nouns.shape == (3, 4)
    ids = template_ids(untrained, TEMPLATE)
    (first,) = blank_log_probabilities(untrained, [ids], [[7]])
    v = untrained.vocabulary
    assert verbs[2].tolist() == pytest.approx(
        [first[0, v.encode(a)[0]].item() for a in joint_samples.ACTIONS], abs=1e-5
    )
    assert nouns[2].tolist() == pytest.approx(
        [first[1, v.encode(t)[0]].item() for t in joint_samples.THINGS], abs=1e-5
    )


def test_names_of_several_pieces(untrained):
    """As many blanks as pieces, filled from left to right; the score is the mean over the pieces."""
    v = untrained.vocabulary
    slow, ly = v.encode("slowly")
    verbs, nouns = classify(untrained, [[1, 2], []], ["cut", "slowly"], ["onion", "slowly", "cut onion"])
    start, between, end = (v.encode(part) for part in TEMPLATE.split("[MASK]"))
    for tokens, verb, noun in zip([[1, 2], []], verbs, nouns, strict=True):
        for found, slot in ((verb[1], 0), (noun[1], 1)):
            ways = [[v.mask, v.mask], [slow, v.mask]]
            log_p = []
            for way, piece in zip(ways, (slow, ly), strict=True):
                middle = [way, [v.mask]] if slot == 0 else [[v.mask], way]
                (some,) = blank_log_probabilities(
                    untrained, [[*start, *middle[0], *between, *middle[1], *end]], [tokens]
                )
                log_p.append(some[slot, piece].item())
            assert found.item() == pytest.approx(sum(log_p) / 2, abs=1e-5)
    alone, _ = classify(untrained, [[1, 2], []], ["cut"], [])
    torch.testing.assert_close(alone[:, 0], verbs[:, 0])
    assert classify(untrained, [[1]], [], ["onion"])[0].shape == (1, 0)


@pytest.mark.parametrize(
    ("verbs", "nouns", "words"),
    [
        ([], [], "--verbs and --nouns"),
        (["cut", "cut"], ["onion"], "--verbs: 'cut'"),
        (["cut"], ["zucchini"], "noun 'zucchini'"),
        ([""], ["onion"], "verb ''"),
        (["cut"], ["onion " * 97], "97 word pieces.* 96"),
    ],
)
def test_names_that_cannot_be_asked(untrained, verbs, nouns, words):
    with pytest.raises(InputError, match=words):
        classify_moments(untrained, [[1]], verbs, nouns)


def test_names_by_both_ways(untrained):
    found = classify_moments(untrained, [[1, 1], [7]], joint_samples.ACTIONS, joint_samples.THINGS)
    verbs, nouns = classify(untrained, [[1, 1], [7]], joint_samples.ACTIONS, joint_samples.THINGS)
    said = [
        TEMPLATE.replace("[MASK]", a, 1).replace("[MASK]", t)
        for a in joint_samples.ACTIONS for t in joint_samples.THINGS
    ]  # fmt: skip
    for i, tokens in enumerate([[1, 1], [7]]):
        table = alignment_probability(untrained, said, [tokens] * 16).reshape(4, 4)
        for got, names, log_p, best in (
            (found[i].verbs, joint_samples.ACTIONS, verbs[i], table.max(1)),
            (found[i].nouns, joint_samples.THINGS, nouns[i], table.max(0)),
        ):
            p = [n.probability for n in got]
            assert p == sorted(p, reverse=True) and sum(p) == pytest.approx(1)
            for n in got:
                at = names.index(n.name)
                assert n.log_p == pytest.approx(log_p[at].item()) and n.aligned == pytest.approx(
                    best[at], abs=1e-6
                )
                assert n.probability == pytest.approx(log_p.softmax(0)[at].item(), rel=1e-5)
    (alone,) = classify_moments(untrained, [[7]], ["cut"], [])
    assert alone.nouns == ()
    expected = alignment_probability(untrained, ["now let me show you how to cut it."], [[7]])[0]
    assert alone.verbs[0].aligned == pytest.approx(expected, abs=1e-6)


def test_names_of_a_model_that_learned(learned):
    tokens = [[a * 4 + a] * 3 for a in range(4)]
    found = classify_moments(learned, tokens, joint_samples.ACTIONS, joint_samples.THINGS)
    right = [(a, a) == tuple(max(names, key=lambda n: n.aligned).name == kind[a] and a for names, kind in ((f.verbs, joint_samples.ACTIONS), (f.nouns, joint_samples.THINGS))) for a, f in enumerate(found)]  # fmt: skip
    assert sum(right) >= 3, "by the alignment head; chance is a sixteenth"


# draws


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.2, 3), st.floats(0.05, 1))
def test_the_nucleus_is_that_of_transformers(seed, temperature, top_p):
    p = np.random.default_rng(seed).dirichlet(np.full(12, 0.7))
    logits = torch.tensor(np.log(p))[None].double()
    warped = TopPLogitsWarper(top_p)(None, TemperatureLogitsWarper(temperature)(None, logits))
    found = nucleus(p, SamplingOptions(temperature, top_p))
    np.testing.assert_allclose(found, warped.softmax(-1)[0].numpy(), atol=1e-9)


def test_draws_follow_the_distribution():
    p, random = np.array([0.1, 0.0, 0.6, 0.3]), np.random.default_rng(0)
    counts = np.bincount([sample(p, SamplingOptions(top_p=1.0), random) for _ in range(4000)], minlength=4)
    assert counts[1] == 0
    kept = [0, 2, 3]
    assert chisquare(counts[kept], 4000 * p[kept]).pvalue > 1e-3
    assert {sample(p, SamplingOptions(temperature=0), random) for _ in range(20)} == {2}
    assert {sample(p, SamplingOptions(top_p=0.7), random) for _ in range(200)} == {2, 3}


@pytest.mark.parametrize("wrong", [{"temperature": -1}, {"temperature": math.nan}, {"top_p": 0}, {"top_p": 1.1}, {"seed": -1}])  # fmt: skip
def test_draws_that_cannot_be(wrong):
    (name,) = wrong
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')} "):
        SamplingOptions(**wrong)


def test_a_rollout_knows_what_it_drew(untrained):
    greedy = rollout(untrained, VIDEO, 6.0, 6.2, SamplingOptions(temperature=0))
    context = VIDEO.tokens[:4].tolist()
    assert [s.seconds for s in greedy] == [1.5, 3.0, 4.5, 6.0]
    for step in greedy:
        p = forecast_probabilities(untrained, [context], 1)[0, 0]
        assert step.token == int(p.argmax()) and step.probability == pytest.approx(p.max().item(), rel=1e-5)
        context.append(step.token)
    free = SamplingOptions(temperature=2.0, top_p=1.0, seed=4)
    one = rollout(untrained, VIDEO, 6.0, 30, free)
    assert len(one) == 20 and one == rollout(untrained, VIDEO, 6.0, 30, free)
    assert one != rollout(untrained, VIDEO, 6.0, 30, dataclasses.replace(free, seed=5))
    for seconds in (1.4, 601, math.nan, math.inf):
        with pytest.raises(InputError, match=r"--rollout .*1.5 s.*600 s"):
            rollout(untrained, VIDEO, 6.0, seconds)


def test_what_was_said_before_joins_and_nothing_after(untrained):
    said = tuple(
        dataclasses.replace(s, words=tuple(Word(s.start + i, s.start + i + 0.9, w) for i, w in enumerate(s.text.split())))
        for s in VIDEO.transcript.sentences
    )  # fmt: skip
    timed = dataclasses.replace(VIDEO, transcript=dataclasses.replace(VIDEO.transcript, sentences=said))
    assert (
        words_before(VIDEO.transcript, 4.4) == ""
        and words_before(VIDEO.transcript, 4.5) == "now cut the onion."
    )
    assert words_before(timed.transcript, 6.5) == "now stir" and words_before(timed.transcript, 0.5) == ""
    assert forecast(untrained, timed, 6.5, words=True) != forecast(untrained, timed, 6.5)
    later = (
        said[0],
        dataclasses.replace(said[1], words=(*said[1].words[:2], Word(6.6, 7, "potato"))),
        *said[2:],
    )
    other = dataclasses.replace(timed, transcript=dataclasses.replace(timed.transcript, sentences=later))
    assert forecast(untrained, other, 6.5, words=True) == forecast(untrained, timed, 6.5, words=True)
    v = untrained.vocabulary
    expected = forecast_probabilities(untrained, [VIDEO.tokens[:4].tolist()], 1, [v.encode("now stir")])[0]
    assert forecast(untrained, timed, 6.5, words=True)[0].tokens[0][0] == int(expected[0].argmax())
    none = dataclasses.replace(VIDEO, transcript=Transcript(None, {}, ()))
    assert forecast(untrained, none, 6.0, words=True) == forecast(untrained, none, 6.0)


def test_a_store_without_a_model_or_the_video(tmp_path, untrained):
    store = Store(tmp_path)
    with Catalogue(store.catalogue) as catalogue:
        with pytest.raises(InputError, match="no model .*videobert run"):
            session.open_trained(store, catalogue, "cpu")
        catalogue.put(Video("a" * 64, "a.mp4", "/a.mp4", 1, "refused", "not a video"))
        catalogue.put(Video("b" * 64, "b.mp4", "/b.mp4", 1, "done", clips=3, features="f"))
        for label, words in (("none.mp4", "not in this store"), ("a.mp4", "a.mp4: refused: not a video; ask about another"),
                             ("b.mp4", "b.mp4: has no visual tokens yet; run `videobert index`")):  # fmt: skip
            with pytest.raises(InputError, match=words):
                session.material_of(store, untrained, catalogue.find(label))
        catalogue.set_current("model", "gone")
        catalogue.set_current("model_codebook", "c")
        with pytest.raises(InputError, match="model gone"):
            session.open_trained(store, catalogue, "cpu")
