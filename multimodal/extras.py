"""The extras of the distribution: packages that only some commands need (``pyproject.toml``), and what is said without them."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import ParamSpec, TypeVar

from packaging.requirements import Requirement

from multimodal.names import listed
from multimodal.store import InputError

P = ParamSpec("P")
R = TypeVar("R")
DISTRIBUTION = "videobert-workflow"
EXTRAS = {
    "ingest": "ingestion",
    "train": "training",
    "serve": "the page",
    "flows": "a flow",
}
"""Those of commands, and what needs them. The others choose FAISS's build, a runner or a metric."""
NAMED = 3


def requirements(extra: str = "") -> Iterator[Requirement]:
    """What an extra asks for beside the plain install, or what the plain install asks for."""
    try:
        lines = importlib.metadata.requires(DISTRIBUTION) or ()
    except importlib.metadata.PackageNotFoundError:
        lines = ()  # a source tree that is not installed
    for needed in map(Requirement, lines):
        is_plain = needed.marker is None or needed.marker.evaluate({"extra": ""})
        if is_plain if not extra else not is_plain and needed.marker.evaluate({"extra": extra}):
            if needed.name != DISTRIBUTION:
                yield needed
            for nested in needed.extras if needed.name == DISTRIBUTION else ():
                yield from requirements(nested)


def installed(distribution: str) -> str | None:
    """The version of a distribution; ``None`` where it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def missing(extra: str) -> list[str]:
    """The distributions of an extra that are not installed."""
    return [needed.name for needed in requirements(extra) if installed(needed.name) is None]


def without(what: str, extras: Sequence[str], why: str) -> str:
    """The line that says that ``what`` needs extras, and how to have them."""
    kind = "extra" if len(extras) == 1 else "extras"
    names = " and ".join(f"`{extra}`" for extra in extras)
    return f"{what} needs the {kind} {names} ({why}): pip install '{DISTRIBUTION}[{','.join(extras)}]'"


def need(what: str, *extras: str) -> None:
    """Raises :class:`InputError` where an extra that ``what`` needs is not installed."""
    if absent := {extra: names for extra in extras if (names := missing(extra))}:
        names = list(dict.fromkeys(name for found in absent.values() for name in found))
        raise InputError(without(what, [*absent], f"{listed(names, NAMED)} not installed"))


def module_of(extra: str, module: str, what: str) -> ModuleType:
    """A module of an extra. Raises :class:`InputError` where it cannot be imported."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(without(what, [extra], str(error))) from error


def needing(*extras: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorates the function of a command, which then asks for its extras before it does anything."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        name = function.__name__.strip("_").replace("_", "-")

        @functools.wraps(function)
        def checked(*arguments: P.args, **options: P.kwargs) -> R:
            need(f"`videobert {name}`", *extras)
            return function(*arguments, **options)

        return checked

    return decorate
