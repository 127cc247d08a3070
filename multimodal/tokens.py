"""Visual tokens of a store: its codebook, a picture for each token, the tokens of each video."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import safetensors.numpy

from multimodal import pictures
from multimodal.catalogue import Catalogue, Video
from multimodal.disk import names_in
from multimodal.feature_rows import FeatureRows
from multimodal.library import (
    about_features,
    kind_of_features,
    read_features,
    read_imported_tokens,
    read_json,
    tokens_table,
)
from multimodal.store import (
    FileBatch,
    InputError,
    Store,
    canonical_json,
    check_published,
    is_published,
    publish_folder,
    write_artefact,
)
from multimodal.vocabulary import visual_name
from vision.clips import CLIP_SECONDS
from vision.codebook import Codebook, CodebookOptions, shape_for
from vision.errors import ModelError

Report = Callable[[int, int, str], None]
PICTURE_SIDE = 160
SYNCED_TOGETHER = 256
"""Shorter side of a token's picture in pixels."""
CENTROIDS, DESCRIPTION = "centroids.safetensors", "codebook.json"
ELSEWHERE = "fitted_elsewhere"
"""The key of ``codebook.json`` that a codebook of another store has: what made the features that it was fitted on."""
VERSION = 5
"""Raise it when the same features and options would give another codebook: it is part of the address."""


@dataclasses.dataclass(frozen=True)
class TokenOptions:
    """``k`` children a node and ``depth`` levels. ``None`` fits them to the number of clips, up to the leaves of ``largest``."""

    k: int | None = None
    depth: int | None = None
    largest: tuple[int, int] = (12, 3)
    seed: int = 0

    def shape(self, clips: int) -> tuple[int, int]:
        """(k, depth) for so many clips."""
        return shape_for(clips, self.largest, self.k, self.depth)


def codebook_digest(
    videos: Sequence[Video], held_out: Sequence[Video], options: TokenOptions, device: str = "cpu"
) -> str:
    """The address of the codebook of these videos and options on ``device``: 16 hex digits."""
    from vision.kmeans import compute_dtype

    inputs = [sorted(f"{v.video}.{v.features}" for v in part) for part in (videos, held_out)]
    recipe = [VERSION, inputs, options, compute_dtype(device == "cuda")]
    return hashlib.sha256(canonical_json(recipe).encode()).hexdigest()[:16]


def fit_codebook(
    store: Store,
    videos: Sequence[Video],
    held_out: Sequence[Video],
    options: TokenOptions,
    report: Report,
    device: str = "cpu",
) -> str:
    """Fits the codebook to all clips of ``videos``, publishes it with a picture for each token and returns its digest.

    The features stay on disk: `vision.codebook.MEMORY_BYTES` of them are in memory at a time. On ``cuda`` large nodes are
    clustered on the GPU. ``held_out`` videos are recorded, but neither the codebook nor a model made with it learns from
    them. Imported tokens make a codebook without centroids.
    Raises :class:`InputError` where no video has a clip, and where features or tokens are of several kinds.
    """
    words_only = [v.video for v in videos if not v.clips]
    digest = codebook_digest(videos, held_out, options, device)
    videos = [v for v in videos if v.clips]
    if not videos:
        raise InputError(
            f"store {store.root}: no video has a clip to see, so there are no visual tokens; `videobert status` tells why"
        )
    if is_published(store.codebook(digest)):
        return digest
    imported = _imported_tokens(store, videos)
    if imported:
        held = [tokens for v in held_out if (tokens := read_imported_tokens(store, v))]
        codebook = _codebook_of_imported(imported, held, options)
        examples, shown = {}, {}
        without_picture = np.flatnonzero(codebook.used_).tolist()
        steps, remark = 1, "; made elsewhere: there are no pictures"
    else:
        _check_one_recipe(videos)
        features = FeatureRows(store, videos)
        clips = features.shape[0]
        codebook = _fit(features, options, device, report)
        report(
            clips,
            clips + 1,
            f"{int(codebook.used_.sum())} of {len(codebook.used_)} tokens used; a picture for each",
        )
        nearest = codebook.nearest(features)[:, 0]
        located = {int(t): features.locate(int(nearest[t])) for t in np.flatnonzero(nearest >= 0)}
        examples = {token: (video.video, start) for token, (video, start) in located.items()}
        shown = _pictures(videos, examples)
        without_picture = sorted(set(examples) - set(shown))
        steps, remark = clips + 1, ""
    description = {
        "options": dataclasses.asdict(codebook.options),
        "videos": [[v.video, v.features] for v in videos],
        "held_out": [v.video for v in held_out],
        "words_only": words_only,
        **codebook_figures(codebook),
        "examples": {str(token): list(example) for token, example in examples.items()},
        "without_picture": without_picture,
    }
    _publish(store.codebook(digest), codebook, description, shown)
    report(steps, steps, summary(codebook) + remark)
    return digest


def _imported_tokens(store: Store, videos: Sequence[Video]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The imported (tokens, starts) of ``videos``, in order; none where the videos have features.

    Raises :class:`InputError` where some have tokens and others features.
    """
    found = [read_imported_tokens(store, v) for v in videos]
    imported = [tokens for tokens in found if tokens]
    if imported and len(imported) < len(videos):
        other = videos[found.index(None)]
        raise InputError(
            f"video {other.name}: has features, others have tokens made elsewhere; a codebook is of one kind, "
            "keep them in a --store of their own"
        )
    return imported


def _check_one_recipe(videos: Sequence[Video]) -> None:
    """Raises :class:`InputError` where features were extracted by several recipes; imported ones differ by nature."""
    by_recipe = {kind_of_features(v.features): v for v in videos if v.path}
    if len(by_recipe) > 1:
        one, other = sorted(by_recipe.values(), key=lambda v: v.name)[:2]
        raise InputError(
            f"videos {one.name} and {other.name}: their features are of two recipes ({one.features}, {other.features}); "
            "ingest them again with one --backbone and --reader, or keep them in a --store of their own"
        )


def _fit(features: FeatureRows, options: TokenOptions, device: str, report: Report) -> Codebook:
    clips = features.shape[0]
    k, depth = options.shape(clips)
    words = f"{clips} clips into {k}^{depth} = {k**depth} tokens"
    # One step more than there are clips: the pictures come after.
    return Codebook(CodebookOptions(k=k, depth=depth, seed=options.seed)).fit(
        features, gpu=device == "cuda", on_rows=lambda done, n: report(done, n + 1, words)
    )


def _codebook_of_imported(
    imported: Sequence[tuple[np.ndarray, np.ndarray]],
    held_out: Sequence[tuple[np.ndarray, np.ndarray]],
    options: TokenOptions,
) -> Codebook:
    """The codebook of imported (tokens, starts): how many tokens there are and which are used.

    Without ``--k`` and ``--depth`` there are as many tokens as the largest of them needs, those held out included.
    """
    largest = max(int(tokens.max()) for tokens, _ in (*imported, *held_out))
    k, depth = (options.k, options.depth or 1) if options.k else (max(2, largest + 1), 1)
    if largest >= k**depth:
        raise InputError(
            f"--k {k} --depth {depth}: {k**depth} tokens, but token {largest} was imported; raise --k"
        )
    tokens = np.concatenate([tokens for tokens, _ in imported])
    return Codebook.from_tokens(tokens, CodebookOptions(k=k, depth=depth, seed=options.seed))


def _publish(folder: Path, codebook: Codebook, description: dict, shown: dict[int, bytes]) -> None:
    """Writes the codebook's folder, whole or not at all: centroids, description, a JPEG for each token in ``shown``."""
    with publish_folder(folder) as beside:
        (beside / CENTROIDS).write_bytes(safetensors.numpy.save(codebook.to_arrays()))
        if shown:
            (beside / "pictures").mkdir()
        for token, picture in shown.items():
            (beside / "pictures" / f"{visual_name(token)}.jpg").write_bytes(picture)
        (beside / DESCRIPTION).write_text(json.dumps(description, indent=1))


def codebook_figures(codebook: Codebook) -> dict:
    """How well a codebook fits its clips, as ``codebook.json`` has it; the error is None for imported tokens."""
    return {
        "clips": int(codebook.counts_.sum()),
        "tokens": len(codebook.used_),
        "used": int(codebook.used_.sum()),
        "clips_per_used_token": codebook.occupancy_,
        "perplexity": codebook.perplexity_,
        "quantisation_error": codebook.quantisation_error_ if codebook.has_centroids else None,
    }


def summary(codebook: Codebook) -> str:
    """A line for people: tokens used, clips per token, perplexity, quantisation error."""
    figures = codebook_figures(codebook)
    occupancy, error = figures["clips_per_used_token"], figures["quantisation_error"]
    error_words = "" if error is None else f", quantisation error {error:.3f}"
    return (
        f"{figures['used']} of {figures['tokens']} tokens used, "
        f"{occupancy['min']} / {occupancy['median']:g} / {occupancy['max']} clips in one (least / median / most), "
        f"perplexity {figures['perplexity']:.1f}{error_words}"
    )


def _pictures(videos: Sequence[Video], examples: dict[int, tuple[str, float]]) -> dict[int, bytes]:
    """A JPEG for each token whose nearest clip, (video, start), can be decoded; each video is opened once."""
    paths = {v.video: v.path for v in videos}
    shown = {}
    for video in sorted({video for video, _ in examples.values() if paths[video]}):
        tokens = [token for token, (owner, _) in examples.items() if owner == video]
        middles = [examples[token][1] + CLIP_SECONDS / 2 for token in tokens]
        frames = pictures.frames_at(Path(paths[video]), middles, PICTURE_SIDE)
        for token, frame in zip(tokens, frames, strict=True):
            if frame is not None:
                shown[token] = pictures.jpeg(frame)
    return shown


def load_codebook(store: Store, digest: str) -> Codebook:
    """The published codebook of this digest."""
    return read_codebook(store.codebook(digest))


def read_codebook(folder: Path) -> Codebook:
    """The codebook of a published folder. Raises :class:`~multimodal.store.DamagedFile`."""
    check_published(folder, (DESCRIPTION, CENTROIDS))
    return codebook_in(folder)


def codebook_in(folder: Path) -> Codebook:
    """The codebook of a folder whose files were compared with a manifest already."""
    options = CodebookOptions(**json.loads((folder / DESCRIPTION).read_text())["options"])
    return Codebook.from_arrays(options, safetensors.numpy.load((folder / CENTROIDS).read_bytes()))


def current_codebook(store: Store, catalogue: Catalogue) -> str:
    """The digest of the store's codebook. Raises :class:`InputError` where it has none yet."""
    codebook = catalogue.current("codebook")
    if codebook is None:
        raise InputError(
            f"store {store.root}: has no codebook yet; run `videobert codebook` first, or `videobert run VIDEOS`"
        )
    return codebook


def describe(store: Store, digest: str) -> dict:
    """The codebook's ``codebook.json``: options, videos, figures, and the example clip of each token."""
    check_published(store.codebook(digest), [DESCRIPTION])
    return json.loads((store.codebook(digest) / DESCRIPTION).read_text())


def picture_path(store: Store, digest: str, token: int) -> Path | None:
    """The JPEG of a token, or None where it has none."""
    path = store.codebook(digest) / "pictures" / f"{visual_name(token)}.jpg"
    return path if path.exists() else None


def encode_videos(store: Store, digest: str, videos: Sequence[Video], report: Report) -> None:
    """Writes the tokens of each video under a codebook, for those that have none yet."""
    there = names_in(store.tokens(digest, "").parent)
    pending = [v for v in videos if v.clips and store.tokens(digest, v.video).name not in there]
    codebook = load_codebook(store, digest) if pending else None
    # Synced together: the sync of a small file by itself takes longer than its making.
    batch = FileBatch(summed=True)
    try:
        for done, video in enumerate(pending, 1):
            starts, tokens = _tokens_of(store, codebook, video)
            buffer = io.BytesIO()
            pq.write_table(tokens_table(starts, tokens), buffer)
            batch.write(store.tokens(digest, video.video), buffer.getvalue())
            if done % SYNCED_TOGETHER == 0 or done == len(pending):
                batch.publish()
            report(done, len(pending), video.name)
    finally:
        batch.discard()


def _tokens_of(store: Store, codebook: Codebook, video: Video) -> tuple[np.ndarray, np.ndarray]:
    """(starts, tokens) of the video: encoded from its features, or as imported.

    Raises :class:`InputError` where its features or tokens are not of the codebook's kind.
    """
    imported = read_imported_tokens(store, video)
    if imported is None:
        values, starts = read_features(store, video)
        try:
            return starts, codebook.encode(values.astype(np.float32))
        except ModelError as error:
            raise InputError(f"video {video.name}: {error}, or keep it in another --store") from error
    tokens, starts = imported
    if codebook.has_centroids or tokens.max() >= len(codebook.used_):
        kind = "features" if codebook.has_centroids else f"tokens 0 to {len(codebook.used_) - 1}"
        raise InputError(
            f"video {video.name}: its imported tokens (up to {tokens.max()}) are not those of the codebook, which has {kind}; "
            "run `videobert codebook --refit`, or keep it in another --store"
        )
    return starts, tokens


def features_of(store: Store, digest: str) -> dict[str, object]:
    """What made the features that a codebook was fitted on (:func:`~multimodal.library.about_features`), as far as the store
    still knows."""
    description = describe(store, digest)
    if ELSEWHERE in description:
        return description[ELSEWHERE]["features"]
    files = (store.features(video, features) for video, features in description["videos"])
    there = next((file for file in files if file.exists()), None)
    return {} if there is None else about_features(there)


def keep_split(store: Store, digest: str, split: Callable[[], tuple[list[Video], list[Video]]]) -> None:
    """Keeps which of this store's videos are learned from and which are held out under a codebook that was fitted elsewhere.

    ``split`` gives both. It is asked once, when there is a clip: as that of a codebook that is fitted here, the split stays.
    What the codebook and its model learned from elsewhere is not held out.
    """
    path, description = split_file(store, digest), describe(store, digest)
    if ELSEWHERE not in description or path.exists():
        return
    train, held_out = split()
    if not any(v.clips for v in (*train, *held_out)):
        return
    known = {*description["words_only"], *(video for video, _ in description["videos"])}
    train = [*train, *(v for v in held_out if v.video in known)]
    held_out = [v for v in held_out if v.video not in known]
    lists = {
        "videos": [[v.video, v.features] for v in train if v.clips],
        "held_out": [v.video for v in held_out],
        "words_only": [v.video for v in train if not v.clips],
    }
    write_artefact(path, canonical_json(lists).encode())


def split_file(store: Store, digest: str) -> Path:
    """The place of the split under a codebook that was fitted elsewhere."""
    return store.root / "splits" / f"{digest}.json"


def train_and_held_out(
    store: Store, videos: Sequence[Video], codebook: str
) -> tuple[list[Video], list[Video]]:
    """The videos that the codebook was fitted on, which the model learns from, and those held out of both.

    A video that came into the store later is in neither: it can be searched, and is learned from after a refit. Under a
    codebook that was fitted elsewhere they are those of :func:`keep_split`, none before it was asked.
    """
    lists = describe(store, codebook)
    if ELSEWHERE in lists:
        kept = split_file(store, codebook)
        lists = read_json(kept) if kept.exists() else {"videos": [], "held_out": [], "words_only": []}
    by_digest = {v.video: v for v in videos}
    train = [by_digest[v] for v, _ in lists["videos"] if v in by_digest]
    held_out = [by_digest[v] for v in lists["held_out"] if v in by_digest]
    # A video without clips is not of the codebook, but its words are learned from.
    words_only = set(lists["words_only"]) - set(lists["held_out"])
    train += [v for v in videos if not v.clips and v.sentences and v.video in words_only]
    return train, held_out
