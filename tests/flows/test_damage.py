"""Every kind of file of a store emptied, halved and with a bit flipped: each is seen, every command ends in one line."""

import json
import os
import random
import shutil
from pathlib import Path

import pytest
from command import Home, contents, run_inside
from harm import HARMS, flip
from tiny_store import three_videos

from multimodal.answers.cache import update_cache
from multimodal.answers.counts import update_counts
from multimodal.answers.quality import evaluation_prefix
from multimodal.answers.session import open_trained
from multimodal.answers.token_names import update_token_names
from multimodal.catalogue import Catalogue
from multimodal.catalogue_file import last_whole_copy
from multimodal.corrections import corrections_file
from multimodal.integrity import examine
from multimodal.library import usable
from multimodal.store import InputError, Store, canonical_json, seal, write_artefact
from multimodal.sums import ENDING
from multimodal.tokens import train_and_held_out

KINDS = (
    "store.json", "catalogue.sqlite", "copies/*.sqlite", "transcripts/*.json", "corrections/*.json", "features/*.safetensors", "tokens/*/*.parquet",
    "codebooks/*/centroids.safetensors", "codebooks/*/codebook.json", "codebooks/*/manifest.json", "codebooks/*/pictures/*.jpg",
    "models/*/step-*/model.safetensors", "models/*/step-*/config.json", "models/*/step-*/tokenizer.json",
    "models/*/step-*/trainer.json", "models/*/step-*/card.json", "models/*/step-*/manifest.json", "models/*/metrics.jsonl",
    "indexes/*/*.parquet", "evaluations/*.json", "caches/*/moments.sqlite", "caches/*/said.*.faiss", "caches/*/counts.safetensors",
    "caches/*/token_names.json", "report.html",
)  # fmt: skip
QUESTIONS = (
    ("search", "chop the carrot"), ("caption", "kept@1"), ("next", "kept@3"), ("classify", "kept@1", "--verbs", "chop,wash"),
    ("status",), ("transcript", "kept"),
)  # fmt: skip
FLIPS = 200
FIGURE = {"value": 0.5, "low": 0.2, "high": 0.8, "chance": 0.25, "n": 4, "note": ""}


def quiet(*_: object) -> None:
    pass


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Store:
    """A store with a file of every kind."""
    store = three_videos(tmp_path_factory.mktemp("whole"))
    with Catalogue(store.catalogue) as catalogue:
        trained, videos = open_trained(store, catalogue, "cpu"), usable(catalogue)
        update_cache(store, trained, videos, quiet)
        learned, _ = train_and_held_out(store, videos, trained.codebook)
        update_counts(store, trained, learned)
        update_token_names(store, trained, learned)
        evaluation = store.evaluation(f"{evaluation_prefix(trained, None)}0")
        write_artefact(evaluation, canonical_json({"next_token": FIGURE}).encode())
        catalogue.set_current("evaluation", evaluation.name)
        write_artefact(corrections_file(store, videos[0].video), canonical_json({"corrections": []}).encode())
        write_artefact(store.report, b"<!DOCTYPE html><title>A page</title>")
        catalogue.keep_copy()
    seal(store.model("m") / "metrics.jsonl")
    return store


@pytest.fixture
def store(whole, tmp_path) -> Store:
    return Store(shutil.copytree(whole.root, tmp_path / "store"))


def faults(store: Store) -> list[str]:
    """What `doctor` finds wrong in the store."""
    try:
        opened = Store(store.root, create=False)
        with Catalogue(opened.catalogue, read_only=True) as catalogue:
            catalogue.check()
            return [fault.part for fault in examine(opened, catalogue, quiet)[1]]
    except InputError as error:
        return [str(error)]


def test_the_store_has_every_kind_and_is_sound(whole):
    assert [kind for kind in KINDS if not list(whole.root.glob(kind))] == []
    assert faults(whole) == []
    known = {path for kind in KINDS for path in whole.root.glob(kind)}
    others = {p.name for p in whole.root.rglob("*") if p.is_file() and p.suffix != ENDING} - {
        p.name for p in known
    }
    assert {name.split(".")[0] for name in others} <= {
        "shown",
        "README",
        "tokenizer_config",
        "a",
        "b",
        "kept",
    }


@pytest.mark.parametrize("kind", KINDS)
def test_no_harm_is_unseen_and_every_command_ends_in_a_line(whole, tmp_path, kind, capsys):
    for name, harm in HARMS.items():
        store = Store(shutil.copytree(whole.root, tmp_path / name))
        harm(sorted(store.root.glob(kind))[0])
        assert faults(store), f"{name} {kind} was not seen"
        for question in QUESTIONS:
            ended = run_inside(capsys, *question, "--store", store.root)
            assert ended.returncode in (0, 1, 2), (name, question, ended.stderr)
            said = ended.stderr.splitlines()
            assert "Traceback" not in ended.stderr and (ended.returncode == 0 or said), (name, question)
            assert ended.returncode != 2 or str(store.root) in said[-1], (name, question, said)


def test_no_bit_of_the_catalogue_flips_unseen(store):
    """200 places drawn over the whole file; also what no query would read, such as the space that is free in a page."""
    whole, unseen = store.catalogue.read_bytes(), []
    draw = random.Random(0)
    for bit in [0, len(whole) * 8 - 1, *(draw.randrange(len(whole) * 8) for _ in range(FLIPS - 2))]:
        flip(store.catalogue, bit)
        for read_only in (True, False):
            try:
                Catalogue(store.catalogue, read_only=read_only).close()
                unseen.append(bit)
            except InputError as error:
                assert "--repair" in str(error) and "\n" not in str(error)
        store.catalogue.write_bytes(whole)
    assert unseen == []


def test_the_control_without_sums_flips_are_not_seen(store):
    """The careless store, as all were before: the same flips, in features, index, evaluation, report and catalogue."""
    for path in store.root.rglob(f"*{ENDING}"):
        path.unlink()
    unseen = []
    for kind in ("features/*.safetensors", "indexes/*/*.parquet", "evaluations/*.json", "report.html"):
        path = sorted(store.root.glob(kind))[0]
        before = path.read_bytes()
        flip(path)
        unseen += [] if faults(store) else [kind]
        path.write_bytes(before)
    assert len(unseen) >= 3


def test_the_sums_are_those_that_sha256sum_checks(whole):
    """An oracle that nobody here wrote."""
    for folder in {path.parent for path in whole.root.rglob(f"*{ENDING}")}:
        names = [path.name for path in folder.glob(f"*{ENDING}")]
        assert (
            os.spawnvp(
                os.P_WAIT,
                "sh",
                ["sh", "-c", 'cd "$0" && sha256sum --status --strict -c "$@"', str(folder), *names],
            )
            == 0
        )


def test_repair_sets_aside_what_a_run_makes_again(store, capsys):
    flip(sorted(store.root.glob("transcripts/*.json"))[0])
    flip(sorted(store.root.glob("codebooks/*/centroids.safetensors"))[0])
    before = {p.name for p in store.root.rglob("*") if p.is_file()}
    ended = run_inside(capsys, "doctor", "--repair", "--store", store.root)
    assert ended.stderr.count("moved to") == 2
    assert len(list((store.damaged / "transcripts").glob("*"))) == 2, "the file and its sum"
    assert (store.damaged / "codebooks").is_dir() and faults(store)
    assert before <= {p.name for p in store.root.rglob("*") if p.is_file()}, "nothing is deleted"


def test_a_catalogue_that_is_lost_is_told_and_restored(store, capsys):
    status = run_inside(capsys, "status", "--store", store.root, "--json").stdout
    for harm in (Path.unlink, lambda path: path.write_bytes(b""), flip):
        harm(store.catalogue)
        for command in (("status",), ("search", "egg"), ("remove", "kept")):
            ended = run_inside(capsys, *command, "--store", store.root)
            (line,) = ended.stderr.splitlines()
            assert ended.returncode == 2 and str(store.catalogue) in line and "doctor --repair" in line
        ended = run_inside(capsys, "doctor", "--store", store.root)
        assert ended.returncode == 1 and "doctor --repair" in ended.stdout
        run_inside(capsys, "doctor", "--repair", "--store", store.root)
        assert run_inside(capsys, "status", "--store", store.root, "--json").stdout == status
        assert faults(store) == []


def test_without_a_whole_copy_a_new_catalogue_begins_only_where_it_is_asked_for(store, capsys):
    flip(last_whole_copy(store.catalogue))
    store.catalogue.unlink()
    assert run_inside(capsys, "status", "--store", store.root).returncode == 2
    ended = run_inside(capsys, "doctor", "--repair", "--store", store.root)
    assert "There is no copy" in ended.stderr
    assert json.loads(run_inside(capsys, "status", "--store", store.root, "--json").stdout)["videos"] == []


@pytest.mark.long
def test_one_run_makes_again_what_is_damaged(home: Home, made, tmp_path, capsys):
    """Of each kind that a run reads one file, all at once; afterwards the store is what it was, byte for byte."""
    store, before = shutil.copytree(made.store, tmp_path / "store"), contents(made.store)
    harmed = [
        sorted(store.glob(kind))[0]
        for kind in ("transcripts/*.json", "tokens/*/*.parquet", "codebooks/*/centroids.safetensors", "evaluations/*.json",
                     "captioners/*/step-*/trainer.json", "models/*/step-*/model.safetensors")
    ]  # fmt: skip
    for path in harmed:
        flip(path)
    ended = home.run("run", made.videos, "--store", store)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr and ended.stderr.count("it is made again") == len(harmed)
    assert contents(store) == before
    assert run_inside(capsys, "doctor", "--store", store).returncode == 0
