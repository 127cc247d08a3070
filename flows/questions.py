"""Owns the commands that ask a store something: each is a thin call of one answer."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flows.lines import (
    Document,
    caption_lines,
    classify_lines,
    imagine_lines,
    next_lines,
    search_lines,
)
from flows.printing import JsonOption, print_json
from flows.settings import DEFAULT_STORE, StoreOption
from multimodal.store import InputError

Moment = Annotated[
    str,
    Parameter(
        help="A video of the store: its name, path or digest; with @S the moment at S seconds (or M:S)."
    ),
]
At = Annotated[float | None, Parameter(help="The second of the video that is meant; the same as VIDEO@S.")]
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
    from multimodal.answers.answer_json import search as answer

    document = answer(store, text, like=like, texts=texts, top=top, device=device)
    if json_:
        print_json(document)
        return
    if document["by"] == "words":
        print(
            "By words alone: the store has no model yet; `videobert run VIDEOS` makes one.", file=sys.stderr
        )
    if document["unknown"]:
        print(f"The model's vocabulary lacks: {', '.join(document['unknown'])}.", file=sys.stderr)
    if not document["hits"]:
        print("Nothing found.", file=sys.stderr)
    for line in search_lines(document):
        print(line)


def next_(
    video: Moment,
    *,
    at: At = None,
    store: StoreOption = DEFAULT_STORE,
    top: Annotated[int, Parameter(help="How many visual tokens for each horizon.")] = 3,
    words: Annotated[
        bool, Parameter(help="The words spoken before the moment are heard too.", negative=())
    ] = False,
    rollout: Annotated[
        float | None, Parameter(help="Also draw one way in which so many seconds may go.")
    ] = None,
    temperature: Annotated[
        float | None, Parameter(help="Of the draw: 0 takes the likeliest always; 1 where not given.")
    ] = None,
    top_p: Annotated[
        float | None, Parameter(help="Draw from the likeliest that make up this share; 0.9 where not given.")
    ] = None,
    seed: Annotated[int | None, Parameter(help="The same seed draws the same; 0 where not given.")] = None,
    device: Device = "cpu",
    json_: JsonOption = False,
) -> None:
    """What comes next: the likeliest visual tokens 1.5, 3, 6 and 12 seconds ahead, with a picture of each."""
    from multimodal.answers.answer_json import forecast
    from multimodal.answers.forecast import SamplingOptions

    if at is None and "@" not in video:
        raise InputError(f"VIDEO {video}: which second of it? write {video}@SECONDS or --at SECONDS")
    said = {"temperature": temperature, "top_p": top_p, "seed": seed}
    said = {name: value for name, value in said.items() if value is not None}
    sampling = SamplingOptions(**said) if said else None
    options = {"at": at, "top": top, "words": words, "rollout": rollout, "sampling": sampling}
    _answer(forecast(store, video, device=device, **options), next_lines, json_)


def caption(
    video: Moment,
    *,
    at: At = None,
    template: Annotated[
        str | None,
        Parameter(help="A sentence with [MASK] where words are to be found, in place of the captioner."),
    ] = None,
    vtt: Annotated[Path | None, Parameter(help="Write the captions to this WebVTT file too.")] = None,
    store: StoreOption = DEFAULT_STORE,
    device: Device = "cpu",
    json_: JsonOption = False,
) -> None:
    """What a video shows, in words: a caption for each of its moments, from what is seen alone.

    By the captioner, where the store has one; else by a cloze template.
    """
    from multimodal.answers.answer_json import caption as answer

    _answer(answer(store, video, at=at, template=template, vtt=vtt, device=device), caption_lines, json_)


def classify(
    video: Moment,
    *,
    verbs: Annotated[str, Parameter(help="Verbs to choose from: chop,pour,stir")] = "",
    nouns: Annotated[str, Parameter(help="Nouns to choose from: carrot,egg,olive oil")] = "",
    at: At = None,
    store: StoreOption = DEFAULT_STORE,
    device: Device = "cpu",
    json_: JsonOption = False,
) -> None:
    """Which verbs and nouns of your own lists fit each moment, by the model's words and by its alignment head."""
    from multimodal.answers.answer_json import classify as answer

    lists = {
        "verbs": split_names("--verbs", verbs) if verbs else [],
        "nouns": split_names("--nouns", nouns) if nouns else [],
    }
    _answer(answer(store, video, at=at, device=device, **lists), classify_lines, json_)


def imagine(
    text: Annotated[str, Parameter(help="What is to be seen.")],
    *,
    clips: Annotated[int, Parameter(help="How many clips of 1.5 s.")] = 3,
    out: Annotated[Path | None, Parameter(help="Write the strip of pictures to this PNG file.")] = None,
    store: StoreOption = DEFAULT_STORE,
    device: Device = "cpu",
    json_: JsonOption = False,
) -> None:
    """Text to video: the visual tokens that a sentence calls for, with the real clips nearest to them."""
    from multimodal.answers.answer_json import imagine as answer

    _answer(answer(store, text, clips=clips, out=out, device=device), imagine_lines, json_)


def split_names(option: str, text: str) -> list[str]:
    """The names of a list with commas. Raises :class:`InputError` where one is empty."""
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise InputError(
            f"{option} {text!r}: has an empty name; part names by one comma, as in {option} chop,pour"
        )
    return names


def _answer(document: Document, lines: Callable[[Document], list[str]], as_json: bool) -> None:
    if as_json:
        print_json(document)
        return
    for line in lines(document):
        print(line)
