"""Corrections of sentences by people: an artefact of their own, applied to whichever transcript a video has.

``corrections/<video>.json`` holds what was mended. A corrected transcript is a transcript of its own address, made of the
one that it corrects and of the corrections, so its video alone is indexed anew.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from multimodal.catalogue import Video
from multimodal.library import read_json
from multimodal.store import DamagedFile, InputError, Store, canonical_json, recipe, write_artefact

VERSION = 1
MOST_LETTERS = 2000


def corrections_file(store: Store, video: str) -> Path:
    return store.root / "corrections" / f"{video}.json"


def correct(store: Store, video: Video, number: int, was: str, text: str) -> Video:
    """The video with the sentence ``number`` of its transcript mended: ``was`` becomes ``text``.

    The caller holds the store, records the video in the catalogue, and indexes it. Raises :class:`InputError` where there
    is no such sentence, it reads otherwise by now, or ``text`` has no word.
    """
    text = " ".join(text.split())
    if not re.search(r"\w", text) or len(text) > MOST_LETTERS:
        raise InputError(f"text {text[:60]!r}: must have a word, and at most {MOST_LETTERS} letters")
    stored = (
        read_json(store.transcript(video.video, video.transcript)) if video.transcript else {"sentences": []}
    )
    sentences = stored["sentences"]
    if not 0 <= number < len(sentences):
        raise InputError(f"sentence {number}: {video.name} has {len(sentences)} sentences, from 0 on")
    sentence = sentences[number]
    if sentence["text"] != was:
        raise InputError(f"sentence {number}: reads {sentence['text'][:60]!r} by now; load the page again")
    kept = _corrections(store, video.video)
    place = {"start": sentence["start"], "end": sentence["end"]}
    earlier = next((c for c in kept if c["text"] == was and {k: c[k] for k in place} == place), None)
    if earlier is not None:
        earlier["text"] = text
    else:
        kept.append(place | {"was": was, "text": text})
    kept = [c for c in kept if c["text"] != c["was"]]
    write_artefact(corrections_file(store, video.video), canonical_json({"corrections": kept}).encode())
    base = stored.get("corrected", {}).get("base", video.transcript)
    return dataclasses.replace(video, transcript=applied(store, video.video, base))


def applied(store: Store, video: str, made: str) -> str:
    """The recipe of the transcript ``made`` with the corrections of its video; ``made`` itself where none fits it.

    A correction fits the sentence that reads as the mended one did and overlaps it in time.
    """
    kept = _corrections(store, video)
    if not kept:
        return made
    stored, fits = read_json(store.transcript(video, made)), []
    for sentence in stored["sentences"]:
        found = next((c for c in kept if _is_of(c, sentence)), None)
        if found is not None:
            fits.append(found)
            sentence["words"] = _words(sentence, found["text"])
            sentence["text"] = found["text"]
    if not fits:
        return made
    corrected = recipe(version=VERSION, base=made, corrections=fits)
    if not store.transcript(video, corrected).exists():
        stored["corrected"] = {"base": made, "sentences": len(fits)}
        write_artefact(store.transcript(video, corrected), canonical_json(stored).encode())
    return corrected


def _is_of(correction: dict[str, Any], sentence: dict[str, Any]) -> bool:
    overlaps = correction["start"] < sentence["end"] and sentence["start"] < correction["end"]
    return overlaps and sentence["text"] == correction["was"]


def _words(sentence: dict[str, Any], text: str) -> list[dict[str, Any]]:
    """The words of the mended sentence: with their own times where there are as many, else by their letters."""
    words, before = text.split(), sentence["words"]
    if len(words) == len(before):
        return [old | {"text": word, "probability": None} for old, word in zip(before, words, strict=True)]
    start, length = sentence["start"], sentence["end"] - sentence["start"]
    letters = sum(map(len, words))
    made, done = [], 0
    for word in words:
        begin = start + length * done / letters
        done += len(word)
        made.append(
            {"start": begin, "end": start + length * done / letters, "text": word, "probability": None}
        )
    return made


def _corrections(store: Store, video: str) -> list[dict[str, Any]]:
    """Raises :class:`InputError` where they are damaged: no run makes again what people wrote."""
    path = corrections_file(store, video)
    try:
        return read_json(path)["corrections"] if path.exists() else []
    except DamagedFile as error:
        raise InputError(
            f"{path}: {error.cause}; it holds sentences that people mended: restore it, or delete it to go on without them"
        ) from error
