"""JSON files that people give: read with limits, and validated against a pydantic type with errors of one line."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from multimodal.store import InputError
from speech.sentences import first_problem

T = TypeVar("T")


def load_json(path: Path) -> Any:
    """The content of a JSON file in UTF-8. Raises InputError with the line or byte at fault, and OSError."""
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig"), object_pairs_hook=_without_duplicates)
    except UnicodeDecodeError as error:
        raise InputError(f"byte {error.start} is not UTF-8 text; save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        raise InputError(f"line {error.lineno}: is not JSON ({error.msg}); save it again") from error
    except RecursionError as error:
        raise InputError("is nested too deep; give the file as it was published") from error


def _without_duplicates(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object as a dict. `json` alone would silently keep the last of two values of one key."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise InputError(f"{key[:60]!r} stands twice in one object; keep one")
        found[key] = value
    return found


def validated(kind: type[T], data: object, place: str = "") -> T:
    """``data`` as a value of the pydantic type ``kind``.

    Raises InputError with the place (below ``place``), the value and the rule of the first problem.
    """
    try:
        return _adapter(kind).validate_python(data)
    except ValidationError as error:
        raise one_line(error, place) from error


def one_line(error: ValidationError, place: str) -> InputError:
    """The first problem as an error of one line: the place, the value and the rule."""
    problem = first_problem(error, "").removeprefix(": ")
    apart = "" if not place or problem.startswith("[") else ": "
    return InputError(f"{place}{apart}{problem}; correct it")


@functools.cache
def _adapter(kind: type[T]) -> TypeAdapter[T]:
    return TypeAdapter(kind)
