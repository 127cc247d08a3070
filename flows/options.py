"""What a setting is beside its type and default: the fields that it sets, its range, its known names, its group in help texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

from cyclopts import Group, Parameter

from multimodal import names
from multimodal.examples.options import NEAR_RATE
from multimodal.store import InputError
from multimodal.systems import PARTS

STORE_AND_SIZE = Parameter(group=Group("Store and size", sort_key=1))
IMPORTED = Parameter(group=Group("Files of other programs", sort_key=2))
SPEECH_AND_PICTURE = Parameter(group=Group("Speech and picture", sort_key=3))
VISUAL_TOKENS = Parameter(group=Group("Visual tokens", sort_key=4))
MODEL = Parameter(group=Group("Model", sort_key=5))
SYSTEM = Parameter(group=Group("System of pretraining", sort_key=6))
TRAINING = Parameter(group=Group("Training", sort_key=7))
EVALUATION = Parameter(group=Group("Evaluation", sort_key=8))
MACHINE = Parameter(group=Group("Machine", sort_key=9))
"""The groups of a help text, in the order of their keys, after the arguments."""
FORMER_NAMES = {"far": "in_video_negative_rate"}
"""Settings that stores made by earlier versions remember under another name."""


@dataclasses.dataclass(frozen=True)
class Option:
    """What is known of a setting beside its name, type, default and help text.

    ``sets``: the fields that it sets, as ``part.field``, each with the function of the setting's value that gives the
    field's. ``least``: the smallest value. ``remembered``: whether the store keeps it for the runs that follow.
    ``is_path``: whether a value is a path, which is then kept as an absolute one. ``choices``: gives the known names; a
    value in another case, or an unambiguous beginning of one, becomes the name itself.
    """

    sets: Mapping[str, Callable[[Any], Any]]
    least: int | None
    remembered: bool
    is_path: Callable[[Any], bool]
    choices: Callable[[], Iterable[str]]

    def kept(self, value: Any) -> Any:
        """A value as the store remembers it: a path from the root on."""
        return str(Path(value).absolute()) if self.is_path(value) else value


def always(_: Any) -> bool:
    return True


def never(_: Any) -> bool:
    return False


def option(
    help_: str,
    *,
    sets: Mapping[str, Callable[[Any], Any]] | None = None,
    least: int | None = None,
    remembered: bool = True,
    is_path: Callable[[Any], bool] = never,
    choices: Callable[[], Iterable[str]] = tuple,
    default: Any = None,
) -> Any:
    """A field of :class:`flows.settings.Settings`."""
    about = Option(sets or {}, least, remembered, is_path, choices)
    return dataclasses.field(default=default, metadata={"help": help_, "option": about})


def flag(help_: str) -> Any:
    """A field that is on where it is given, in one run."""
    return option(help_, default=False, remembered=False)


def system_part(name: str, help_: str) -> Any:
    """The setting that overrides a part of the system of pretraining; its choices are in the table of systems."""
    choices = PARTS[name].metadata["choices"]
    about = f"{help_}: {names.either(choices)}; the system's own where not given."
    return option(about, sets=to(f"parts.{name}"), choices=lambda: choices)


def to(*places: str) -> dict[str, Callable[[Any], Any]]:
    """Each of ``places`` (``part.field``) takes the setting's value as it is."""
    return dict.fromkeys(places, lambda value: value)


def fixed(value: Any, *places: str) -> dict[str, Callable[[Any], Any]]:
    """Each of ``places`` takes ``value`` where the setting is given at all."""
    return dict.fromkeys(places, lambda _: value)


def the_fields_of(values: Mapping[str, Any], part: str) -> dict[str, Callable[[Any], Any]]:
    """Each field of the options of ``part`` takes its value where the setting is given at all."""
    return {
        place: convert
        for field, value in values.items()
        for place, convert in fixed(value, f"{part}.{field}").items()
    }


def one_of(*choices: str) -> Callable[[str], bool]:
    return lambda value: value in choices


def parse_weights(text: str) -> Any:
    from multimodal.objectives.weights import LossWeights

    return LossWeights.parse(text)


def near_rate_of(corrupt: str) -> float:
    return NEAR_RATE if corrupt == "near" else 0.0


def whisper_names() -> Iterable[str]:
    from speech.checkpoints import CHECKPOINTS

    return CHECKPOINTS


def is_whisper_file(value: str) -> bool:
    return value not in whisper_names() and Path(value).exists()


def language_codes() -> Iterable[str]:
    from speech.languages import LANGUAGES

    return LANGUAGES


def text_starts() -> Iterable[str]:
    from multimodal.training.options import NOTHING, TEXT_STARTS

    return (*TEXT_STARTS, NOTHING)


def is_bert_folder(value: str) -> bool:
    return value not in text_starts() and Path(value).exists()


def _choose(type_: Any, tokens: Sequence[Any]) -> str:
    """The value of a choice: cyclopts' converter. Raises :class:`InputError` where none, or several, can be meant."""
    choices = [name for part in (type_, *get_args(type_)) for name in get_args(part) if isinstance(name, str)]
    text = tokens[0].value
    found = names.meant(text, choices)
    if len(found) == 1:
        return found[0]
    option_ = tokens[0].keyword or "value"
    if found:
        raise InputError(f"{option_} {text}: can mean {names.either(found)}; write more of it")
    raise InputError(
        f"{option_} {text}: not known{names.did_you_mean(text, choices)}; choose one of {', '.join(choices)}"
    )


TOGETHER = "Processes of this machine that train together; 1 where not given."
ProcessesOption = Annotated[int | None, Parameter(help=TOGETHER), MACHINE]
FLAG = Parameter(negative=(), show_default=False)
"""Of an option that is on where it is given."""
CHOICE = Parameter(converter=_choose)
"""Of an option whose type is a ``Literal``: takes its names in any case, and unambiguous beginnings of them."""


def current_names(remembered: dict[str, Any]) -> dict[str, Any]:
    """The settings that a store remembers, by the names that they have now."""
    return {FORMER_NAMES.get(name, name): value for name, value in remembered.items()}
