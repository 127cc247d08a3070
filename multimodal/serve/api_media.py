"""The routes of the API that give files: media by byte ranges, thumbnails, pictures of visual tokens, cut clips, rows."""

from __future__ import annotations

import asyncio
import csv
import io
import re
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi import Path as InPath
from starlette.responses import Response

from multimodal.catalogue import Video
from multimodal.serve import clips
from multimodal.serve.api import PROBLEMS, Kind, Second, attachment, service
from multimodal.serve.media import FOREVER, MediaResponse, media_type
from multimodal.serve.problems import Problem
from multimodal.serve.service import Service
from multimodal.tokens import picture_path
from vision.errors import MediaError

router = APIRouter(prefix="/api")
Digest = Annotated[str, InPath(pattern="^[0-9a-f]{64}$")]
SECONDS_FOR_A_FRAME = 60.0
EDL_RATE = 25
"""Frames a second of an EDL's times."""


def known(it: Service, digest: str) -> Video:
    """The video of this digest. Raises :class:`Problem` 404 where the catalogue knows none."""
    video = it.live.catalogue.get(digest)
    if video is None:
        raise Problem(404, f"video {digest[:12]}: not in this store")
    return video


@router.get("/media/{digest}", summary="The video's file, whole or by byte ranges", responses=PROBLEMS)
async def media(request: Request, digest: Digest) -> Response:
    it = service(request)
    video = known(it, digest)
    file, about = await it.read(it.files.open, video)
    return MediaResponse(file, about.st_size, video.video, media_type(video.name))


router.add_api_route("/media/{digest}", media, methods=["HEAD"], include_in_schema=False)


@router.get(
    "/thumbnails/{digest}/{milliseconds}.jpg", summary="The frame on display then", responses=PROBLEMS
)
async def thumbnail(
    request: Request, digest: Digest, milliseconds: Annotated[int, InPath(ge=0, le=10**9)]
) -> Response:
    it = service(request)
    waiting = it.frames.get(known(it, digest), milliseconds)
    try:
        # Shielded: the frame is kept for the next request even where this one has gone.
        picture = await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(waiting)), SECONDS_FOR_A_FRAME)
    except TimeoutError:
        raise Problem(503, "the frame takes too long; ask again later", {"retry-after": "10"}) from None
    if picture is None:
        raise Problem(404, "no frame can be read there", {"cache-control": "no-store"})
    return Response(
        picture,
        headers={"cache-control": FOREVER, "etag": f'"{digest}.{milliseconds}"'},
        media_type="image/jpeg",
    )


@router.get("/pictures/{codebook}/{token}.jpg", summary="The picture of a visual token", responses=PROBLEMS)
async def picture(
    request: Request,
    codebook: Annotated[str, InPath(pattern="^[0-9a-z]{1,64}$")],
    token: Annotated[str, InPath(pattern="^v[0-9]{5,9}$")],
) -> Response:
    it = service(request)
    path = picture_path(it.live.store, codebook, int(token[1:]))
    if path is None:
        raise Problem(404, f"visual token {token}: has no picture")
    data = await it.read(path.read_bytes)
    return Response(data, headers={"cache-control": FOREVER}, media_type="image/jpeg")


@router.get("/videos/{video}/clip.mp4", summary="A moment as a file of its own", responses=PROBLEMS)
async def clip(request: Request, video: str, start: Second, end: Second) -> Response:
    it = service(request)
    found = it.video(video)
    if not 0 < end - start <= clips.MOST_SECONDS:
        raise Problem(
            400, f"from {start:g} s to {end:g} s: must be more than 0 and at most {clips.MOST_SECONDS:g} s"
        )
    (await it.read(it.files.open, found))[0].close()
    try:
        made = await it.cut(clips.cut, Path(found.path), start, end)
    except MediaError as error:
        raise Problem(404, str(error)) from None
    name = f"{Path(found.name).stem} {start:.1f}-{end:.1f}.mp4"
    return Response(made, headers=attachment(name) | {"cache-control": FOREVER}, media_type="video/mp4")


@router.get("/videos/{video}/moment.{kind}", summary="A moment as a row of CSV or EDL", responses=PROBLEMS)
async def moment(
    request: Request,
    video: str,
    kind: Kind,
    start: Second,
    end: Second,
    text: Annotated[str, Query(max_length=2000)] = "",
) -> Response:
    found = service(request).video(video)
    if end <= start:
        raise Problem(400, f"from {start:g} s to {end:g} s: must end after it starts")
    written = csv_rows([(found, start, end, text)]) if kind == "csv" else edl(found, start, end, text)
    name = f"{Path(found.name).stem} {start:.1f}-{end:.1f}.{kind}"
    types = {"csv": "text/csv", "edl": "text/plain"}
    return Response(written.encode("utf-8", "replace"), headers=attachment(name), media_type=types[kind])


def csv_rows(moments: list[tuple[Video, float, float, str]]) -> str:
    """CSV with a heading. A cell that a spreadsheet would run as a formula gets an apostrophe."""
    out = io.StringIO()
    rows = csv.writer(out)
    rows.writerow(["video", "name", "start", "end", "text"])
    for video, start, end, text in moments:
        cells = [f"'{c}" if c[:1] in ("=", "+", "-", "@", "\t", "\r") else c for c in (video.name, text)]
        rows.writerow([video.video, cells[0], f"{start:.3f}", f"{end:.3f}", cells[1]])
    return out.getvalue()


def edl(video: Video, start: float, end: float, text: str) -> str:
    """One event of a CMX 3600 edit list, at :data:`EDL_RATE` frames a second, non-drop."""

    def plain(words: str) -> str:
        return re.sub(r"\s+", " ", words)

    first, last = round(start * EDL_RATE), round(end * EDL_RATE)
    source = " ".join(map(_timecode, (first, last, 0, last - first)))
    lines = [f"TITLE: {plain(video.name)}", "FCM: NON-DROP FRAME", f"001  AX       AA/V  C        {source}",
             f"* FROM CLIP NAME: {plain(video.name)}"]  # fmt: skip
    return "\n".join([*lines, *([f"* COMMENT: {plain(text)}"] if text else [])]) + "\n"


def _timecode(frames: int) -> str:
    seconds, rest = divmod(frames, EDL_RATE)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}:{rest:02}"
