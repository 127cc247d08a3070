"""The routes of the JSON API that read: the documents of `--json` under /api/."""

from __future__ import annotations

import datetime
import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi import Path as InPath
from starlette.responses import Response

from multimodal.answers import answer_json, transcripts
from multimodal.answers.answer_json import Document
from multimodal.answers.quality import By
from multimodal.catalogue import State
from multimodal.serve import atlas, documents, searching
from multimodal.serve.problems import MEDIA_TYPE, Problem
from multimodal.serve.searching import Ask, Sort, Speech
from multimodal.serve.service import Service
from multimodal.store import InputError
from speech.writers import Format

router = APIRouter(prefix="/api")

Second = Annotated[float, Query(ge=0, le=1e6, allow_inf_nan=False)]
MaybeSecond = Annotated[float | None, Query(ge=0, le=1e6, allow_inf_nan=False)]
Words = Annotated[str, Query(min_length=1, max_length=1000)]
MaybeWords = Annotated[str | None, Query(max_length=1000)]
Top = Annotated[int, Query(ge=1, le=searching.MOST)]
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": text, "content": {MEDIA_TYPE: {"schema": {"type": "object"}}}}
    for status, text in (
        (400, "The question cannot be answered; `detail` says why."),
        (401, "A token is needed."),
        (404, "There is none."),
        (409, "The store is written to by a run, or the file was changed."),
        (422, "A value is out of its range."),
        (503, "Too many ask at once."),
    )
}
TEXT_TYPES = {"vtt": "text/vtt", "srt": "application/x-subrip", "txt": "text/plain", "json": "application/json",
              "tsv": "text/tab-separated-values"}  # fmt: skip


def service(request: Request) -> Service:
    return request.app.state.service


def answer(document: Any, status: int = 200) -> Response:
    """The document as JSON: what no JSON may hold is an error of ours."""
    # Lone surrogates of file names are no UTF-8.
    text = json.dumps(document, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
    return Response(text, status, media_type="application/json")


def attachment(name: str) -> dict[str, str]:
    """The header that names a file to be kept, of letters that every browser takes."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._- ") else "_" for c in name)
    return {"content-disposition": f'attachment; filename="{plain}"'}


@router.get("/health", summary="Whether the server answers, and what it holds")
async def health(request: Request) -> Response:
    it = service(request)
    videos = await it.read(lambda: it.live.videos)
    usable = sum(v.state in ("done", "partial") for v in videos.values())
    document = {
        "status": "ok", "videos": len(videos), "usable": usable, "model": it.live.catalogue.current("model"),
        "open": it.live.is_open, "read_only": it.options.read_only,
    }  # fmt: skip
    return answer(document)


def search_request(
    q: MaybeWords = None,
    like: Annotated[str | None, Query(max_length=500, description="VIDEO@S")] = None,
    texts: bool = False,
    top: Top = 20,
    video: Annotated[str | None, Query(max_length=500)] = None,
    folder: Annotated[str | None, Query(max_length=500)] = None,
    longer: Annotated[float | None, Query(ge=0, allow_inf_nan=False)] = None,
    shorter: Annotated[float | None, Query(ge=0, allow_inf_nan=False)] = None,
    since: datetime.date | None = None,
    until: datetime.date | None = None,
    speech: Speech = "any",
    sort: Sort = "best",
) -> Ask:
    """The parameters of a search, of the API and of the page."""
    return Ask(
        q, like, texts, top, video or None, folder or None, longer, shorter, since, until, speech, sort
    )


@router.get("/search", summary="Moments that fit a text or another moment", responses=PROBLEMS)
async def search(request: Request, ask: Annotated[Ask, Depends(search_request)]) -> Response:
    return answer(searching.document(await service(request).search(ask)))


@router.get("/videos", summary="The videos, their states, and the runs", responses=PROBLEMS)
async def videos(request: Request, state: State | None = None) -> Response:
    it = service(request)
    document = await it.read(documents.status, it.live.catalogue, it.live.store.root)
    if state is not None:
        document["videos"] = [row for row in document["videos"] if row["state"] == state]
    return answer(document)


@router.get("/videos/{video}", summary="A video: transcript, moments and visual tokens", responses=PROBLEMS)
async def one_video(request: Request, video: str) -> Response:
    it = service(request)
    return answer(await it.read(lambda: documents.video_document(it.snapshot(), it.video(video))))


@router.get("/videos/{video}/transcript.{form}", summary="The transcript as a file", responses=PROBLEMS)
async def transcript(request: Request, video: str, form: Format, download: bool = False) -> Response:
    it = service(request)
    found = it.video(video)
    text, _ = await it.read(transcripts.transcript_text, it.live.store, found, form)
    name = transcripts.file_names([found], form)[found.video]
    headers = attachment(name) if download else {}
    return Response(text.encode("utf-8", "replace"), headers=headers, media_type=TEXT_TYPES[form])


@router.get(
    "/videos/{video}/captions",
    summary="A caption for each moment, or for the one at a second",
    responses=PROBLEMS,
)
async def captions(
    request: Request, video: str, at: MaybeSecond = None, template: MaybeWords = None, by: By = "auto"
) -> Response:
    it = service(request)
    digest = it.video(video).video
    made = await it.ask(lambda: _model(it).caption(digest, at=at, template=template, by=by))
    return answer(answer_json.caption_document(made))


@router.get("/videos/{video}/captions.vtt", summary="The captions as WebVTT", responses=PROBLEMS)
async def captions_vtt(request: Request, video: str, by: By = "auto") -> Response:
    from multimodal.answers.caption import webvtt

    it = service(request)
    digest = it.video(video).video
    made = await it.ask(lambda: _model(it).caption(digest, by=by))
    return Response(webvtt(made.captions).encode("utf-8", "replace"), media_type="text/vtt")


@router.get("/videos/{video}/next", summary="What comes after a second", responses=PROBLEMS)
async def next_(
    request: Request,
    video: str,
    at: Second,
    top: Annotated[int, Query(ge=1, le=50)] = 3,
    words: bool = False,
    by: By = "auto",
) -> Response:
    it = service(request)
    digest = it.video(video).video
    made = await it.ask(lambda: _model(it).next(digest, at=at, top=top, words=words, by=by))
    return answer(documents.with_addresses(answer_json.forecast_document(made)))


@router.get("/videos/{video}/classify", summary="Which verbs and nouns fit", responses=PROBLEMS)
async def classify(
    request: Request,
    video: str,
    verbs: Annotated[str, Query(max_length=2000, description="With commas between them")] = "",
    nouns: Annotated[str, Query(max_length=2000, description="With commas between them")] = "",
    at: MaybeSecond = None,
    by: By = "auto",
) -> Response:
    it = service(request)
    digest, lists = it.video(video).video, [split_names(verbs), split_names(nouns)]
    made = await it.ask(lambda: _model(it).classify(digest, verbs=lists[0], nouns=lists[1], at=at, by=by))
    return answer(answer_json.classify_document(made))


@router.get("/atlas", summary="Visual tokens and words on a map", responses=PROBLEMS)
async def atlas_map(request: Request) -> Response:
    it = service(request)
    return answer(await it.read(lambda: atlas.atlas(it.snapshot())))


@router.get("/tokens/{token}", summary="A visual token and clips that show it", responses=PROBLEMS)
async def token(request: Request, token: Annotated[int, InPath(ge=0, lt=10**9)]) -> Response:
    it = service(request)
    return answer(await it.read(lambda: atlas.token_document(it.snapshot(), token)))


@router.get("/imagine", summary="The clips that a sentence calls for", responses=PROBLEMS)
async def imagine(
    request: Request, text: Words, clips: Annotated[int, Query(ge=1, le=12)] = 3, by: By = "auto"
) -> Response:
    it = service(request)
    made = await it.ask(lambda: _model(it).imagine(text, clips=clips, by=by))
    return answer(documents.with_addresses(answer_json.imagine_document(made)))


def split_names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _model(it: Service):
    snapshot = it.snapshot()
    if snapshot.by_words:
        raise InputError("the store has no model yet that can be asked; `videobert run VIDEOS` makes one")
    return snapshot.opened


def not_found() -> Problem:
    return Problem(404, "there is nothing at this address; /api/ lists what there is")


def described(openapi: Document) -> list[tuple[str, str, str, list[str]]]:
    """(method, path, summary, parameters) of each route of an OpenAPI description, for people."""
    return [
        (
            method.upper(),
            path,
            about.get("summary", ""),
            [p["name"] for p in about.get("parameters", []) if p["in"] == "query"],
        )
        for path, methods in openapi["paths"].items()
        for method, about in methods.items()
    ]


Kind = Literal["csv", "edl"]
