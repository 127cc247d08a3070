"""Sample answers of the model page, chosen by the report's rules."""

from __future__ import annotations

import threading
from typing import Any

from multimodal.library import usable
from multimodal.serve import documents, search_page
from multimodal.serve.live import Snapshot
from multimodal.tokens import train_and_held_out

MOST_MOMENTS = 20_000
"""Moments that queries are made of at most, the first ones."""


class SampleAnswers:
    """The sample answers of a store, made when they are first looked at, and anew after a change."""

    def __init__(self) -> None:
        self._made: tuple[Snapshot, dict[str, Any]] | None = None
        self._lock = threading.Lock()

    def of(self, snapshot: Snapshot) -> dict[str, Any]:
        """``searches``: (query, rows of hits); ``captions`` and ``forecasts`` as :mod:`multimodal.web.samples` has them. None
        of each without a model."""
        with self._lock:
            if self._made is None or self._made[0] is not snapshot:
                self._made = snapshot, _made(snapshot)
            return self._made[1]


def _made(snapshot: Snapshot) -> dict[str, Any]:
    if snapshot.by_words:
        return {"searches": [], "captions": [], "forecasts": []}
    from multimodal.web import samples  # brings PyTorch

    opened = snapshot.opened
    searched = [v for v in usable(opened.catalogue) if v.video in snapshot.searched]
    _, held_out = train_and_held_out(opened.store, searched, opened.trained.codebook)
    chosen = samples.choose_videos(searched, held_out)
    materials = [found for video in chosen if (found := documents.material(snapshot, video)) is not None]
    moments = opened.index.first_moments(MOST_MOMENTS)
    queries = samples.sample_queries([(m.video, m.text) for m in moments], samples.SEARCHES)
    answers = [(query, opened.search(query, top=samples.HITS).hits) for query in queries]
    return {
        "searches": [
            (query, search_page.rows(hits, snapshot.videos, opened.index.languages))
            for query, hits in answers
        ],
        "captions": samples.caption_samples(opened, materials),
        "forecasts": samples.forecast_samples(opened, materials),
        "sure_next": opened.evaluation.quality("next").above_chance,
        "names": documents.token_names(snapshot),
    }
