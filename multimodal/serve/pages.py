"""The routes of the page: HTML made on the server, which reads without JavaScript."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from multimodal.catalogue import State
from multimodal.serve import api, library_page, picture_search, search_page, video_page
from multimodal.serve.api import MaybeSecond
from multimodal.serve.picture_search import PictureAnswer
from multimodal.serve.problems import Problem
from multimodal.serve.rendering import Renderer
from multimodal.serve.searching import Ask, FoundHits
from multimodal.serve.service import Service
from multimodal.store import InputError

router = APIRouter(include_in_schema=False)
MOST_ALIKE = 20
"""Moments that are shown for a picture or a clip of one's own."""


def rendering(request: Request) -> Renderer:
    return request.app.state.renderer


@router.get("/")
async def start(request: Request, ask: Annotated[Ask, Depends(api.search_request)]) -> Response:
    it = api.service(request)
    values = await _searched(it, ask)
    if not values["videos"]:
        return rendering(request).page("empty.html", read_only=it.options.read_only)
    _prefetch(request, values)
    return rendering(request).page("search.html", **values)


@router.get("/results")
async def results(request: Request, ask: Annotated[Ask, Depends(api.search_request)]) -> Response:
    """The list alone, for the page that asks while somebody types."""
    values = await _searched(api.service(request), ask)
    _prefetch(request, values)
    return rendering(request).page("results.html", **values)


async def _searched(it: Service, ask: Ask) -> dict[str, Any]:
    """The values of the search page. Where nothing is asked, it does not wait for the model to be open."""
    if not ask.is_asked:
        return await it.read(search_page.context, it.live, ask, None)
    try:
        found: FoundHits | InputError = await it.search(
            dataclasses.replace(ask, text=None) if ask.like else ask
        )
    except InputError as error:
        found = error
    return await it.read(search_page.context, it.live, ask, found)


def _prefetch(request: Request, values: dict) -> None:
    it = api.service(request)
    videos = it.live.videos
    it.frames.prefetch(
        (videos[row.hit.video], round(row.middle * 1000)) for row in values["rows"] if row.hit.video in videos
    )


@router.post("/results/picture")
async def results_of_a_picture(request: Request) -> Response:
    """The list for a picture, which is the body."""
    return await _alike(request, picture_search.search, "picture")


@router.post("/results/clip")
async def results_of_a_clip(request: Request) -> Response:
    """The list for a clip, which is the body."""
    return await _alike(request, picture_search.search_clip, "clip")


async def _alike(request: Request, search: Callable[..., PictureAnswer], kind: str) -> Response:
    it = api.service(request)
    found = await it.cut(search, it.snapshot(), await request.body(), MOST_ALIKE)
    values = {"rows": search_page.rows(found.hits, it.live.videos), "found": found, "kind": kind}
    _prefetch(request, values)
    return rendering(request).page("picture.html", **values)


@router.get("/video/{video}")
async def one_video(
    request: Request,
    video: str,
    t: MaybeSecond = None,
    q: Annotated[str | None, Query(max_length=1000)] = None,
) -> Response:
    it = api.service(request)
    found = it.video(video)
    values = await it.read(lambda: video_page.context(it.live, it.snapshot(), found, t, q))
    it.frames.prefetch((found, round(second * 1000)) for second in values["pictures"])
    return rendering(request).page("video.html", read_only=it.options.read_only, **values)


@router.get("/library")
async def library(
    request: Request, state: State | None = None, name: Annotated[str | None, Query(max_length=200)] = None
) -> Response:
    it = api.service(request)
    live = it.live
    values = await it.read(
        lambda: library_page.library(live.store, live.catalogue, it.snapshot(), state, name)
    )
    folders = await it.read(it.changes.folders) if not it.options.read_only else []
    return rendering(request).page("library.html", read_only=it.options.read_only, folders=folders, **values)


@router.get("/atlas")
async def atlas(request: Request) -> Response:
    it = api.service(request)
    codebook = await it.read(lambda: it.snapshot().opened.codebook)
    return rendering(request).page("atlas.html", codebook=codebook)


@router.get("/model")
async def model(request: Request) -> Response:
    it = api.service(request)
    snapshot = await it.read(it.snapshot)
    values = await it.read(lambda: library_page.model(it.live.store, it.live.catalogue, snapshot))
    values["samples"] = await it.ask(it.samples.of, snapshot)
    return rendering(request).page("model.html", **values)


@router.get("/static/{name}")
async def static(request: Request, name: str, v: Annotated[str, Query(max_length=20)] = "") -> Response:
    found = rendering(request).asset(name)
    if found is None:
        raise Problem(404, f"{name[:50]!r}: no such asset")
    return found


@router.get("/api/")
async def described(request: Request) -> Response:
    routes = api.described(request.app.openapi())
    return rendering(request).page("api.html", routes=routes)
