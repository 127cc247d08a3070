"""Makes docs/settings.md of the settings as the code has them: `python tests/helpers/settings_page.py`."""

import dataclasses
import itertools
import re
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from cyclopts import Parameter

from flows.cli import app
from flows.configuration import CONFIGURABLE, FILE, PREFIX
from flows.settings import OPTIONS, Settings
from flows.sizes import SIZES

PAGE = Path(__file__).parents[2] / "docs/settings.md"
MOST_LISTED = 14
HEAD = f"""# Settings

The settings of a run, each by its option, its variable and its name in the file `{FILE}`. This page is made from the code: `python tests/helpers/settings_page.py`.

Of what is given in several places, the first of these is taken:

1. the option of the command, or the same name among the parameter `settings` of a flow (a deployment's, or one given to its run)
2. the variable
3. the file `{FILE}` in the folder that the store lies in, beside it
4. what the store was made with
5. the default, which for some settings is the size's

A variable and a line of the file mean what the option means: known names in any case or shortened, `true` and `false` for a switch. An empty variable is as good as none. Several stores in one folder share its file. A flow reads the variables of its worker and, where the store is `store`, the file `{FILE}` in the worker's `VIDEOBERT_HOME` ([scheduling.md](scheduling.md)). What was given in any place is remembered by the store, but for `device`, `workers`, `runner` and `address`.

    # {FILE}
    size = "small"
    language = "en"
    captions = true
    truth = "truth.json"      # paths begin at the folder of this file
    workers = 2

A name that is none and a value out of its range are one line, with the file's line or the variable, before the store is opened. A variable that begins with `{PREFIX}` and is like no setting's name is left alone. The questions (`search`, `caption` and so on) have options of their own and read `VIDEOBERT_STORE` alone. Other variables: `VIDEOBERT_CACHE` is the folder of pretrained weights, `VIDEOBERT_HOME` the folder that a worker's relative paths start from.
"""
GROUP = """
## {name}

| option | variable | in the file | what it sets | values | default |
|---|---|---|---|---|---|
"""
WHERE_NOT_GIVEN = re.compile(r"[;,] ([^;]+?),? where not given\.")


def page() -> str:
    hints, groups = get_type_hints(Settings, include_extras=True), {}
    for field in dataclasses.fields(Settings):
        notes = [note for note in get_args(hints[field.name]) if isinstance(note, Parameter)]
        (group,) = [group for note in notes for group in note.group or ()]
        groups.setdefault(group, []).append(row(field, hints[field.name], notes))
    parts = [
        GROUP.format(name=group.name) + "".join(groups[group])
        for group in sorted(groups, key=lambda g: g.sort_key)
    ]
    return HEAD + "".join(parts)


def row(field: dataclasses.Field, hint: Any, notes: list[Parameter]) -> str:
    name = field.name
    told = field.metadata.get("help") or next(note.help for note in notes if note.help)
    stated = WHERE_NOT_GIVEN.search(told)
    cells = [
        ", ".join(f"`{option}`" for option in options_of(name)),
        f"`{PREFIX}{name.upper()}`" if name in (*CONFIGURABLE, "store") else "",
        f"`{name}`" if name in CONFIGURABLE else "",
        WHERE_NOT_GIVEN.sub(".", told),
        values(name, hint),
        stated[1] if stated and stated[1] != "the size's" else default(name, field.default),
    ]
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |\n"


def options_of(name: str) -> list[str]:
    """The names of its option, as the command `run` has them."""
    arguments = app["run"].assemble_argument_collection()
    return next(
        list(a.names) for a in arguments if a.keys == (name,) or a.name == f"--{name.replace('_', '-')}"
    )


def values(name: str, hint: Any) -> str:
    plain = [one for part in (hint, *get_args(hint)) for one in (part, *get_args(part))]
    about = OPTIONS.get(name)
    choices = [one for part in plain if get_origin(part) is Literal for one in get_args(part)]
    choices = list(dict.fromkeys(choices)) or (list(about.choices()) if about else [])
    if choices:
        known = ", ".join(choices) if len(choices) <= MOST_LISTED else f"{len(choices)} known names"
        return f"{known}, or a path" if about.is_path("/") else known
    if about is not None and about.least is not None:
        return f"a whole number, at least {about.least}"
    kinds = {bool: "true, false", int: "a whole number", float: "a number", Path: "a path", str: "a text"}
    return next(words for kind, words in kinds.items() if kind in plain)


def default(name: str, of_field: Any) -> str:
    """Where the help text states none: the field's, or what it sets by the sizes, each value once with its sizes."""
    sets = OPTIONS[name].sets if of_field is None else {}
    by_value: dict[str, list[str]] = {}
    for place, size in itertools.product(list(sets)[:1], SIZES):
        part, field = place.split(".")
        value = getattr(getattr(Settings(size=size), part), field)
        # A setting that stands for values of other fields, as a recipe does, has none itself.
        by_value.setdefault(in_words(value if sets[place](value) == value else None), []).append(size)
    if len(by_value) < 2:
        return next(iter(by_value), in_words(of_field))
    return "; ".join(f"{value} ({', '.join(sizes)})" for value, sizes in by_value.items())


def in_words(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
