"""The search page: each hit with its picture, its words marked, its two bars, and why it is there."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from multimodal.answers.fusion import Hit
from multimodal.answers.results import evidence, search_notes
from multimodal.catalogue import Video
from multimodal.serve import searching
from multimodal.serve.live import LiveStore
from multimodal.serve.marks import Part, marked
from multimodal.serve.media import is_playable
from multimodal.serve.rendering import address, at
from multimodal.serve.searching import Ask, FoundHits
from multimodal.store import InputError

LEAD_SECONDS = 1.0
"""A moment plays from a second before it."""
OPENING = "By words alone: the model is still being opened; ask again in a few seconds."
LABELS = {"heard": "heard", "title": "title", "near": "near in meaning", "seen": "seen"}


@dataclasses.dataclass(frozen=True)
class HitRow:
    """A hit as the page shows it. ``words`` and ``picture``: its two bars, as shares of the best hit's score.

    ``plays``: what a player opens, from ``start`` to ``end`` seconds of it; ``None`` where there is no file.
    """

    hit: Hit
    name: str
    parts: list[Part]
    title: list[Part]
    labels: list[str]
    why: str
    words: float
    picture: float
    middle: float
    page: str
    like: str
    plays: str | None
    start: float
    end: float
    captions: str
    stills: list[float]


def context(live: LiveStore, ask: Ask, found: FoundHits | InputError | None) -> dict[str, Any]:
    """The page's values: what was ``found`` for ``ask``, or why nothing was; for ``None`` only what the box needs.

    Before the store is open it is not said how much of it can be searched.
    """
    videos, snapshot = live.videos, live.snapshot() if live.is_open else None
    values: dict[str, Any] = {
        "ask": ask, "rows": [], "notes": [], "error": None, "more": None, "suggestion": None, "like": None,
        "folders": sorted(set(searching.folders(videos.values()).values())), "videos": len(videos),
        "searched": None if snapshot is None else len(snapshot.searched),
        "by_words": snapshot is not None and snapshot.by_words, "asked": ask.is_asked,
    }  # fmt: skip
    if found is None:
        return values
    if isinstance(found, InputError):
        return values | {"error": str(found)}
    answer = found.answer
    if answer.like is not None:
        values["like"] = answer.like
    else:
        values["notes"] = [OPENING] if found.opening else []
        values["notes"] += search_notes(vars(answer) | ({"by": "model"} if found.opening else {}))
    suggestion = answer.suggestion
    return values | {
        "rows": rows(answer.hits, videos, found.languages),
        "more": link(dataclasses.replace(ask, top=min(searching.MOST, ask.top + 20)))
        if found.more and ask.top < searching.MOST
        else None,
        "suggestion": (suggestion, link(dataclasses.replace(ask, text=suggestion))) if suggestion else None,
        "unnarrowed": link(Ask(ask.text, ask.like, ask.texts)) if ask.is_narrowed else None,
    }


def rows(hits: Sequence[Hit], videos: Mapping[str, Video], languages: Collection[str] = ()) -> list[HitRow]:
    """``languages``: those whose stems are looked up."""
    best = max((hit.score for hit in hits), default=0.0) or 1.0
    texts = marked([h.text for h in hits], [h.words for h in hits], languages)
    titles = marked([h.name for h in hits], [h.title_words for h in hits], languages)
    return [
        _row(hit, parts, title, best, videos[hit.video])
        for hit, parts, title in zip(hits, texts, titles, strict=True)
        if hit.video in videos
    ]


def _row(hit: Hit, parts: list[Part], title: list[Part], best: float, video: Video) -> HitRow:
    start, end = max(0.0, hit.start - LEAD_SECONDS), hit.end
    plays, shift = f"/api/media/{hit.video}" if video.path else None, 0.0
    if plays and not is_playable(video):
        # A file that browsers do not play is cut and encoded again.
        plays, shift = (
            address(f"/api/videos/{hit.video}/clip.mp4", start=at(start), end=at(min(end, start + 60))),
            start,
        )
    words = hit.heard + hit.title + hit.near
    return HitRow(
        hit, hit.name, parts, title, [LABELS[label] for label in hit.labels],
        evidence(vars(hit)), words / best, hit.seen / best, (hit.start + hit.end) / 2,
        page=address(f"/video/{hit.video}", t=at(hit.start)),
        like=address("/", like=f"{hit.video}@{at((hit.start + hit.end) / 2)}"),
        plays=plays, start=start - shift, end=end - shift,
        captions=f"/api/videos/{hit.video}/transcript.vtt",
        stills=[hit.start + (hit.end - hit.start) * share for share in (0.1, 0.35, 0.65, 0.9)],
    )  # fmt: skip


def link(ask: Ask, path: str = "/") -> str:
    """The address of the search."""
    plain = Ask()
    fields = {f.name: getattr(ask, f.name) for f in dataclasses.fields(Ask)}
    said = {name: value for name, value in fields.items() if value != getattr(plain, name)}
    text = said.pop("text", None)
    if said.get("texts"):
        said["texts"] = "true"
    return address(path, q=text, **said)
