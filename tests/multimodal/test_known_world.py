"""The known world: its limit against the enumeration of everything hidden, and against frequencies in samples."""

import dataclasses
import itertools
import json
from collections import Counter

import joint_samples
import numpy as np
import pytest
import torch

from multimodal.answers.counts import Counts
from multimodal.answers.plain import NGrams
from multimodal.catalogue import Catalogue, Video
from multimodal.inference.trained import Trained
from multimodal.intake.imports import find_imports, import_files
from multimodal.intake.options import ImportOptions
from multimodal.joint.model import JointBert
from multimodal.known_world.corpus import TOKENS, TRANSCRIPTS, WORLD, read_world, write_corpus
from multimodal.known_world.inference import BestAnswers
from multimodal.known_world.process import SampledVideo, Sampler, World, WorldOptions, make_world
from multimodal.library import Material, read_material, usable
from multimodal.scoring.metrics import evaluate
from multimodal.segments import HORIZONS
from multimodal.store import InputError, Store
from multimodal.tokens import TokenOptions, encode_videos, fit_codebook
from multimodal.vocabulary import SPECIALS, Vocabulary
from speech.sentences import Sentence, Transcript
from vision.clips import CLIP_SECONDS

TINY = WorldOptions(
    dishes=2, styles=2, steps=2, actions=2, things=2, variants=2, backgrounds=2, signal=0.7, elsewhere=0.3, chatter=0.2,
    clips=(4, 4), sentence_clips=(1, 3), gap_clips=(0, 1), seed=3,
)  # fmt: skip


@pytest.fixture(scope="module")
def tiny() -> World:
    return make_world(TINY)


def segments(video: SampledVideo) -> list[tuple[tuple[str, ...], tuple[int, ...]]]:
    return [(s.words, video.tokens[s.first : s.first + s.count]) for s in video.sentences]


# the oracle: sums over everything that is hidden, one case after the other


def word_share(world: World, slot: str, word: str, dish: int, step: int) -> float:
    if slot == "ACTION":
        return world.action_words[world.action_DK[dish, step]].get(word, 0.0)
    if slot == "THING":
        return world.thing_words[world.thing_DK[dish, step]].get(word, 0.0)
    return world.fillers[slot].get(word, 0.0) if slot in world.fillers else float(slot == word)


def sentence_share(world: World, words, dish: int, step: int) -> float:
    """The probability of a sentence during a step: over chatter, links, what it speaks of, and templates."""
    stationary_DK, total = world.stationary_DK(), 0.0

    def by(templates, dish, step):
        return sum(
            t.share
            * np.prod([word_share(world, *pair, dish, step) for pair in zip(t.slots, words, strict=True)])
            for t in templates
            if len(t.slots) == len(words)
        )

    total += world.chatter * by(world.chatter_templates, 0, 0)
    linked = (1 - world.chatter) * world.signal
    total += linked * (1 - world.elsewhere) * by(world.step_templates, dish, step)
    for other in range(world.steps):
        total += linked * world.elsewhere * stationary_DK[dish, other] * by(world.step_templates, dish, other)
    for d, s in itertools.product(range(world.dishes), range(world.steps)):
        share = (1 - world.chatter) * (1 - world.signal) * world.dish_D[d] * stationary_DK[d, s]
        total += share * by(world.step_templates, d, s)
    return total


def joint(world: World, words, tokens) -> float:
    """p(words, tokens) of a segment by enumeration; ``None`` leaves the words out, or a token open."""
    total = 0.0
    for dish, style in itertools.product(range(world.dishes), range(world.styles)):
        for path in itertools.product(range(world.steps), repeat=max(1, len(tokens))):
            p = world.dish_D[dish] * world.style_C[style] * world.stationary_DK()[dish, path[0]]
            for before, after in itertools.pairwise(path):
                p *= world.transition_DKK[dish, before, after]
            for step, token in zip(path, tokens, strict=False):
                if token is not None:
                    looks = (world.thing_COV[style, world.thing_DK[dish, step]],
                             world.action_CAV[style, world.action_DK[dish, step]], world.background_CV[style])  # fmt: skip
                    p *= sum(share * look[token] for share, look in zip(world.shows, looks, strict=True))
            if words is not None:
                p *= sentence_share(world, words, dish, path[0])
            total += p
    return total


def shares(values) -> np.ndarray:
    return np.array(values) / sum(values)


@pytest.mark.parametrize("number", [0, *(pytest.param(n, marks=pytest.mark.long) for n in (1, 2))])
def test_answers_are_those_of_enumeration(tiny, number):
    best, sampler = BestAnswers(tiny), Sampler(tiny, number)
    words, tokens = segments(sampler.video(0))[0]
    for place in range(len(words)):
        each = [(*words[:place], word, *words[place + 1 :]) for word in best.words]
        for shown in (tokens, ()):
            wanted = shares([joint(tiny, w, shown) for w in each])
            assert best.hidden_word(words, place, shown) == pytest.approx(wanted, abs=1e-12)
    for place in range(len(tokens)):
        each = [(*tokens[:place], token, *tokens[place + 1 :]) for token in range(tiny.visual)]
        for said in (words, None):
            wanted = shares([joint(tiny, said, t) for t in each])
            assert best.hidden_token(tokens, place, said) == pytest.approx(wanted, abs=1e-12)


def test_next_tokens_and_likelihoods_are_those_of_enumeration(tiny):
    best, video, other = BestAnswers(tiny), Sampler(tiny, 1).video(1), Sampler(tiny, 1).video(2)
    found = best.next_tokens(video.tokens[:2], (1, 3))
    for row, distance in enumerate((1, 3)):
        ahead = (*video.tokens[:2], *[None] * (distance - 1))
        wanted = shares([joint(tiny, None, (*ahead, token)) for token in range(tiny.visual)])
        assert found[row] == pytest.approx(wanted, abs=1e-12)
    (words, tokens), (_, others) = segments(video)[0], segments(other)[0]
    both, text, run = best.log_likelihoods([words], [tokens, others])
    assert np.exp(both[0]) == pytest.approx([joint(tiny, words, t) for t in (tokens, others)])
    assert np.exp(text) == pytest.approx([joint(tiny, words, ())])
    assert np.exp(run) == pytest.approx([joint(tiny, None, t) for t in (tokens, others)])


@pytest.mark.parametrize("number", range(2))
def test_the_likeliest_sentence_is_that_of_enumeration(tiny, number):
    best, (_, tokens) = BestAnswers(tiny), segments(Sampler(tiny, number).video(0))[0]
    sentences = {
        words
        for template in (*tiny.step_templates, *tiny.chatter_templates)
        for words in itertools.product(*(words_of(tiny, slot) for slot in template.slots))
    }
    tokens = tokens[:1]
    found = best.likeliest_sentence(tokens)
    likeliest = max(joint(tiny, words, tokens) for words in sentences)
    assert joint(tiny, found, tokens) == pytest.approx(likeliest, rel=1e-9)


def words_of(world: World, slot: str) -> list[str]:
    tables = {"ACTION": world.action_words, "THING": world.thing_words}
    if slot in tables:
        return sorted({word for words in tables[slot] for word in words})
    return list(world.fillers.get(slot, [slot]))


def test_answers_agree_with_frequencies(tiny):
    """The token after another one while some words are said, and the word in a place: as often as the limit says."""
    best, sampler = BestAnswers(tiny), Sampler(tiny, 5)
    after, said = Counter(), Counter()
    for number in range(5000):
        video = sampler.video(number)
        for words, tokens in segments(video):
            if len(tokens) == 1:
                said[words, tokens] += 1
        after[video.tokens[:2], video.tokens[3]] += 1
    for context in Counter(context for context, _ in after.elements()).most_common(3):
        total = context[1]
        for token, p in enumerate(best.next_tokens(context[0], (2,))[0]):
            deviation = np.sqrt(total * p * (1 - p))
            assert abs(after[context[0], token] - total * p) < 4 * deviation + 3
    words, tokens = max(said, key=said.__getitem__)
    for place in range(len(words)):
        each = [(*words[:place], word, *words[place + 1 :]) for word in best.words]
        total = sum(said[w, tokens] for w in each)
        for w, p in zip(each, best.hidden_word(words, place, tokens), strict=True):
            assert abs(said[w, tokens] - total * p) < 4 * np.sqrt(total * p * (1 - p)) + 3


def test_without_a_signal_words_and_pictures_say_nothing_of_each_other():
    world = make_world(dataclasses.replace(TINY, signal=0.0))
    best = BestAnswers(world)
    for words, tokens in segments(Sampler(world).video(0)):
        assert best.hidden_word(words, 0, tokens) == pytest.approx(best.hidden_word(words, 0))
        assert best.hidden_token(tokens, 0, words) == pytest.approx(best.hidden_token(tokens, 0))


def test_no_counts_do_better_than_the_limit():
    world = make_world(WorldOptions())
    sampler, best = Sampler(world), BestAnswers(world)
    learned = [material(f"v{n}", sampler.video(n)) for n in range(60)]
    ngrams, right = NGrams(Counts.of(learned), world.visual), Counter()
    questions = [(sampler.video(n).tokens, i) for n in range(60, 90) for i in range(1, 24)]
    for tokens, i in questions:
        answers = {
            "counts": ngrams.probabilities(tokens[:i], HORIZONS),
            "limit": best.next_tokens(tokens[:i], HORIZONS),
        }
        for name, p in answers.items():
            right[name] += sum(
                int(row.argmax()) == tokens[i + h - 1] for row, h in zip(p, HORIZONS, strict=True)
            )
    assert right["limit"] > 1.2 * right["counts"] > 0


# the corpus


def material(video: str, sampled: SampledVideo) -> Material:
    sentences = tuple(
        Sentence(s.first * CLIP_SECONDS, (s.first + s.count) * CLIP_SECONDS, " ".join(s.words), ())
        for s in sampled.sentences
    )
    clips = len(sampled.tokens)
    about = Video(video, f"{video}.mp4", "", 1, "done", "", clips * CLIP_SECONDS, clips, len(sentences))
    starts = np.arange(clips) * CLIP_SECONDS
    return Material(about, Transcript("en", {"kind": "world"}, sentences), starts, np.array(sampled.tokens))


def test_the_same_seed_makes_the_same_corpus_and_a_larger_one_begins_alike(tiny, tmp_path):
    for name, videos, seed in (("one", 5, 0), ("again", 5, 0), ("more", 8, 0), ("other", 5, 1)):
        write_corpus(make_world(TINY), videos, tmp_path / name, seed)
    for file in (TRANSCRIPTS, TOKENS, WORLD):
        one, again, more, other = (
            (tmp_path / n / file).read_bytes() for n in ("one", "again", "more", "other")
        )
        assert one == again and more.startswith(one)
        assert (one == other) == (file == WORLD)
    found = read_world(tmp_path / "one" / WORLD)
    assert (
        BestAnswers(found).next_tokens([0, 1], (1, 4)).tolist()
        == BestAnswers(tiny).next_tokens([0, 1], (1, 4)).tolist()
    )


def test_an_imported_corpus_is_what_was_drawn(tiny, tmp_path):
    """Each segment of the library has exactly the tokens that were shown while its sentence was said."""
    write_corpus(tiny, 12, tmp_path / "corpus")
    store, sampler = Store(tmp_path / "store"), Sampler(tiny)
    files = find_imports([tmp_path / "corpus" / TOKENS, tmp_path / "corpus" / TRANSCRIPTS], None)
    with Catalogue(store.catalogue) as catalogue, store.writing():
        import_files(store, catalogue, files, ImportOptions(), lambda *_: None)
        videos = usable(catalogue)
        codebook = fit_codebook(store, videos, [], TokenOptions(), lambda *_: None)
        encode_videos(store, codebook, videos, lambda *_: None)
        assert len(videos) == 12
        for video in videos:
            drawn = sampler.video(int(video.name[1:]))
            found = read_material(store, codebook, video)
            assert tuple(found.tokens.tolist()) == drawn.tokens
            assert [(tuple(s.text.split()), s.tokens) for s in found.spoken()] == segments(drawn)


def test_each_word_is_one_word_piece(weights_or_skip):
    vocabulary = Vocabulary.of_bert(weights_or_skip("minilm-l6").parent, 1)
    options = WorldOptions(actions=20, things=42)
    for word in BestAnswers(make_world(options)).words:
        assert len(vocabulary.encode(word)) == 1 and vocabulary.unknown not in vocabulary.encode(word), word


# the evaluation


def small_model(folder, world: World) -> Trained:
    """A model of random weights that knows the words of the world, and those of the evaluation's template."""
    words = dict.fromkeys((*BestAnswers(world).words, *"now let me show you how to the .".split()))
    vocabulary = Vocabulary((*SPECIALS, *words), world.visual)
    shape = joint_samples.options(vocab_size=vocabulary.size)
    torch.manual_seed(0)
    return Trained("m", folder / "step-0", JointBert(shape).init_weights(0).eval(), vocabulary, "codebook")


def test_an_evaluation_shows_the_limit_of_each_question(tiny, tmp_path):
    sampler, best, trained = Sampler(tiny), BestAnswers(tiny), small_model(tmp_path, tiny)
    held_out = [material(f"v{n}", sampler.video(n)) for n in range(40)]
    found = evaluate(trained, held_out, held_out, None, lambda *_: None, best=best)
    asked = [case for n in range(40) for case in segments(sampler.video(n))]
    right = [best.words[best.hidden_word(w, i, t).argmax()] == w[i] for w, t in asked for i in range(len(w))]
    assert found["text_cloze_with_video_limit"].value == pytest.approx(np.mean(right))
    right = [best.hidden_token(t, i).argmax() == t[i] for _, t in asked for i in range(len(t))]
    assert found["video_cloze_without_text_limit"].value == pytest.approx(np.mean(right))
    for name in ("video_cloze_with_text", "text_cloze_without_video", "cloze_perplexity_joint_words", "alignment_auc",
                 "next_token", "search_recall_at_1", "moment_to_text_median_rank"):  # fmt: skip
        assert (
            found[f"{name}_limit"].n == found[name].n and found[f"{name}_limit"].chance == found[name].chance
        )
    assert found["cloze_perplexity_joint_words_limit"].value < found["cloze_perplexity_text_only_limit"].value
    assert {n for n in found if n.endswith("_limit")} & set(
        evaluate(trained, held_out, held_out, None, lambda *_: None)
    ) == set()


def test_a_library_of_another_world_is_told_apart(tiny, tmp_path):
    best = BestAnswers(tiny)
    for ask in (
        lambda: best.hidden_word(("now", "cut", "the", "spaceship"), 0),
        lambda: best.hidden_word(("the", "the", "the"), 0),
        lambda: best.hidden_token((0, tiny.visual), 0),
        lambda: best.log_likelihoods([("the",)], [(0,)]),
    ):
        with pytest.raises(InputError, match="^--world: .*give the world that made the library$"):
            ask()


def test_a_file_that_is_no_world_is_refused(tiny, tmp_path):
    file = tmp_path / "world.json"
    write_corpus(tiny, 1, tmp_path)
    whole = json.loads(file.read_text())
    broken = [
        "[", "3", "{}",
        json.dumps(whole | {"version": 0}),
        json.dumps(whole | {"dish_D": [0.5, 0.6]}),
        json.dumps(whole | {"style_C": [1.0]}),
        json.dumps(whole | {"action_DK": [[0, 9], [0, 1]]}),
        json.dumps(whole | {"step_templates": [{"share": 1.0}]}),
    ]  # fmt: skip
    for text in broken:
        file.write_text(text)
        with pytest.raises(InputError, match="world.json") as found:
            read_world(file)
        assert "\n" not in str(found.value)
    with pytest.raises(InputError, match="^--world .*cannot be read"):
        read_world(tmp_path)


@pytest.mark.parametrize(
    "given", [{"signal": 1.5}, {"steps": 999}, {"things": 0}, {"shows_thing": 0.9, "shows_action": 0.3}]
)
def test_options_out_of_range_are_named(given):
    with pytest.raises(InputError, match=next(iter(given))):
        WorldOptions(**given)
