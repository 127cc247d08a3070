"""Settings from variables and from the file beside the store: which wins, what they mean, and how a slip is told."""

import dataclasses
import os
from pathlib import Path

import pytest
from command import run_inside

from flows.codebook import make_tokens
from flows.configuration import CONFIGURABLE, FILE, configured
from flows.opened_run import open_run
from flows.settings import Settings
from multimodal.store import InputError


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for variable in [name for name in os.environ if name.startswith("VIDEOBERT_")]:
        monkeypatch.delenv(variable)


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / FILE


@pytest.fixture
def store(tmp_path) -> Path:
    return tmp_path / "store"


def refused(settings: Settings) -> str:
    with pytest.raises(InputError) as error:
        configured(settings)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_each_place_wins_over_those_below_it(store, file, monkeypatch):
    """An option, a variable, the file, what the store was made with, the size."""
    with open_run(Settings(store=store, seed=1, context=1, epochs=1, subsample=1, size="demo")):
        pass
    file.write_text("seed = 2\ncontext = 2\nepochs = 2\n")
    monkeypatch.setenv("VIDEOBERT_SEED", "3")
    monkeypatch.setenv("VIDEOBERT_CONTEXT", "3")
    with open_run(Settings(store=store, seed=4)) as run:
        found = run.settings
        assert (found.seed, found.context, found.epochs, found.subsample) == (4, 3, 2, 1)
        assert found.training.learning_rate == Settings(size="demo").training.learning_rate
        with open_run(run.settings) as again:
            assert again is run, "the flow that a command runs"


def test_what_was_said_there_is_remembered_like_an_option(store, file):
    file.write_text("epochs = 2")
    with open_run(Settings(store=store)):
        pass
    file.unlink()
    with open_run(Settings(store=store)) as run:
        assert run.settings.epochs == 2


@pytest.mark.parametrize(
    ("line", "variable", "value"),
    [
        ("captions = true", "1", True),
        ("captions = false", "no", False),
        ("epochs = 3", "3", 3),
        ("learning_rate = 1e-4", "1e-4", 1e-4),
        ('size = "DE"', "de", "demo"),
        ('backbone = "mob"', "Mob", "mobilenetv2"),
        ("audio_track = 2", "2", "2"),
        ('weights = "joint=0,text=0.5"', "joint=0,text=0.5", "joint=0,text=0.5"),
        ("device = 'cpu'", "cpu", "cpu"),
        ("workers=2", "2", 2),
    ],
)
def test_a_line_and_a_variable_mean_what_the_option_means(store, file, monkeypatch, line, variable, value):
    name = line.split("=")[0].strip()
    file.write_text(f"# of the lectures\n{line}\n")
    assert configured(Settings(store=store)) == Settings(store=store, **{name: value})
    file.unlink()
    monkeypatch.setenv(f"VIDEOBERT_{name.upper()}", variable)
    assert configured(Settings(store=store)) == Settings(store=store, **{name: value})


def test_paths_of_the_file_begin_at_its_folder(store, file, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    (tmp_path / "bert").mkdir()
    (tmp_path / "tiny.en").touch()
    file.write_text('truth = "truth.json"\ntext_start = "bert"\nwhisper = "tiny.en"\nworld = "/w.json"')
    found = configured(Settings(store=store))
    assert found.truth == tmp_path / "truth.json" and found.world == Path("/w.json")
    assert found.text_start == str(tmp_path / "bert")
    assert found.whisper == "tiny.en", "a known name is no path"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epochs = 3\nk = 1", ", line 2: --k 1: at least 2"),
        ("k = 'many'", ', line 1: Invalid value for --k: unable to convert "many"'),
        ("epochs = 3.5", ", line 1: --epochs 3.5: a whole number; write 3 or 4"),
        ("\n\nsize = 'huge'", ", line 3: --size huge: not known; choose one of demo"),
        ("epoch = 3", ", line 1: epoch = 3: no setting (did you mean epochs"),
        ("text-start = 'none'", ", line 1: text-start = none: no setting (did you mean text_start"),
        ("[training]\nepochs = 3", ", line 1: training holds several values"),
        ("refit = true", ", line 1: refit is said with a command alone; write --refit"),
        ("store = 'other'", ", line 1: store is said with a command alone"),
        ("size = demo", ": Invalid value (at line 1, column 8)"),
        ("captions = 'perhaps'", ", line 1: Invalid value for --captions"),
    ],
)
def test_a_slip_in_the_file_is_told_with_its_line(store, file, text, said):
    file.write_text(text)
    assert refused(Settings(store=store)).startswith(f"{file}{said}")


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("VIDEOBERT_K", "1", "VIDEOBERT_K: --k 1: at least 2"),
        ("VIDEOBERT_EPOCH", "1", "VIDEOBERT_EPOCH: epoch = 1: no setting (did you mean epochs"),
        ("VIDEOBERT_REREAD", "1", "VIDEOBERT_REREAD: reread is said with a command alone"),
        ("VIDEOBERT_LANGUAGE", "klingon", "VIDEOBERT_LANGUAGE: --language klingon"),
    ],
)
def test_a_slip_in_a_variable_is_told_with_its_name(store, monkeypatch, variable, value, said):
    monkeypatch.setenv(variable, value)
    assert refused(Settings(store=store)).startswith(said)


def test_values_that_do_not_go_together_are_told_with_their_places(store, file, monkeypatch):
    file.write_text('corrupt = "near"')
    monkeypatch.setenv("VIDEOBERT_EPOCHS", "2")
    said = refused(Settings(store=store, system="electra"))
    assert said.startswith(f"{file}, line 1, VIDEOBERT_EPOCHS: --corrupt near with")


def test_a_value_is_judged_with_what_is_given_beside_it(store, file):
    file.write_text('sequences = "full"\n')
    assert refused(Settings(store=store)).startswith(f"{file}, line 1: --sequences full with")
    assert configured(Settings(store=store, pair_task="none")).sequences == "full"


def test_what_others_set_under_our_prefix_is_left_alone(store, monkeypatch):
    """Kubernetes for a service `videobert`, images, this product for other ends, and its tests."""
    for name in (
        "PORT PORT_8420_TCP SERVICE_HOST VERSION CACHE HOME LONG SLOW FAULTS HOSTILE REQUIRE TEST_RUN".split()
    ):
        monkeypatch.setenv(f"VIDEOBERT_{name}", "tcp://10.0.0.1:8420")
    monkeypatch.setenv("VIDEOBERT_EPOCHS", "")
    assert configured(Settings(store=store)) == Settings(store=store)


def test_all_can_stand_there_but_the_store_and_what_is_for_one_run():
    names = {field.name for field in dataclasses.fields(Settings)}
    assert names - set(CONFIGURABLE) == {"store", "refit", "reread", "probe"}


def test_a_command_and_a_flow_refuse_a_bad_file_with_the_same_line_before_a_store_is_made(
    store, file, capsys
):
    file.write_text("k = 1")
    ended = run_inside(capsys, "codebook", "--store", store)
    assert (ended.returncode, ended.stdout) == (2, "")
    with pytest.raises(InputError) as error:
        make_tokens.fn(Settings(store=store))
    assert ended.stderr == f"videobert: {error.value}\n" and str(file) in ended.stderr
    assert not store.exists()
