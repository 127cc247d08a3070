"""The command `remove`: deletes videos from the store and everything made of them."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from cyclopts import Parameter

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
    note = STILL_KNOWN if any(r.learned for r in removed) else NOT_LEARNED
    if json_:
        print_json({"removed": [dataclasses.asdict(r) for r in removed], "note": note})
        return
    for r in removed:
        put(f"removed {r.name}: {r.files} files of the store")
    put(note)
