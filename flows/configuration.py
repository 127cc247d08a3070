"""Settings beside the command line: variables of the environment, and the file `videobert.toml` beside the store.

A flow's parameters and a command's options are the same :class:`Settings` and come here on the same way, so a variable or a
line of the file means the same to both: what the command's option of that name means.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cyclopts import App, CycloptsError, Token

from flows.settings import OPTIONS, Settings
from flows.usage import check_whole, explain
from multimodal import names
from multimodal.store import InputError

FILE = "videobert.toml"
PREFIX = "VIDEOBERT_"
LEAST_SIMILARITY = 0.8
"""Of a variable's name to that of a setting, to be taken for a slip. Other variables with our prefix are not ours: Kubernetes
sets ``VIDEOBERT_PORT`` for a service of that name, images their version."""
FIELDS = {field.name: field.default for field in dataclasses.fields(Settings)}
CONFIGURABLE = [name for name, default in FIELDS.items() if default is None]
"""The settings that can be left out. The others are the store and what is said for one run alone."""

_app = App(name="videobert")


@_app.default
def _settings(*, settings: Settings = Settings()) -> None:
    """What reads the options of a command."""


def configured(settings: Settings) -> Settings:
    """The settings, completed: where none is given, a variable's value, else the file's.

    Raises :class:`InputError` for an unknown name and for a value that is none, with the variable or the file's line.
    """
    entries = [*_in_file(settings.store.absolute().parent / FILE), *_in_variables()]
    for place, name, value in entries:
        _check_name(place, name, value)
    used = {name: (place, value) for place, name, value in entries if getattr(settings, name) is None}
    values = {name: _value(place, name, value) for name, (place, value) in used.items()}
    try:
        return dataclasses.replace(settings, **values)
    except InputError as error:
        alone = [name for name, value in values.items() if _is_refused(name, value)]
        places = ", ".join(used[name][0] for name in alone[:1] or used)
        raise InputError(f"{places}: {error}") from error


def _is_refused(name: str, value: Any) -> bool:
    """Whether a value is out of its range, whatever the others are."""
    try:
        Settings(**{name: value})
    except InputError:
        return True
    return False


def _in_variables() -> Iterator[tuple[str, str, str]]:
    """Of each setting in a variable its place, name and value; an empty variable is as good as none."""
    for variable, value in os.environ.items():
        name = variable.removeprefix(PREFIX).lower()
        if not variable.startswith(PREFIX) or not value or name == "store":
            continue
        if name in FIELDS or difflib.get_close_matches(name, FIELDS, cutoff=LEAST_SIMILARITY):
            yield variable, name, value


def _in_file(path: Path) -> Iterator[tuple[str, str, Any]]:
    """The same of each setting in the file; paths are taken from its folder on."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        entries = tomllib.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: {getattr(error, 'strerror', None) or error}; docs/settings.md says how it is written"
        ) from error
    for name, value in entries.items():
        begin = re.search(rf"""^\s*\[*\s*["']?{re.escape(name)}\b""", text, re.MULTILINE)
        line = f", line {text.count(chr(10), 0, begin.end()) + 1}" if begin else ""
        if isinstance(value, dict | list):
            raise InputError(
                f"{path}{line}: {name} holds several values; write one setting a line, as in epochs = 3"
            )
        about = OPTIONS.get(name)
        beside = str(path.parent / str(value))
        if about is not None and str(value) not in about.choices() and about.is_path(beside):
            value = beside
        yield f"{path}{line}", name, value


def _check_name(place: str, name: str, value: Any) -> None:
    if name not in FIELDS:
        known = names.did_you_mean(name, CONFIGURABLE)
        raise InputError(f"{place}: {name} = {value}: no setting{known}; docs/settings.md lists them")
    if name not in CONFIGURABLE:
        raise InputError(f"{place}: {name} is said with a command alone; write {option_name(name)} there")


def option_name(setting: str) -> str:
    return f"--{setting.replace('_', '-')}"


def _value(place: str, name: str, value: Any) -> Any:
    """What the command reads in its option ``--name=value``."""
    option = option_name(name)
    argument = next(one for one in _app.assemble_argument_collection() if option in one.names)
    argument.append(Token(keyword=option, value=str(value)))
    try:
        check_whole([argument])
        return argument.convert()
    except InputError as error:
        raise InputError(f"{place}: {error}") from error
    except CycloptsError as error:
        error.verbose = False
        raise InputError(f"{place}: {explain(_app, error)}") from error
