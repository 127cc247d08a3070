"""Search over a store's moments: words first, any query, one file a video."""

import dataclasses
import os

import joint_samples
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from multimodal.answers.index import index
from multimodal.answers.search import Hit, Index, without_model
from multimodal.answers.thresholds import Thresholds
from multimodal.catalogue import Video
from multimodal.examples.packing import Example, pack, sequence
from multimodal.inference.embedding import alignment_probability, embed_texts, embed_videos
from multimodal.segments import Segment
from multimodal.store import InputError, Store, canonical_json, write_whole
from speech.sentences import Transcript


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    return joint_samples.trained(tmp_path_factory.mktemp("model"))


def of(trained, moments: list[Segment], thresholds: Thresholds | None = None) -> Index:
    return Index.of(trained, [f"{m.video}.mp4" for m in moments], moments,
                 embed_texts(trained, [m.text for m in moments]), embed_videos(trained, [m.tokens for m in moments]),
                 thresholds)  # fmt: skip


MOMENTS = [
    Segment("a", 0, 3, "now cut the onion", (1, 1)),
    Segment("a", 3, 6, "then we stir slowly", (2, 3)),
    Segment("a", 6, 9, "", (4,)),
    Segment("b", 0, 3, "wash the potato, and peel", ()),
    Segment("b", 3, 6, "peeled apples in a bowl", (5, 6)),
    Segment("b", 6, 9, '"quoted" NOT (this) AND that* OR NEAR', (5,)),
    *(Segment("c", i, i + 1, "now show me", (i,)) for i in range(10)),
]


ALL = Thresholds(-1.0, -1.0)
NONE = Thresholds(2.0, 2.0)
"""Cosines that every moment exceeds, and that none does."""


@pytest.fixture(scope="module")
def found(untrained) -> Index:
    """Every moment is near every text in meaning."""
    return of(untrained, MOMENTS, ALL)


@pytest.fixture(scope="module")
def words_alone(untrained) -> Index:
    """Nothing is near or seen: what is found is heard, or in a title."""
    return of(untrained, MOMENTS, NONE)


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("onion", 0),
        ("STIRRING", 1),
        ("wash potatoes", 3),
        ("bowl of apples", 4),
        ("quoted", 5),
        ("potatoes!", 3),
    ],
)
def test_a_moment_whose_words_match_comes_first(found, query, first):
    hits = found.search(query)
    assert (hits[0].start, hits[0].text) == (MOMENTS[first].start, MOMENTS[first].text)


@pytest.mark.parametrize("shown", [(3, 4), ()])
def test_words_come_first_among_many_moments_too(untrained, shown):
    random = np.random.default_rng(0)
    many = [
        Segment("m", i, i + 1, "then we stir the bowl", tuple(random.integers(16, size=3)))
        for i in range(300)
    ]
    many[217] = Segment("m", 217, 218, "slowly peel an apple", shown)
    hits = of(untrained, many).search("how to peel the apples")
    assert hits[0].start == 217


def test_more_of_the_words_come_before_one_of_them_and_the_picture(untrained):
    said = [
        "then we stir it",
        "the carrot, the carrot",
        "now stir it all and put in a carrot for a long time",
        "apples",
    ]
    moments = [Segment("a", 3 * i, 3 * i + 3, text, (i,)) for i, text in enumerate(said)]
    asked = embed_texts(untrained, ["stir the carrot"])[0]
    vectors = np.stack([0.9 * asked, asked, -asked, 0.8 * asked])
    trained = dataclasses.replace(untrained, has_alignment=False)
    index = Index.of(trained, ["a.mp4"] * 4, moments, vectors, vectors, Thresholds(0.5, 0.5))
    hits = index.search("stir the carrot")
    assert hits[0].words == ("stir", "carrot") and hits[0].labels == ("heard",)
    assert [h.labels for h in hits[1:]] == [("heard", "near", "seen")] * 2 + [("near", "seen")]
    assert [h.score for h in hits] == sorted((h.score for h in hits), reverse=True)


def test_a_title_counts_for_the_words(untrained):
    """The title has one of the words and the moment the other: both together are more than either."""
    moments = [
        Segment("a", 0, 3, "stir it", ()),
        Segment("b", 0, 3, "stir it", ()),
        Segment("c", 0, 3, "a carrot", ()),
    ]
    nothing = np.zeros((3, untrained.model.options.hidden_size), np.float32)
    index = Index.of(untrained, ["soup.mp4", "carrots.mp4", "x.mp4"], moments, nothing, nothing, NONE)
    first = index.search("stir the carrot")[0]
    assert (first.video, first.words, first.title_words) == ("b", ("stir",), ("carrot",))


@pytest.mark.parametrize("query", ["now me", "the", "then we", "how to"])
def test_stop_words_alone_find_nothing(found, query):
    answer = found.find(query)
    assert answer.hits == () and answer.lookup.query.ignored == tuple(query.split())
    assert f'"{query}"' in answer.lookup.why_nothing(True), "quoted they are looked up"


def test_stop_words_have_no_weight(words_alone):
    assert [h.text for h in words_alone.search("how about the onion")] == ["now cut the onion"]


def test_a_stop_word_is_not_heard_by_its_stem(untrained):
    """Porter's stem of "use" is "us", of "cans" it is "can"."""
    said = ["let us wash", "they used it", "we can do it", "a can"]
    index = of(untrained, [Segment("a", i, i + 1, text, ()) for i, text in enumerate(said)], NONE)
    assert [h.text for h in index.search("use")] == ["they used it"]
    assert index.search("cans") == []
    assert [h.text for h in index.search('"can do"')] == ["we can do it"]


def test_a_quoted_phrase_must_be_said(words_alone, found):
    for searched in (words_alone, found):
        assert {h.text for h in searched.search('"now me"')} == set()
        assert {h.text for h in searched.search('"now show me"', 99)} == {"now show me"}
        assert [h.text for h in searched.search('"cut the" potato')] == ["now cut the onion"]
        assert [h.words for h in searched.search("“the onion”")] == [("the onion",)]
    assert len(words_alone.search('"now"', 99)) == 11


def test_an_excluded_word_is_not_said(words_alone, found):
    both = {h.text for h in words_alone.search("peel onion")}
    assert both == {"now cut the onion", "wash the potato, and peel", "peeled apples in a bowl"}
    for searched in (words_alone, found):
        texts = {h.text for h in searched.search("peel onion -apple", 99)}
        assert "peeled apples in a bowl" not in texts and "now cut the onion" in texts
        texts = {h.text for h in searched.search('peel onion -"wash the"', 99)}
        assert "wash the potato, and peel" not in texts and "peeled apples in a bowl" in texts
    assert "exclude" in words_alone.find("onion -cut").lookup.why_nothing(True)


@pytest.mark.parametrize(
    ("query", "first", "words"),
    [
        ("pota", 3, ("pota",)),
        ("oniom", 0, ("onion",)),
        ("potatto", 3, ("potato",)),
        ("slwoly", 1, ("slowly",)),
    ],
)
def test_prefixes_and_near_spellings(words_alone, query, first, words):
    answer = words_alone.find(query)
    assert [(h.start, h.text, h.words) for h in answer.hits] == [
        (MOMENTS[first].start, MOMENTS[first].text, words)
    ]
    assert list(answer.lookup.corrected.values()) == [w for w in words if w != query]


def test_what_is_spelled_right_is_not_corrected(untrained):
    """ "stir" is a word of the vocabulary: nobody means "star" by it."""
    index = of(untrained, [Segment("a", 0, 3, "a star in the sky", (1,))], NONE)
    answer = index.find("stir")
    assert (answer.hits, answer.lookup.unsaid, answer.lookup.suggestion) == ((), ("stir",), "star")
    assert [h.words for h in index.search("satr")] == [("star",)]


def test_a_near_spelling_is_looked_up_only_where_a_word_is_not_found(words_alone):
    assert words_alone.find("peal onion").lookup.corrected == {"peal": "peel"}
    for query in ("peel", "peels", "on"):
        assert words_alone.find(query).lookup.corrected == {}


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("flipping_a_pancake.mkv", "flip the pancake"),
        ("FlippingAPancake.mp4", "pancakes"),
        ("Flipping a pancake", "panc"),
        ("flipping-a-pancake.webm", "pancaek"),
        ("flipping_a_pancake.mkv", '"flipping a pancake"'),
    ],
)
def test_the_name_of_a_video_is_looked_up(untrained, name, query):
    moments = [Segment("a", i, i + 1, "then we talk", (i,)) for i in range(3)]
    moments += [Segment("b", 0, 3, "a bowl of apples", (4,)), Segment("c", 0, 3, "talk", (5,))]
    vectors = embed_texts(untrained, ["x"] * 5)
    names = [name] * 3 + ["bowl.mp4", "c.mkv"]
    index = Index.of(untrained, names, moments, vectors, vectors, NONE)
    (hit,) = index.search(query)
    assert (hit.video, hit.start, hit.labels) == ("a", 0, ("title",)) and hit.score == hit.title
    first, *others = index.search("talk about a pancake", 9)
    assert first.video == "a" and first.labels == ("heard", "title") and len(others) == 3
    assert first.words == ("talk",) and first.title_words == ("pancake",)
    assert index.search("mkv") == [], "the ending of a file is no word of its title"
    assert {h.name for h in index.search("bowl")} == {"bowl.mp4"}
    assert index.search("bowl -apples") == []


def test_what_a_hit_says(found):
    hits = found.search("onion", top=len(MOMENTS))
    assert all(isinstance(h, Hit) for h in hits)
    assert len({(h.video, h.start) for h in hits}) == len(hits), "each moment once"
    assert [h.score for h in hits] == sorted((h.score for h in hits), reverse=True)
    for h in hits:
        assert h.score == pytest.approx(h.heard + h.title + h.near + h.seen) and h.name == f"{h.video}.mp4"
        assert (h.near > 0) == (h.text_cosine is not None) == bool(h.text)
        assert (h.heard > 0) == ("onion" in h.text) == (h.words == ("onion",))
        assert h.title == 0 and h.labels
    assert {h.text for h in hits} >= {m.text for m in MOMENTS if m.text}
    assert len(found.search("onion", top=3)) == 3


def test_what_is_below_the_thresholds_is_not_found(words_alone):
    hits = words_alone.search("onion", top=len(MOMENTS))
    assert [(h.text, h.labels) for h in hits] == [("now cut the onion", ("heard",))]
    assert words_alone.search("carrot") == [], "a word of the vocabulary that nobody says"


@pytest.mark.parametrize(
    "query",
    ['"onion', "onion*", "NEAR(onion, 2)", "onion -cat", "NOT onion", "(onion", "text:onion", "^onion", "{text}: onion",
     '"onion" "', '-"cat', '""onion""', "onion -", "onion -" + "cat" * 300, '"onion" -"" -"?"', "onion\x00cut",
     "onion " * 3000, " ".join(f"onion{i}" for i in range(3000)) + " onion", "\ud83c onion", "数据 onion", "[MASK] onion",
     "v00001 onion"],
)  # fmt: skip
def test_no_query_breaks_it(found, words_alone, query):
    for searched in (found, words_alone):
        assert "onion" not in query.replace('-"cat', "") or "now cut the onion" in [
            h.text for h in searched.search(query)[:2]
        ], "another may say NOT or NEAR"


def test_questions_asked_together_are_answered_as_each_alone(found):
    asked = [
        ("onion", 3),
        ("", 5),
        ("peel the apples", 99),
        ("the", 2),
        ('"cut the" potato', 5),
        ("peel -apple", 9),
    ]
    together = found.find_many(asked)
    assert isinstance(together[1], InputError)
    for (text, top), answer in zip(asked, together, strict=True):
        if text:
            alone = found.find(text, top)
            assert answer.lookup == alone.lookup and len(answer.hits) == len(alone.hits)
            for one, other in zip(answer.hits, alone.hits, strict=True):
                assert (one.video, one.start, one.labels) == (other.video, other.start, other.labels)
                assert one.score == pytest.approx(other.score) and one.text_cosine == pytest.approx(
                    other.text_cosine
                )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.text(max_size=30) | st.text("\"*()-^:{}+ 'NEARORT_abc", max_size=30))
def test_any_text_is_an_answer_or_an_error_in_words(found, query):
    try:
        answer = found.find(query, 3)
        assert len(answer.hits) <= 3 and "\n" not in answer.lookup.why_nothing(True)
    except InputError as error:
        assert str(error).startswith("TEXT ") and "\n" not in str(error)


@pytest.mark.parametrize("query", ["", "  ", "?!", '"" **', "\n", "_", "-onion", '-"cut the" -onion'])
def test_a_query_without_a_word_is_an_error(found, query):
    with pytest.raises(InputError, match="^TEXT "):
        found.search(query)


@pytest.mark.parametrize("query", ["x" * 5000, "ὀνίον ² ½", "zebra"])
def test_words_that_nobody_says_and_the_vocabulary_lacks_find_nothing(found, query):
    answer = found.find(query)
    assert answer.hits == () and set(answer.lookup.unsaid) == set(query.split())
    assert found.search(f"{query} onion")[0].text == "now cut the onion"
    assert found.unknown_words(answer.lookup) == query.split()


def test_embeddings_are_those_of_the_model(untrained):
    texts = ["now cut the onion", "", "stir"]
    vectors = embed_texts(untrained, texts)
    assert vectors.dtype == np.float32 and not vectors[1].any()
    batch = pack([Example(*sequence(untrained.vocabulary, untrained.vocabulary.encode(texts[2]), None))])
    with torch.no_grad():
        alone = untrained.model.embed(untrained.model.encode(batch), batch)[0]
    assert vectors[2] == pytest.approx(alone.numpy(), abs=1e-5)
    assert np.linalg.norm(embed_videos(untrained, [(1, 2), ()]), axis=1) == pytest.approx([1, 0], abs=1e-5)


def test_a_new_video_touches_only_its_own_file(tmp_path, untrained):
    store = Store(tmp_path)
    materials = joint_samples.materials(4)
    videos = [joint_samples.put(store, m) for m in materials]
    seen = []
    assert index(store, untrained, videos[:3], lambda *x: seen.append(x)) == 3
    assert [s[:2] for s in seen] == [(1, 3), (2, 3), (3, 3)]
    folder = store.index("untrained.step-0")
    before = {p.name: p.stat() for p in folder.iterdir()}
    assert len(before) == 6, "three files, each with its sum"
    for path in folder.iterdir():
        os.utime(path, (1, 1))
    with pytest.raises(InputError, match="model untrained.*videobert index"):
        Index.load(store, untrained, videos)
    assert index(store, untrained, videos, lambda *_: None) == 1
    assert {p.stat().st_mtime for p in folder.iterdir() if p.name in before} == {1}
    assert len(list(folder.glob("*.parquet"))) == 4
    assert index(store, untrained, videos, lambda *_: None) == 0
    loaded = Index.load(store, untrained, videos)
    expected = [m for material in materials for m in material.moments()]
    assert [(m.video, m.start, m.end, m.text, m.tokens) for m in loaded.moments] == [
        (m.video, m.start, m.end, m.text, m.tokens) for m in expected
    ]
    fresh = of(untrained, expected)
    for text in ("cut the onion", "peel"):
        assert loaded.text_ranking(text).tolist() == fresh.text_ranking(text).tolist()
        assert loaded.visual_ranking(text).tolist() == fresh.visual_ranking(text).tolist()
    changed = dataclasses.replace(videos[0], transcript="t2")
    write_whole(
        store.transcript(changed.video, "t2"), canonical_json(Transcript("en", {}, ()).to_dict()).encode()
    )
    assert index(store, untrained, [changed], lambda *_: None) == 1, "another transcript is another index"
    assert all(not m.text for m in Index.load(store, untrained, [changed]).moments)


def test_a_video_without_moments_and_a_store_without_any(tmp_path, untrained):
    store = Store(tmp_path)
    empty = Video("e" * 64, "e.mp4", "/e.mp4", 1, "partial")
    assert index(store, untrained, [empty], lambda *_: None) == 1
    for videos in ([empty], []):
        with pytest.raises(InputError, match="store .*no moment"):
            Index.load(store, untrained, videos)
    full = joint_samples.put(store, joint_samples.materials(1)[0])
    index(store, untrained, [full], lambda *_: None)
    assert {h.words for h in Index.load(store, untrained, [empty, full]).search("cut")} >= {("cut",)}


def test_sight_alone_finds_what_was_learned(learned):
    moments = [s for m in joint_samples.materials(3, seed=50, kinds=6) for s in m.spoken()]
    ready = of(learned, moments)
    kinds = {s.text: s.tokens for s in moments}
    right = [moments[ready.visual_ranking(text)[0]].tokens == tokens for text, tokens in kinds.items()]
    assert len(kinds) == 6 and sum(right) >= 4, "chance is 1"


def test_what_is_seen_is_in_the_order_of_cosine_and_alignment(learned):
    moments = [s for m in joint_samples.materials(3, seed=50, kinds=6) for s in m.spoken()]
    index, text = of(learned, moments, ALL), moments[0].text
    seen = {h.sight_rank: h for h in index.search(text, top=99) if h.seen}
    assert sorted(seen) == list(range(1, len(seen) + 1)) and seen
    for rank, h in seen.items():
        assert h.seen == pytest.approx(1 / (60 + rank))
        tokens = next(m.tokens for m in moments if (m.video, m.start) == (h.video, h.start))
        assert h.alignment == pytest.approx(alignment_probability(learned, [text], [tokens])[0], abs=0.02)
        assert h.alignment >= 0.48
        cosine = embed_texts(learned, [text])[0] @ embed_videos(learned, [tokens])[0]
        assert h.cosine == pytest.approx(cosine, abs=1e-5)
    unseen = [h for h in index.search(text, top=99) if not h.seen]
    assert unseen and {(h.sight_rank, h.cosine, h.alignment) for h in unseen} == {(None, None, None)}


@pytest.fixture(scope="module")
def taught(learned) -> tuple[Index, list[Segment]]:
    moments = [s for m in joint_samples.materials(3, seed=50, kinds=6) for s in m.spoken()]
    return of(learned, moments), moments


def test_like_a_moment_are_those_that_show_the_same_and_never_itself(taught):
    index, moments = taught
    for m in moments[:6]:
        hits = index.like(Video(m.video, "x", "", 1, "done"), (m.start + m.end) / 2, top=len(moments))
        assert len(hits) == len(moments) - 1 and (m.video, m.start) not in {(h.video, h.start) for h in hits}
        same = sum(o.tokens == m.tokens for o in moments) - 1
        assert {h.text for h in hits[:same]} <= {m.text}, "the same tokens come first"
        assert [h.score for h in hits] == sorted((h.score for h in hits), reverse=True)
        assert all(h.labels == ("seen",) and h.score == h.seen for h in hits)


def test_the_sentences_that_fit_a_moment(taught):
    index, moments = taught
    right = 0
    for m in moments[:6]:
        hits = index.texts(Video(m.video, "x", "", 1, "done"), m.start, top=3)
        assert len({h.text for h in hits}) == 3, "each sentence once"
        assert all(0 <= h.alignment <= 1 and h.cosine for h in hits)
        right += hits[0].text == m.text
    assert right >= 4, "chance is 1"


@pytest.mark.parametrize(
    ("video", "at", "says"),
    [
        (Video("a", "a.mp4", "", 1, "done", seconds=9.0), 9.5, "--like a.mp4@9.5: outside"),
        (Video("a", "a.mp4", "", 1, "done"), -1.0, "--like a.mp4@-1: outside the video"),
        (Video("e", "e.mp4", "", 1, "done"), 1.0, "--like e.mp4@1: "),
        (Video("r", "r.mp4", "", 1, "refused", "no stream"), 1.0, "refused: no stream"),
    ],
)  # fmt: skip
def test_a_moment_that_is_not_there_is_an_error_in_words(found, video, at, says):
    for ask in (found.like, found.texts):
        with pytest.raises(InputError) as error:
            ask(video, at)
        assert says in str(error.value) and "\n" not in str(error.value)


def test_where_a_moment_begins_and_in_a_gap(found):
    video = Video("b", "b.mp4", "", 1, "done", seconds=20.0)
    for at, own in ((3.0, 3), (5.9, 3), (6.0, 6), (15.0, 6), (1.0, 3)):
        hits = found.like(video, at, top=99)
        assert ("b", own) not in {(h.video, h.start) for h in hits}, (
            "b's first moment shows nothing, so its neighbour is meant"
        )


def test_nothing_to_see_is_an_error_in_words(untrained):
    blind = of(untrained, [Segment("a", 0, 3, "cut", ()), Segment("b", 0, 3, "stir", (1,))])
    with pytest.raises(InputError, match="--like a.mp4@1"):
        blind.like(Video("a", "a.mp4", "", 1, "partial"), 1.0)


def test_before_a_model_there_are_words(tmp_path):
    store = Store(tmp_path)
    videos = [joint_samples.put(store, m) for m in joint_samples.materials(2)]
    index = without_model(store, videos)
    (first, *_) = index.search("cutting onions")
    assert "cut the" in first.text or "the onion" in first.text
    assert (
        first.labels == ("heard",)
        and first.heard == first.score
        and set(first.words) <= {"cutting", "onions"}
    )
    answer = index.find("zebra")
    assert answer.hits == () and "zebra" in answer.lookup.why_nothing(True)
    assert index.unknown_words(answer.lookup) == []
    assert index.find("cuting onoin").lookup.corrected == {"onoin": "onion"}, "stems need no correction"
    silent = dataclasses.replace(videos[0], transcript=None)
    with pytest.raises(InputError, match="store .*no model"):
        without_model(store, [silent])
