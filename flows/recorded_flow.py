"""Flows whose end tells in one line what happened: the run's state message is the line that the command prints."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from prefect import Flow, flow
from prefect.exceptions import ParameterTypeError
from prefect.states import Failed
from prefect.utilities.callables import get_call_parameters
from pydantic import ValidationError

from flows import history
from flows.errors import can_heal, line_of
from flows.forms import with_form
from flows.time_limit import PARAMETER, limited

P = ParamSpec("P")
R = TypeVar("R")
SECONDS_BETWEEN_TRIES = (30, 120, 480)
"""Of a worker's run that failed by what may heal. A person at a terminal is told at once, and tries again."""


def recorded_flow(
    name: str, *, command: str | None = None, **options: Any
) -> Callable[[Callable[P, R]], Flow[P, R]]:
    """Prefect's decorator `flow`, for the flow of a ``command``, that of the same name where none is given. An error that is for people (:mod:`flows.errors`) ends the run as *Failed* with its line;
    the caller gets the error itself. Any other is a defect, and left to Prefect, which records its traceback.
    Every flow has a parameter ``time_limit`` beside its own (:mod:`flows.time_limit`); it is that of a try.
    """

    def decorate(function: Callable[P, R]) -> Flow[P, R]:
        @functools.wraps(function)
        def run(*arguments: P.args, **keywords: P.kwargs) -> Any:
            limit = {PARAMETER: keywords.pop(PARAMETER, None)}
            pauses = list(SECONDS_BETWEEN_TRIES) if history.is_deployed() else []
            while True:
                try:
                    given = get_call_parameters(function, arguments, keywords)
                    given = made.validate_parameters(given | limit)
                    with limited(given.pop(PARAMETER)):
                        return function(**given)
                except Exception as error:
                    line = _rejected(error) if isinstance(error, ParameterTypeError) else line_of(error)
                    if line is None or not history.is_kept():
                        raise
                    message = " ".join(line.split())
                    if not (pauses and can_heal(error)):
                        history.log(message)
                        # Prefect raises the data of a state that is returned to whoever called the flow.
                        return Failed(message=message, data=error)
                history.log(f"{message}; tried again in {pauses[0]} s")
                time.sleep(pauses.pop(0))

        about = with_form(run, command or name)
        made = flow(name=name, description=about, persist_result=False, validate_parameters=False, **options)(
            run
        )
        return made

    return decorate


def _rejected(error: ParameterTypeError) -> str:
    """The parameters that were rejected, and why, as pydantic says it."""
    cause = error.__context__
    if not isinstance(cause, ValidationError):
        return str(error)
    found = []
    for wrong in cause.errors():
        ours = wrong.get("ctx", {}).get("error")
        found.append(str(ours or f"{'.'.join(map(str, wrong['loc']))} {wrong['input']!r}: {wrong['msg']}"))
    return "; ".join(found)
