"""Settings: what a store remembers, what a size derives, which values are out of range."""

import dataclasses
import json
from pathlib import Path

import pytest

from flows.pipeline import pipeline
from flows.settings import OPTIONS, Settings
from flows.sizes import SIZES
from multimodal.catalogue import Catalogue
from multimodal.examples.options import NEAR_RATE
from multimodal.objectives.weights import LossWeights
from multimodal.store import InputError, Store
from multimodal.terms import DEFAULT_WEIGHTS
from multimodal.training.options import TEXT_STARTS, PretrainOptions
from multimodal.training.start import text_start

TRUTH = Path(__file__).parents[1] / "samples/truth.json"


@pytest.fixture
def catalogue(tmp_path):
    with Catalogue(Store(tmp_path / "store").catalogue) as opened:
        yield opened


def test_what_was_said_once_is_remembered(catalogue):
    with Settings(size="demo", epochs=3, truth=TRUTH, captions=True).at(catalogue):
        pass
    with Settings().at(catalogue) as settings:
        assert (settings.size, settings.epochs, settings.truth) == ("demo", 3, TRUTH.absolute())
        assert settings.captions is True and settings.ingest.captions is True
    with Settings(epochs=5, captions=False).at(catalogue) as settings:
        assert (settings.size, settings.epochs, settings.captions) == ("demo", 5, False)
    with Settings().at(catalogue) as settings:
        assert (settings.epochs, settings.captions) == (5, False)


def test_a_run_that_cannot_be_done_leaves_no_trace(catalogue):
    with Settings(epochs=3).at(catalogue):
        pass
    with pytest.raises(InputError), Settings(whisper="large").at(catalogue):
        raise InputError("--whisper large: cannot be had")
    with Settings().at(catalogue) as settings:
        assert (settings.epochs, settings.whisper) == (3, None)


def test_a_checkpoint_that_is_not_there_is_told_before_any_work(tmp_path):
    settings = Settings(store=tmp_path / "store", size="base")
    with pytest.raises(InputError, match="bert-base-uncased.*--size base"):
        pipeline.fn([TRUTH], settings)
    with Catalogue(Store(tmp_path / "store").catalogue) as catalogue:
        assert (catalogue.videos(), catalogue.current("settings")) == ([], "{}")
        assert [run["outcome"] for run in catalogue.runs()] == ["failed"]


@pytest.mark.parametrize("size", [size for size, s in SIZES.items() if s.text_start not in TEXT_STARTS])
def test_a_size_takes_no_folder_that_nobody_named(catalogue, tmp_path, monkeypatch, size):
    """Named by the user the same folder is taken."""
    wanted = SIZES[size].text_start
    (tmp_path / wanted).mkdir()
    (tmp_path / wanted / "config.json").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"{wanted}.*--size {size} .*--text-start FOLDER") as error:
        text_start(Settings(size=size).pretrain.text_start)
    assert "\n" not in str(error.value)
    with Settings(size=size, text_start=wanted).at(catalogue) as settings:
        assert text_start(settings.pretrain.text_start) == tmp_path / wanted


def test_paths_are_remembered_from_the_root_on(catalogue, tmp_path, monkeypatch):
    (tmp_path / "bert").mkdir()
    (tmp_path / "minilm-l6").mkdir()
    (tmp_path / "heard.pt").touch()
    monkeypatch.chdir(tmp_path)
    with Settings(whisper="heard.pt", text_start="bert").at(catalogue) as settings:
        assert (settings.whisper, settings.text_start) == (str(tmp_path / "heard.pt"), str(tmp_path / "bert"))
    monkeypatch.chdir("/")
    with Settings().at(catalogue) as settings:
        assert (settings.whisper, settings.text_start) == (str(tmp_path / "heard.pt"), str(tmp_path / "bert"))
    monkeypatch.chdir(tmp_path)
    with Settings(whisper="tiny.en", text_start="minilm-l6").at(catalogue) as settings:
        assert (settings.whisper, settings.text_start) == ("tiny.en", "minilm-l6"), "a known name is no path"


@pytest.mark.parametrize(
    "reads, features, words",
    [
        (None, False, False),
        ("tokens", False, False),
        ("features", True, False),
        ("words", False, True),
        ("all", True, True),
    ],
)
def test_what_the_captioner_is_given(reads, features, words):
    options = Settings(captioner_reads=reads).captioner
    assert (options.features, options.words) == (features, words)


def test_a_killed_run_is_remembered(catalogue):
    with pytest.raises(KeyboardInterrupt), Settings(epochs=3).at(catalogue):
        raise KeyboardInterrupt
    assert json.loads(catalogue.current("settings")) == {"epochs": 3}


def test_a_name_in_another_case_or_its_beginning_is_remembered_as_the_name(catalogue):
    with Settings(whisper="LARGE-V3-T", backbone="mob", language="DE", text_start="mini").at(catalogue):
        pass
    with Settings().at(catalogue) as settings:
        assert settings.ingest.whisper == settings.whisper == "large-v3-turbo"
        assert (settings.backbone, settings.language, settings.text_start) == (
            "mobilenetv2",
            "de",
            "minilm-l6",
        )
    assert Settings(whisper="base").whisper == "base", "a whole name is no beginning of base.en"


def test_where_and_how_many_is_not_remembered(catalogue):
    with Settings(device="cpu", workers=7, refit=True).at(catalogue):
        pass
    with Settings().at(catalogue) as settings:
        assert (settings.workers, settings.refit, settings.device) == (None, False, None)


def test_every_setting_is_either_remembered_or_of_one_run():
    names = {field.name for field in dataclasses.fields(Settings)}
    assert names - set(OPTIONS) == {"store"}
    assert {name for name, about in OPTIONS.items() if not about.remembered} == {
        "device",
        "workers",
        "runner",
        "address",
        "processes",
        "shard",
        "refit",
        "reread",
        "probe",
    }


def test_what_a_setting_sets_is_a_field_of_its_part():
    for about in OPTIONS.values():
        for place in about.sets:
            part, field = place.split(".")
            assert field in {f.name for f in dataclasses.fields(getattr(Settings(), part))}, place


@pytest.mark.parametrize("size", SIZES)
def test_a_size_derives_the_parts_and_each_can_be_chosen_alone(size):
    sized = SIZES[size]
    settings = Settings(size=size)
    assert (settings.ingest.whisper, settings.ingest.backbone) == (sized.whisper, sized.backbone)
    assert settings.tokens.largest == sized.largest
    assert settings.pretrain.text_start == sized.text_start
    assert settings.pretrain.training == sized.training
    other = "s3d" if sized.backbone == "i3d" else "i3d"
    assert settings.ingest.reader == "pyav"
    chosen = Settings(size=size, backbone=other, reader="decord", k=4)
    assert chosen.ingest.reader == "decord"
    assert (chosen.ingest.backbone, chosen.ingest.whisper) == (other, sized.whisper)
    assert chosen.tokens.shape(10_000) == (4, chosen.tokens.shape(10_000)[1])


def test_without_a_size_it_is_small():
    assert Settings().sized == SIZES["small"]


def test_epochs_that_are_asked_for_are_not_stretched():
    assert Settings(epochs=1).pretrain.training.steps(3) == 1


def test_epochs_that_are_asked_for_are_made_whatever_the_held_out_loss_says():
    assert Settings().pretrain.training.patience is not None
    assert Settings(epochs=1).pretrain.training.patience is None
    assert Settings().pretrain.training.steps(3) == SIZES["small"].training.least_steps


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("k", 1, "--k 1"),
        ("depth", 0, "--depth 0"),
        ("epochs", 0, "--epochs 0"),
        ("workers", 0, "--workers 0"),
        ("seed", -1, "--seed -1"),
        ("held_out", 1.0, "--held-out 1"),
        ("held_out", -0.1, "--held-out -0.1"),
        ("held_out", float("nan"), "--held-out nan"),
        ("whisper", "tiniest", "--whisper tiniest"),
        ("backbone", "vgg", "--backbone vgg"),
        ("reader", "ffmpeg", "--reader ffmpeg"),
        ("language", "klingon", "--language klingon"),
        ("in_video_negative_rate", 1.1, "--in-video-negative-rate 1.1"),
        ("in_video_negative_rate", float("nan"), "--in-video-negative-rate nan"),
        ("subsample", 0, "--subsample 0"),
        ("accumulate", 0, "--accumulate 0"),
        ("learning_rate", 0.0, "--learning-rate 0"),
        ("learning_rate", float("nan"), "--learning-rate nan"),
        ("final_rate", 1.1, "--final-rate 1.1"),
        ("spike", 1.0, "--spike 1"),
        ("spike", float("nan"), "--spike nan"),
        ("weights", "text=-1", "--weights text=-1"),
        ("weights", "text=nan", "--weights text=nan"),
        ("weights", "text=1,speech=2", "--weights speech=2"),
        ("weights", "text", "--weights text"),
        ("weights", "text=0,video=0,joint=0,alignment=0,contrast=0", "--weights"),
    ],
)
def test_a_value_out_of_range_is_named_with_its_rule(name, value, said):
    with pytest.raises(InputError) as error:
        Settings(**{name: value})
    message = str(error.value)
    assert message.startswith(said + ":") and "\n" not in message
    assert message.split(":", 1)[1].strip(), "and the rule"


@pytest.mark.parametrize(
    ("name", "value"), [("k", 2), ("depth", 1), ("epochs", 1), ("workers", 1), ("seed", 0), ("held_out", 0.0)]
)
def test_the_ends_of_the_ranges_are_in(name, value):
    assert getattr(Settings(**{name: value}), name) == value


def test_a_truth_file_that_is_not_one_is_told_before_any_work(catalogue, tmp_path):
    (tmp_path / "truth.json").write_text('{"videos": 3}')
    with (
        pytest.raises(InputError, match="truth.json"),
        Settings(truth=tmp_path / "truth.json").at(catalogue),
    ):
        pytest.fail("the work began")
    assert catalogue.current("settings") is None


def test_what_is_learned_can_be_chosen():
    chosen = Settings(
        weights="joint=0, text=0.5", in_video_negative_rate=0.25, subsample=5, visual_rows="frozen"
    ).pretrain
    assert dataclasses.asdict(chosen.training.weights) == DEFAULT_WEIGHTS | {"text": 0.5, "joint": 0.0}
    examples = chosen.examples
    assert (examples.in_video_negative_rate, examples.subsample) == (0.25, 5)
    assert chosen.visual_rows == "frozen"
    plain = Settings().pretrain
    assert plain == PretrainOptions(
        "minilm-l6", examples=plain.examples, training=plain.training, choose_tokenizer=True
    )
    assert plain.training.weights == LossWeights()
    assert (plain.examples.in_video_negative_rate, plain.examples.subsample) == (None, 1)


def test_a_longer_context_is_part_of_a_model_s_address_and_the_usual_one_is_not():
    usual, longer = Settings().pretrain.for_address(), Settings(context=16).pretrain.for_address()
    assert "context" not in usual["examples"] and longer["examples"].pop("context") == 16
    assert longer == usual == Settings(context=5).pretrain.for_address()


@pytest.mark.parametrize("size", SIZES)
def test_the_size_says_the_shape_of_a_start_from_nothing(size):
    assert Settings(size=size).pretrain.shape is None
    assert Settings(size=size, text_start="none").pretrain.shape == SIZES[size].shape


@pytest.mark.parametrize("size", SIZES)
def test_the_learning_rate_is_that_of_the_size_or_what_is_said(size):
    given = Settings(size=size, learning_rate=SIZES[size].training.learning_rate)
    assert given.pretrain == Settings(size=size).pretrain, "the same model"
    assert Settings(size=size, learning_rate=2e-5).pretrain.training.learning_rate == 2e-5


def test_a_setting_remembered_under_its_former_name_is_found(tmp_path):
    """Stores of version 0.1 remember `far`."""
    with Catalogue(tmp_path / "catalogue.sqlite") as catalogue:
        catalogue.set_current("settings", json.dumps({"far": 0.25, "size": "demo"}))
        with Settings(store=tmp_path).at(catalogue) as settings:
            assert settings.in_video_negative_rate == 0.25
            assert settings.pretrain.examples.in_video_negative_rate == 0.25
        assert "far" not in json.loads(catalogue.current("settings"))


def test_near_tokens_and_their_share():
    assert Settings().examples.near_rate == 0 == Settings(corrupt="none").examples.near_rate
    assert Settings(corrupt="near").examples.near_rate == NEAR_RATE
    assert Settings(corrupt="near", near_rate=0.5).examples.near_rate == 0.5
    with pytest.raises(InputError, match="--near-rate 1.5"):
        Settings(near_rate=1.5)
    with pytest.raises(InputError, match="--corrupt near with --extra-terms replaced") as error:
        Settings(corrupt="near", system="electra")
    assert "\n" not in str(error.value)


def test_a_recipe_sets_the_training_and_an_option_beside_it_wins():
    large, plain = Settings(recipe="large").training, Settings().training
    assert (large.beta2, large.epsilon, large.weight_decay, large.final) == (0.95, 1e-8, 0.1, 0.1)
    assert (
        0.001 <= large.warmup <= 0.005 and large.growing and large.rollback_steps and large.patience is None
    )
    assert (large.learning_rate, large.epochs) == (plain.learning_rate, plain.epochs)
    assert Settings(recipe="large", final_rate=0.5, spike=5.0).training.final == 0.5
