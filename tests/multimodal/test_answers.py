"""Captions, next clips, verbs and nouns: probabilities that add up, and errors in words."""

import dataclasses

import joint_samples
import numpy as np
import pytest
import torch

from multimodal.answers import session
from multimodal.answers.caption import TEMPLATE, blanks, caption, fill, moment_at, sentence, template_ids
from multimodal.answers.classify import classify
from multimodal.answers.forecast import HORIZONS, distributions, forecast
from multimodal.catalogue import Catalogue, Video
from multimodal.examples import pack, sequence, unmasked
from multimodal.library import Material
from multimodal.store import InputError, Store
from speech.sentences import Transcript
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
    found = blanks(untrained, [ids] * 70 + [template_ids(untrained, "[MASK] it")], [[1, 2]] * 69 + [[], [3]])
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
    (one,) = blanks(untrained, [template_ids(untrained, "[MASK] the onion")], [[-1, 3, -1]])
    assert len(one) == 1


def test_a_template_without_a_blank_is_an_error(untrained):
    with pytest.raises(InputError, match=r"has no blank; write \[MASK\] where"):
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
    text, score = fill(untrained, "[MASK] the onion", [1])
    (log_p,) = blanks(untrained, [template_ids(untrained, "[MASK] the onion")], [[1]])
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
    with pytest.raises(InputError, match=r"--at .*: outside the video v.mp4, which runs from 0 s to 13.5 s"):
        caption(untrained, VIDEO, at=at)
    with pytest.raises(InputError, match=r"--at .*: name a second of v.mp4 from 1.5 s"):
        forecast(untrained, VIDEO, at)


def test_a_video_that_cannot_be_seen(untrained):
    with pytest.raises(InputError, match="blind.mp4: none of its picture could be read"):
        caption(untrained, BLIND)
    with pytest.raises(InputError, match="blind.mp4: none of its picture could be read"):
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
    found = distributions(untrained, contexts, 8)
    assert found.shape == (3, 8, joint_samples.VISUAL)
    assert found.sum(-1).flatten().tolist() == pytest.approx([1.0] * 24, abs=1e-5)
    v = untrained.vocabulary
    batch = pack([unmasked(*sequence(v, None, [1, 2, 3, *[-1] * 8]))])
    with torch.no_grad():
        logits = untrained.model.cloze(untrained.model.encode(batch))[batch.ids_T == v.mask][
            :, v.first_visual :
        ]
    torch.testing.assert_close(found[1], logits.softmax(-1), atol=1e-5, rtol=1e-4)


def test_next(untrained):
    found = forecast(untrained, VIDEO, 5.9, top=4)
    assert [h.seconds for h in found] == [h * CLIP_SECONDS for h in HORIZONS] == [1.5, 3.0, 6.0, 12.0]
    expected = distributions(untrained, [VIDEO.tokens[:3].tolist()], 8)[0]
    for horizon, ahead in zip(found, HORIZONS, strict=True):
        p = [p for _, p in horizon.tokens]
        assert len(p) == 4 and p == sorted(p, reverse=True)
        for token, probability in horizon.tokens:
            assert probability == pytest.approx(expected[ahead - 1, token].item(), rel=1e-5)
        assert horizon.tokens[0][0] == expected[ahead - 1].argmax()
    assert len(forecast(untrained, VIDEO, 3.0, top=1000)[0].tokens) == joint_samples.VISUAL
    with pytest.raises(InputError, match="its first clip's end"):
        forecast(untrained, VIDEO, 1.4)


def test_next_does_not_look_ahead(untrained):
    other = dataclasses.replace(VIDEO, tokens=np.where(VIDEO.starts >= 4.5, 15, VIDEO.tokens))
    assert forecast(untrained, other, 4.5) == forecast(untrained, VIDEO, 4.5)
    assert forecast(untrained, other, 6.0) != forecast(untrained, VIDEO, 6.0)


def test_verbs_and_nouns(untrained):
    verbs, nouns = classify(untrained, [[1, 1], [], [7]], joint_samples.ACTIONS, joint_samples.THINGS)
    assert verbs.shape == (3, 4) and nouns.shape == (3, 4)
    ids = template_ids(untrained, TEMPLATE)
    (first,) = blanks(untrained, [ids], [[7]])
    v = untrained.vocabulary
    assert verbs[2].tolist() == pytest.approx(
        [first[0, v.encode(a)[0]].item() for a in joint_samples.ACTIONS], abs=1e-5
    )
    assert nouns[2].tolist() == pytest.approx(
        [first[1, v.encode(t)[0]].item() for t in joint_samples.THINGS], abs=1e-5
    )
    with pytest.raises(InputError, match="verb 'slowly': not one word piece"):
        classify(untrained, [[1]], ["slowly"], ["onion"])
    with pytest.raises(InputError, match="noun 'zucchini': not one word piece"):
        classify(untrained, [[1]], ["cut"], ["zucchini"])


def test_a_store_without_a_model_or_the_video(tmp_path, untrained):
    store = Store(tmp_path)
    with Catalogue(store.catalogue) as catalogue:
        with pytest.raises(InputError, match="has no model yet; run `videobert run VIDEOS`"):
            session.open_trained(store, catalogue, "cpu")
        catalogue.put(Video("a" * 64, "a.mp4", "/a.mp4", 1, "refused", "not a video"))
        catalogue.put(Video("b" * 64, "b.mp4", "/b.mp4", 1, "done", clips=3, features="f"))
        for label, words in (("none.mp4", "not in this store"), ("a.mp4", "a.mp4: refused: not a video; ask about another"),
                             ("b.mp4", "b.mp4: has no visual tokens yet; run `videobert index`")):  # fmt: skip
            with pytest.raises(InputError, match=words):
                session.material(store, catalogue, untrained, label)
        catalogue.set_current("model", "gone")
        catalogue.set_current("model_codebook", "c")
        with pytest.raises(InputError, match="model gone: not in store"):
            session.open_trained(store, catalogue, "cpu")
