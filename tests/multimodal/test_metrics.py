"""Figures against numbers worked out by hand, and models that know nothing against chance."""

import math

import joint_samples
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from multimodal.answers.alignment import RERANKED
from multimodal.answers.counts import Counts
from multimodal.answers.search import Index
from multimodal.examples.corruption import content_positions
from multimodal.examples.packing import sequence
from multimodal.inference.cloze import fill_blanks, guess
from multimodal.inference.embedding import (
    LEAST_PROBABILITY,
    alignment_probability,
    embed_texts,
    embed_videos,
)
from multimodal.objectives.contrast import TEMPERATURE
from multimodal.scoring.alignment import alignment_figures
from multimodal.scoring.cloze import cloze_figures, witten_bell
from multimodal.scoring.intervals import MOST_QUESTIONS, RESAMPLES, ScoredQuestions, sample_questions
from multimodal.scoring.metrics import evaluate
from multimodal.scoring.next_token import figure_name, next_token_figures
from multimodal.scoring.references import ReferencedMoment
from multimodal.scoring.truth import Truth, TruthStep
from multimodal.scoring.visual_search import visual_scores
from multimodal.vocabulary import TEMPLATE


@pytest.fixture(autouse=True)
def no_java(monkeypatch):
    """METEOR's program takes seconds to start; its own test does so."""
    monkeypatch.setattr("shutil.which", lambda _: None)


def silent(*_) -> None:
    pass


def held_out(seed: int = 77):
    return joint_samples.materials(6, seed=seed, kinds=6)


def test_a_figure_by_hand():
    answers = ScoredQuestions()
    for video, right, chance in (("a", 1, 0.5), ("a", 0, 0.5), ("a", 1, 0.0), ("b", 1, 1.0), ("c", 1, 1.0)):
        answers.add(video, right, chance)
    figure = answers.figure()
    assert (figure.value, figure.chance, figure.n) == (0.8, pytest.approx(0.6), 5)
    # three videos drawn with replacement: aaa, which gives 2/3, one time in 27, more often than one in 40
    assert (figure.low, figure.high) == (pytest.approx(2 / 3), 1.0)
    assert answers.figure() == figure


def test_two_videos_make_nothing_sure():
    answers = ScoredQuestions()
    for video in ("a", "b", "b"):
        answers.add(video, 1, 0.5)
    assert (answers.figure().low, answers.figure().high) == (0.0, 1.0)


def test_an_interval_over_videos_is_that_of_the_bootstrap():
    random, answers = np.random.default_rng(0), ScoredQuestions()
    shares = random.random(40)
    for n, share in enumerate(shares):
        answers.add(f"v{n:02}", share, 0.1)
    figure = answers.figure()
    deviation = shares.std() / math.sqrt(40)
    assert figure.low == pytest.approx(shares.mean() - 1.96 * deviation, abs=deviation / 3)
    assert figure.high == pytest.approx(shares.mean() + 1.96 * deviation, abs=deviation / 3)


def test_no_question_has_no_figure(tmp_path):
    assert ScoredQuestions().figure() is None
    assert evaluate(joint_samples.trained(tmp_path), [], [], None, silent) == {}


def test_chance_by_hand(tmp_path):
    """Learned: two sentences 'now cut the onion.', one 'now stir the onion.'; held out: one of each."""
    before = [joint_samples.material("a", [(0, 0), (0, 0)]), joint_samples.material("b", [(1, 0)])]
    after = [joint_samples.material("c", [(0, 0)]), joint_samples.material("d", [(1, 0)])]
    found = evaluate(joint_samples.trained(tmp_path), before, after, None, silent)
    # each of the five words was said in all three sentences but the verbs: the most frequent is one of four, first said
    assert found["text_cloze_with_video"].n == found["text_cloze_without_video"].n == 10
    assert found["text_cloze_with_video"].chance == pytest.approx(2 / 10)
    # token 0 (cut the onion) was seen six times, token 4 three times
    assert found["video_cloze_with_text"].n == 6 and found["video_cloze_with_text"].chance == pytest.approx(
        3 / 6
    )
    assert found["alignment_accuracy"].n == 4 and found["alignment_accuracy"].chance == 0.5
    # in each video the token is followed twice by itself; the usual token is 0
    assert found["next_token"].n == 4 and found["next_token"].chance == pytest.approx(2 / 4)
    assert found["next_token_counts"].value == pytest.approx(1.0)
    assert found["next_token_at_3_s"].n == 2 and found["next_token_at_3_s_counts"].value == 1.0
    assert "next_token_at_6_s" not in found, "the videos are three clips long"
    assert found["search_recall_at_1"].n == 2 and found["search_recall_at_1"].chance == 0.5
    assert found["search_recall_at_5"].value == found["search_recall_at_5"].chance == 1.0


def test_a_model_that_knows_nothing_is_near_chance(tmp_path):
    found = evaluate(
        joint_samples.trained(tmp_path), joint_samples.materials(6, kinds=6), held_out(), None, silent
    )
    assert found["alignment_accuracy"].value == pytest.approx(0.5, abs=0.1)
    for name in ("text_cloze_with_video", "text_cloze_without_video", "video_cloze_with_text", "next_token"):
        assert found[name].value < 0.4, name
    recall = found["search_recall_at_1"]
    assert recall.value < recall.chance + 5 * math.sqrt(recall.chance * (1 - recall.chance) / recall.n)
    for name, figure in found.items():
        if "_minus_" in name:
            assert -1 <= figure.low <= figure.value <= figure.high <= 1 and figure.chance == 0
            continue
        most = 1 if not name.endswith("rank") and "perplexity" not in name else math.inf
        assert 0 <= figure.low <= figure.value <= figure.high <= most and 0 < figure.chance <= most


def test_a_model_that_learned_uses_the_other_modality(learned):
    found = evaluate(learned, joint_samples.materials(24, kinds=6), held_out(), None, silent)
    assert found["text_cloze_with_video"].low > found["text_cloze_without_video"].value
    assert found["alignment_accuracy"].low > 0.6
    assert found["video_cloze_with_text"].value > found["video_cloze_with_text"].chance
    assert found["search_recall_at_5"].low > found["search_recall_at_5"].chance


def test_recall_is_the_share_of_moments_among_the_first_k(learned):
    found = evaluate(learned, [], held_out(), None, silent)
    said = [s for m in held_out() for s in m.spoken()]
    texts, tokens = [s.text for s in said], [s.tokens for s in said]
    places = []
    for n, s in enumerate(said):
        similar = embed_videos(learned, tokens) @ embed_texts(learned, [s.text])[0]
        aligned = alignment_probability(learned, [s.text] * len(said), tokens)
        assert len(said) <= RERANKED, "all are put in order by the alignment head"
        both = similar / TEMPERATURE + np.log(aligned + LEAST_PROBABILITY)
        places.append(np.argsort(-both, kind="stable").tolist().index(n))
    assert len(texts) == 36
    for k in (1, 5, 10):
        recall = found[f"search_recall_at_{k}"]
        assert recall.value == pytest.approx(np.mean([p < k for p in places]), abs=1.5 / 36)
        assert recall.chance == pytest.approx(k / 36)


def test_the_same_model_gives_the_same_figures(learned):
    one, same = (evaluate(learned, [], held_out()[:2], None, silent) for _ in range(2))
    assert one == same
    assert one["next_token"].chance == 0.0, "nothing was learned from, so nothing is usual"


def truth(materials) -> Truth:
    steps = {}
    for m in materials:
        steps[m.video.video] = tuple(
            TruthStep(s.start, s.end, s.text.split()[1], s.text.split()[3].rstrip("."))
            for s in m.transcript.sentences
        )
    return Truth(joint_samples.ACTIONS, joint_samples.THINGS, steps, frozenset())


def test_verbs_and_nouns_where_the_truth_is_known(learned):
    after = held_out()
    found = evaluate(learned, joint_samples.materials(24, kinds=6), after, truth(after), silent)
    for kind in ("verb", "noun"):
        assert found[f"{kind}_zero_shot"].chance == 0.25 and found[f"{kind}_zero_shot"].n == 36
        assert found[f"{kind}_zero_shot_without_video"].n == 36
    same = found["search_first_shows_the_same"]
    assert same.n == 36 and same.low > same.chance
    with_video, without = (found[f"action_and_thing_text_cloze_{w}_video"] for w in ("with", "without"))
    assert with_video.n == without.n == 72 and with_video.low > without.high


def test_the_truth_about_words_that_were_never_learned(learned):
    after = held_out()[:2]
    found = evaluate(learned, [], after, truth(after), silent)
    assert found["action_and_thing_text_cloze_with_video"].chance == 0.0


def test_progress_is_told(tmp_path):
    told = []
    evaluate(joint_samples.trained(tmp_path), [], held_out()[:2], None, lambda *a: told.append(a))
    assert [t[0] for t in told] == list(range(told[0][1] + 1)) and told[-1][0] == told[-1][1]
    assert RESAMPLES >= 1000


def test_names_of_horizons():
    assert [figure_name(h) for h in (1, 2, 4, 8)] == [
        "next_token", "next_token_at_3_s", "next_token_at_6_s", "next_token_at_12_s",
    ]  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.integers(0, 9), st.integers(1, 9)), st.integers(10, 30))
def test_frequencies_are_a_distribution(counts, choices):
    probability = witten_bell(counts, choices)
    assert sum(probability(i) for i in range(choices)) == pytest.approx(1)
    assert min(probability(i) for i in range(choices)) > 0


def test_log_probabilities_are_those_of_transformers(learned):
    """A covered word's log p in a text, and its perplexity over all words, by another program from the same folder."""
    from transformers import BertForPreTraining

    theirs = BertForPreTraining.from_pretrained(learned.folder).eval()
    vocabulary = learned.vocabulary
    found = evaluate(learned, [], held_out()[:3], None, silent)
    log_ps, questions = [], []
    for s in (s for m in held_out()[:3] for s in m.spoken()):
        ids, types = sequence(vocabulary, vocabulary.encode(s.text), None)
        for place in content_positions(vocabulary, ids):
            questions.append((ids, types, place))
            covered = torch.tensor([[*ids[:place], vocabulary.mask, *ids[place + 1 :]]])
            with torch.no_grad():
                logits = theirs(covered, token_type_ids=torch.tensor([types])).prediction_logits
            log_ps.append(float(torch.log_softmax(logits[0, place], -1)[ids[place]]))
    _, ours = guess(learned, questions)
    assert ours == pytest.approx(log_ps, abs=1e-3)
    assert found["cloze_perplexity_text_only"].value == pytest.approx(math.exp(-np.mean(log_ps)), rel=1e-3)


def test_perplexity_falls_where_the_other_modality_is_given(learned):
    found = evaluate(learned, joint_samples.materials(24, kinds=6), held_out(), None, silent)
    joint, alone = (found[f"cloze_perplexity_{r}"] for r in ("joint_words", "text_only"))
    assert joint.high < alone.low and joint.value < joint.chance
    assert 1 <= found["cloze_perplexity_video_only"].value < found["cloze_perplexity_video_only"].chance
    assert found["alignment_auc"].low > 0.6


def test_visual_scores_order_moments_as_search_does(learned):
    said = [s for m in held_out() for s in m.spoken()]
    texts, tokens = [s.text for s in said], [s.tokens for s in said]
    to_moments, to_texts = visual_scores(learned, texts, tokens)
    index = Index.of(
        learned, [""] * len(said), said, embed_texts(learned, texts), embed_videos(learned, tokens)
    )
    for text, scores in zip(texts, to_moments, strict=True):
        ranked = scores[index.visual_ranking(text)]
        assert (np.diff(ranked) < 1e-3).all(), "what search puts first scores at least as high"
    assert to_moments == pytest.approx(to_texts.T), "with so few both directions compare the same pairs"
    same = [i for i, s in enumerate(said) if s.tokens == said[0].tokens]
    assert len(same) > 1 and len(set(to_moments[5, same])) == 1, "what looks the same scores the same"


def test_beyond_the_first_fifty_nothing_overtakes_them(learned):
    materials = joint_samples.materials(12, seed=3)
    said = [s for m in materials for s in m.spoken()]
    assert len(said) > RERANKED
    to_moments, to_texts = visual_scores(learned, [s.text for s in said], [s.tokens for s in said])
    for scores, near in ((to_moments, "texts"), (to_texts, "tokens")):
        assert scores.shape == (len(said), len(said)) and np.isfinite(scores).all(), near
    near = embed_texts(learned, [s.text for s in said]) @ embed_videos(learned, [s.tokens for s in said]).T
    for scores, cosines in ((to_moments, near), (to_texts, near.T)):
        last = np.sort(cosines, 1)[:, -RERANKED][:, None]
        first, rest = (
            np.where(cosines > last + 1e-5, scores, np.inf),
            np.where(cosines < last - 1e-5, scores, -np.inf),
        )
        assert (first.min(1) > rest.max(1)).all()


def test_references_are_searched_for_and_captions_scored_against_them(learned):
    after = held_out()
    references = [ReferencedMoment(s, (s.text, f"we {s.text[4:]}")) for m in after for s in m.spoken()]

    def template(moments):
        return [fill_blanks(learned, TEMPLATE, moment.tokens)[0] for moment in moments]

    def as_written(moments):
        return [moment.text for moment in moments]

    found = evaluate(learned, [], after, None, silent, references=references, caption=as_written)
    for name in ("reference_search", "reference_moment_to_text"):
        figure = found[f"{name}_recall_at_10"]
        assert (
            figure.low > figure.chance
            and found[f"{name}_median_rank"].high < found[f"{name}_median_rank"].chance
        )
    assert (
        found["reference_search_recall_at_1"].n == 72
        and found["reference_moment_to_text_recall_at_1"].n == 36
    )
    assert found["reference_moment_to_text_recall_at_1"].chance == pytest.approx(2 / 72)
    cider = found["caption_micro_cider"]
    assert cider.low > cider.chance and cider.n == 36 and cider.note.startswith("against what people wrote")
    said = evaluate(learned, [], after, None, silent, caption=template)["caption_micro_cider"]
    assert said.note.startswith("against what is said there") and said.n == 36
    others = {"same": template, "silent": lambda moments: ["" for _ in moments]}
    ways = evaluate(learned, [], after, None, silent, caption=template, other_captions=others)
    assert ways["caption_micro_cider_of_same"] == said and ways["caption_micro_cider_of_silent"].value == 0
    alone = evaluate(learned, [], [], None, silent, references=references[:6])
    assert set(alone) == {n for n in found if n.startswith("reference_")}


def test_of_very_many_moments_the_seed_draws_some_and_says_so(learned, monkeypatch):
    monkeypatch.setattr("multimodal.scoring.visual_search.MOST_MOMENTS", 10)
    one, same = (evaluate(learned, [], held_out(), None, silent, seed=4) for _ in range(2))
    assert one == same and one["search_recall_at_1"].n == 10 and one["search_median_rank"].chance == 5.5
    assert one["moment_to_text_median_rank"].note.startswith("10 of 36 moments")


@given(st.integers(0, 300), st.integers(1, 60), st.integers(0, 9))
def test_a_sample_is_all_or_one_question_of_each_equal_run(count, most, seed):
    sample, note = sample_questions(range(count), seed, most)
    assert list(sample) == sorted(set(sample)) and len(sample) == min(count, most)
    assert bool(note) == (count > most) and (f"{most} of {count}" in note or not note)
    runs = [question * most // count for question in sample]
    assert count <= most or max(np.bincount(runs, minlength=most)) <= 2


def test_every_question_is_as_likely_to_be_in_a_sample():
    drawn = np.zeros(25)
    for seed in range(2000):
        drawn[list(sample_questions(range(25), seed, 10)[0])] += 1
    assert drawn / 2000 == pytest.approx(np.full(25, 10 / 25), abs=0.12)


@pytest.fixture(scope="module")
def many(learned):
    """50 held-out videos, whose sentences have 1,500 words, with their figures: cloze of a sample, and of all."""
    materials = joint_samples.materials(50, seed=9, kinds=6)
    paired = [s for m in materials for s in m.spoken()]
    with pytest.MonkeyPatch.context() as patch:
        sampled = cloze_figures(learned, paired, paired, truth(materials))
        patch.setattr("multimodal.scoring.intervals.MOST_QUESTIONS", 10**6)
        return materials, paired, sampled, cloze_figures(learned, paired, paired, truth(materials))


def test_of_many_questions_a_sample_gives_the_figure_and_its_interval(many):
    _, paired, sampled, whole = many
    words = 5 * len(paired)
    assert words > MOST_QUESTIONS and sampled.keys() == whole.keys()
    for name, figure in sampled.items():
        full = whole[name]
        assert figure.n == min(full.n, MOST_QUESTIONS) and not full.note
        if full.n <= MOST_QUESTIONS:
            assert figure == full, name
            continue
        assert f"{MOST_QUESTIONS} of {full.n}" in figure.note, name
        # a difference may lie near 0, and be the same in every video
        width, least = full.high - full.low, 0.01 if "_minus_" in name else 0.0
        assert figure.value == pytest.approx(full.value, rel=0.03, abs=least)
        assert width / 2 <= figure.high - figure.low <= 1.5 * width + max(0.08 * full.value, 6 * least)
    assert sampled["text_cloze_with_video"].n == sampled["cloze_perplexity_text_only"].n == MOST_QUESTIONS
    assert sampled["action_and_thing_text_cloze_with_video"].n == 2 * len(paired), (
        "few enough to be all asked"
    )


def test_every_kind_of_figure_asks_at_most_so_many_questions(learned, many, monkeypatch):
    materials, paired, *_ = many
    monkeypatch.setattr("multimodal.scoring.intervals.MOST_QUESTIONS", 60)
    monkeypatch.setattr("multimodal.scoring.alignment.MOST_QUESTIONS", 60)
    monkeypatch.setattr("multimodal.scoring.visual_search.MOST_MOMENTS", 60)

    def template(moments):
        assert len({m.video for m in moments}) > 30, "spread over the videos"
        return ["now cut the onion." for _ in moments]

    found = evaluate(learned, [], materials, truth(materials), silent, caption=template)
    both = {name: found.pop(name) for name in list(found) if name.startswith("verb_and_noun")}
    assert {figure.n for figure in both.values()} == {120}, "a verb and a noun of each step"
    assert {name: figure.n for name, figure in found.items() if figure.n > 80} == {}
    for name, figure in found.items():
        if figure.value is not None and not name.startswith("caption_paragraph") and "_minus_" not in name:
            assert "60 of" in figure.note or "30 of" in figure.note, name
    assert alignment_figures(learned, paired, paired)["alignment_auc"].n == 60
    assert next_token_figures(learned, Counts.of([]), 16, materials)["next_token"].n <= 60


def test_five_guesses_are_right_at_least_as_often_as_one(learned):
    after = held_out()
    known = truth(after)
    wide = Truth(("in", "and", *known.actions), known.things, known.steps, frozenset())
    found = evaluate(learned, [], after, wide, silent)
    assert found["verb_zero_shot_top_5"].value >= found["verb_zero_shot"].value
    assert found["verb_zero_shot_top_5"].chance == pytest.approx(5 / 6)
    assert "noun_zero_shot_top_5" not in found, "of four names five guesses are always right"


def test_of_many_queries_some_are_asked_among_all_moments(learned, monkeypatch):
    """What is asked keeps its rank: the candidates are the same."""
    whole = evaluate(learned, [], held_out(), None, silent)
    monkeypatch.setattr("multimodal.scoring.visual_search.MOST_QUERIES", 12)
    some = evaluate(learned, [], held_out(), None, silent)
    assert some["search_recall_at_1"].n == some["moment_to_text_recall_at_1"].n == 12
    assert some["search_recall_at_1"].chance == whole["search_recall_at_1"].chance
    assert "12 of 36 queries" in some["search_recall_at_1"].note
