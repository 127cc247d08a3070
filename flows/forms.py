"""Parameters of flows as Prefect's forms show them: with the help texts and the choices of the commands, from the same place."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, get_args, get_type_hints

from cyclopts import Parameter

from flows.options import never
from flows.settings import OPTIONS
from flows.time_limit import HELP, PARAMETER

_ROLE = re.compile(r":\w+:`~?(?:[\w.]+\.)?(\w+)`")
"""A reference of a docstring, such as :class:`~multimodal.store.InputError`."""
Schema = dict[str, Any]
OWN = {
    "settings": "The options of the command by their names, with _ for - (text_start for --text-start). What is given here "
    "takes the place of all settings of the deployment.",
    "imports": "Files of other programs, in place of videos or beside them.",
    "options": "What is trained and how long: the options of the command, with _ for -.",
    "lstm": "The same of an LSTM that learns one head.",
    PARAMETER: HELP,
}
"""Texts of parameters that stand for several options of a command."""


@dataclasses.dataclass(frozen=True)
class Form:
    """The annotation of a parameter: its JSON schema without ``null`` beside a type, which a form would offer as a type of its
    own; and of a parameter with parts, such as the settings, each part with its text of ``helps`` and its choices.
    """

    helps: Mapping[str, str]

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> Schema:
        schema = _without_null(handler(core))
        of_parts = handler.resolve_ref_schema(schema).get("properties", {})
        for name, part in of_parts.items():
            shown = _without_null(part) | self._about(name)
            part.clear()
            part.update(shown)
        return schema

    def _about(self, name: str) -> Schema:
        found: Schema = {"title": name}
        if name in self.helps:
            found["description"] = self.helps[name]
        about = OPTIONS.get(name)
        # Where a file may stand in place of a known name, its path is typed in.
        if about is not None and about.is_path is never and (choices := list(about.choices())):
            found["enum"] = choices
        return found


def _without_null(schema: Schema) -> Schema:
    types = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
    if len(types) != 1:
        return dict(schema)
    return {key: value for key, value in schema.items() if key != "anyOf"} | types[0]


def help_texts(described: Any) -> dict[str, str]:
    """The help text of each parameter of a function, or of each field of options, as the command has it."""
    fields = dataclasses.fields(described) if dataclasses.is_dataclass(described) else ()
    found = {f.name: f.metadata["help"] for f in fields if "help" in f.metadata}
    for name, hint in get_type_hints(described, include_extras=True).items():
        for note in get_args(hint):
            if isinstance(note, Parameter) and note.help:
                found[name] = note.help
    return found


def texts_of_command(name: str) -> dict[str, str]:
    """The help texts of a command's own arguments and options."""
    from flows.cli import app

    function = app[name].default_command
    assert function is not None
    return help_texts(function)


def with_form(function: Callable[..., Any], command: str) -> str:
    """Gives a flow's function the signature and the docstring that Prefect makes its form of; returns the flow's description.

    ``command``: the command that takes the same; its help texts are those of the form. All flows can have a time limit.
    """
    helps = OWN | texts_of_command(command)
    signature = inspect.signature(function, eval_str=True)
    parameters = []
    limit = inspect.Parameter(
        PARAMETER, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=float | None
    )
    for parameter in (*signature.parameters.values(), limit):
        hint = parameter.annotation
        parts = next((one for one in (hint, *get_args(hint)) if dataclasses.is_dataclass(one)), None)
        form = Form(helps | (help_texts(parts) if parts else {}))
        parameters.append(parameter.replace(annotation=Annotated[hint, form]))
    function.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    about = _ROLE.sub(r"\1", inspect.getdoc(function) or "")
    told = [f"    {one.name}: {helps[one.name]}" for one in parameters if one.name in helps]
    function.__doc__ = "\n".join([about, "", "Args:", *told])
    return about
