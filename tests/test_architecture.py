"""The house rules that a program can read: no import runs up, files stay small, names are the field's."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("vision", "speech", "multimodal", "flows")
ROOMS = [
    "store", "progress", "terms", "catalogue", "vocabulary", "segments", "library", "tables", "weights", "intake",
    "pictures", "feature_rows", "tokens", "examples", "joint", "objectives", "training", "inference", "captioning",
    "answers", "scoring", "web", "integrity", "removal",
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


@pytest.mark.parametrize("room", ["answers", "captioning", "scoring", "web"])
def test_a_model_is_reached_through_inference_alone(room):
    """The captioner trains a decoder, so it knows the loop, its objective and the decoder."""
    own = {"captioning": ("joint.decoder", "objectives.captioning", "training.")}.get(room, ())
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


DIALECT = """
    stranger strangers twin tower towers regime regimes stretch put start_from start_from_nothing starting tensors_of Grid
    Grids back_T all_once spike_back go_back passing_over tidy Processes learned_and_held_out kept_out fate Fate taken_in
    settled trouble patience wire revive loaded elsewhere placing Placer Listener stretches repetition hear see
    middle upright spread_out by_gram directions fullness_ arithmetic shelf Shelf halves breadth widened Standing bring_up
    take_out sight by_sight by_saying by_ear documents coming Lessons look_at Seen soundness unfinished_others lines_of
    asked_M asked_T Lookup Decode mixed divided alone joined_processes
""".split()
"""Names of the old dialect that no function, class, module, parameter or variable bears any more (docs/design.md, words)."""


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


def test_names_are_the_fields():
    wrong = {
        f"{file.relative_to(ROOT)}: {name}"
        for file in files(*FOLDERS)
        for name in names_in(file) & set(DIALECT)
    }
    assert not wrong
