"""The flows `search`, `caption`, `next`, `classify`, `imagine`, `chapters`, `summarise` and `predict`: an answer as a run, with an artifact for people.

Parameters and results are JSON; a result is the document that the command prints with `--json`.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

from prefect import Flow

from flows import answer_history
from flows.formatting import Document
from flows.questions import QUESTIONS, Question
from flows.recorded_flow import recorded_flow


def as_flow(question: Question) -> Flow:
    """The question as a flow of the same parameters; beside the run lies what the command prints, with pictures."""

    @functools.wraps(question.answer)
    def ask(*arguments: Any, **options: Any) -> Document:
        bound = inspect.signature(question.answer).bind(*arguments, **options)
        bound.apply_defaults()
        given = bound.arguments
        answer_history.begin(question.name, given.get("text"), given["store"])
        document = question.answer(*arguments, **options)
        answer_history.keep(question, given, document)
        return document

    return recorded_flow(question.name, flow_run_name=question.name)(ask)


search, next_, caption, classify, imagine, chapters, summarise, predict = map(as_flow, QUESTIONS)
