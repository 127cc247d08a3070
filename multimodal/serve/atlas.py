"""The atlas: visual tokens and words on one map, the tree of the codebook beside it, and the clips behind a token."""

from __future__ import annotations

import functools
from collections import defaultdict
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from multimodal.answers.answer_json import Document
from multimodal.catalogue import Video
from multimodal.serve import documents
from multimodal.serve.live import Snapshot
from multimodal.store import InputError, Store
from multimodal.tokens import load_codebook
from multimodal.vocabulary import visual_name
from multimodal.web import charts
from vision.clips import CLIP_SECONDS

TSNE_MOST = 256
"""Tokens that are laid out by t-SNE at most; more go by the tree, whose time grows with their number alone."""
CLIPS = 24
MOST_READ = 400
"""Videos that are looked through for the clips of a token at most."""


def atlas(snapshot: Snapshot) -> Document:
    """``tokens``: [token, x, y, clips, name] of each that is used; ``words``: [word, x, y, clips]. x and y from 0 to 1.

    Raises :class:`InputError` where the store has no codebook.
    """
    codebook = snapshot.opened.codebook
    if codebook is None:
        raise InputError("the store has no codebook yet; `videobert run VIDEOS` makes one")
    k, depth, placed = _layout(snapshot.opened.store, codebook)
    names = documents.token_names(snapshot)
    by_word = defaultdict(list)
    for token, x, y, count in placed:
        for word in (names.get(token) or "").split(", "):
            if word:
                by_word[word].append((x, y, count))
    words = []
    for word, places in sorted(by_word.items()):
        weights = np.array([count for *_, count in places], float) + 1e-9
        x, y = (float(np.average([p[i] for p in places], weights=weights)) for i in (0, 1))
        words.append([word, round(x, 4), round(y, 4), sum(count for *_, count in places)])
    tokens = [[token, x, y, count, names.get(token)] for token, x, y, count in placed]
    return {"codebook": codebook, "k": k, "depth": depth, "tokens": tokens, "words": words}


@functools.lru_cache(maxsize=4)
def _layout(store: Store, digest: str) -> tuple[int, int, list[tuple[int, float, float, int]]]:
    """k, depth, and (token, x, y, clips) of each used token. A codebook never changes under its digest."""
    codebook = load_codebook(store, digest)
    used = np.flatnonzero(codebook.used_)
    if not codebook.has_centroids:
        xy = charts.grid_positions(np.zeros((len(used), 1)), 0.1, 0.1)
    elif len(used) <= TSNE_MOST:
        xy = charts.atlas_positions(codebook.leaf_centroids()[used], 0.02, 0.02)
    else:
        xy = tree_positions(codebook.leaf_centroids()[used], used, codebook.options.k, codebook.options.depth)
    counts = codebook.counts_[used]
    placed = [
        (int(t), round(float(x), 4), round(float(y), 4), int(n))
        for t, (x, y), n in zip(used, xy, counts, strict=True)
    ]
    return codebook.options.k, codebook.options.depth, placed


def tree_positions(centroids_ND: np.ndarray, tokens_N: np.ndarray, k: int, depth: int) -> np.ndarray:
    """float64 [n, 2]: x and y in [0, 1]: the nodes of each level lie around their parent, by the two main directions of
    their means, so that what is near in the tree is near on the map."""
    xy_N2 = np.full((len(tokens_N), 2), 0.5)

    def place(rows: np.ndarray, level: int, centre: np.ndarray, radius: float) -> None:
        digits = tokens_N[rows] // k ** (depth - 1 - level) % k
        groups = [rows[digits == digit] for digit in np.unique(digits)]
        if len(groups) == 1 and level < depth - 1:
            place(groups[0], level + 1, centre, radius)
            return
        places = centre + 0.62 * radius * _main_directions(
            np.stack([centroids_ND[g].mean(0) for g in groups])
        )
        room = radius / max(1.8, np.sqrt(len(groups)))
        for group, at in zip(groups, places, strict=True):
            xy_N2[group] = at
            if level < depth - 1:
                place(group, level + 1, at, room)

    place(np.arange(len(tokens_N)), 0, np.array([0.5, 0.5]), 0.5)
    low, high = xy_N2.min(0), xy_N2.max(0)
    return (xy_N2 - low) / np.maximum(high - low, 1e-9)


def _main_directions(means_GD: np.ndarray) -> np.ndarray:
    """float64 [G, 2]: the first two principal components, scaled to [−1, 1], and spread so that none lie on another."""
    if len(means_GD) == 1:
        return np.zeros((1, 2))
    centred = np.asarray(means_GD, np.float64) - means_GD.mean(0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    xy = np.zeros((len(means_GD), 2))
    xy[:, : min(2, len(values))] = (left * values)[:, :2]
    # By rank half way: an outlier would push the others together.
    ranks = xy.argsort(0).argsort(0) / max(1, len(xy) - 1) * 2 - 1
    return (xy / max(np.abs(xy).max(), 1e-12) + ranks) / 2


def token_document(snapshot: Snapshot, token: int) -> dict[str, Any]:
    """A visual token: its name, its picture, and clips of the store that show it, of as many videos as it goes."""
    codebook = snapshot.opened.codebook
    if codebook is None:
        raise InputError("the store has no codebook yet; `videobert run VIDEOS` makes one")
    store = snapshot.opened.store
    by_video: list[list[dict[str, Any]]] = []
    for video in [v for v in snapshot.videos.values() if v.clips][:MOST_READ]:
        if found := _clips(store, codebook, video, token):
            by_video.append(found)
        if len(by_video) >= CLIPS:
            break
    # One of each video first, then the second of each.
    rounds = [clips[n] for n in range(CLIPS) for clips in by_video if n < len(clips)]
    return {
        "token": visual_name(token),
        "name": documents.token_names(snapshot).get(token),
        "picture": f"/api/pictures/{codebook}/{visual_name(token)}.jpg",
        "clips": rounds[:CLIPS],
    }


def _clips(store: Store, codebook: str, video: Video, token: int) -> list[dict[str, Any]]:
    path = store.tokens(codebook, video.video)
    if not path.exists():
        return []
    table = pq.ParquetFile(path).read()
    starts = table["start"].to_numpy()[table["token"].to_numpy() == token]
    return [
        {"video": video.video, "name": video.name, "start": float(s), "end": float(s) + CLIP_SECONDS,
         "thumbnail": documents.thumbnail_address(video.video, float(s) + CLIP_SECONDS / 2) if video.path else None}
        for s in starts[:CLIPS]
    ]  # fmt: skip
