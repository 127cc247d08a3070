"""The report of a tiny store made of real parts: painted videos, a fitted codebook, a small model, its index."""

import base64
import dataclasses
import io
import shutil
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tiny_store import COLOURS, add, finish, paint

from multimodal import pictures
from multimodal.answers.session import open_trained
from multimodal.answers.token_names import FILE
from multimodal.catalogue import Catalogue, Video
from multimodal.inference.heads import head_file
from multimodal.inference.trained import model_digest
from multimodal.library import usable
from multimodal.scoring.caption_figures import MODES
from multimodal.scoring.cloze import OTHER_MODALITY, PERPLEXITIES
from multimodal.scoring.next_token import figure_name
from multimodal.segments import HORIZONS
from multimodal.store import InputError, Store, canonical_json, write_artefact, write_whole
from multimodal.terms import TITLES
from multimodal.web import charts, results, samples
from multimodal.web.chart_pictures import chart_pictures
from multimodal.web.report import write_report
from vision.clips import CLIP_SECONDS

BAD_NAME = '<script>alert("name")</script>.mp4'
BAD_REASON = "its sound stops </table><img src=x onerror=alert(1)>"
BAD_WORDS = "peel the <b onmouseover=alert(2)>onion</b> & \u202eso {{ 7 * 7 }}"
VOID = {"meta", "img", "br", "link", "input", "hr"}
TALK = ["chop the carrot", "wash the egg", "chop the carrot and stir it"]


def quiet(done: float, total: float, words: str) -> None:
    assert 0 <= done <= total and words


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Store:
    """Five videos: hostile in name and words, silent, held out, sound only, refused. Not to be changed by a test."""
    folder = tmp_path_factory.mktemp("report")
    store = Store(folder / "store")
    with Catalogue(store.catalogue) as catalogue:
        add(store, catalogue, paint(folder / "a.mp4", [0, 1, 0, 1]), [0, 1, 0, 1], [BAD_WORDS, TALK[0]],
            name=BAD_NAME, state="partial", reason=BAD_REASON)  # fmt: skip
        add(store, catalogue, paint(folder / "silent.mp4", [2, 3] * 2), [2, 3] * 2, [])
        kept = add(
            store, catalogue, paint(folder / "kept.mp4", [0, 2, 1, 3] * 3), [0, 2, 1, 3] * 3, TALK[:2] * 3
        )
        (folder / "talk.mp3").write_bytes(b"sound")
        add(
            store,
            catalogue,
            folder / "talk.mp3",
            [],
            ["boil the rice"] * 3,
            state="partial",
            reason="no picture",
        )
        catalogue.put(Video("ff" * 32, "broken.mp4", "/nowhere", 3, "refused", "broken.mp4: not a video"))
        finish(store, catalogue, [kept])
    return store


@pytest.fixture
def store(made, tmp_path) -> Store:
    """A copy of the store; its videos stay where they are."""
    return Store(shutil.copytree(made.root, tmp_path / "store"))


class Page(HTMLParser):
    """A parsed page; refuses one whose elements do not nest."""

    def __init__(self, path: Path):
        super().__init__()
        self.html = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(self.html)
        assert not self.open
        self.words = " ".join(self.words.split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.words += " "
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another element"
        self.words += " "

    def handle_data(self, data):
        self.words += data

    def pictures(self) -> list[Image.Image]:
        urls = [a["src"] for tag, a in self.tags if tag == "img"]
        return [Image.open(io.BytesIO(base64.b64decode(url.split(",", 1)[1]))) for url in urls]


def page_of(store: Store) -> Page:
    with Catalogue(store.catalogue) as catalogue:
        return Page(write_report(store, catalogue, open_trained(store, catalogue, "cpu"), quiet))


@pytest.fixture(scope="module")
def page(made, tmp_path_factory) -> Page:
    return page_of(Store(shutil.copytree(made.root, tmp_path_factory.mktemp("page") / "store")))


def test_the_page_asks_nothing_of_anybody(page):
    """No script, nothing loaded: every picture is in the page, every link stays on it."""
    assert not {"script", "link", "iframe", "object", "base", "form"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        assert attributes.get("src", "data:image/jpeg;base64,").startswith("data:image/jpeg;base64,")
        assert attributes.get("href", "#").startswith("#")
    assert "url(" not in page.html and "@import" not in page.html
    assert len(page.pictures()) > 20


def test_what_people_wrote_is_shown_and_never_run(page):
    for text in (BAD_NAME, BAD_REASON, BAD_WORDS):
        assert text in page.words
        assert text not in page.html
    assert not [a for tag, a in page.tags if tag == "img" and a["src"] == "x"]


def test_a_task_shows_what_is_taken_for_what_and_each_answer(store):
    with Catalogue(store.catalogue) as catalogue:
        trained, videos = open_trained(store, catalogue, "cpu"), usable(catalogue)
    kept = next(video for video in videos if video.name == "kept.mp4")
    classes = ["slide", BAD_WORDS]
    said = [classes[n % 2] for n in range(12)]
    answers = [
        {"video": kept.video, "start": n, "end": n + 1, "text": "", "true": classes[0], "said": word, "right": word == "slide",
         "probability": 0.75, "place": [n / 12, 0.5]}
        for n, word in enumerate(said)
    ]  # fmt: skip
    gone = answers[0] | {"video": "aa" * 32, "said": "of a video that was removed"}
    document = {
        "head": "x", "model_sha256": model_digest(trained.folder), "kind": "sequence", "notes": [BAD_REASON],
        "figures": {f"layer_{n}": number_of(n / 4, 0.25) for n in range(3)} | {"agreement": number_of(0.9, 0.1)},
        "classes": classes, "confusion": [[6, 6], [0, 0]], "answers": [*answers, gone],
    }  # fmt: skip
    write_artefact(head_file(store, "pictures"), canonical_json(document).encode())
    other = document | {"model_sha256": "0" * 64}
    write_artefact(head_file(store, "of-another-model"), canonical_json(other).encode())
    page = page_of(store)
    part = page.words[page.words.index("What heads of fine-tuning") :]
    assert "of-another-model" not in page.words and "removed" not in part.split("The atlas")[0]
    assert "What each layer knows of the labels" in part and "linear probe, 2: 50.0%" in part
    assert f"slide 6 6 {BAD_WORDS} 0 0" in part and BAD_WORDS not in page.html and BAD_REASON not in page.html
    assert part.count("✓ slide") == part.count(f"✕ {BAD_WORDS}") == 6
    circles = [
        attributes
        for tag, attributes in page.tags
        if tag == "circle" and "hsl" in attributes.get("style", "")
    ]
    assert len(circles) == 12 and sum(c.get("class") == "wrong" for c in circles) == 6


def test_charts_stand_by_themselves_as_pictures(store):
    figures = {
        name + end: {"value": 0.4, "low": 0.3, "high": 0.5, "chance": 0.1}
        for seconds in HORIZONS
        for name in (figure_name(seconds),)
        for end in ("", "_counts")
    }
    drawn = list(chart_pictures(store, "m", figures))
    assert [one.title for one in drawn][:1] == ["Next clips, by horizon"] and len(drawn) > 2
    for one in drawn:
        kind, _, content = one.data_url.partition(";base64,")
        picture = ElementTree.fromstring(base64.b64decode(content))
        assert (kind, picture.get("width")) == ("data:image/svg+xml", str(charts.WIDTH))
        assert picture.findall(".//{http://www.w3.org/2000/svg}polyline")


def test_every_video_has_its_outcome(page):
    table = page.words[page.words.index("Each video's outcome") :]
    for words in ("silent.mp4", "kept.mp4", "evaluate", "talk.mp3", "no picture", "broken.mp4: not a video"):
        assert words in table
    assert [table.count(f"{mark} ") for mark in "✓◐✕"] == [2, 2, 1]
    assert "4 of 5 videos" in page.words and "1 refused" in page.words


def test_answers_come_with_frames_and_words(page):
    for words in (
        "caption: the words heard",
        "followed by v0000",
        "What to trust Nothing says how good the model is",
    ):
        assert words in page.words
    assert "% likely" not in page.words, "the model is not evaluated"
    assert "moved away" not in page.words
    assert page.words.count("✓ right") >= 1
    assert "a training video" in page.words


def test_a_frame_is_the_one_on_display(made):
    with Catalogue(made.catalogue) as catalogue:
        videos = usable(catalogue)
    kept = next(v for v in videos if v.name == "kept.mp4")
    times = [pictures.FrameTime(kept.video, CLIP_SECONDS * (clip + 0.5)) for clip in range(4)]
    read = pictures.read_frames(videos, times, quiet)
    for time, clip in zip(times, [0, 2, 1, 3], strict=True):
        with Image.open(io.BytesIO(base64.b64decode(read[time].split(",", 1)[1]))) as picture:
            assert np.abs(np.asarray(picture).mean((0, 1)) - COLOURS[clip]).max() < 12


def test_files_that_moved_away_or_changed_leave_a_gap(store, tmp_path):
    (tmp_path / "other.mp4").write_bytes(b"another video by now")
    with Catalogue(store.catalogue) as catalogue:
        for video in usable(catalogue):
            path = tmp_path / ("other.mp4" if video.name == "kept.mp4" else "gone.mp4")
            catalogue.put(Video(**(vars(video) | {"path": str(path)})))
    page = page_of(store)
    assert "no frame" in page.words
    assert all(picture.size == (80, 80) for picture in page.pictures())


def test_figures_stand_side_by_side_with_chance_and_interval(store):
    given = {
        "text_cloze_with_video": {"value": 0.5, "low": 0.4, "high": 0.6, "chance": 0.125, "n": 1234},
        "text_cloze_without_video": {"value": 0.25, "low": 0.2, "high": 0.3, "chance": 0.0, "n": 1234},
        "next_token": {"value": 0.1, "low": 0.05, "high": 0.3, "chance": 0.2, "n": 9},
        "a_new_<figure>": {"value": 0.75, "low": 0.7, "high": 0.8, "chance": 0.5, "n": 8},
    }
    path = store.evaluation("m.step-40.x")
    path.parent.mkdir()
    path.write_text(canonical_json(given))
    with Catalogue(store.catalogue) as catalogue:
        catalogue.set_current("evaluation", path.name)
    page = page_of(store)
    for words in (
        "with the video 50.0% 95 % interval 40.0% to 60.0% chance 12.5% against chance 4.0 times, above chance questions 1,234 words alone 25.0%",
        "chance is never right",
        "25.0 points more",
        "against chance 0.5 times, the interval includes chance",
        "a new <figure> 75.0%",
    ):
        assert words in page.words, words
    marks = [a["style"] for tag, a in page.tags if tag == "i" and a["class"] == "chance"]
    assert "left:12.50%" in marks


def test_the_model_s_answers_are_shown_where_it_is_better(store):
    """Its captions and probabilities appear, and the top says of which answers nothing is known."""
    better = {"value": 0.3, "low": 0.2, "high": 0.4, "chance": 0.0, "n": 9, "note": ""}
    given = {"value": 0.9, "low": 0.8, "high": 1.0, "chance": 0.2, "n": 9, "note": ""}
    worse = given | {"value": 0.6, "low": 0.5, "high": 0.7}
    figures = {"next_token": given, "next_token_counts": worse, "next_token_minus_counts": better,
               "caption_micro_cider": given, "caption_micro_cider_of_nearest_neighbour": worse,
               "caption_micro_cider_minus_nearest_neighbour": better}  # fmt: skip
    path = store.evaluation("m.step-40.none.x")
    path.parent.mkdir()
    path.write_text(canonical_json(figures))
    with Catalogue(store.catalogue) as catalogue:
        catalogue.set_current("evaluation", path.name)
    words = page_of(store).words
    assert "% likely" in words and "by the cloze template" in words and "Now let me show you how to" in words
    assert "better than plain counting in: captions, next clips. " in words
    assert "30.0 points more; 95 % interval of the difference 20.0 to 40.0" in words


def test_tokens_are_shown_by_number_and_name(store, page):
    """In the atlas and in the forecasts; a name is text, whatever was said."""
    write_whole(
        store.cache("m.step-40") / FILE, canonical_json({"names": {"1": "<i>carrot</i>, chop"}}).encode()
    )
    named = page_of(store)
    assert named.words.count("v00001 <i>carrot</i>, chop") >= 2 and "<i>carrot" not in named.html
    assert "carrot, chop" not in page.words and page.words.count("v00001") == named.words.count("v00001")


def test_no_figures_says_why(page, made):
    assert "videobert evaluate does it" in page.words
    few = [Video(str(i), "", "", 1, clips=3) for i in range(4)]
    assert "10 videos (4 here)" in results.reason_for_no_figures({}, few, 0)
    assert "none was held out" in results.reason_for_no_figures({}, few * 3, 0)
    assert "nothing that could be asked" in results.reason_for_no_figures({}, few, 1)


@pytest.mark.parametrize("said", [[], ["boil the rice"] * 3])
def test_a_store_of_one_picture_with_speech_or_none(tmp_path, said):
    """One clip that nobody speaks in, beside it nothing or a recording without a picture."""
    store = Store(tmp_path / "store")
    with Catalogue(store.catalogue) as catalogue:
        add(store, catalogue, paint(tmp_path / "mute.mp4", [0]), [0], [])
        if said:
            (tmp_path / "talk.mp3").write_bytes(b"sound")
            add(store, catalogue, tmp_path / "talk.mp3", [], said)
        finish(store, catalogue, [])
    page = page_of(store)
    assert "nobody speaks here" in page.words and "no next one to predict" in page.words
    assert ("no phrase of their own" in page.words) == (not said)
    assert ("searched for boil the rice" in page.words) == bool(said)
    assert ("sound only: there is no picture" in page.words) == bool(said)


def test_a_report_that_fails_leaves_the_one_before(store):
    page_of(store)
    before = store.report.read_bytes()
    with Catalogue(store.catalogue) as catalogue:
        other = dataclasses.replace(open_trained(store, catalogue, "cpu"), name="not-indexed")
        with pytest.raises(InputError, match="videobert index"):
            write_report(store, catalogue, other, quiet)
    assert store.report.read_bytes() == before
    assert not list(store.root.glob(".*.part"))


def reason_changed(store: Store, catalogue: Catalogue) -> None:
    video = next(video for video in catalogue.videos() if video.state == "partial")
    catalogue.put(dataclasses.replace(video, reason="another reason"))


def file_moved(store: Store, catalogue: Catalogue) -> None:
    """The store's copy of a path, so that the file itself stays for other tests."""
    video = next(video for video in catalogue.videos() if video.name == "kept.mp4")
    catalogue.put(dataclasses.replace(video, path=video.path + ".moved"))


def page_damaged(store: Store, catalogue: Catalogue) -> None:
    store.report.write_bytes(store.report.read_bytes().replace(b"</html>", b""))


def page_gone(store: Store, catalogue: Catalogue) -> None:
    store.report.unlink()


@pytest.mark.parametrize("change", [reason_changed, file_moved, page_damaged, page_gone])
def test_a_page_of_the_same_stays_and_any_change_makes_it_anew(store, change):
    page_of(store)
    before = store.report.stat()
    page_of(store)
    assert (store.report.stat().st_ino, store.report.stat().st_mtime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
    )
    with Catalogue(store.catalogue) as catalogue:
        change(store, catalogue)
    page_of(store)
    assert store.report.stat().st_mtime_ns != before.st_mtime_ns
    assert b"</html>" in store.report.read_bytes()


def test_queries_are_the_corpus_s_own_telling_phrases():
    said = [(str(i % 3), text) for i, text in enumerate(["you know it is time"] * 3 + TALK * 2 + [""])]
    found = samples.sample_queries(said, 2)
    assert found == samples.sample_queries(said[::-1], 2)
    assert set(found) == {"chop the carrot", "wash the egg"}
    assert samples.sample_queries([("a", "Onion!")], 4) == ["onion"]
    assert samples.sample_queries([("a", "")], 4) == []


def test_loss_curves_follow_the_record(made):
    loss, text = charts.loss_charts(charts.read_metrics(made.model("m") / "metrics.jsonl"))
    assert [c.title.casefold() for c in (loss, text)] == [
        TITLES[name].casefold() for name in ("loss", "text")
    ]
    assert (loss.first, loss.last, loss.held_out, loss.held_out_last) == (8.875, 4.0, "", None)
    height = [float(point.split(",")[1]) for point in loss.train.split()]
    assert len(height) == 40 and height == sorted(height)
    assert [words for *_, words in text.dots] == [f"step {n}: 4.500" for n in (10, 20, 30, 40)]
    assert charts.loss_charts([]) == [] == charts.read_metrics(Path("none"))


@given(st.floats(1e-9, 1e9))
def test_ticks_are_few_and_reach_the_largest(largest):
    found = charts.ticks(largest)
    assert found[0] == 0 and len(found) <= 7
    assert found[-1] >= largest * (1 - 1e-6) and found[-2] < largest


@pytest.mark.parametrize("tokens", [0, 1, 2, 3, 4, 40])
def test_the_atlas_has_a_place_for_each_token(tokens):
    """Two kinds far from each other in feature space stay apart on the map, and no picture covers another."""
    random = np.random.default_rng(0)
    kind = np.arange(tokens) % 2
    centroids = random.normal(0, 0.1, (tokens, 8)) + 5 * kind[:, None]
    xy = charts.atlas_positions(centroids, 0.05, 0.08)
    assert xy.shape == (tokens, 2) and ((xy >= 0) & (xy <= 1)).all()
    assert (xy == charts.atlas_positions(centroids, 0.05, 0.08)).all()
    if tokens == 40:
        gap = np.abs(xy[:, None] - xy[None])
        gap[np.arange(40), np.arange(40)] = 1
        assert ((gap[..., 0] > 0.045) | (gap[..., 1] > 0.072)).all()
        nearest = gap.sum(-1).argmin(1)
        assert (kind[nearest] == kind).mean() > 0.9


def number_of(value: float, chance: float, low: float = 0.0, high: float = 9.0, n: int = 8) -> dict:
    return {"value": value, "low": low, "high": high, "chance": chance, "n": n, "note": ""}


def test_every_figure_that_an_evaluation_can_make_is_known_by_its_task():
    """What is not yet in the words of the report would be shown under its flat name."""
    measures = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "meteor", "rouge_l", "cider")
    names = {f"caption_{mode}_{m}" for mode in MODES for m in measures}
    names |= {f"{s}_{m}" for s in ("search", "moment_to_text", "reference_search", "reference_moment_to_text")
              for m in ("recall_at_1", "recall_at_5", "recall_at_10", "median_rank")}  # fmt: skip
    names |= {f"cloze_perplexity_{kind}" for kind in PERPLEXITIES.values()} | set(PERPLEXITIES)
    counted = [figure_name(h) for h in HORIZONS]
    counted += [
        *PERPLEXITIES,
        "alignment_auc",
        "said_word",
        "imagined_clip",
        *(f"{kind}_zero_shot" for kind in ("verb", "noun", "verb_and_noun")),
    ]
    names |= {f"{name}{end}" for name in counted for end in ("", "_counts", "_minus_counts")}
    names |= {f"{name}_minus_{without}" for name, without in OTHER_MODALITY}
    names |= {f"cloze_perplexity_{kind}_counts" for kind in PERPLEXITIES.values()}
    names |= {"caption_micro_cider_of_template", "caption_micro_cider_of_nearest_neighbour"}
    names |= {f"caption_micro_cider{of}_minus_nearest_neighbour" for of in ("", "_of_template")}
    names |= {
        f"{name}_limit" for name in ("search_recall_at_1", "alignment_auc", "next_token", *PERPLEXITIES)
    }
    by_task = results.names_by_task({name: number_of(1, 2) for name in names} | {"mine": number_of(1, 2)})
    assert by_task[-1] == (results.OTHERS, ["mine"])
    assert {name for _, task in by_task[:-1] for name in task} == names


def test_less_perplexity_is_better():
    given = {"cloze_perplexity_joint_words": number_of(2.0, 50.0, 1.5, 2.5), "cloze_perplexity_text_only": number_of(4.0, 50.0, 3.5, 60.0),
             "search_median_rank": number_of(30.0, 20.0, 25.0, 35.0), "next_token": number_of(0.1, 0.2, 0.05, 0.15)}  # fmt: skip
    every = [r for _, some in results.results_by_task(given) for r in some]
    shown = {figure.name: figure for r in every for figure in r.figures}
    (words,) = [r for r in every if len(r.figures) == 2]
    assert "2.00" in words.comparison and "less" in words.comparison
    assert [(f.ratio, f.sign) for f in words.figures] == [(25.0, 1), (12.5, 0)]
    rank, next_ = shown["search_median_rank"], shown["next_token"]
    assert (rank.sign, rank.verdict) == (-1, "worse than chance")
    assert rank.formatted(rank.value) == "30.00" and 0 < rank.position(20.0) < 1
    assert (next_.sign, next_.verdict) == (-1, "below chance") and next_.formatted(next_.value) == "10.0%"


def test_what_was_not_computed_says_why():
    missing = {
        "value": None,
        "low": None,
        "high": None,
        "chance": None,
        "n": 0,
        "note": "not computed, Java is missing",
    }
    given = {
        "caption_micro_cider": number_of(0.5, 0.1) | {"note": "words by our rule"},
        "caption_micro_meteor": missing,
    }
    ((task, (result,)),) = results.results_by_task(given)
    assert task == "Captions" and result.notes == (
        "METEOR: not computed, Java is missing",
        "words by our rule",
    )
    assert [figure.given for figure in result.figures] == ["CIDEr, at most 10"]
    lines = results.figures_table(given)
    assert any("meteor" in line and line.endswith("–  not computed, Java is missing") for line in lines)
    assert lines[-1] == "  (words by our rule)"


def test_the_table_has_a_line_for_each_figure_under_its_task():
    given = {"next_token": number_of(0.5, 0.0), "cloze_perplexity_text_only": number_of(12345.6, 99999.0),
             "mine": number_of(1.0, 0.5)}  # fmt: skip
    lines = results.figures_table(given)
    assert [" ".join(line.split()) for line in lines[1:] if line] == [
        "Cloze: predict what is masked",
        "cloze perplexity text only ↓ 12,346 0.000 – 9.000 99,999 8.1 8",
        "Next clips",
        "next token 0.500 0.000 – 9.000 0.000 – 8",
        "Other figures",
        "mine 1.000 0.000 – 9.000 0.500 2.0 8",
    ]
    assert len({len(line) for line in (lines[0], *lines[3::3])}) == 1, "columns stand below each other"


def test_counts_and_limit_stand_beside_the_model():
    given = {"next_token": number_of(0.5, 0.2), "next_token_counts": number_of(0.4, 0.2), "next_token_limit": number_of(0.7, 0.2),
             "next_token_minus_counts": number_of(0.1, 0.0), "alignment_auc": number_of(0.8, 0.5)}  # fmt: skip
    lines = [" ".join(line.split()) for line in results.figures_table(given) if line]
    assert lines[0] == "On videos held out value 95 % interval chance counts limit × chance n"
    assert lines[2] == "alignment auc 0.800 0.000 – 9.000 0.500 – – 1.6 8"
    assert lines[4] == "next token 0.500 0.000 – 9.000 0.200 0.400 0.700 2.5 8"
    assert [line.split()[:4] for line in lines[5:-1]] == [["next", "token", "minus", "counts"]]
    shown = [f for _, some in results.results_by_task(given) for r in some for f in r.figures]
    assert [(f.name, f.counts, f.limit) for f in shown] == [
        ("alignment_auc", None, None),
        ("next_token", None, 0.7),
        ("next_token_counts", None, None),
    ]
    alone = results.figures_table({"next_token_counts": number_of(0.4, 0.2)})
    assert alone[-1].split()[:4] == ["next", "token", "counts", "0.400"], "where the model has no figure"


def test_a_line_says_where_the_model_is_better_than_counts():
    def minus(low: float, high: float) -> dict:
        return number_of((low + high) / 2, 0.0, low, high)

    better, equal, worse = minus(0.1, 0.2), minus(-0.1, 0.1), minus(-0.2, -0.1)
    given = {"text_cloze_with_video_minus_counts": better, "video_cloze_with_text_minus_counts": worse,
             "alignment_auc_minus_counts": equal, "next_token_minus_counts": better}  # fmt: skip
    told = results.worth(given)
    assert "cloze better in 1 of 2, worse in 1 of 2; alignment not better; next clip better." in told
    assert results.figures_table(given)[-1] == told
    assert results.worth({"next_token": number_of(0.5, 0.1)}) == ""


def test_curves_are_drawn_where_there_are_two_places_at_least():
    assert charts.figure_charts({"next_token": number_of(0.5, 0.1)}) == []
    ends = ("", "_counts")
    given = {f"{figure_name(h)}{end}": number_of(1 / h, 0.1, 0.0, 1.0) for h in HORIZONS[:2] for end in ends}
    (curve,) = charts.figure_charts(given)
    assert [words for _, words in curve.x_ticks] == ["1.5 s", "3 s"]
    assert [series.name for series in curve.series] == ["the model", "table of transitions", "chance"]
    model = curve.series[0]
    (x, low, high, y, words), (_, _, _, lower, _) = model.dots
    assert high < y < low or (high, low) == (charts.TOP, charts.HEIGHT - charts.BOTTOM)
    assert y == charts.TOP and lower == charts.TOP + (charts.HEIGHT - charts.TOP - charts.BOTTOM) / 2
    assert words == "the model, 1.5 s: 100.0%" and model.points.split()[0] == f"{x},{y}"
