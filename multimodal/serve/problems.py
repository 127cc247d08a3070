"""Errors as problem details (RFC 9457), without any path of the machine."""

from __future__ import annotations

import http
import json
import re
from pathlib import Path
from typing import Any

from starlette.responses import Response

from multimodal.store import InputError, StoreLocked

MEDIA_TYPE = "application/problem+json"
_PATH = re.compile(r"(?<![\w/.])/(?:[^\s/:;,()'\"]+/)+([^\s/:;,()'\"]*)")


class Problem(Exception):
    """An answer other than success: its HTTP status and a sentence for people."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None):
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers or {}


def without_paths(text: str, root: Path | None = None) -> str:
    """``text`` with each absolute path cut down to its last part; the store's own folder becomes "this store"."""
    if root is not None:
        text = (
            text.replace(f"store {root}", "this store")
            .replace(f"{root}/", "")
            .replace(str(root), "the store")
        )
    return _PATH.sub(lambda found: found[1] or "the folder", text)


def problem_of(error: Exception, root: Path | None = None) -> Problem:
    """The problem that an error of a question is."""
    if isinstance(error, Problem):
        return error
    status = 409 if isinstance(error, StoreLocked) else 400 if isinstance(error, InputError) else 500
    said = (
        " ".join(str(error).split()) if status != 500 else "something went wrong; the server's log says what"
    )
    return Problem(status, without_paths(said, root))


def response(problem: Problem) -> Response:
    """The problem as JSON."""
    title = http.HTTPStatus(problem.status).phrase
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": title,
        "status": problem.status,
        "detail": problem.detail,
    }
    return Response(json.dumps(body), problem.status, problem.headers, MEDIA_TYPE)
