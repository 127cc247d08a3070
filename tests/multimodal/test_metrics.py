"""Figures against numbers worked out by hand, and models that know nothing against chance."""

import math

import joint_samples
import numpy as np
import pytest

from multimodal.answers.caption import TEMPLATE, fill
from multimodal.answers.search import RERANKED, Index, alignment, embed
from multimodal.metrics import evaluate
from multimodal.references import Asked
from multimodal.scoring.cloze import frequencies, guesses
from multimodal.scoring.forecasts import Transitions, name_of
from multimodal.scoring.intervals import RESAMPLES, Answers
from multimodal.scoring.sight import sight_scores
from multimodal.truth import Step, Truth


def silent(*_) -> None:
    pass


def held_out(seed: int = 77):
    return joint_samples.materials(6, seed=seed, kinds=6)


def test_a_figure_by_hand():
    answers = Answers()
    for video, right, chance in (("a", 1, 0.5), ("a", 0, 0.5), ("a", 1, 0.0), ("b", 1, 1.0), ("c", 1, 1.0)):
        answers.add(video, right, chance)
    figure = answers.figure()
    assert (figure.value, figure.chance, figure.n) == (0.8, pytest.approx(0.6), 5)
    # three videos drawn with replacement: aaa, which gives 2/3, one time in 27, more often than one in 40
    assert (figure.low, figure.high) == (pytest.approx(2 / 3), 1.0)
    assert answers.figure() == figure


def test_two_videos_make_nothing_sure():
    answers = Answers()
    for video in ("a", "b", "b"):
        answers.add(video, 1, 0.5)
    assert (answers.figure().low, answers.figure().high) == (0.0, 1.0)


def test_an_interval_over_videos_is_that_of_the_bootstrap():
    random, answers = np.random.default_rng(0), Answers()
    shares = random.random(40)
    for n, share in enumerate(shares):
        answers.add(f"v{n:02}", share, 0.1)
    figure = answers.figure()
    deviation = shares.std() / math.sqrt(40)
    assert figure.low == pytest.approx(shares.mean() - 1.96 * deviation, abs=deviation / 3)
    assert figure.high == pytest.approx(shares.mean() + 1.96 * deviation, abs=deviation / 3)


def test_nothing_asked_has_no_figure(tmp_path):
    assert Answers().figure() is None
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
    assert found["next_token_bigram_table"].value == pytest.approx(1.0)
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
        similar = embed(learned, tokens=tokens) @ embed(learned, texts=[s.text])[0]
        aligned = alignment(learned, [s.text] * len(said), tokens)
        assert len(said) <= RERANKED, "all are put in order by the alignment head"
        places.append(sorted(range(len(said)), key=lambda i, a=aligned, e=similar: (-a[i], -e[i])).index(n))
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
            Step(s.start, s.end, s.text.split()[1], s.text.split()[3].rstrip("."))
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
