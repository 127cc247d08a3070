"""Search for the page: the engine's answer, narrowed by filters, in another order where one is asked for."""

from __future__ import annotations

import dataclasses
import datetime
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from multimodal.answers.answer_json import Document, search_document
from multimodal.answers.fusion import Hit
from multimodal.answers.results import SearchAnswer
from multimodal.answers.search import DEPTH
from multimodal.catalogue import Video
from multimodal.serve.documents import written
from multimodal.serve.live import LiveStore, Snapshot
from multimodal.serve.memory import FreedMemory
from multimodal.store import InputError, Store

Sort = Literal["best", "newest", "name", "longest"]
Speech = Literal["any", "spoken", "silent"]
MOST = 200
"""Hits of one answer at most."""
MOST_KEPT = 100
"""Answers that are kept at most."""


@dataclasses.dataclass(frozen=True)
class Ask:
    """A search: a ``text``, or a moment ``like`` (VIDEO@S), with ``texts`` the sentences that fit it; and its filters.

    ``folder``: the folder of the video's file as :func:`folders` names it. ``shorter`` and ``longer``: seconds of the video.
    ``since`` and ``until``: days of its ingestion.
    """

    text: str | None = None
    like: str | None = None
    texts: bool = False
    top: int = 20
    video: str | None = None
    folder: str | None = None
    longer: float | None = None
    shorter: float | None = None
    since: datetime.date | None = None
    until: datetime.date | None = None
    speech: Speech = "any"
    sort: Sort = "best"

    @property
    def is_asked(self) -> bool:
        """Whether anything is looked for; a text of blanks is nothing."""
        return self.like is not None or bool(self.text and self.text.strip())

    @property
    def is_of_text(self) -> bool:
        """Whether a text is looked for, and no moment or sentence that is like another moment."""
        return self.text is not None and self.like is None and not self.texts

    @property
    def is_narrowed(self) -> bool:
        plain = Ask(self.text, self.like, self.texts, self.top)
        return self != plain


@dataclasses.dataclass(frozen=True)
class FoundHits:
    """An answer with the hits that the filters leave; ``more``: whether there are others. ``languages``: those whose stems
    were looked up. ``opening``: it is by words alone, since the model is still being opened."""

    answer: SearchAnswer
    more: bool
    languages: tuple[str, ...]
    opening: bool = False


class Searches:
    """The searches of a store; the latest answers are kept for as long as it stays as it is."""

    def __init__(self, live: LiveStore):
        self._live = live
        self._kept: OrderedDict[Ask, FoundHits] = OrderedDict()
        self._snapshot: Snapshot | None = None
        self._lock = threading.Lock()
        self._freed = FreedMemory()

    def many(self, asks: Sequence[Ask]) -> list[FoundHits | Exception]:
        """For each what :func:`search` gives or raises; texts by words alone while the model is opened."""
        of_text = all(ask.is_of_text for ask in asks)
        snapshot = self._live.soonest() if of_text else self._live.snapshot()
        with self._lock:
            if self._snapshot is not snapshot:
                self._snapshot = snapshot
                self._kept.clear()
            known: dict[Ask, FoundHits | Exception] = {
                ask: self._kept[ask] for ask in asks if ask in self._kept
            }
        left = list(dict.fromkeys(ask for ask in asks if ask not in known))
        known |= zip(left, search_many(self._live, snapshot, left), strict=True)
        self._freed.give_back()
        with self._lock:
            for ask in asks:
                found = known[ask]
                if self._snapshot is snapshot and not isinstance(found, Exception):
                    self._kept[ask] = found
                    self._kept.move_to_end(ask)
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        return [known[ask] for ask in asks]


def search(live: LiveStore, snapshot: Snapshot, ask: Ask) -> FoundHits:
    """The hits of ``ask``. Raises what :meth:`multimodal.answers.opened_store.OpenedStore.search` raises."""
    (found,) = search_many(live, snapshot, [ask])
    if isinstance(found, Exception):
        raise found
    return found


def search_many(live: LiveStore, snapshot: Snapshot, asks: Sequence[Ask]) -> list[FoundHits | Exception]:
    """For each what :func:`search` gives or raises; all texts are looked up together."""
    if not snapshot.searched:
        return [
            InputError(
                "the store holds nothing yet that can be searched; `videobert run VIDEOS` takes videos in"
            )
        ] * len(asks)
    texts = [ask for ask in asks if ask.is_of_text]
    answers: dict[Ask, SearchAnswer | Exception] = dict(
        zip(texts, snapshot.opened.search_texts([(ask.text, _depth(ask)) for ask in texts]), strict=True)
    )
    found: list[FoundHits | Exception] = []
    for ask in asks:
        try:
            answer = answers[ask] if ask in answers else _like(snapshot, ask)
            found.append(answer if isinstance(answer, Exception) else _narrowed(live, snapshot, ask, answer))
        except InputError as error:
            found.append(error)
    return found


def _depth(ask: Ask) -> int:
    return DEPTH if ask.is_narrowed else ask.top + 1


def _like(snapshot: Snapshot, ask: Ask) -> SearchAnswer:
    if ask.like is not None and snapshot.by_words:
        raise InputError(
            "what looks alike is told by the model, and the store has none yet; `videobert run VIDEOS` makes one"
        )
    return snapshot.opened.search(ask.text, like=ask.like, texts=ask.texts, top=_depth(ask))


def _narrowed(live: LiveStore, snapshot: Snapshot, ask: Ask, answer: SearchAnswer) -> FoundHits:
    """The answer with the hits that the filters leave, in the order that is asked for."""
    hits = list(answer.hits)
    if ask.is_narrowed:
        kept = _filter(live, snapshot, ask)
        hits = [hit for hit in hits if kept(hit)]
        hits = _sorted(live.store, snapshot, hits, ask.sort)
    reason = answer.reason
    if answer.hits and not hits:
        reason = f"{len(answer.hits)} moments were found, and the filters leave none of them"
    narrowed = dataclasses.replace(answer, hits=tuple(hits[: ask.top]), reason=reason)
    return FoundHits(narrowed, len(hits) > ask.top, snapshot.opened.index.languages, snapshot.opening)


def document(found: FoundHits) -> Document:
    """The document of `videobert search --json`; ``more``: whether a larger ``top`` would give more; ``opening``: the model is
    still being opened."""
    return search_document(found.answer) | {"more": found.more, "opening": found.opening}


def _filter(live: LiveStore, snapshot: Snapshot, ask: Ask) -> Callable[[Hit], bool]:
    videos, names = snapshot.videos, folders(snapshot.videos.values())
    one = live.catalogue.find(ask.video).video if ask.video else None

    def fits(video: Video) -> bool:
        seconds = video.seconds or 0.0
        return (
            (one is None or video.video == one)
            and (not ask.folder or names.get(video.video) == ask.folder)
            and (ask.longer is None or seconds >= ask.longer)
            and (ask.shorter is None or seconds <= ask.shorter)
            and (not (ask.since or ask.until) or _within(live.store, video, ask.since, ask.until))
        )

    wanted = {digest for digest, video in videos.items() if fits(video)}
    spoken = {"any": None, "spoken": True, "silent": False}[ask.speech]
    return lambda hit: hit.video in wanted and (spoken is None or bool(hit.text) == spoken)


def _within(store: Store, video: Video, since: datetime.date | None, until: datetime.date | None) -> bool:
    day = datetime.date.fromtimestamp(ingested(store, video))
    return (since is None or day >= since) and (until is None or day <= until)


def _sorted(store: Store, snapshot: Snapshot, hits: list[Hit], sort: Sort) -> list[Hit]:
    videos = snapshot.videos
    keys: dict[str, Callable[[Hit], Any]] = {
        "newest": lambda hit: -ingested(store, videos[hit.video]),
        "name": lambda hit: (hit.name.casefold(), hit.video, hit.start),
        "longest": lambda hit: -(videos[hit.video].seconds or 0.0),
    }
    return sorted(hits, key=keys[sort]) if sort in keys else hits


def ingested(store: Store, video: Video) -> float:
    """When the video's artefacts in use were written, in seconds since 1970; 0 where it has none."""
    return max(written(store, video), default=0.0)


def folders(videos: Iterable[Video]) -> dict[str, str]:
    """The folder of each video's file, from the folder on that holds them all; no path of the machine is told."""
    parents = {v.video: str(Path(v.path).parent) for v in videos if v.path}
    if not parents:
        return {}
    root = os.path.commonpath(set(parents.values()))
    return {
        video: os.path.relpath(parent, root) if parent != root else Path(root).name
        for video, parent in parents.items()
    }
