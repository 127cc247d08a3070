"""The documents of the API: those of `--json`, with addresses in place of the machine's paths."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from multimodal.answers.answer_json import Document
from multimodal.answers.token_names import read_token_names
from multimodal.catalogue import Catalogue, Video, status_document
from multimodal.library import Material, read_material, read_transcript
from multimodal.serve.live import Snapshot
from multimodal.serve.problems import without_paths
from multimodal.store import InputError, Store
from multimodal.vocabulary import visual_name
from vision.clips import CLIP_SECONDS

_PICTURE = re.compile(r"codebooks/([0-9a-z]+)/pictures/(v\d+)\.jpg$")
FIELDS = ("video", "name", "state", "reason", "seconds", "clips", "sentences", "gone")


def video_row(video: Video, root: Path) -> Document:
    """A video as `videobert status --json` has it."""
    row = {field: getattr(video, field) for field in FIELDS}
    return row | {"reason": without_paths(video.reason, root)}


def status(catalogue: Catalogue, root: Path) -> Document:
    """The document of `videobert status --json`; of a run's options only those that are no paths."""
    document = status_document(catalogue)
    for row in document["videos"]:
        row["reason"] = without_paths(row["reason"], root)
    for run in document["runs"]:
        del run["options"]  # they hold paths of the machine
    return document


def with_addresses(document: Any) -> Any:
    """The document with each picture's path replaced by its address on this server."""
    if isinstance(document, dict):
        return {
            key: picture_address(value) if key == "picture" else with_addresses(value)
            for key, value in document.items()
        }
    if isinstance(document, list | tuple):
        return [with_addresses(part) for part in document]
    return document


def picture_address(path: str | Path | None) -> str | None:
    found = _PICTURE.search(str(path)) if path else None
    return f"/api/pictures/{found[1]}/{found[2]}.jpg" if found else None


def thumbnail_address(video: str, second: float) -> str:
    return f"/api/thumbnails/{video}/{max(0, round(second * 1000))}.jpg"


def material(snapshot: Snapshot, video: Video) -> Material | None:
    """The video's transcript and visual tokens; ``None`` where it has clips that are not encoded yet."""
    codebook = snapshot.opened.codebook
    if video.clips and (codebook is None or not snapshot.opened.store.tokens(codebook, video.video).exists()):
        return None
    return read_material(snapshot.opened.store, codebook or "", video)


def token_names(snapshot: Snapshot) -> dict[int, str]:
    return {} if snapshot.by_words else read_token_names(snapshot.opened.store, snapshot.opened.trained)


def video_document(snapshot: Snapshot, video: Video) -> Document:
    """A video with its transcript, moments and visual tokens, each with times in seconds.

    ``tokens`` is empty, and so is what needs them, where the video is not encoded yet.
    """
    store = snapshot.opened.store
    found = material(snapshot, video) if video.state in ("done", "partial") else None
    row = video_row(video, store.root) | {"searched": video.video in snapshot.searched}
    if video.state not in ("done", "partial"):
        return row | {"language": None, "transcript": [], "moments": [], "tokens": []}
    transcript = found.transcript if found is not None else read_transcript(store, video)
    names = token_names(snapshot)
    tokens = [] if found is None else zip(found.starts.tolist(), found.tokens.tolist(), strict=True)
    return row | {
        "language": transcript.language,
        "transcript": [
            {"start": s.start, "end": s.end, "text": s.text, "words": [vars(word) for word in s.words]}
            for s in transcript.sentences
        ],
        "moments": [
            {"start": m.start, "end": m.end, "text": m.text, "tokens": [visual_name(t) for t in m.tokens]}
            for m in ([] if found is None else found.moments())
        ],
        "tokens": [
            {
                "start": start,
                "end": start + CLIP_SECONDS,
                "token": visual_name(token),
                "name": names.get(token),
            }
            for start, token in tokens
        ],
    }


def written(store: Store, video: Video) -> list[float]:
    """When the transcript and the features in use were written, in seconds since 1970; those that there are."""
    paths = [store.transcript(video.video, video.transcript)] if video.transcript else []
    paths += [store.features(video.video, video.features)] if video.features else []
    return [path.stat().st_mtime for path in paths if path.exists()]


def find(catalogue: Catalogue, label: str) -> Video:
    """The video that ``label`` means: its digest, or a name as in the commands."""
    video = catalogue.get(label)
    if video is not None:
        return video
    if "/" in label or "\0" in label:  # the commands take paths of their own machine, this server none
        raise InputError(f"video {label[:100]!r}: not in this store")
    return catalogue.find(label)
