"""What people ask of a store, and the documents that they get: moments by name, what is imagined, what does not fit."""

import json
import shutil
import subprocess
import sys

import kitchen
import numpy as np
import pytest
from harm import edited
from PIL import Image

from multimodal.answers import answer_json, session
from multimodal.answers.cache import update_cache
from multimodal.answers.counts import update_counts
from multimodal.answers.index import index
from multimodal.answers.session import VideoTime, resolve
from multimodal.answers.token_names import update_token_names
from multimodal.catalogue import Catalogue, Video
from multimodal.inference.sampling import SamplingOptions
from multimodal.library import usable
from multimodal.store import InputError, Store, file_digest
from multimodal.tokens import train_and_held_out


@pytest.fixture(scope="module")
def store(learned, tmp_path_factory) -> Store:
    found = Store(tmp_path_factory.mktemp("kitchen") / "store")
    trained = kitchen.fill(found, learned)
    with Catalogue(found.catalogue) as catalogue:
        videos = catalogue.videos()
    update_token_names(found, trained, train_and_held_out(found, videos, trained.codebook)[0])
    return found


@pytest.fixture
def changed(store, tmp_path) -> Store:
    """A copy of the store that a test may spoil."""
    shutil.copytree(store.root, tmp_path / "store")
    return Store(tmp_path / "store")


# VIDEO@S


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory) -> Catalogue:
    names = ("talk.mp4", "me@home.mp4", "cut@5.mp4", "cut.mp4", "two/same.mp4", "same.mp4")
    with Catalogue(tmp_path_factory.mktemp("names") / "catalogue.sqlite") as catalogue:
        for i, name in enumerate(names):
            catalogue.put(Video(f"{i:064x}", name.split("/")[-1], f"/videos/{name}", 1, "done"))
        yield catalogue


@pytest.mark.parametrize(
    ("label", "name", "at"),
    [
        ("talk.mp4", "talk.mp4", None),
        ("talk@12", "talk.mp4", 12),
        ("talk.mp4@12.5", "talk.mp4", 12.5),
        ("/videos/talk.mp4@1:02.5", "talk.mp4", 62.5),
        ("talk@1:00:00", "talk.mp4", 3600),
        ("talk@-3", "talk.mp4", -3),
        ("me@home", "me@home.mp4", None),
        ("me@home@3", "me@home.mp4", 3),
        ("cut@5", "cut@5.mp4", None),
        ("cut@5@5", "cut@5.mp4", 5),
        ("cut@6", "cut.mp4", 6),
    ],
)
def test_a_video_or_a_moment_of_it(catalogue, label, name, at):
    found = resolve(catalogue, label)
    assert (found.video.name, found.at) == (name, at)


def test_a_moment_named_apart(catalogue):
    assert resolve(catalogue, "talk", 4.0) == VideoTime(resolve(catalogue, "talk").video, 4.0)
    assert resolve(catalogue, "cut@5", 4.0).at == 4.0


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("gone", "'gone'"),
        ("gone@4", "'gone'"),
        ("gone@home", "'gone@home'"),
        ("talk@noon", "talk@noon: 'noon'"),
        ("talk@", "talk@: ''"),
        ("talk@1e3", "'1e3'"),
        ("same@4", "2 videos"),
    ],
)
def test_a_moment_that_is_none(catalogue, label, words):
    with pytest.raises(InputError, match=words):
        resolve(catalogue, label)


def test_a_moment_named_twice(catalogue):
    with pytest.raises(InputError, match="talk@3 and --at 4"):
        resolve(catalogue, "talk@3", 4.0)


def test_both_ways_of_naming_a_moment_give_the_same(store):
    for answer, options in (
        (answer_json.caption, {}),
        (answer_json.forecast, {"words": True}),
        (answer_json.classify, {"verbs": ["cut", "wash"]}),
    ):
        assert answer(store.root, "held-100@5", **options) == answer(
            store.root, "held-100", at=5.0, **options
        )
        with pytest.raises(InputError, match=r"held-100.mp4@99: "):
            answer(store.root, "held-100@99", **options)
        with pytest.raises(InputError, match="'held-1000'"):
            answer(store.root, "held-1000@5", **options)


# what does not belong together


def test_a_model_and_a_codebook_of_two_makes(changed):
    with Catalogue(changed.catalogue) as catalogue:
        catalogue.set_current("model_codebook", "another")
    with pytest.raises(InputError, match="model learned: .* another"):
        answer_json.imagine(changed.root, "cut the onion")
    (card,) = changed.root.glob("models/learned/step-*/card.json")
    manifest = card.parent / "manifest.json"
    card.write_text(json.dumps({"codebook": "codebook"}))
    files = json.loads(manifest.read_text())
    files["files"]["card.json"] = file_digest(card)
    manifest.write_text(json.dumps(files))
    with pytest.raises(
        InputError,
        match="model learned: .* codebook codebook.* another",
    ):
        answer_json.imagine(changed.root, "cut the onion")


def test_a_captioner_that_is_gone(changed):
    with Catalogue(changed.catalogue) as catalogue:
        catalogue.set_current("captioner", "gone")
        with pytest.raises(InputError, match="captioner gone"):
            session.open_captioner(changed, catalogue, session.open_trained(changed, catalogue, "cpu"))
    with pytest.raises(InputError, match="captioner gone: .*videobert captioner"):
        answer_json.caption(changed.root, "held-100", by="model")
    assert answer_json.caption(changed.root, "held-100", template="we [MASK]")["captions"]


# imagine


def test_the_clips_that_a_text_calls_for(store):
    """Each text of the kitchen calls for its own token, whose picture and nearest clip are those of the codebook."""
    right = 0
    for token in _examples(store):
        action, thing = divmod(token, 4)
        text = f"now {kitchen.joint_samples.ACTIONS[action]} the {kitchen.joint_samples.THINGS[thing]}."
        clips = answer_json.imagine(store.root, text, clips=3, by="model")["clips"]
        assert len(clips) == 3
        for clip in clips:
            shown = int(clip["token"][1:])
            near = _examples(store)[shown]
            assert clip["nearest"] == {
                "video": near[0],
                "name": f"{near[0]}.mp4",
                "start": near[1],
                "end": near[1] + 1.5,
            }
            action, thing = divmod(shown, 4)
            assert clip["name"] in _names(action, thing)
            assert clip["picture"].endswith(f"/pictures/{clip['token']}.jpg") and 0 < clip["probability"] <= 1
        right += sum(int(clip["token"][1:]) == token for clip in clips)
    assert right >= 7, "of 18; chance is 3"


def _names(action: int, thing: int) -> set[str | None]:
    """What a token of the kitchen may be called; it has no name where too few moments show it."""
    words = kitchen.joint_samples.ACTIONS[action], kitchen.joint_samples.THINGS[thing]
    return {None, *words, ", ".join(words), ", ".join(words[::-1])}


def _examples(store: Store) -> dict[int, list]:
    described = json.loads((store.codebook("codebook") / "codebook.json").read_text())
    return {int(token): example for token, example in described["examples"].items()}


def test_only_tokens_that_the_codebook_uses(store):
    tokens = {
        int(clip["token"][1:])
        for text in ("slowly", "in a bowl", "!")
        for clip in answer_json.imagine(store.root, text, clips=16, by="model")["clips"]
    }
    assert tokens <= set(_examples(store))


def test_the_strip_is_the_tokens_pictures_side_by_side(store, tmp_path):
    file = tmp_path / "strip.png"
    document = answer_json.imagine(store.root, "now cut the onion.", clips=3, out=file, by="model")
    assert document["strip"] == str(file)
    with Image.open(file) as strip:
        assert (strip.format, strip.size) == ("PNG", (3 * 213 + 2 * 4, 160))
        pixels = np.asarray(strip).astype(int)
    for i, clip in enumerate(document["clips"]):
        with Image.open(clip["picture"]) as picture:
            expected = np.asarray(picture).astype(int)
        assert np.abs(pixels[:, i * 217 : i * 217 + 213] - expected).max() <= 1


def test_a_strip_without_a_picture_is_grey(changed, tmp_path):
    for picture in changed.codebook("codebook").glob("pictures/*"):
        picture.unlink()
    document = answer_json.imagine(changed.root, "now cut the onion.", clips=2, out=tmp_path / "strip.png")
    assert [clip["picture"] for clip in document["clips"]] == [None, None]
    with Image.open(tmp_path / "strip.png") as strip:
        assert strip.size == (2 * 160 + 4, 160) and strip.getpixel((5, 5)) == (128, 128, 128)


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("", {}, "TEXT ''"),
        ("  ", {}, "TEXT '  '"),
        ("cut the ☃ now", {}, "lacks '☃'"),
        ("cut", {"clips": 0}, "--clips 0.* 16"),
        ("cut", {"clips": 17}, "--clips 17"),
        ("cut", {"out": "strip.jpg"}, "--out .*strip.jpg.*png"),
        ("cut", {"out": "no/strip.png"}, "--out .*no/strip.png"),
    ],
)
def test_what_cannot_be_imagined(store, tmp_path, text, options, words):
    if "out" in options:
        options = {"out": tmp_path / options["out"]}
    with pytest.raises(InputError, match=words):
        answer_json.imagine(store.root, text, by="model", **options)
    assert list(tmp_path.iterdir()) == []


# the other documents


def test_captions_in_a_file(store, tmp_path):
    document = answer_json.caption(store.root, "held-100", vtt=tmp_path / "a.vtt")
    text = (tmp_path / "a.vtt").read_text(encoding="utf-8")
    assert text.startswith("WEBVTT\n\n") and document["vtt"] == str(tmp_path / "a.vtt")
    assert [c["text"] for c in document["captions"]] == text.split("\n")[3::3]
    with pytest.raises(InputError, match="--vtt .* 5"):
        answer_json.caption(store.root, "held-100@5", vtt=tmp_path / "b.vtt")
    with pytest.raises(InputError, match="--vtt .*b.srt"):
        answer_json.caption(store.root, "held-100", vtt=tmp_path / "b.srt")


def test_what_comes_next_as_a_document(store):
    plain = answer_json.forecast(store.root, "held-100@9", by="model")
    assert plain["at"] == 9 and [h["seconds"] for h in plain["horizons"]] == [1.5, 3, 6, 12]
    assert plain["heard"] is None and "rollout" not in plain
    heard = answer_json.forecast(store.root, "held-100@9", words=True)
    assert heard["heard"].startswith("now ") and heard["horizons"] != plain["horizons"]
    rolled = answer_json.forecast(store.root, "held-100@9", rollout=6)["rollout"]
    assert (rolled["temperature"], rolled["top_p"], rolled["seed"]) == (1.0, 0.9, 0)
    assert [set(c) for c in rolled["clips"]] == [{"seconds", "token", "name", "probability", "picture"}] * 4
    with pytest.raises(InputError, match="--temperature.*--rollout"):
        answer_json.forecast(store.root, "held-100@9", sampling=SamplingOptions())
    with pytest.raises(InputError, match="VIDEO held-100"):
        answer_json.forecast(store.root, "held-100")
    with pytest.raises(InputError, match="--top 0"):
        answer_json.forecast(store.root, "held-100@9", top=0)


def test_names_as_a_document(store):
    for by, given in (("model", "aligned"), ("plain", "seen")):
        found = answer_json.classify(store.root, "held-100", verbs=["cut", "wash"], nouns=["onion"], by=by)
        assert len(found["moments"]) == 6
        for moment in found["moments"]:
            assert {n["name"] for n in moment["verbs"]} == {"cut", "wash"}
            assert all(n[given] is not None and 0 <= n["probability"] <= 1 for n in moment["verbs"])
        assert json.dumps(found)


# what a question imports


HEAVY = ("sklearn", "pandas", "cv2", "av", "prefect", "transformers", "tensorboard", "torch.distributed.fsdp")


@pytest.mark.parametrize(
    ("question", "model", "others"),
    [
        ("search(store, 'cut the onion')", True, ("PIL",)),
        ("caption(store, 'held-100@5')", True, ("PIL", "faiss")),
        ("forecast(store, 'held-100@5')", True, ("faiss",)),
        ("search(store, 'cut the onion')", False, ("PIL", "faiss", "torch")),
    ],
)
def test_a_question_imports_only_what_it_needs(changed, question, model, others):
    with Catalogue(changed.catalogue) as catalogue:
        trained, videos = session.open_trained(changed, catalogue, "cpu"), usable(catalogue)
    index(changed, trained, videos, lambda *_: None)
    update_cache(changed, trained, videos, lambda *_: None)
    update_counts(changed, trained, train_and_held_out(changed, videos, trained.codebook)[0])
    if not model:
        with edited(changed.catalogue) as db:
            db.execute("DELETE FROM current WHERE kind = 'model'")
    code = (
        "import sys; from pathlib import Path; from multimodal.answers.answer_json import caption, forecast, search; "
        f"store = Path({str(changed.root)!r}); {question}; print(*sys.modules)"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert set(output.split()).isdisjoint({*HEAVY, *others})
    assert ("torch" in output.split()) == model
