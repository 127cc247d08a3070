"""The routes of the API that change something."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from multimodal.serve import picture_search
from multimodal.serve.api import PROBLEMS, Top, answer, service
from multimodal.serve.api_media import Digest, known
from multimodal.serve.documents import video_row
from multimodal.vocabulary import visual_name

router = APIRouter(prefix="/api")


class Mended(BaseModel):
    """A sentence as it reads, and as it was said."""

    was: str = Field(max_length=10_000)
    text: str = Field(max_length=10_000)


@router.post("/videos", summary="Upload a video: the body is the file", status_code=202, responses=PROBLEMS)
async def upload(request: Request, name: Annotated[str, Query(min_length=1, max_length=500)]) -> Response:
    job = await service(request).changes.take(name, request.stream())
    return answer(job.document(), 202)


@router.post(
    "/search/picture",
    summary="Moments that look like a picture: the body is a JPEG, PNG or WebP",
    responses=PROBLEMS,
)
async def search_by_picture(request: Request, top: Top = 20) -> Response:
    it = service(request)
    found = await it.cut(picture_search.search, it.snapshot(), await request.body(), top)
    hits = [vars(hit) | {"labels": hit.labels} for hit in found.hits]
    return answer({"token": visual_name(found.token), "name": found.name, "hits": hits})


@router.get("/uploads", summary="Uploads on their way into the store")
async def uploads(request: Request) -> Response:
    return answer({"uploads": service(request).changes.jobs()})


@router.delete("/videos/{digest}", summary="Remove a video from the store", responses=PROBLEMS)
async def remove(request: Request, digest: Digest) -> Response:
    it = service(request)
    removed = await it.change(it.changes.remove, known(it, digest))
    it.frames.forget(digest)
    return answer(
        {"video": removed.video, "name": removed.name, "files": removed.files, "learned": removed.learned}
    )


@router.put("/videos/{digest}/sentences/{number}", summary="Mend a sentence", responses=PROBLEMS)
async def mend(request: Request, digest: Digest, number: int, mended: Mended) -> Response:
    it = service(request)
    video = await it.change(it.changes.correct, known(it, digest), number, mended.was, mended.text)
    return answer(video_row(video, it.live.store.root))
