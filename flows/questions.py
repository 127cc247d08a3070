"""Owns the commands that ask a store something: each is a thin call of one answer."""

from __future__ import annotations

import dataclasses
import sys
from typing import Annotated, Any

from cyclopts import Parameter

from flows.printing import JsonOption, clock, print_hits, print_json
from flows.settings import DEFAULT_STORE, StoreOption
from multimodal.catalogue import Catalogue
from multimodal.store import InputError, Store

At = Annotated[float | None, Parameter(help="The second of the video that is meant.")]
Device = Annotated[str, Parameter(help="Where the model runs: cpu or cuda.")]


def search(
    text: Annotated[
        str | None, Parameter(help="What is said or shown in the moment that you look for.")
    ] = None,
    *,
    like: Annotated[
        str | None, Parameter(help="VIDEO@S in place of TEXT: moments that look like that one, never itself.")
    ] = None,
    texts: Annotated[
        bool,
        Parameter(help="With --like: the sentences of the store that fit what is seen there.", negative=()),
    ] = False,
    store: StoreOption = DEFAULT_STORE,
    top: Annotated[int, Parameter(help="How many moments.")] = 5,
    device: Device = "cpu",
    json_: JsonOption = False,
) -> None:
    """The moments of all videos that a text or another moment calls for, best first, and why each is there.

    Before a model is trained, a text is looked up among the spoken words alone.
    """
    from multimodal.answers.search import without_model
    from multimodal.answers.session import asked, open_index, open_trained
    from multimodal.library import usable

    if (text is None) == (like is None):
        raise InputError(
            "search: give a TEXT, or --like VIDEO@S (with --texts: what fits its picture), one of them"
        )
    if texts and like is None:
        raise InputError("--texts: goes with --like VIDEO@S; without it give the TEXT alone")
    if top < 1:
        raise InputError(f"--top {top}: must be 1 or more")
    opened = Store(store, create=False)
    with Catalogue(opened.catalogue) as catalogue:
        moment = asked(catalogue, like) if like is not None else None
        if moment is not None and moment.at is None:
            raise InputError(f"--like {like}: names no second; write VIDEO@SECONDS, as in {like}@62.5")
        by_words_alone = moment is None and catalogue.current("model") is None
        if by_words_alone:
            index = without_model(opened, usable(catalogue))
        else:
            index = open_index(opened, catalogue, open_trained(opened, catalogue, device))
        if moment is not None and moment.at is not None:
            hits = (index.texts if texts else index.like)(moment.video, moment.at, top)
        else:
            hits = index.search(text or "", top)
        unknown = index.unknown_words(text or "")
    if json_:
        document = {"query": text, "by": "words" if by_words_alone else "model", "unknown": unknown}
        if moment is not None:
            document |= {"like": {"video": moment.video.video, "name": moment.video.name, "at": moment.at}}
        print_json(document | {"hits": [dataclasses.asdict(h) for h in hits]})
        return
    if by_words_alone:
        print(
            "By words alone: the store has no model yet; `videobert run VIDEOS` makes one.", file=sys.stderr
        )
    if unknown:
        print(f"The model's vocabulary lacks: {', '.join(unknown)}.", file=sys.stderr)
    if not hits:
        print("Nothing found.", file=sys.stderr)
    print_hits(hits)


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
