"""Fine-tuning: task files, splits, heads that are kept and asked, figures, and what is refused."""

import dataclasses
import json

import joint_samples
import kitchen
import labels
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from harm import flip
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, mean_absolute_error
from sklearn.neighbors import KNeighborsClassifier

from multimodal import open_store
from multimodal.answers import answer_json, predictions
from multimodal.catalogue import Catalogue
from multimodal.finetuning.figures import decided, macro_f1, micro_f1, task_figures
from multimodal.finetuning.options import BASELINES, FineTuningOptions
from multimodal.finetuning.task import DEV, TEST, TRAIN, Split, Task, Unit
from multimodal.finetuning.task_files import read_task
from multimodal.finetuning.training import fine_tune
from multimodal.inference.heads import heads_root, load_head
from multimodal.integrity import examine, unused
from multimodal.library import usable
from multimodal.segments import Segment
from multimodal.store import InputError, Store
from speech.caption_files import read as read_captions

QUICK = FineTuningOptions(epochs=6, least_steps=10, learning_rate=2e-3, precision="fp32")


def quiet(*_) -> None:
    pass


@dataclasses.dataclass
class Kitchen:
    store: Store
    trained: object

    def tune(self, file, name="steps", options=QUICK):
        with Catalogue(self.store.catalogue) as catalogue:
            return fine_tune(
                self.store,
                self.trained,
                usable(catalogue),
                read_task(file, options.kind),
                name,
                options,
                quiet,
            )


@pytest.fixture(scope="module")
def world(learned, tmp_path_factory) -> Kitchen:
    store = Store(tmp_path_factory.mktemp("finetuning") / "store")
    return Kitchen(store, kitchen.fill(store, learned))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    rows = [(v, s + 0.2, e - 0.9, action) for v, s, e, action, _ in labels.steps()]
    return labels.write(tmp_path_factory.mktemp("task") / "steps.csv", "video,start,end,label", rows)


@pytest.fixture(scope="module")
def made(world, file):
    return world.tune(file)


def test_a_file_of_labels_becomes_a_head_with_figures(world, made):
    assert (made.kind, made.classes) == ("sequence", ("cut", "peel", "stir", "wash"))
    assert min(made.counts.values()) > 0 and sum(made.counts.values()) == 168
    right = made.figures["accuracy"]
    assert right.value > 0.9 and right.low <= right.value <= right.high and right.chance == 0.25
    assert {f"accuracy_{name}" for name in BASELINES} <= set(made.figures)
    assert made.figures["accuracy_majority"].value < 0.6
    assert made.moved > 0.9, "all of the encoder"


def test_the_answers_that_it_was_judged_by_are_kept(made):
    """Against scikit-learn on the kept answers themselves."""
    assert len(made.answers) == made.counts[TEST]
    true, said = [a.true for a in made.answers], [a.said for a in made.answers]
    assert accuracy_score(true, said) == pytest.approx(made.figures["accuracy"].value)
    assert [a.right for a in made.answers] == [a.true == a.said for a in made.answers]
    assert np.array_equal(confusion_matrix(true, said, labels=list(made.classes)), made.confusion)
    assert all(0 < a.probability <= 1 and a.end > a.start for a in made.answers)
    places = np.array([a.place for a in made.answers])
    assert places.min() >= 0 and places.max() <= 1
    near = KNeighborsClassifier(3).fit(places, said).score(places, said)
    assert near > 0.9, "the map keeps together what the head takes for the same"


def test_videos_are_split_not_moments(world, file):
    card = json.loads((heads_root(world.store) / "steps.json").read_text())
    assert card["model_sha256"] and card["counts"]["test"]
    with Catalogue(world.store.catalogue) as catalogue:
        videos = usable(catalogue)
    from multimodal.finetuning.task import make_task
    from multimodal.library import read_material

    unseen = frozenset(v.video for v in videos if v.name.startswith("held"))
    task = make_task(
        read_task(file), videos, lambda v: read_material(world.store, "codebook", v), joint_samples.vocabulary(), QUICK, unseen=unseen
    )  # fmt: skip
    of = {name: {unit.video for unit in split.units} for name, split in task.splits.items()}
    assert not of[TRAIN] & of[TEST] and not of[TRAIN] & of[DEV] and not of[DEV] & of[TEST]
    assert unseen <= of[TEST], "those that the model did not learn from are judged by first"


def test_the_same_labels_are_not_learned_twice(world, file, made):
    folder = next(path for path in heads_root(world.store).iterdir() if path.is_dir())
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    again = world.tune(file)
    assert (
        again.figures == made.figures
        and {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    )


def test_a_head_answers_in_words_json_webvtt_and_csv(world, made, tmp_path):
    with open_store(world.store.root) as opened:
        answer = opened.predict("held-100", head="steps")
        truth = {(s, e): action for v, s, e, action, _ in labels.steps() if v == "held-100.mp4"}
        assert [m.labels[0] for m in answer] == list(truth.values())
        assert sum(answer[0].probabilities.values()) == pytest.approx(1)
        (one,) = opened.predict("held-100@5", head="steps")
        assert one.start <= 5 < one.end
        assert "held-100" in answer._repr_html_()
    document = answer_json.predict(world.store.root, "held-100", head="steps", to="csv")
    assert document["moments"][0]["labels"] == [answer[0].labels[0]]
    vtt = tmp_path / "steps.vtt"
    vtt.write_text(predictions.webvtt(answer.moments))
    assert [cue.text for cue in read_captions(vtt).cues] == [m.said for m in answer]
    head, first, *_ = predictions.table(answer.moments).splitlines()
    assert head == "start,end,label,probability" and first.split(",")[2] == answer[0].labels[0]


def test_doctor_tells_of_a_damaged_head_and_leaves_one_in_use(world, made):
    address = json.loads((heads_root(world.store) / "steps.json").read_text())["head"]
    stored = next((heads_root(world.store) / address).glob("step-*/moved.safetensors"))
    with Catalogue(world.store.catalogue, read_only=True) as catalogue:
        assert f"heads/{address}" not in unused(world.store, catalogue)
        for harmed in (False, True):
            if harmed:
                flip(stored)
            _, faults = examine(world.store, catalogue, quiet)
            found = [fault for fault in faults if fault.part.startswith("heads/")]
            assert bool(found) == harmed
    assert "finetune" in found[0].remedy
    flip(stored)


def test_a_head_of_another_model_or_an_altered_one_is_refused_in_a_line(world, made):
    pointer = heads_root(world.store) / "steps.json"
    stored = next(
        (heads_root(world.store) / json.loads(pointer.read_text())["head"]).glob("step-*/moved.safetensors")
    )
    for path in (stored, pointer):
        flip(path)
        with pytest.raises(InputError, match=path.name):
            load_head(world.store, world.trained, "steps")
        flip(path)
    manifest = world.trained.folder / "manifest.json"
    kept = manifest.read_text()
    digests = json.loads(kept)
    digests["files"]["model.safetensors"] = "0" * 64
    manifest.write_text(json.dumps(digests))
    try:
        with pytest.raises(InputError, match="--head steps: belongs to model") as error:
            load_head(world.store, world.trained, "steps")
        assert "\n" not in str(error.value)
    finally:
        manifest.write_text(kept)
    with pytest.raises(InputError, match=r"--head step: .*did you mean steps"):
        load_head(world.store, world.trained, "step")


@pytest.mark.parametrize("adapt", ["adapters", pytest.param("lora", marks=pytest.mark.long)])
def test_a_part_of_the_weights_is_enough_and_is_all_that_is_kept(world, file, adapt):
    options = dataclasses.replace(QUICK, adapt=adapt, width=4, rank=2, learning_rate=2e-2, balance=True)
    name = adapt.replace(":", "-")
    found = world.tune(file, name, options)
    assert found.figures["accuracy"].value > 0.7 and found.moved < 0.5
    head = load_head(world.store, world.trained, name)
    own, base = head.objective.model.state_dict(), world.trained.model.state_dict()
    moved = {n for n in base if n in own and not torch.equal(own[n], base[n])}
    assert moved < set(base)


def test_a_timeline_of_rows_that_tile_their_videos(world, tmp_path):
    rows = [(v, s, e, thing) for v, s, e, _, thing in labels.steps()]
    tiled = labels.write(tmp_path / "things.tsv", "video,start,end,label", rows)
    assert read_task(tiled).kind == "token" and read_task(tiled, "sequence").kind == "sequence"
    found = world.tune(tiled, "things", dataclasses.replace(QUICK, window=8, stride=4, probe=True))
    assert found.kind == "token" and found.figures["accuracy"].value > 0.9
    of_layers = [name for name in found.figures if name.startswith("layer_")]
    assert of_layers == ["layer_0", "layer_1", "layer_2"] and found.figures["layer_0"].value > 0.5
    with open_store(world.store.root) as opened:
        answer = opened.predict("held-100", head="things")
    true = [(s, e, label) for v, s, e, label in rows if v == "held-100.mp4"]
    joined = [true[0]]
    for start, end, label in true[1:]:
        joined[-1:] = (
            [(joined[-1][0], end, label)] if label == joined[-1][2] else [joined[-1], (start, end, label)]
        )
    assert [(m.start, m.end, m.labels[0]) for m in answer] == joined


def test_classes_as_sentences_begin_as_the_alignment_head(world, file):
    options = dataclasses.replace(
        QUICK, sentence="now {label} it .", epochs=1, least_steps=1, learning_rate=1e-9
    )
    untrained = world.tune(file, "sentences", options).figures
    assert untrained["accuracy"].value == untrained["accuracy_zero_shot"].value > 0.25
    options = dataclasses.replace(options, epochs=3, learning_rate=2e-3)
    found = world.tune(file, "sentences", options)
    assert found.figures["accuracy"].value > 0.8
    with open_store(world.store.root) as opened:
        answer = opened.predict("held-100", head="sentences")
    truth = [action for v, _, _, action, _ in labels.steps() if v == "held-100.mp4"]
    assert np.mean([m.labels[0] == t for m, t in zip(answer, truth, strict=True)]) > 0.6
    with pytest.raises(InputError, match="--sentence"):
        FineTuningOptions(sentence="how to do it")


@pytest.mark.long
def test_words_alone_have_a_timeline_too(world, tmp_path):
    rows = [(v, s, e, thing) for v, s, e, _, thing in labels.steps()]
    tiled = labels.write(tmp_path / "words.csv", "video,start,end,label", rows)
    options = dataclasses.replace(QUICK, read="text", epochs=2, least_steps=2)
    found = world.tune(tiled, "words", options)
    assert (
        found.counts[TEST] == 3 * found.counts[TEST] // 3
        and found.figures["accuracy"].n == found.counts[TEST]
    )


def test_pairs_and_scores(world, tmp_path):
    pairs = [
        (v, s, e, f"{action} the {thing if n % 2 else 'bowl'}", "yes" if n % 2 else "no")
        for n, (v, s, e, action, thing) in enumerate(labels.steps())
    ]
    file = labels.write(tmp_path / "fits.csv", "video,start,end,text,label", pairs)
    found = world.tune(file, "fits")
    assert found.kind == "pair" and found.figures["accuracy"].value > 0.9
    assert {a.text for a in found.answers} <= {text for *_, text, _ in pairs}
    scored = [
        (v, s, e, 10 + 5 * joint_samples.ACTIONS.index(action)) for v, s, e, action, _ in labels.steps()
    ]
    file = labels.write(tmp_path / "score.csv", "video,start,end,score", scored)
    found = world.tune(file, "score")
    assert found.kind == "score" and found.figures["correlation"].value > 0.8
    assert found.figures["mean_absolute_error"].value < found.figures["mean_absolute_error"].chance
    errors = [abs(float(a.true) - float(a.said)) for a in found.answers]
    assert np.mean(errors) == pytest.approx(found.figures["mean_absolute_error"].value, abs=0.01)
    assert found.confusion == () and found.answers[0].probability is None
    with pytest.raises(InputError, match="--probe"):
        world.tune(file, "score", dataclasses.replace(QUICK, probe=True))
    with open_store(world.store.root) as opened:
        assert opened.predict("held-100@1", head="fits", text="chop the bowl")[0].labels == ("no",)
        assert 5 < opened.predict("held-100@1", head="score")[0].score < 30
        with pytest.raises(InputError, match="--text"):
            opened.predict("held-100", head="fits")
        with pytest.raises(InputError, match="--text"):
            opened.predict("held-100", head="score", text="x")


def test_several_labels_of_a_moment(world, tmp_path):
    rows = [
        {"video": v, "start": s, "end": e, "label": [action, thing]}
        for v, s, e, action, thing in labels.steps()
    ]
    (tmp_path / "both.json").write_text(json.dumps({"rows": rows}))
    one_each = [(v, s, e, name) for v, s, e, *both in labels.steps() for name in both]
    beside = labels.write(tmp_path / "both.csv", "Video,Start,End,Class", one_each)
    table = pa.table({name: [row[name] for row in rows] for name in rows[0]})
    pq.write_table(table, tmp_path / "both.parquet")
    files = [read_task(path) for path in (tmp_path / "both.json", beside, tmp_path / "both.parquet")]
    assert all(f.several and f.kind == "sequence" for f in files)
    assert len({tuple((r.video, r.start, r.end, r.labels) for r in f.rows) for f in files}) == 1
    found = world.tune(tmp_path / "both.json", "both")
    assert found.figures["micro_f1"].value > 0.6
    assert found.confusion == () and all(a.true.count(", ") == 1 for a in found.answers)


HEADER = "video,start,end,label"
BAD = {
    "an unknown video": (HEADER, [("nothing.mp4", 0, 3, "a"), ("held-100.mp4", 0, 3, "b")], "line 2: video 'nothing.mp4'"),
    "one class": (HEADER, [("held-100.mp4", 0, 3, "a"), ("held-101.mp4", 0, 3, "a")], "label 'a'"),
    "no class": (HEADER, [("held-100.mp4", 0, 3, ""), ("held-101.mp4", 0, 3, "")], "no row has a label"),
    "a moment outside": (HEADER, [("held-100.mp4", 0, 3, "a"), ("held-101.mp4", 500, 503, "b")], "line 3: 500 to 503 s lies outside held-101.mp4"),
    "an end before its start": (HEADER, [("held-100.mp4", 3, 3, "a"), ("held-101.mp4", 0, 3, "b")], "line 2: ends at 3 s"),
    "no number": (HEADER, [("held-100.mp4", "soon", 3, "a"), ("held-101.mp4", 0, 3, "b")], "line 2: start 'soon'"),
    "a score that is none": ("video,start,end,score", [("held-100.mp4", 0, 3, "nan"), ("held-101.mp4", 0, 3, 1)], "line 2: score 'nan'"),
    "an empty score": ("video,start,end,score", [("held-100.mp4", 0, 3, ""), ("held-101.mp4", 0, 3, 1)], "line 2: score (missing)"),
    "no columns": ("film,when", [("a", 1)], "video, start, end, label"),
    "two labels": ("video,start,end,label,class", [("held-100.mp4", 0, 3, "a", "b")], "label, class"),
    "a video in two splits": (f"{HEADER},split", [("held-100.mp4", 0, 3, "a", "train"), ("held-100.mp4", 4, 6, "b", "test")], "line 3: held-100.mp4 is in two splits"),
    "an unknown split": (f"{HEADER},split", [("held-100.mp4", 0, 3, "a", "later")], "split 'later'"),
    "one class to learn": (f"{HEADER},split", [("held-100.mp4", 0, 3, "a", "train"), ("held-101.mp4", 0, 3, "b", "test")], "label 'a' alone"),
    "no row": (HEADER, [], "no row"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_bad_labels_are_one_line_and_nothing_is_lost(world, made, tmp_path, what):
    header, rows, says = BAD[what]
    bad = labels.write(tmp_path / "bad.csv", header, rows)
    before = {path: path.stat().st_mtime_ns for path in heads_root(world.store).rglob("*")}
    with pytest.raises(InputError) as error:
        world.tune(bad)
    assert says in str(error.value) and "\n" not in str(error.value) and str(error.value).startswith("--task")
    assert {path: path.stat().st_mtime_ns for path in heads_root(world.store).rglob("*")} == before


def test_overlapping_rows_of_a_timeline_are_refused(tmp_path):
    rows = [("a", 0, 4, "x"), ("a", 2, 6, "y"), ("b", 0, 3, "x")]
    with pytest.raises(InputError, match=r"line 3: begins at 2 s, before the end of line 2 at 4 s"):
        read_task(labels.write(tmp_path / "bad.csv", HEADER, rows), "token")


def test_a_name_that_is_no_files_is_refused(world, file):
    with pytest.raises(InputError, match="--name ../x"):
        world.tune(file, "../x")


def test_labels_of_two_videos_make_a_head_without_figures(world, tmp_path):
    rows = [(f"held-10{v}.mp4", 4.5 * i, 4.5 * i + 2, "ab"[i]) for v in range(2) for i in range(2)]
    found = world.tune(
        labels.write(tmp_path / "few.csv", HEADER, rows),
        "few",
        dataclasses.replace(QUICK, least_steps=1, epochs=1),
    )
    assert not found.figures and any("2 videos" in note for note in found.notes)


def random_task(kind: str, truth: np.ndarray) -> Task:
    """A task of so many units whose truth is known, in five videos."""
    units = tuple(
        Unit(f"{n % 5}", float(n), n + 1.0, target, Segment("v", n, n + 1, "", ()))
        for n, target in enumerate(truth)
    )
    classes = () if kind == "score" else tuple("abc")
    return Task(
        kind, "both", kind == "several", classes, {TRAIN: Split(units), DEV: Split(), TEST: Split(units)}, {}
    )


def test_figures_are_those_of_scikit_learn():
    random = np.random.default_rng(0)
    truth, probabilities = np.eye(3)[random.integers(3, size=60)], random.dirichlet(np.ones(3), 60)
    task = random_task("sequence", truth)
    plain = dict.fromkeys(BASELINES, np.eye(3)[random.integers(3, size=60)])
    found = task_figures(task, probabilities, plain)
    true, said = truth.argmax(1), probabilities.argmax(1)
    assert found["accuracy"].value == pytest.approx(accuracy_score(true, said))
    assert found["macro_f1"].value == pytest.approx(f1_score(true, said, average="macro"))
    assert found["accuracy_logistic_regression"].value == pytest.approx(
        accuracy_score(true, plain["majority"].argmax(1))
    )
    several = random.integers(2, size=(60, 3)).astype(float)
    task = random_task("several", several)
    said = decided(task, probabilities)
    found = task_figures(task, probabilities, dict.fromkeys(BASELINES, several))
    assert found["micro_f1"].value == pytest.approx(f1_score(several, said, average="micro"))
    assert found["macro_f1"].value == pytest.approx(f1_score(several, said, average="macro"))
    assert found["micro_f1_majority"].value == 1 and micro_f1(np.zeros(9)) == macro_f1(np.zeros(9)) == 0
    scores = random.normal(size=(60, 1))
    task = random_task("score", scores)
    guess = scores + random.normal(size=(60, 1))
    found = task_figures(task, guess, dict.fromkeys(BASELINES, scores * 0))
    assert found["mean_absolute_error"].value == pytest.approx(mean_absolute_error(scores, guess))
    assert found["correlation"].value == pytest.approx(np.corrcoef(scores[:, 0], guess[:, 0])[0, 1])
    assert found["correlation_majority"].value == 0


@pytest.mark.parametrize(
    "adapt, share, head",
    [
        ("full", 0.05, 2e-3),
        ("top:2", 0.05, 2e-3),
        ("head", 1.0, 2e-3),
        ("adapters", 0.2, 2e-3),
        ("lora", 0.2, 2e-3),
    ],
)
def test_what_is_new_takes_larger_steps_than_pretrained_layers(adapt, share, head):
    options = FineTuningOptions(adapt=adapt)
    assert options.encoder_share == share
    assert options.training(384).learning_rate == pytest.approx(head)
    given = dataclasses.replace(options, learning_rate=1e-4)
    assert given.training(384).learning_rate * share == pytest.approx(1e-4)


def test_a_head_of_sentences_begins_trained_and_moves_like_the_encoder():
    options = FineTuningOptions(sentence="how to {label}")
    assert options.encoder_share == 1 and options.training(384).learning_rate == pytest.approx(1e-4)
