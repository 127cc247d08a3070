"""The house rules that a program can read: no import runs up, files stay small, names are the field's."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("vision", "speech", "multimodal", "flows")
ROOMS = [
    "disk", "machine", "sums", "locks", "store", "progress", "names", "extras", "terms", "systems", "catalogue_file", "run_records", "catalogue", "vocabulary", "byte_pairs", "segments", "library", "corrections", "tables", "weights", "intake",
    "pictures", "maps", "feature_rows", "copies", "tokens", "codebook_in_use", "examples", "joint", "objectives", "training", "inference", "captioning",
    "answers", "known_world", "scoring", "finetuning", "distillation", "web", "comparison", "damage", "integrity", "removal", "transfer", "serve",
]  # fmt: skip
"""The rooms of `multimodal`, bottom to top (docs/design.md): a room imports from itself and from those before it."""


def files(*folders: str) -> list[Path]:
    return sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))


def imported(file: Path) -> set[str]:
    """The full names of the modules of this project that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name for name in names if name.partition(".")[0] in FOLDERS}


def room_of(module: str) -> str:
    """The room of a module of `multimodal`."""
    return module.split(".")[1]


def runs_up(room: str, names: set[str]) -> set[str]:
    """The imports of a room that lie above it."""
    place = ROOMS.index(room)
    return {name for name in names if name.startswith("multimodal.") and ROOMS.index(room_of(name)) > place}


def in_rooms() -> list[tuple[str, Path]]:
    found = []
    for file in files("multimodal"):
        parts = file.relative_to(ROOT / "multimodal").with_suffix("").parts
        if parts != ("__init__",):
            found.append((parts[0], file))
    return found


def test_no_import_runs_up():
    wrong = {
        f"{file.relative_to(ROOT)}: {name}"
        for room, file in in_rooms()
        for name in runs_up(room, imported(file))
    }
    assert not wrong
    assert runs_up("training", {"multimodal.answers.search.Hit"}), "the control"


def test_vision_and_speech_know_nobody_and_nobody_knows_flows():
    for folder, known in (
        ("vision", {"vision"}),
        ("speech", {"speech"}),
        ("multimodal", set(FOLDERS) - {"flows"}),
    ):
        wrong = {
            f"{file}: {name}"
            for file in files(folder)
            for name in imported(file)
            if name.split(".")[0] not in known
        }
        assert not wrong


@pytest.mark.parametrize("room", ["answers", "captioning", "scoring", "web", "serve"])
def test_a_model_is_reached_through_inference_alone(room):
    """The captioner trains a decoder, so it knows the loop, its objective and the decoder."""
    own = {"captioning": ("joint.caption_decoder", "objectives.captioning", "training.")}.get(room, ())
    for file in files(f"multimodal/{room}"):
        for name in imported(file):
            inner = name.removeprefix("multimodal.")
            through = not inner.startswith(("joint.", "examples.", "objectives.", "training."))
            assert through or inner.startswith(own), f"{file.relative_to(ROOT)}: {name}"


def test_only_flows_know_prefect():
    for file in files("vision", "speech", "multimodal"):
        assert not re.search(r"^\s*(from|import) prefect", file.read_text(encoding="utf-8"), re.M), file


def test_files_stay_small():
    long = {
        str(f.relative_to(ROOT)): n
        for f in files(*FOLDERS)
        if (n := len(f.read_text("utf-8").splitlines())) > 400
    }
    assert not long


DIALECT = {
    "": """
        stranger strangers twin twins tower towers regime regimes Lessons look_at Seen Fate fate taken_in bring_up take_out
        by_sight by_saying by_ear sight soundness Processes start_from_nothing
        learned_and_held_out passing_over go_back tidy all_once back_T Grids Decode Lookup upright spread_out by_gram
        fullness_ Placer placing Listener revive kept_out asked_M unfinished_others""",
    "multimodal/joint": "put start scores mixed alone far near",
    "multimodal/objectives": "asked_M scores alone regime",
    "multimodal/examples": "far near tail stretch",
    "multimodal/training": "ahead tell divided alone join mixed updates",
    "multimodal/answers": "documents coming Standing widened breadth shelf Shelf halves",
    "multimodal/intake": "wire revive loaded trouble patience settled hear see",
    "speech": "placing activity_file regions stretches repetition hear",
    "vision": "middle upright directions arithmetic",
    "flows": "lines_of fate settled kept_out coming documents",
}
"""Names of the old dialect by the folder in which they meant something (docs/design.md, words): no function, class, module,
parameter or variable there bears them any more."""


def names_in(file: Path) -> set[str]:
    """Every name that a file gives to something, and its own."""
    found = {file.stem}
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
    return {name.strip("_") if not name.endswith("_") else name for name in found}


@pytest.mark.parametrize("folder", DIALECT)
def test_names_are_the_fields(folder):
    dialect = set(DIALECT[folder].split())
    every = files(*([folder] if folder else FOLDERS))
    assert every
    assert not {f"{file.relative_to(ROOT)}: {name}" for file in every for name in names_in(file) & dialect}
