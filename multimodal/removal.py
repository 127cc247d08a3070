"""Owns the removal of a video: everything that the store made of it goes, but what codebook and model learned from it.

The catalogue forgets it first, in one step; from then on no answer shows it. Then its files go. A removal that was
killed in between is finished by the next, or by the next run.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from multimodal.answers.cache import remove_video
from multimodal.answers.token_names import remove_token_names
from multimodal.catalogue import Catalogue, Video
from multimodal.store import Store, canonical_json, file_digest, write_whole
from multimodal.vocabulary import visual_name

KINDS = ("transcripts", "features", "tokens", "indexes")


@dataclasses.dataclass(frozen=True)
class Removed:
    """``files`` of the store that went with the video; ``learned`` where the codebook in use was fitted on it."""

    video: str
    name: str
    files: int
    learned: bool


def remove(store: Store, catalogue: Catalogue, labels: Sequence[str]) -> list[Removed]:
    """Removes the videos that ``labels`` mean (names, paths or digests), and what earlier removals left.

    The original files are not touched. The caller holds the store. Raises :class:`~multimodal.store.InputError` before
    anything is removed where a label means no video, or several.
    """
    videos = {v.video: v for v in (catalogue.find(label, going=True) for label in labels)}
    for video in videos.values():
        catalogue.forget(video)
    finished = finish_removals(store, catalogue)
    return [r for r in finished if r.video in videos]


def finish_removals(store: Store, catalogue: Catalogue) -> list[Removed]:
    """Deletes the files of every video that the catalogue has forgotten and whose files may still be there."""
    return [_delete(store, catalogue, video) for video in catalogue.forgotten(unfinished=True)]


def _delete(store: Store, catalogue: Catalogue, video: Video) -> Removed:
    remove_video(store, video.video)
    remove_token_names(store)
    files, learned = 0, False
    for kind in KINDS:
        for path in sorted((store.root / kind).glob(f"**/{video.video}.*")):
            path.unlink()
            files += 1
    for folder in sorted((store.root / "codebooks").glob("[!.]*")):
        files += _take_pictures(folder, video.video)
    current = catalogue.current("codebook")
    if current is not None:
        description = json.loads((store.codebook(current) / "codebook.json").read_text())
        learned = video.video in [*description["words_only"], *(v for v, _ in description["videos"])]
    if store.report.exists():
        store.report.unlink()
        files += 1
    catalogue.forgot(video.video)
    return Removed(video.video, video.name, files, learned)


def _take_pictures(codebook: Path, video: str) -> int:
    """Takes a video's frames out of a codebook: their tokens have no picture then, and no example."""
    about = codebook / "codebook.json"
    description = json.loads(about.read_text())
    tokens = [int(t) for t, (of, _) in description["examples"].items() if of == video]
    pictures = [p for t in tokens if (p := codebook / "pictures" / f"{visual_name(t)}.jpg").exists()]
    for path in pictures:
        path.unlink()
    if tokens:
        description["examples"] = {
            t: example for t, example in description["examples"].items() if example[0] != video
        }
        description["without_picture"] = sorted({*description["without_picture"], *tokens})
        write_whole(about, json.dumps(description, indent=1).encode())
    manifest = json.loads((codebook / "manifest.json").read_text())["files"]
    there = {name: codebook / name for name in manifest if (codebook / name).exists()}
    now = manifest | {"codebook.json": file_digest(about)}
    now = {name: digest for name, digest in now.items() if name in there}
    if now != manifest:
        write_whole(codebook / "manifest.json", canonical_json({"files": now}).encode())
    return len(pictures)
