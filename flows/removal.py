"""The command `remove`: deletes videos from the store and everything made of them."""

from __future__ import annotations

import dataclasses
import os
from typing import Annotated

from cyclopts import Parameter

from flows import history, progress
from flows.printing import JsonOption, print_json, put
from flows.settings import DEFAULT_STORE, StoreOption
from multimodal.catalogue import Catalogue
from multimodal.store import InputError, Store

STILL_KNOWN = (
    "What the codebook and the model learned from it stays in them until `videobert run VIDEOS --refit`; "
    "the original file is untouched, and a run over it takes it in as new."
)
NOT_LEARNED = "The original file is untouched, and a run over it takes it in as new."


def remove(
    *videos: Annotated[str, Parameter(help="Videos of the store: their whole names, paths or digests.")],
    store: StoreOption = DEFAULT_STORE,
    json_: JsonOption = False,
) -> None:
    """Deletes videos from the store: transcript, features, tokens, index entries, pictures; no answer shows them again.

    What the codebook and the model learned from them stays until `run --refit`. The original files are untouched.
    """
    from multimodal.removal import remove as remove_videos

    if not videos:
        raise InputError("VIDEO: none given; name videos of the store, `videobert status` lists them")
    opened = Store(store, create=False)
    with opened.writing(), Catalogue(opened.catalogue) as catalogue:
        removed = remove_videos(opened, catalogue, videos)
        in_history = _forget_in_history(opened, catalogue)
    note = " ".join(
        filter(None, [STILL_KNOWN if any(r.learned for r in removed) else NOT_LEARNED, in_history])
    )
    if json_:
        print_json({"removed": [dataclasses.asdict(r) for r in removed], "note": note})
        return
    for r in removed:
        put(f"removed {r.name}: {r.files} files of the store")
    put(note)


def _forget_in_history(store: Store, catalogue: Catalogue) -> str:
    """Deletes the answers that name or show a removed video from the history of the server that ``PREFECT_API_URL`` names.

    Returns what is to be said of it. The videos are removed by now, so a server that does not answer is no failure.
    """
    if not (url := os.environ.get("PREFECT_API_URL")):
        return ""
    import httpx

    from flows.answer_history import forget_removed

    try:
        with progress.waiting("asking the Prefect server"):
            number = forget_removed(store, catalogue)
    except (httpx.HTTPError, RuntimeError) as error:
        return f"The server at {url} cannot be asked ({error}); the next ingestion deletes the answers in its history."
    return (
        f"{history.counted(number, 'run')} of questions deleted from the history of {url}." if number else ""
    )
