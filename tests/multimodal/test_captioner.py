"""The captioner: its network against transformers' own, what it learns, where it is kept."""

import dataclasses
import json
import shutil

import av
import joint_samples
import kitchen
import numpy as np
import pytest
import safetensors.torch
import torch
from transformers import BertConfig, BertLMHeadModel

from multimodal.answers import answer_json, session
from multimodal.answers.caption import Caption, captioned, webvtt
from multimodal.captioning.attention import word_attention
from multimodal.captioning.dataset import caption_inputs, collate, encode_views, speech_beside
from multimodal.captioning.generation import describer, generate, nearest_captions
from multimodal.captioning.options import CaptionerOptions
from multimodal.captioning.trained import load_captioner
from multimodal.captioning.training import captioner_name, gather, learn_captioner
from multimodal.catalogue import Catalogue
from multimodal.inference.beam import BeamOptions
from multimodal.joint.caption_decoder import CaptionDecoder, DecoderShape, EncoderMemory
from multimodal.library import read_material, usable
from multimodal.store import InputError, Store, file_digest
from multimodal.training import checkpoints
from speech.caption_files import read
from speech.cues import plain
from speech.sentences import Sentence, Transcript

QUICK = CaptionerOptions(least_steps=100, epochs=1, learning_rate=4e-3, dropout=0.0, checkpoint_seconds=1e9, precision="fp32")  # fmt: skip


def quiet(*_) -> None:
    pass


@dataclasses.dataclass
class World:
    store: Store
    trained: object
    name: str

    @property
    def captioner(self):
        return load_captioner(self.store, self.trained, self.name)


def learn(
    store: Store, trained, options: CaptionerOptions = QUICK, references=(), report=quiet
) -> str | None:
    with Catalogue(store.catalogue) as catalogue:
        return learn_captioner(store, trained, usable(catalogue), options, report, references)


@pytest.fixture(scope="module")
def world(learned, tmp_path_factory) -> World:
    store = Store(tmp_path_factory.mktemp("kitchen") / "store")
    trained = kitchen.fill(store, learned)
    return World(store, trained, learn(store, trained))


def said(world: World, captioner, materials) -> list[tuple[str, str]]:
    """What the captioner writes of each spoken moment, and what was spoken, both in small letters."""
    pairs = []
    for material in materials:
        moments = material.spoken()
        given = caption_inputs(
            world.store, material, moments, captioner.options, during=bool(captioner.references)
        )
        found = generate(world.trained, captioner, given)
        pairs += [(text.lower(), m.text.lower()) for (text, _), m in zip(found, moments, strict=True)]
    return pairs


# the network


def test_at_its_start_it_is_transformers_decoder_with_the_same_weights():
    """A BERT layer for each of ours, its attention to the memory a copy of that to itself; words and head are tied."""
    joint = joint_samples.model(hidden_dropout_prob=0.0)
    o = joint.options
    pieces = (4, 5, 8, 12, 20)
    ours = CaptionDecoder(joint, DecoderShape(2, 0.0, 10, 0, pieces)).init_weights(joint, 0).eval()
    theirs = BertLMHeadModel(
        BertConfig(
            vocab_size=o.vocab_size, hidden_size=o.hidden_size, num_hidden_layers=2, num_attention_heads=o.num_attention_heads,
            intermediate_size=o.intermediate_size, max_position_embeddings=o.max_position_embeddings,
            layer_norm_eps=o.layer_norm_eps, is_decoder=True, add_cross_attention=True, attn_implementation="eager",
        )
    ).eval()  # fmt: skip
    state = joint.state_dict()
    for name in list(state):
        if ".attention." in name:
            state[name.replace(".attention.", ".crossattention.")] = state[name]
    missing, _ = theirs.load_state_dict(state, strict=False)
    assert all("decoder" in name for name in missing), missing
    random = torch.Generator().manual_seed(1)
    memory = torch.randn(3, 4, o.hidden_size, generator=random)
    there = torch.tensor([[True] * 4, [True, True, False, False], [True, False, False, False]])
    written = torch.randint(len(pieces), (3, 6), generator=random)
    with torch.no_grad():
        found = ours(written, memory, there)
        expected = theirs(
            input_ids=torch.tensor(pieces)[written], encoder_hidden_states=memory, encoder_attention_mask=there.long(),
            output_attentions=True,
        )  # fmt: skip
        looks = ours.attention(ours.rows(written), memory, there)
    torch.testing.assert_close(found, expected.logits[..., list(pieces)], atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(
        looks, torch.stack(expected.cross_attentions).mean((0, 2)), atol=1e-5, rtol=1e-4
    )


def test_a_piece_knows_only_those_before_it_and_the_places_that_are_there():
    joint = joint_samples.model(hidden_dropout_prob=0.0)
    network = (
        CaptionDecoder(joint, DecoderShape(2, 0.0, 10, 0, tuple(range(8)))).init_weights(joint, 0).eval()
    )
    memory = EncoderMemory(torch.randn(1, 3, 32), torch.tensor([[0, 0, 1]]), torch.tensor([[True, True, False]]), torch.zeros(1, 3, 0))  # fmt: skip
    written = torch.tensor([[0, 3, 4, 5]])
    with torch.no_grad():
        one = network(written, network.attended(memory), memory.present_NM)
        other = network(torch.tensor([[0, 3, 4, 7]]), network.attended(memory), memory.present_NM)
        torch.testing.assert_close(one[:, :3], other[:, :3])
        assert not torch.allclose(one[:, 3], other[:, 3])
        memory.x_NMH[0, 2] = 99.0
        torch.testing.assert_close(network(written, network.attended(memory), memory.present_NM), one)
        memory.x_NMH[0, 1] = 99.0
        assert not torch.allclose(network(written, network.attended(memory), memory.present_NM), one)


# what it learns


def test_it_writes_what_was_said_of_videos_that_it_never_saw(world):
    pairs = said(world, world.captioner, kitchen.materials()[1])
    right = sum(written == spoken for written, spoken in pairs)
    others = kitchen.materials()[1]
    moments = [s for m in others for s in m.spoken()]
    describe = describer(None, world.trained, world.captioner, others, during=False)
    assert [t.lower() for t in describe(moments)] == [w for w, _ in pairs]
    backwards = describe([*moments[::2], *moments[1::2]])
    assert sorted(backwards) == sorted(describe(moments)), "in any order of the videos"
    assert [backwards[0], backwards[len(moments[::2])]] == describe(moments[:2])
    assert right >= 0.7 * len(pairs), f"chance is a sixth: {pairs}"


def test_each_word_has_its_attention_to_the_clips(world):
    material = joint_samples.materials(2, seed=77)[0]
    (moment, *_) = material.spoken()
    (asked,) = caption_inputs(world.store, material, [moment], world.captioner.options, during=False)
    ((text, _),) = generate(world.trained, world.captioner, [asked])
    found = word_attention(world.trained, world.captioner, asked, text)
    assert list(found.words) == text.split() and found.share_WC.shape == (
        len(found.words),
        len(moment.tokens),
    )
    assert (found.share_WC > 0).all() and (found.share_WC.sum(1) < 1).all(), "blanks are looked at, too"
    assert word_attention(world.trained, world.captioner, asked, "").words == ()


def test_it_sees_no_word_of_the_moment(world):
    """With the words of the moment replaced, the caption is the same; nor is it a learned moment's text looked up."""
    _, (material, *_) = kitchen.materials()
    wrong = tuple(dataclasses.replace(s, text="wash the apple.") for s in material.transcript.sentences)
    other = dataclasses.replace(
        material, transcript=dataclasses.replace(material.transcript, sentences=wrong)
    )
    captioner = world.captioner
    one = captioned(world.store, world.trained, captioner, material)
    found = captioned(world.store, world.trained, captioner, other)
    assert one == [dataclasses.replace(c, heard=own.heard) for c, own in zip(found, one, strict=True)]
    assert [c.heard for c in found] == [s.text for s in wrong]
    assert all(c.route == "captioner" and 0 < c.score <= 1 for c in one)
    (alone,) = captioned(world.store, world.trained, captioner, material, at=5.0)
    assert alone == dataclasses.replace(one[1], score=pytest.approx(one[1].score, rel=1e-4))


def test_the_score_is_that_of_the_pieces(world):
    material = kitchen.materials()[1][0]
    captioner = world.captioner
    given = caption_inputs(world.store, material, material.spoken()[:1], captioner.options, during=False)
    ((text, score),) = generate(world.trained, captioner, given, BeamOptions(beams=1))
    memory = collate(encode_views(world.trained, given, captioner.options.template))
    network = captioner.network
    ids = [network.shape.pieces.index(i) for i in world.trained.vocabulary.encode(text)] + [1]
    with torch.no_grad():
        log_p = network(
            torch.tensor([[0, *ids[:-1]]]), network.attended(memory), memory.present_NM
        ).log_softmax(-1)[0]
    assert score == pytest.approx(log_p[range(len(ids)), ids].mean().exp().item(), rel=1e-4)


def test_reference_captions_come_after_the_sentences_of_the_corpus(world):
    """Only those of learned videos count, and the captions take on their wording."""
    known, others = kitchen.materials()

    def told(materials):
        return [
            (m.video.video, s.start, s.end, "we " + s.text.removeprefix("now ").replace(".", " slowly."))
            for m in materials for s in m.spoken()
        ]  # fmt: skip

    options = dataclasses.replace(QUICK, least_steps=40, reference_epochs=20, reference_rate=1.0)
    with pytest.raises(InputError, match="reference captions: none"):
        learn(world.store, world.trained, options, told(others))
    name = learn(world.store, world.trained, options, told(known) + told(others))
    captioner = load_captioner(world.store, world.trained, name)
    assert captioner.references == sum(len(m.spoken()) for m in known)
    assert name != captioner_name(world.trained, options)
    for written, _ in said(world, captioner, others):
        assert written.startswith("we ") and written.endswith(" slowly.")


def test_words_are_those_before_a_sentence_or_during_a_reference(world):
    transcript = Transcript(
        "en", {}, (Sentence(0, 2, "one", ()), Sentence(2, 4, "two", ()), Sentence(4, 6, "three", ()))
    )
    assert (
        speech_beside(transcript, 2, 4, during=False) == "one"
        and speech_beside(transcript, 0, 2, during=False) == ""
    )
    assert speech_beside(transcript, 1, 4, during=True) == "one two"
    options = dataclasses.replace(QUICK, words=True)
    (material, *_) = kitchen.materials()[0]
    own = caption_inputs(None, material, material.spoken(), options, during=False)
    assert [v.speech for v in own] == ["", *(s.text for s in material.spoken()[:-1])]
    (seen,) = encode_views(world.trained, [own[1]], options.template)
    words = len(world.trained.vocabulary.encode(own[1].speech))
    assert torch.bincount(seen.kind_M).tolist() == [3, 2, words]


def test_features_are_added_to_their_clips(world):
    options = dataclasses.replace(QUICK, features=True, least_steps=2)
    with Catalogue(world.store.catalogue) as catalogue:
        video = catalogue.get(kitchen.materials()[0][0].video.video)
    material = read_material(world.store, "codebook", video)
    found = caption_inputs(world.store, material, material.spoken(), options, during=False)
    assert all(np.array_equal(v.features, np.eye(16)[list(v.tokens)]) for v in found)
    (seen,) = encode_views(world.trained, found[:1], options.template)
    assert seen.features_MD.sum(1).tolist() == [0, 0, 1, 1, 1], "blanks have none"
    name = learn(world.store, world.trained, options)
    captioner = load_captioner(world.store, world.trained, name)
    assert captioner.network.shape.feature_width == 16
    describe = describer(world.store, world.trained, captioner, [material], during=False)
    assert describe(material.spoken()) == [t for t, _ in generate(world.trained, captioner, found)]
    few = dataclasses.replace(material, starts=material.starts[:-1], tokens=material.tokens[:-1])
    with pytest.raises(InputError, match="no features"):
        caption_inputs(world.store, few, few.spoken(), options, during=False)


def test_the_nearest_neighbours_words(world):
    known, others = kitchen.materials()
    spoken = [s for m in known for s in m.spoken()]
    asked = [s for m in others for s in m.spoken()]
    found = nearest_captions(
        world.trained, [*spoken, *(s for m in known for s in m.silent())], [s.tokens for s in asked]
    )
    assert [text for text, _ in found] == [s.text for s in asked]
    assert all(near == pytest.approx(1, abs=1e-5) for _, near in found), "the same tokens were learned"
    assert nearest_captions(world.trained, [], [(1,)]) == [("", 0.0)]


# where it is kept


def weights(store: Store, name: str) -> bytes:
    return (checkpoints.latest(store.captioner(name)) / "model.safetensors").read_bytes()


class Stopped(Exception):
    pass


def test_stopped_and_gone_on_with_it_ends_with_the_same_weights(world, tmp_path):
    few = dataclasses.replace(QUICK, least_steps=12, dropout=0.1)
    name = learn(world.store, world.trained, few)
    store = Store(tmp_path / "store")
    shutil.copytree(
        world.store.root, store.root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("captioners")
    )

    def stop(done: int, total: int, words: str) -> None:
        assert total in (1, 12) and words
        if done == 7:
            raise Stopped

    often = dataclasses.replace(few, checkpoint_seconds=0.0)
    with pytest.raises(Stopped):
        learn(store, world.trained, often, report=stop)
    stopped = captioner_name(world.trained, often)
    assert checkpoints.read_progress(checkpoints.latest(store.captioner(stopped))).step == 6
    with pytest.raises(InputError, match="not in store"):
        load_captioner(store, world.trained, stopped)
    made = []
    assert learn(store, world.trained, often, report=lambda done, *_: made.append(done)) == stopped
    assert made == list(range(7, 13)), "the first six steps are not made again"
    assert weights(store, stopped) == weights(world.store, name)
    assert weights(world.store, name) != weights(world.store, world.name)
    made.clear()
    assert (
        learn(store, world.trained, often, report=lambda done, *_: made.append(done)) == stopped and not made
    )


def test_it_keeps_no_copy_of_the_models_words(world):
    folder = checkpoints.latest(world.store.captioner(world.name))
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    assert not any(name.startswith(("words", "places")) for name in tensors)
    assert json.loads((folder / "card.json").read_text())["sentences"] == sum(
        len(m.spoken()) for m in kitchen.materials()[0]
    )


def test_a_captioner_of_another_model_or_a_changed_one_is_refused(world, tmp_path):
    store = Store(tmp_path / "store")
    shutil.copytree(world.store.root, store.root, dirs_exist_ok=True)
    other = store.model(world.trained.name) / "step-999"
    shutil.copytree(world.trained.folder, other)
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["files"]["model.safetensors"] = "0" * 64
    (other / "manifest.json").write_text(json.dumps(manifest))
    moved = dataclasses.replace(world.trained, folder=other)
    with pytest.raises(InputError, match=r"step-200.*step-999"):
        load_captioner(store, moved, world.name)
    with pytest.raises(InputError, match="captioner gone"):
        load_captioner(store, world.trained, "gone")
    file = checkpoints.latest(store.captioner(world.name)) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match=r"model\.safetensors"):
        load_captioner(store, world.trained, world.name)


def test_without_a_sentence_there_is_no_captioner(world):
    (material, *_) = kitchen.materials()[0]
    mute = dataclasses.replace(material, transcript=Transcript(None, {}, ()))
    assert gather(None, world.trained, [mute], QUICK) == (None, None)


# the answer


def test_the_stores_captioner_answers_unless_a_template_is_given(world, tmp_path):
    store = Store(tmp_path / "store")
    shutil.copytree(world.store.root, store.root, dirs_exist_ok=True)
    name = kitchen.materials()[1][0].video.name
    by_model = answer_json.caption(store.root, name, by="model")["captions"]
    assert {c["route"] for c in by_model} == {"template"}
    with Catalogue(store.catalogue) as catalogue:
        catalogue.set_current("captioner", world.name)
        assert session.open_captioner(store, catalogue, world.trained).name == world.name
    found = answer_json.caption(store.root, f"{name}@5", by="model")
    assert [(c["route"], c["start"]) for c in found["captions"]] == [("captioner", 4.5)]
    asked = answer_json.caption(store.root, name, template="we [MASK] the [MASK]")
    assert all(c["route"] == "template" and c["text"].startswith("We ") for c in asked["captions"])


def test_captions_as_webvtt_are_what_a_player_reads(world, tmp_path):
    material = kitchen.materials()[1][0]
    captions = captioned(world.store, world.trained, world.captioner, material)
    captions.append(Caption(-0.5, 0.25, "salt & <b>pepper --> now", 1.0))
    file = tmp_path / "captions.vtt"
    file.write_text(webvtt(captions), encoding="utf-8")
    with av.open(str(file)) as container:
        (stream,) = container.streams.subtitles
        packets = [p for p in container.demux(stream) if p.size]
        shown = [
            (float(p.pts * p.time_base), float(p.duration * p.time_base), bytes(p).decode()) for p in packets
        ]
    expected = [captions[-1], *captions[:-1]]
    for (start, length, text), c in zip(shown, expected, strict=True):
        assert start == pytest.approx(max(c.start, 0)) and start + length == pytest.approx(c.end)
        assert plain(text) == c.text
    assert [plain(cue.text) for cue in read(file).cues] == [c.text for c in expected]


def test_a_captioner_of_the_first_version_still_writes(world, tmp_path):
    """Its options have another name for the examples of a step, its network one for the first LayerNorm."""
    store = Store(tmp_path / "store")
    shutil.copytree(world.store.root, store.root, dirs_exist_ok=True)
    folder = checkpoints.latest(store.captioner(world.name))
    card = json.loads((folder / "card.json").read_text())
    card["options"]["items"] = card["options"].pop("examples_per_step")
    (folder / "card.json").write_text(json.dumps(card))
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    former = {name.replace("input_norm.", "enter."): tensor for name, tensor in tensors.items()}
    safetensors.torch.save_file(former, folder / "model.safetensors")
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in ("card.json", "model.safetensors"):
        manifest["files"][name] = file_digest(folder / name)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    materials = kitchen.materials()[1][:2]
    assert said(world, load_captioner(store, world.trained, world.name), materials) == said(
        world, world.captioner, materials
    )
