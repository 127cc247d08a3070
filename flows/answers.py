"""The flows `search`, `caption`, `next`, `classify`, `imagine`, `chapters`, `summarise` and `predict`: an answer as a run, with an artifact for people.

Parameters and results are JSON; a result is the document that the command prints with `--json`.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

from prefect import Flow
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run

from flows.formatting import Document
from flows.history import shortened
from flows.questions import QUESTIONS, Question
from flows.recorded_flow import recorded_flow

SUBJECTS = ("text", "like", "video")
"""Parameters that say what is asked."""


def as_flow(question: Question) -> Flow:
    """The question as a flow of the same parameters; beside the run lies what the command prints, notes first."""

    @functools.wraps(question.answer)
    def ask(*arguments: Any, **options: Any) -> Document:
        document = question.answer(*arguments, **options)
        given = inspect.signature(question.answer).bind(*arguments, **options).arguments
        notes = question.notes(document)
        lines = [
            line.replace("`", "'") for line in [*notes, *([""] if notes else []), *question.lines(document)]
        ]
        create_markdown_artifact(
            key=question.name,
            markdown="\n".join(["```text", *lines, "```"]),
            description=" ".join(str(given[name]) for name in SUBJECTS if given.get(name)),
        )
        return document

    return recorded_flow(question.name, flow_run_name=lambda: _asked(question))(ask)


def _asked(question: Question) -> str:
    """The name of a run: the question and what is asked."""
    given = flow_run.parameters
    return shortened(" ".join([question.name, *(str(given[name]) for name in SUBJECTS if given.get(name))]))


search, next_, caption, classify, imagine, chapters, summarise, predict = map(as_flow, QUESTIONS)
