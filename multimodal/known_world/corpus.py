"""The files of a known world: a corpus for `videobert ingest --import`, and the world's parameters as JSON."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from multimodal.known_world.process import Sampler, Template, World
from multimodal.store import InputError
from vision.clips import CLIP_SECONDS

VERSION = 1
WORLD, TRANSCRIPTS, TOKENS = "world.json", "transcripts.csv", "tokens.csv"


def write_corpus(world: World, videos: int, folder: Path, seed: int = 0) -> None:
    """Writes ``world.json``, ``transcripts.csv`` and ``tokens.csv`` (docs/import.md) of so many videos into a folder."""
    write_videos(world, range(videos), folder, seed)


def write_videos(world: World, numbers: Iterable[int], folder: Path, seed: int = 0) -> None:
    """The same of the videos of these numbers.

    Sentences begin and end with clips, so that a segment's clips are those during which its sentence is said.
    """
    sampler = Sampler(world, seed)
    with open_tables(folder) as (sentences, clips):
        write_world(world, folder / WORLD)
        for number in numbers:
            video, label = sampler.video(number), f"v{number:05d}"
            for s in video.sentences:
                start, end = s.first * CLIP_SECONDS, (s.first + s.count) * CLIP_SECONDS
                sentences.writerow((label, start, end, " ".join(s.words)))
            for clip, token in enumerate(video.tokens):
                clips.writerow((label, clip * CLIP_SECONDS, (clip + 1) * CLIP_SECONDS, token))


@contextlib.contextmanager
def open_tables(folder: Path) -> Iterator[tuple[Any, Any]]:
    """Writers (:func:`csv.writer`) of ``transcripts.csv`` and ``tokens.csv`` in a folder, which is made, with their headers."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        (folder / TRANSCRIPTS).open("w", newline="", encoding="utf-8") as said,
        (folder / TOKENS).open("w", newline="", encoding="utf-8") as shown,
    ):
        sentences, clips = csv.writer(said), csv.writer(shown)
        sentences.writerow(("video", "start", "end", "text"))
        clips.writerow(("video", "start", "end", "token"))
        yield sentences, clips


def write_world(world: World, path: Path) -> None:
    path.write_text(json.dumps({"version": VERSION} | _plain(dataclasses.asdict(world))), encoding="utf-8")


def _plain(value: Any) -> Any:
    """Arrays as lists, all else as it is."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    return {name: _plain(part) for name, part in value.items()} if isinstance(value, dict) else value


def read_world(path: Path) -> World:
    """The world of a file. Raises :class:`InputError` where it cannot be read or is none."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document.pop("version") != VERSION:
            raise ValueError(f"its version is not {VERSION}")
        values = {field.name: document.pop(field.name) for field in dataclasses.fields(World)}
        for field in dataclasses.fields(World):
            if field.type == "np.ndarray":
                number = np.int64 if field.name in ("action_DK", "thing_DK") else np.float64
                values[field.name] = np.array(values[field.name], number)
        for name in ("step_templates", "chatter_templates"):
            values[name] = tuple(Template(t["share"], tuple(t["slots"])) for t in values[name])
        return World(**values)
    except OSError as error:
        raise InputError(f"--world {path}: cannot be read ({error.strerror}); name a world's file") from error
    except (ValueError, LookupError, TypeError, AttributeError, InputError) as error:
        raise InputError(
            f"--world {path}: not a known world ({error}); docs/known_world.md says how one is made"
        ) from error
