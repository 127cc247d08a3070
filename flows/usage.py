"""Usage errors: what is wrong with a command line, in one line that says what to write instead."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from cyclopts import App, CycloptsError, UnknownCommandError, UnknownOptionError, UnusedCliTokensError
from cyclopts.argument import Argument
from cyclopts.exceptions import MissingArgumentError

from flows.settings import Settings
from multimodal import names
from multimodal.answers.session import CLOCK
from multimodal.store import InputError

SIZES = tuple(name for part in get_args(get_type_hints(Settings)["size"]) for name in get_args(part))


def check_whole(arguments: Iterable[Argument]) -> None:
    """Raises :class:`InputError` for a fraction where a whole number is asked, which cyclopts rounds without a word."""
    for argument in arguments:
        if int not in _types(argument.hint) or float in _types(argument.hint):
            continue
        for token in argument.tokens:
            try:
                value = float(token.value)
            except ValueError:
                continue  # it is no number in base 10: cyclopts says so, or reads it
            if not math.isfinite(value):
                raise InputError(f"{argument.name} {token.value}: a whole number; write it in digits")
            if not value.is_integer():
                near = f"{math.floor(value)} or {math.ceil(value)}"
                raise InputError(f"{argument.name} {token.value}: a whole number; write {near}")


def _types(hint: Any) -> set[Any]:
    """The types of an annotation, without what is beside them."""
    if get_origin(hint) is Annotated:
        return _types(get_args(hint)[0])
    return set().union(*map(_types, get_args(hint))) or {hint}


def explain(app: App, error: CycloptsError) -> str:
    """The error in words: the token, the rule, and the command as it should be written."""
    if isinstance(error.__cause__, InputError):
        return str(error.__cause__)
    command = " ".join(["videobert", *(error.command_chain or ())])
    if isinstance(error, UnusedCliTokensError):
        return _unused(app, command, error)
    if isinstance(error, UnknownOptionError):
        given = (error.token.keyword or error.token.value).split("=")[0]
        if "." in given or Path(error.token.value or given).exists():
            return f"{given}: no option of `{command}`; a name that begins with - goes behind --, as in `{command} -- {given}`"
        known = [name for argument in error.argument_collection if argument.parse for name in argument.names]
        return f"{given}: no option of `{command}`{names.did_you_mean(given, known)}; `{command} --help` lists them"
    if isinstance(error, UnknownCommandError) and error.unused_tokens:
        given, known = error.unused_tokens[0], _commands(app)
        return f"{given}: no such command{names.did_you_mean(given, known)}; there are {', '.join(known)}"
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        option = error.keyword or error.argument.name
        if error.keyword or error.argument.field_info.is_keyword_only:
            return f"{option}: needs a value; `{command} --help` says which"
        name = option.lstrip("-").upper()
        return f"{name}: none given; write `{command} {name}`"
    return str(error)


def _commands(app: App) -> list[str]:
    return [name for name in app if not name.startswith("-")]


def _unused(app: App, command: str, error: UnusedCliTokensError) -> str:
    """More arguments than the command has: words of one text, a second of a video, or settings without their names."""
    unused = error.unused_tokens or []
    _, bound, *_ = app.parse_known_args(error.root_input_tokens or [])
    text, video = bound.arguments.get("text"), bound.arguments.get("video")
    said = " ".join(unused)
    if text is not None:
        return f"{said}: a text of several words goes in quotes; write `{command} {_quoted([text, *unused])}`"
    if video is not None and CLOCK.fullmatch(unused[0]):
        return f"{said}: a second goes behind the video's name; write `{command} {_quoted([f'{video}@{unused[0]}'])}`"
    if video is not None:
        return (
            f"{said}: `{command}` takes one video, a name with spaces in quotes, as in "
            f"`{command} {_quoted([video, *unused])}`; options go by their names, `{command} --help` lists them"
        )
    return f"{said}: settings go by their names; write `{command} {_by_name(app, error, unused)}`"


def _quoted(words: list[Any]) -> str:
    text = " ".join(map(str, words))
    return f'"{text}"' if " " in text else text


def _by_name(app: App, error: UnusedCliTokensError, unused: list[str]) -> str:
    """The tokens as options, as far as it can be told: a size, and the first other one as the store."""
    has_size = any(
        "--size" in a.names for a in app[(error.command_chain or [""])[0]].assemble_argument_collection()
    )
    sizes = [token for token in unused if token.casefold() in SIZES] if has_size else []
    others = [token for token in unused if token not in sizes]
    found = [f"--store {_quoted(others[:1])}"] if others else []
    if has_size and (sizes or others[1:]):
        found.append(f"--size {sizes[0] if sizes else '|'.join(SIZES)}")
    return " ".join(found)


def setting_among(videos: Sequence[Path], store: Path) -> str | None:
    """The remark on a VIDEO that is not there, or that is a setting without its name: a size, or another store's folder."""
    for video in videos:
        if (video / "store.json").is_file() and video.absolute() != store.absolute():
            return f"{video}: is the folder of a store, not of videos; write `--store {video}`"
        if not video.exists():
            by_name = f"--size {video}" if str(video).casefold() in SIZES else f"--store {video}"
            return (
                f"{video}: no such file or folder; check the name (a setting goes by its name, `{by_name}`)"
            )
    return None
