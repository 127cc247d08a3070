"""The documents name only what exists: links, files, tests, functions; and they keep to their lengths."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HISTORY = ROOT / "docs/log.md"
"""Kept as it was written, with the names of its time."""
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "tests/samples/README.md"} - {HISTORY})
FOLDERS = ("flows", "vision", "speech", "multimodal")
MOST_LINES = {"README.md": 119, "docs/results.md": 149}

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@cache
def definitions(file: Path) -> set[str]:
    """The functions, classes and methods (``Class.method``) that a module defines."""
    names = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            inner = [n for n in node.body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
            names |= {f"{node.name}.{n.name}" for n in inner}
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
    return names


@cache
def options() -> dict[str, set[str]]:
    """The options of each command of `videobert`."""
    from flows.cli import app

    commands = [name for name in app if not name.startswith("-")]
    return {
        name: {"--help"}
        | {option for part in app[name].assemble_argument_collection() for option in part.names}
        for name in commands
    }


@every_page
def test_each_command_and_option_that_is_named_exists(page):
    text = page.read_text(encoding="utf-8")
    spans = re.findall(r"`([^`\n]+)`|^(?: {4}|\$ )?((?:videobert) .*)$", text, re.MULTILINE)
    for span in (one or other for one, other in spans):
        if named := re.match(r"videobert ([a-z]+(?:-[a-z]+)*)\b", span):
            assert named[1] in options(), span
            used = set(re.findall(r" (--[a-z][a-z-]*)", span.split("  #")[0]))
            assert used <= options()[named[1]], span


@every_page
def test_each_link_leads_to_a_file(page):
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@every_page
def test_each_file_that_is_named_exists(page):
    text = page.read_text(encoding="utf-8")
    named = re.findall(rf"(?<![\w/.-])(?:{'|'.join(FOLDERS)}|tests|docs)/[\w./-]*[\w/]", text)
    assert [name for name in named if not (ROOT / name).exists()] == []


@every_page
def test_each_test_that_is_named_exists(page):
    named = re.findall(r"(tests/[\w/]+\.py)::(\w+)", page.read_text(encoding="utf-8"))
    assert [(file, test) for file, test in named if test not in definitions(ROOT / file)] == []


def test_the_page_of_the_settings_is_made_from_the_code():
    from settings_page import PAGE, page

    assert PAGE.read_text(encoding="utf-8") == page(), "python tests/helpers/settings_page.py makes it"


@pytest.mark.parametrize("name", MOST_LINES)
def test_a_page_keeps_to_its_length(name):
    assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) <= MOST_LINES[name]


def test_each_section_of_the_results_gives_its_command():
    page = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    titles = re.findall(r"^## (.*)$", page, re.MULTILINE)
    command = re.compile(r"`(?:\w+=\S+ )*(?:make \w|python |tests/benchmarks/\w+\.py)")
    assert [title for title in titles if not command.search(title)] == ["Not measured"]


def test_the_layers_are_those_that_the_architecture_test_keeps():
    page = (ROOT / "docs/design.md").read_text(encoding="utf-8")
    written = re.search(r"^## Layers\n.*?\n\n((?: {4}[^\n]*\n)+)", page, re.MULTILINE | re.DOTALL)[1]
    architecture = (ROOT / "tests/test_architecture.py").read_text(encoding="utf-8")
    kept = ast.literal_eval(re.search(r"^ROOMS = (\[.*?\])", architecture, re.MULTILINE | re.DOTALL)[1])
    assert written.split() == kept


def tree() -> list[str]:
    """The files and folders of the tree in docs/design.md, with their paths."""
    page = (ROOT / "docs/design.md").read_text(encoding="utf-8")
    block = re.search(r"^## File tree\n.*?\n\n((?: {4}[^\n]*\n)+)", page, re.MULTILINE | re.DOTALL)[1]
    found, folders = [], []
    for line in block.splitlines():
        indent, name = re.match(r" {4}( *)(\S*)", line).groups()
        if name:
            folders = folders[: len(indent) // 2]
            found.append("".join([*folders, name]))
            folders += [name] if name.endswith("/") else []
    return found


def test_the_tree_names_what_exists_and_every_folder():
    named = tree()
    assert len(named) > 100
    assert [name for name in named if not (ROOT / name).exists()] == []
    modules = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")]
    packages = {f"{file.parent.relative_to(ROOT)}/" for file in modules}
    assert packages <= set(named)


def test_the_map_of_five_answers_leads_to_functions():
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| [^|`]+ \| `([\w/]+\.py)` \| `([\w.]+)` \|", page, re.MULTILINE)
    assert len(rows) == 5
    assert [(file, name) for file, name in rows if name not in definitions(ROOT / file)] == []
