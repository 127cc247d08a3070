"""Owns the commands that ask a store something: each is a thin call of one answer."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from cyclopts import Parameter

from flows.printing import JsonOption, clock, print_json
from flows.settings import DEFAULT_STORE, StoreOption
from multimodal.catalogue import Catalogue
from multimodal.store import Store

At = Annotated[float | None, Parameter(help="The second of the video that is meant.")]
Device = Annotated[str, Parameter(help="Where the model runs: cpu or cuda.")]


def search(
    text: Annotated[str, Parameter(help="What is said or shown in the moment that you look for.")],
    *,
    store: StoreOption = DEFAULT_STORE,
    top: Annotated[int, Parameter(help="How many moments.")] = 5,
    device: Device = "cpu",
    json_: JsonOption = False,
) -> None:
    """The moments of all videos that a text calls for, best first."""
    from multimodal.answers.session import open_index, open_trained

    opened = Store(store, create=False)
    with Catalogue(opened.catalogue) as catalogue:
        hits = open_index(opened, catalogue, open_trained(opened, catalogue, device)).search(text, top)
    if json_:
        print_json({"query": text, "hits": [dataclasses.asdict(h) for h in hits]})
        return
    for n, hit in enumerate(hits, 1):
        print(
            f"{n}. {hit.name} {clock(hit.start)}–{clock(hit.end)}  heard {hit.heard:.4f} + seen {hit.seen:.4f}  {hit.text or '(nobody speaks)'}"
        )


def next_(
    video: Annotated[str, Parameter(help="A video of the store: its name, path or digest.")],
    *,
    at: Annotated[float, Parameter(help="The second from which the coming clips are asked for.")],
    store: StoreOption = DEFAULT_STORE,
    top: Annotated[int, Parameter(help="How many visual tokens for each horizon.")] = 3,
    device: Device = "cpu",
    json_: JsonOption = False,
) -> None:
    """What comes next: the likeliest visual tokens 1.5, 3, 6 and 12 seconds ahead, with a picture of each."""
    from multimodal.answers.forecast import forecast
    from multimodal.answers.session import material, open_trained
    from multimodal.tokens import picture_of
    from multimodal.vocabulary import visual_name

    opened = Store(store, create=False)
    with Catalogue(opened.catalogue) as catalogue:
        trained = open_trained(opened, catalogue, device)
        asked = material(opened, catalogue, trained, video)
        horizons = forecast(trained, asked, at, top)

    def shown(token: int, probability: float) -> dict[str, Any]:
        picture = picture_of(opened, trained.codebook, token)
        return {"token": visual_name(token), "probability": probability, "picture": picture and str(picture)}

    found = [{"seconds": h.seconds, "tokens": [shown(*t) for t in h.tokens]} for h in horizons]
    if json_:
        print_json({"video": asked.video.video, "at": at, "horizons": found})
        return
    for horizon in found:
        for token in horizon["tokens"]:
            print(
                f"+{horizon['seconds']:4.1f} s  {token['token']}  {token['probability']:6.1%}  {token['picture'] or 'no picture'}"
            )


def caption(
    video: Annotated[str, Parameter(help="A video of the store: its name, path or digest.")],
    *,
    at: At = None,
    template: Annotated[
        str | None, Parameter(help="A sentence with [MASK] where words are to be found.")
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    device: Device = "cpu",
    json_: JsonOption = False,
) -> None:
    """What a video shows, in words: a caption for each of its moments, from what is seen alone."""
    from multimodal.answers import caption as captions
    from multimodal.answers.session import material, open_trained

    opened = Store(store, create=False)
    with Catalogue(opened.catalogue) as catalogue:
        trained = open_trained(opened, catalogue, device)
        asked = material(opened, catalogue, trained, video)
        found = captions.caption(trained, asked, at=at, template=template or captions.TEMPLATE)
    if json_:
        print_json({"video": asked.video.video, "captions": [dataclasses.asdict(c) for c in found]})
        return
    for c in found:
        print(f"{clock(c.start)}–{clock(c.end)}  {c.score:.2f}  {c.text}")
