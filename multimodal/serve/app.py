"""The application: routes, errors and the assets, for one store."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from multimodal.serve import api, api_changes, api_media, pages, problems
from multimodal.serve.options import ServeOptions
from multimodal.serve.problems import Problem
from multimodal.serve.rendering import Renderer
from multimodal.serve.safety import Safety
from multimodal.serve.service import Service
from multimodal.store import InputError

log = logging.getLogger("videobert.serve")


def make_app(folder: Path, options: ServeOptions) -> tuple[ASGIApp, FastAPI]:
    """The server's application, and the routes inside of it. Raises :class:`InputError` where the store cannot be used."""
    it = Service(folder, options)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # The first page comes at once; the model is opened beside it.
        threading.Thread(target=it.live.warm, name="warm", daemon=True).start()
        yield
        it.close()

    routes = FastAPI(
        title="videobert", description="What a store of narrated videos says and shows.", version="1",
        docs_url=None, redoc_url=None, openapi_url="/api/openapi.json", lifespan=lifespan,
    )  # fmt: skip
    routes.state.service = it
    routes.state.renderer = Renderer()
    for router in (pages.router, api.router, api_media.router, api_changes.router):
        routes.include_router(router)
    _answer_errors(routes, it)
    return Safety(WithoutBlanks(routes), options), routes


class WithoutBlanks:
    """Fields of a form that were left empty are left out of the query: a browser without JavaScript sends them all."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["query_string"]:
            parts = scope["query_string"].split(b"&")
            scope = scope | {"query_string": b"&".join(part for part in parts if not part.endswith(b"="))}
        await self.app(scope, receive, send)


def _answer_errors(routes: FastAPI, it: Service) -> None:
    root = it.live.store.root

    async def told(_: Request, error: Exception) -> Response:
        return problems.response(problems.problem_of(error, root))

    async def invalid(_: Request, error: RequestValidationError) -> Response:
        said = "; ".join(f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}" for e in error.errors())
        return problems.response(Problem(422, problems.without_paths(said[:1000], root)))

    async def http_error(_: Request, error: HTTPException) -> Response:
        problem = (
            api.not_found() if error.status_code == 404 else Problem(error.status_code, str(error.detail))
        )
        problem.headers.update(error.headers or {})
        return problems.response(problem)

    async def unforeseen(request: Request, error: Exception) -> Response:
        log.error("%s %s", request.method, request.url.path, exc_info=error)
        return problems.response(problems.problem_of(error, root))

    routes.add_exception_handler(Problem, told)
    routes.add_exception_handler(InputError, told)
    routes.add_exception_handler(RequestValidationError, invalid)
    routes.add_exception_handler(HTTPException, http_error)
    routes.add_exception_handler(Exception, unforeseen)
