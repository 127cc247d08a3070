"""The routes of the API that change something."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from multimodal.answers.answer_json import Document, hit_document
from multimodal.serve import library_page, picture_search
from multimodal.serve.api import PROBLEMS, Top, answer, service
from multimodal.serve.api_media import Digest, known
from multimodal.serve.documents import video_row
from multimodal.serve.picture_search import PictureAnswer
from multimodal.vocabulary import visual_name

router = APIRouter(prefix="/api")


class Mended(BaseModel):
    """A sentence as it reads, and as it was said."""

    was: str = Field(max_length=10_000)
    text: str = Field(max_length=10_000)


class Folder(BaseModel):
    """A folder by its path in the one that the operator named."""

    folder: str = Field(min_length=1, max_length=1000)


class Hearing(BaseModel):
    """How a video is to be heard: a Whisper model by name and a language by code; ``null`` is what a run says."""

    whisper: str | None = Field(None, max_length=50, pattern=r"^[\w.-]+$")
    language: str | None = Field(None, max_length=10, pattern=r"^[a-z]+$")


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
    return answer(picture_document(found))


@router.post(
    "/search/clip",
    summary="Moments that look like the first 12 s of a clip: the body is a video file",
    responses=PROBLEMS,
)
async def search_by_clip(request: Request, top: Top = 20) -> Response:
    it = service(request)
    found = await it.cut(picture_search.search_clip, it.snapshot(), await request.body(), top)
    return answer(picture_document(found))


def picture_document(found: PictureAnswer) -> Document:
    tokens = [{"token": visual_name(token), "name": name} for token, name in found.tokens]
    return {"tokens": tokens, "hits": [hit_document(hit) for hit in found.hits]}


@router.get("/run", summary="The run that writes to the store now, and how far it is")
async def run(request: Request) -> Response:
    it = service(request)
    found = await it.read(library_page.run_under_way, it.live.store, it.live.catalogue)
    return answer(found or {"process": None, "flow": None, "stage": None, "said": ""})


@router.get("/folders", summary="Folders of this machine that may be taken in")
async def folders(request: Request) -> Response:
    it = service(request)
    return answer({"folders": await it.read(it.changes.folders)})


@router.post("/folders", summary="Take in a folder of this machine", status_code=202, responses=PROBLEMS)
async def take_folder(request: Request, chosen: Folder) -> Response:
    it = service(request)
    return answer((await it.read(it.changes.take_folder, chosen.folder)).document(), 202)


@router.put(
    "/videos/{digest}/transcript",
    summary="Make the transcript anew, with another model or language",
    status_code=202,
    responses=PROBLEMS,
)
async def transcribe(request: Request, digest: Digest, how: Hearing) -> Response:
    it = service(request)
    job = await it.change(it.changes.transcribe, known(it, digest), how.whisper, how.language)
    return answer(job.document(), 202)


@router.get("/uploads", summary="Uploads, folders and new transcripts on their way into the store")
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
