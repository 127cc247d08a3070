"""The command `transcript`: the words that were heard, on standard output or as files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flows.options import CHOICE
from flows.printing import put, put_text
from flows.settings import DEFAULT_STORE, StoreOption
from multimodal.catalogue import Catalogue
from multimodal.store import InputError, Store
from speech.writers import FORMATS, Format


def transcript(
    *videos: Annotated[
        str,
        Parameter(
            help="Videos of the store, or folders of them; with --out FOLDER all of the store where none is given."
        ),
    ],
    to: Annotated[
        Format | None,
        Parameter(help="File format, as Whisper writes it; that of --out FILE, else vtt."),
        CHOICE,
    ] = None,
    out: Annotated[
        Path | None,
        Parameter(
            help="File for one video, or the folder for a NAME.vtt (srt, …) of each; standard output where not given."
        ),
    ] = None,
    overwrite: Annotated[
        bool, Parameter(help="Replace files that hold something else.", negative=(), show_default=False)
    ] = False,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """The words that were heard in videos, with their times: as captions for players, text, a table or JSON.

    Reads only, so a run may write to the store meanwhile. With --out it prints the path of each file.
    """
    from multimodal.answers import transcripts

    opened = Store(store, create=False)
    form = to or _format_of(out)
    with Catalogue(opened.catalogue, read_only=True) as catalogue:
        chosen = transcripts.select(catalogue, videos)
        if out is not None and (out.is_dir() or out.suffix.removeprefix(".").lower() not in FORMATS):
            written = transcripts.write_transcripts(opened, catalogue, chosen, out, form, overwrite=overwrite)
        elif len(chosen) != 1:
            raise InputError(
                f"{len(chosen)} videos: write them to a folder, with --out FOLDER, or name one video"
            )
        elif out is not None:
            written = [transcripts.write_transcript(opened, chosen[0], out, form, overwrite=overwrite)]
        else:
            text, note = transcripts.transcript_text(opened, chosen[0], form)
            put_text(text)
            written = [transcripts.Written(chosen[0], None, note)]
    for entry in written:
        if entry.note:
            put(entry.note, sys.stderr)
        if entry.file:
            put(str(entry.file))
    if out is not None and not any(entry.file for entry in written):
        raise InputError(f"none of {len(written)} videos has a transcript; `videobert status` lists them")


def _format_of(out: Path | None) -> Format:
    ending = out.suffix.removeprefix(".").lower() if out is not None else ""
    return next((form for form in FORMATS if form == ending), "vtt")
