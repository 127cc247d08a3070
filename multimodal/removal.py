"""Removal of a video: its artefacts are deleted; a codebook or model that was trained on it stays as it is.

First the catalogue forgets the video in one transaction, and no answer shows it any more. Then its files are deleted. A
removal that was killed in between is finished by the next removal or the next run.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from multimodal import sums
from multimodal.answers.cache import remove_video
from multimodal.answers.counts import remove_counts
from multimodal.answers.token_names import remove_token_names
from multimodal.catalogue import Catalogue, Video
from multimodal.store import Store, canonical_json, file_digest, write_artefact, write_whole
from multimodal.sums import sum_file
from multimodal.vocabulary import visual_name

KINDS = ("transcripts", "features", "tokens", "indexes", "thumbnails", "corrections", "speech_choices")


@dataclasses.dataclass(frozen=True)
class Removed:
    """``files`` of the store were deleted with the video; ``learned`` is true where the codebook in use was fitted on it."""

    video: str
    name: str
    files: int
    learned: bool


def remove(store: Store, catalogue: Catalogue, labels: Sequence[str]) -> list[Removed]:
    """Removes the videos that ``labels`` mean (whole names, paths or digests), and the leftovers of earlier removals.

    The original files are not touched, but those that came by the page (``uploads/``) are deleted. The caller holds the store. Raises :class:`~multimodal.store.InputError`, before
    anything is removed, where a label means no video or several.
    """
    videos = {v.video: v for v in (catalogue.find(label, exact=True, unfinished=True) for label in labels)}
    for video in videos.values():
        catalogue.forget(video)
    finished = finish_removals(store, catalogue)
    return [r for r in finished if r.video in videos]


def finish_removals(store: Store, catalogue: Catalogue) -> list[Removed]:
    """Deletes the files of every forgotten video whose files may still be there."""
    return [_delete(store, catalogue, video) for video in catalogue.forgotten(unfinished=True)]


def _delete(store: Store, catalogue: Catalogue, video: Video) -> Removed:
    remove_video(store, video.video)
    remove_token_names(store)
    remove_counts(store)
    files, learned = 0, False
    for kind in KINDS:
        for path in sorted((store.root / kind).glob(f"**/{video.video}.*")):
            path.unlink()
            files += path.suffix != sums.ENDING
    # A file that came by the page is the store's own.
    if (uploaded := store.root / "uploads" / video.video).is_dir():
        shutil.rmtree(uploaded)
        files += 1
    for folder in sorted((store.root / "codebooks").glob("[!.]*")):
        files += _delete_pictures(folder, video.video)
    current = catalogue.current("codebook")
    if current is not None:
        description = json.loads((store.codebook(current) / "codebook.json").read_text())
        learned = video.video in [*description["words_only"], *(v for v, _ in description["videos"])]
    for head in sorted((store.root / "heads").glob("*.json")):
        _delete_answers(head, video.video)
    if store.report.exists():
        store.report.unlink()
        sum_file(store.report).unlink(missing_ok=True)
        files += 1
    # What was set aside, and the copies of the catalogue, may hold it too.
    shutil.rmtree(store.damaged, ignore_errors=True)
    catalogue.forget_copies()
    catalogue.forgot(video.video)
    return Removed(video.video, video.name, files, learned)


def _delete_answers(head: Path, video: str) -> None:
    """Deletes the answers about a video from those that a head was judged by; its figures stay as they were."""
    about = json.loads(head.read_text())
    answers = about.get("answers", [])
    left = [answer for answer in answers if answer["video"] != video]
    if len(left) < len(answers):
        write_artefact(head, canonical_json(about | {"answers": left}).encode())


def _delete_pictures(codebook: Path, video: str) -> int:
    """Deletes a video's frames from a codebook; their tokens then have neither picture nor example clip.

    Pictures go first, then the description, then the manifest: a deletion that is killed finds the rest again.
    """
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
    listed = json.loads((codebook / "manifest.json").read_text())["files"]
    left = {name: digest for name, digest in listed.items() if (codebook / name).exists()}
    left["codebook.json"] = file_digest(about)
    if left != listed:
        write_whole(codebook / "manifest.json", canonical_json({"files": left}).encode())
    return len(pictures)
