"""The Python door: `open_store`, its tables and answers, and what they show in a notebook."""

import base64
import copy
import hashlib
import io
import pickle
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from PIL import Image
from tiny_store import COLOURS, add, finish, paint

from multimodal import open_store
from multimodal.answers import answer_json
from multimodal.answers.display import MOST_SHOWN
from multimodal.catalogue import Catalogue
from multimodal.inference.sampling import SamplingOptions
from multimodal.store import InputError, Store, write_artefact
from vision.clips import CLIP_SECONDS

ROOT = Path(__file__).parents[2]
CLIPS = {"plain": [0, 1, 2, 3] * 3, "<img src=x onerror=alert(1)>": [3, 3, 2, 1, 0, 1]}
SAID = {
    "plain": ["Now peel the carrot.", "Chop the onion.", "Wash it, and stir."],
    "<img src=x onerror=alert(1)>": ["Peel the <script>alert(2)</script> onion.", r"An egg costs $\href{x}{5}$."],
}  # fmt: skip
HOSTILE = "<img src=x onerror=alert(1)>.mp4"


def make(root: Path) -> Store:
    store = Store(root / "store")
    with Catalogue(store.catalogue) as catalogue:
        for name, clips in CLIPS.items():
            add(store, catalogue, paint(root / f"{name}.mp4", clips), clips, SAID[name])
        long = paint(root / "long.mp4", [0, 1])
        add(store, catalogue, long, [0, 1] * (2 * MOST_SHOWN), ["Stir it."] * (MOST_SHOWN + 3))
        add(store, catalogue, paint(root / "bad.mp4", [1]), [], [], state="refused", reason="no clip of it")
        finish(store, catalogue, [])
    return store


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Store:
    return make(tmp_path_factory.mktemp("api"))


@pytest.fixture(scope="module")
def opened(made):
    with open_store(str(made.root)) as store:
        yield store


class Page(HTMLParser):
    """The tags, attributes and text of an HTML fragment."""

    def __init__(self, html: str):
        super().__init__()
        self.tags, self.words = [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words += data + " "

    def pictures(self) -> list[np.ndarray]:
        found = []
        for tag, attributes in self.tags:
            if tag == "img":
                kind, data = attributes["src"].split(",", 1)
                assert kind == "data:image/jpeg;base64"
                with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
                    found.append(np.asarray(picture.convert("RGB")))
        return found


# opening


def digests(folder: Path) -> dict[str, str]:
    """Of the store's files. The lock, and SQLite's own files beside a database, come and go with their users."""
    files = [p for p in folder.rglob("*") if p.is_file() and not p.name.endswith(("-wal", "-shm", ".lock"))]
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_torch_comes_with_the_model_while_another_process_writes(made):
    """Opening and asking takes no lock and changes no file, and torch is imported for the first answer of the model."""
    program = f"""
import sys
import multimodal
assert "numpy" not in sys.modules
store = multimodal.open_store({str(made.root)!r})
tables = [store.videos, store.segments()] + [f("plain") for f in (store.transcript, store.features, store.tokens)]
assert all(t.num_rows for t in tables) and store._repr_html_()
assert "torch" not in sys.modules
for answer in (store.search("peel"), store.next("plain@9"), store.imagine("peel the onion")):
    assert answer._repr_html_()
assert "torch" in sys.modules
"""
    before = digests(made.root)
    with made.writing():
        subprocess.run([sys.executable, "-c", program], check=True, env={"PYTHONPATH": str(ROOT)})
    assert digests(made.root) == before


def test_a_folder_that_is_no_store_stays_as_it_is(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match=re.escape(str(folder))) as error:
            open_store(folder)
        assert "\n" not in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    "device",
    [
        "tpu",
        pytest.param(
            "cuda", marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"), id="no GPU"
        ),
    ],
)
def test_a_device_that_is_not_there_is_refused_at_the_door(made, device):
    with pytest.raises(InputError, match=f"^--device {device}: ") as error:
        open_store(made.root, device=device)
    assert "\n" not in str(error.value)


def test_the_model_and_the_index_are_opened_once(opened):
    assert opened.model is opened.model and opened.index is opened.index
    assert isinstance(opened.model, torch.nn.Module) and not opened.model.training
    tokens = opened.tokenizer.encode("peel the onion", "v00002 v00001").tokens
    assert tokens == ["[CLS]", "peel", "the", "onion", "[>]", "v00002", "v00001", "[SEP]"]


# tables


def test_videos(opened):
    rows = {row["name"]: row for row in opened.videos.to_pylist()}
    assert rows.keys() == {"plain.mp4", HOSTILE, "long.mp4", "bad.mp4"}
    assert rows["plain.mp4"] | {"video": "", "path": ""} == {
        "video": "", "name": "plain.mp4", "path": "", "state": "done", "reason": "", "seconds": 18.0, "clips": 12,
        "sentences": 3,
    }  # fmt: skip
    assert (rows["bad.mp4"]["state"], rows["bad.mp4"]["reason"]) == ("refused", "no clip of it")


def test_tables_of_a_video(opened):
    said = opened.transcript("plain").to_pylist()
    assert [row["text"] for row in said] == SAID["plain"]
    assert said[1]["words"] == [{"start": 3.0, "end": 5.5, "text": SAID["plain"][1], "probability": 0.9}]
    features, tokens = opened.features("plain"), opened.tokens("plain")
    for table in (features, tokens):
        starts = np.arange(12) * CLIP_SECONDS
        assert table["start"].to_pylist() == starts.tolist()
        assert table["end"].to_pylist() == (starts + CLIP_SECONDS).tolist()
    values = np.stack(features["features"].to_numpy())
    assert values.shape == (12, 16) and values.argmax(1).tolist() == CLIPS["plain"]
    by_colour = dict(zip(CLIPS["plain"], tokens["token"].to_pylist(), strict=True))
    assert len(set(by_colour.values())) == 4
    assert [by_colour[c] for c in CLIPS["plain"]] == tokens["token"].to_pylist()
    digest = next(row["video"] for row in opened.videos.to_pylist() if row["name"] == "plain.mp4")
    assert opened.tokens(digest[:8]).equals(tokens)


def test_segments(opened):
    rows = [row for row in opened.segments().to_pylist() if row["name"] == "plain.mp4"]
    assert [row["text"] for row in rows if row["text"]] == SAID["plain"]
    shown = sum(len(row["tokens"]) for row in rows)
    assert shown >= 12 and all(row["start"] < row["end"] for row in rows)


def test_a_video_that_has_no_such_table(opened):
    for table in (opened.transcript, opened.features, opened.tokens):
        with pytest.raises(InputError, match=r"bad\.mp4: refused"):
            table("bad")
        with pytest.raises(InputError, match="'gone'"):
            table("gone")


def test_imported_tokens_have_no_features(tmp_path):
    store = Store(tmp_path / "store")
    with Catalogue(store.catalogue) as catalogue:
        video = add(store, catalogue, paint(tmp_path / "a.mp4", [0]), [0], ["Peel the carrot."])
    arrays = {"tokens": np.zeros(1, np.int32), "starts": np.zeros(1)}
    write_artefact(store.features(video.video, "f"), safetensors.numpy.save(arrays))
    with pytest.raises(InputError, match=r"a\.mp4: .*tokens"):
        open_store(store.root).features("a")


# answers


def test_answers_are_those_of_the_commands(opened, made):
    hits = opened.search("peel the carrot", top=2)
    document = answer_json.search(made.root, "peel the carrot", top=2)
    assert [h["text"] for h in document["hits"]] == [h.text for h in hits] and len(hits) == 2
    sampling = SamplingOptions(seed=3)
    forecast = opened.next("plain@9", words=True, rollout=6, sampling=sampling)
    document = answer_json.forecast(made.root, "plain@9", words=True, rollout=6, sampling=sampling)
    assert [h["seconds"] for h in document["horizons"]] == [h.seconds for h in forecast]
    assert [t["token"] for t in document["horizons"][1]["tokens"]] == [t.label for t in forecast[1].tokens]
    assert [c["token"] for c in document["rollout"]["clips"]] == [
        c.token.label for c in forecast.rollout.clips
    ]
    captions = answer_json.caption(made.root, "plain")["captions"]
    assert [c["text"] for c in captions] == [c.text for c in opened.caption("plain")]
    document = answer_json.classify(made.root, "plain@9", verbs=["peel", "wash"])
    (moment,) = opened.classify("plain", at=9, verbs=["peel", "wash"])
    assert [n["name"] for n in document["moments"][0]["verbs"]] == [n.name for n in moment.names.verbs]
    clips = answer_json.imagine(made.root, "peel the onion")["clips"]
    assert [c["nearest"]["start"] for c in clips] == [
        c.nearest.start for c in opened.imagine("peel the onion")
    ]


def test_answers_are_values(opened):
    for answer in (
        opened.search(like="plain@4"),
        opened.caption("plain"),
        opened.next("plain@9", rollout=3),
        opened.classify("plain", nouns=["egg"]),
        opened.imagine("peel the onion"),
    ):
        assert copy.deepcopy(answer) == pickle.loads(pickle.dumps(answer)) == answer
        assert hash(answer) == hash(copy.copy(answer))
        assert list(answer) == [answer[i] for i in range(len(answer))] and answer[-1] in answer


def test_what_cannot_be_asked(opened):
    for ask, options in (
        (opened.search, {}),
        (opened.search, {"text": "peel", "top": 0}),
        (opened.search, {"like": "plain"}),
        (opened.next, {"video": "plain"}),
        (opened.next, {"video": "plain@9", "sampling": SamplingOptions()}),
        (opened.classify, {"video": "plain"}),
        (opened.imagine, {"text": ""}),
    ):
        with pytest.raises(InputError) as error:
            ask(**options)
        assert "\n" not in str(error.value)


def test_a_store_without_a_model_is_searched_by_words(tmp_path):
    store = Store(tmp_path / "store")
    with Catalogue(store.catalogue) as catalogue:
        add(store, catalogue, paint(tmp_path / "a.mp4", [0, 1]), [0, 1], ["Peel the carrot."])
    opened = open_store(store.root)
    answer = opened.search("carrot")
    assert (answer.by, [h.text for h in answer]) == ("words", ["Peel the carrot."])
    assert len(Page(answer._repr_html_()).pictures()) == 1
    assert "none yet" in opened._repr_html_()
    for ask in (lambda: opened.search(like="a@1"), lambda: opened.model, lambda: opened.tokens("a")):
        with pytest.raises(InputError, match="videobert run"):
            ask()


# in a notebook


def test_frames_of_the_moments(opened):
    hits = opened.search("peel", top=2)
    pictures = Page(hits._repr_html_()).pictures()
    assert len(pictures) == 2
    for hit, picture in zip(hits, pictures, strict=True):
        clips = CLIPS[Path(hit.name).stem]
        shown = COLOURS[clips[int((hit.start + hit.end) / 2 / CLIP_SECONDS)]]
        assert np.abs(picture.mean((0, 1)) - shown).max() < 12


def test_every_answer_shows_its_pictures_and_runs_nothing(opened):
    for answer, least in (
        (opened.search("peel the onion"), 2),
        (opened.search(like=f"{HOSTILE}@2"), 3),
        (opened.search(like=f"{HOSTILE}@2", texts=True), 3),
        (opened.caption(HOSTILE), 2),
        (opened.next(f"{HOSTILE}@5", words=True, rollout=3), 1 + 4 * 3 + 2),
        (opened.classify(HOSTILE, verbs=["peel", "wash"], nouns=["egg"]), 2),
        (opened.imagine("peel the onion"), 2),
        (opened.imagine("peel the onion", by="model"), 3),
        (opened.classify(HOSTILE, verbs=["peel", "wash"], by="model"), 2),
    ):
        page = Page(answer._repr_html_())
        assert len(page.pictures()) >= least
        assert {tag for tag, _ in page.tags} <= {"div", "span", "b", "bdi", "br", "img"}
        assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
        assert {"tex2jax_ignore", "mathjax_ignore"} <= set(page.tags[0][1]["class"].split())
    assert HOSTILE in Page(opened.caption(HOSTILE)._repr_html_()).words
    assert "<script>alert(2)</script>" in Page(opened.search("peel the onion")._repr_html_()).words


def test_a_long_answer_shows_its_first_items(opened):
    captions = opened.caption("long", by="model")
    words = Page(captions._repr_html_()).words
    assert len(captions) > MOST_SHOWN and f"and {len(captions) - MOST_SHOWN} more" in words
    assert words.count(", template") == MOST_SHOWN


def test_a_video_that_moved_away_leaves_a_gap(tmp_path):
    store = make(tmp_path)
    for video in tmp_path.glob("*.mp4"):
        video.rename(tmp_path / f"{video.stem}.away")
    opened = open_store(store.root)
    page = Page(opened.search("peel", top=2)._repr_html_())
    assert not page.pictures() and page.words.count("no frame") == 2
    for picture in store.root.glob("codebooks/*/pictures/*"):
        picture.unlink()
    clips = opened.imagine("peel the onion")
    assert "no picture" in Page(clips._repr_html_()).words


def test_the_store_at_a_glance(opened):
    words = Page(opened._repr_html_()).words
    for part in (str(opened.store.root), "3 done, 1 refused", "4 of 4 tokens used", "model  m", "none yet"):
        assert " ".join(part.split()) in " ".join(words.split())
    assert str(opened.store.root) in repr(opened)


def test_the_readme_s_lines_run(opened, capsys, monkeypatch):
    (lines,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    monkeypatch.chdir(opened.store.root.parent)
    exec(lines.replace("VIDEO", "plain"), {})
    assert "plain.mp4" in capsys.readouterr().out
