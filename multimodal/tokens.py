"""Owns the visual tokens of a store: fits the codebook, keeps a picture a token, encodes each video."""

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
from multimodal.feature_rows import FeatureRows
from multimodal.library import read_features, read_imported_tokens, tokens_table
from multimodal.store import InputError, Store, canonical_json, is_published, publish_folder, write_whole
from multimodal.vocabulary import visual_name
from vision.clips import CLIP_SECONDS
from vision.codebook import Codebook, CodebookError, CodebookOptions, shape_for
from vision.kmeans import arithmetic

Report = Callable[[int, int, str], None]
PICTURE_SIDE = 160
VERSION = 5


@dataclasses.dataclass(frozen=True)
class TokenOptions:
    """``k`` children a node and ``depth`` levels; ``None`` lets them grow with the data, up to the leaves of ``largest``."""

    k: int | None = None
    depth: int | None = None
    largest: tuple[int, int] = (12, 3)
    seed: int = 0

    def shape(self, clips: int) -> tuple[int, int]:
        return shape_for(clips, self.largest, self.k, self.depth)


def codebook_digest(
    videos: Sequence[Video], held_out: Sequence[Video], options: TokenOptions, device: str = "cpu"
) -> str:
    """The address of the codebook that these videos' features and options give on ``device``: 16 hex digits."""
    inputs = [sorted(f"{v.video}.{v.features}" for v in part) for part in (videos, held_out)]
    made = [VERSION, inputs, options, arithmetic(device == "cuda")]
    return hashlib.sha256(canonical_json(made).encode()).hexdigest()[:16]


def fit_codebook(
    store: Store,
    videos: Sequence[Video],
    held_out: Sequence[Video],
    options: TokenOptions,
    report: Report,
    device: str = "cpu",
) -> str:
    """Fits the codebook over all clips of ``videos`` and publishes it with a picture for each token; returns its digest.

    The features stay on disk: `vision.codebook.MEMORY` bytes of them are held at a time. On ``cuda`` the large nodes are
    worked out on the GPU.
    ``held_out`` videos are only written down: neither the codebook nor a model made with it learns from them.
    Raises :class:`InputError` where no video has a clip.
    """
    words_only = [v.video for v in videos if not v.clips]
    digest = codebook_digest(videos, held_out, options, device)
    videos = [v for v in videos if v.clips]
    if not videos:
        raise InputError(
            f"store {store.root}: no video has a clip to see, so there are no visual tokens; `videobert status` tells why"
        )
    folder = store.codebook(digest)
    if is_published(folder):
        return digest
    given = {v.video: found for v in videos if (found := read_imported_tokens(store, v))}
    if given:
        other = next((v for v in videos if v.video not in given), None)
        if other is not None:
            raise InputError(
                f"video {other.name}: has features, others have tokens made elsewhere; a codebook is of one kind, "
                "keep them in a --store of their own"
            )
        held = [found for v in held_out if (found := read_imported_tokens(store, v))]
        return _publish_given(
            store, digest, videos, held_out, words_only, [*given.values(), *held], options, report
        )
    made = {v.features: v for v in videos if v.path}
    if len(made) > 1:
        one, other = sorted(made.values(), key=lambda v: v.name)[:2]
        raise InputError(
            f"videos {one.name} and {other.name}: their features are of two recipes ({one.features}, {other.features}); "
            "ingest them again with one --backbone and --reader, or keep them in a --store of their own"
        )
    features = FeatureRows(store, videos)
    clips = features.shape[0]
    k, depth = options.shape(clips)
    words = f"{clips} clips into {k}^{depth} = {k**depth} tokens"
    codebook = Codebook(CodebookOptions(k=k, depth=depth, seed=options.seed)).fit(
        features, gpu=device == "cuda", on_rows=lambda done, n: report(done, n + 1, words)
    )
    report(clips, clips + 1, f"{int(codebook.used_.sum())} of {k**depth} tokens used; a picture for each")
    nearest = codebook.nearest(features)[:, 0]
    found = {int(t): features.where(int(nearest[t])) for t in np.flatnonzero(nearest >= 0)}
    examples = {token: (video.video, start) for token, (video, start) in found.items()}
    shown = _pictures(videos, examples)
    with publish_folder(folder) as beside:
        (beside / "centroids.safetensors").write_bytes(safetensors.numpy.save(codebook.to_arrays()))
        (beside / "pictures").mkdir()
        for token, picture in shown.items():
            (beside / "pictures" / f"{visual_name(token)}.jpg").write_bytes(picture)
        description = _description(codebook, videos, held_out, words_only) | {
            "examples": {str(token): list(example) for token, example in examples.items()},
            "without_picture": sorted(set(examples) - set(shown)),
        }
        (beside / "codebook.json").write_text(json.dumps(description, indent=1))
    report(clips + 1, clips + 1, in_words(codebook))
    return digest


def _publish_given(
    store: Store,
    digest: str,
    videos: Sequence[Video],
    held_out: Sequence[Video],
    words_only: Sequence[str],
    given: Sequence[tuple[np.ndarray, np.ndarray]],
    options: TokenOptions,
    report: Report,
) -> str:
    """Publishes the codebook of tokens that were made elsewhere: their number and which are used, no centroid, no picture.

    ``given`` are the tokens of ``videos``, in order, then of those held out. Without ``--k`` and ``--depth`` there are as
    many tokens as the largest of them says.
    """
    largest = max(int(tokens.max()) for tokens, _ in given)
    k, depth = (options.k, options.depth or 1) if options.k else (max(2, largest + 1), 1)
    if largest >= k**depth:
        raise InputError(
            f"--k {k} --depth {depth}: {k**depth} tokens, but token {largest} was imported; raise --k"
        )
    tokens = np.concatenate([tokens for tokens, _ in given[: len(videos)]])
    codebook = Codebook.of_tokens(tokens, CodebookOptions(k=k, depth=depth, seed=options.seed))
    with publish_folder(store.codebook(digest)) as beside:
        (beside / "centroids.safetensors").write_bytes(safetensors.numpy.save(codebook.to_arrays()))
        description = _description(codebook, videos, held_out, words_only) | {
            "examples": {},
            "without_picture": np.flatnonzero(codebook.used_).tolist(),
        }
        (beside / "codebook.json").write_text(json.dumps(description, indent=1))
    report(1, 1, f"{in_words(codebook)}; made elsewhere: there are no pictures")
    return digest


def _description(
    codebook: Codebook, videos: Sequence[Video], held_out: Sequence[Video], words_only: Sequence[str]
) -> dict:
    """What is kept of a codebook beside its centroids."""
    return {
        "options": dataclasses.asdict(codebook.options),
        "videos": [[v.video, v.features] for v in videos],
        "held_out": [v.video for v in held_out],
        "words_only": list(words_only),
        **figures(codebook),
    }


def figures(codebook: Codebook) -> dict:
    """How well a codebook fits its clips; the error is None where the tokens were made elsewhere."""
    return {
        "clips": int(codebook.counts_.sum()),
        "tokens": len(codebook.used_),
        "used": int(codebook.used_.sum()),
        "clips_per_used_token": codebook.fullness_,
        "perplexity": codebook.perplexity_,
        "quantisation_error": codebook.quantisation_error_ if codebook.has_centroids else None,
    }


def in_words(codebook: Codebook) -> str:
    """A line for people: how many tokens are used, how full they are, what they lose."""
    found = figures(codebook)
    full, error = found["clips_per_used_token"], found["quantisation_error"]
    lost = "" if error is None else f", quantisation error {error:.3f}"
    return (
        f"{found['used']} of {found['tokens']} tokens used, {full['min']} / {full['median']:g} / {full['max']} clips in one "
        f"(least / median / most), perplexity {found['perplexity']:.1f}{lost}"
    )


def _pictures(videos: Sequence[Video], examples: dict[int, tuple[str, float]]) -> dict[int, bytes]:
    """A JPEG for each token whose nearest clip can be shown; one visit to each video."""
    paths = {v.video: v.path for v in videos}
    shown = {}
    for video in sorted({video for video, _ in examples.values() if paths[video]}):
        tokens = [t for t, (v, _) in examples.items() if v == video]
        times = [examples[t][1] + CLIP_SECONDS / 2 for t in tokens]
        found = pictures.frames(Path(paths[video]), times, PICTURE_SIDE)
        shown |= {
            t: pictures.jpeg(frame) for t, frame in zip(tokens, found, strict=True) if frame is not None
        }
    return shown


def load_codebook(store: Store, digest: str) -> Codebook:
    folder = store.codebook(digest)
    options = CodebookOptions(**json.loads((folder / "codebook.json").read_text())["options"])
    return Codebook.from_arrays(
        options, safetensors.numpy.load((folder / "centroids.safetensors").read_bytes())
    )


def current_codebook(store: Store, catalogue: Catalogue) -> str:
    """The digest of the store's codebook. Raises :class:`InputError` where it has none yet."""
    codebook = catalogue.current("codebook")
    if codebook is None:
        raise InputError(
            f"store {store.root}: has no codebook yet; run `videobert codebook` first, or `videobert run VIDEOS`"
        )
    return codebook


def describe(store: Store, digest: str) -> dict:
    return json.loads((store.codebook(digest) / "codebook.json").read_text())


def picture_of(store: Store, digest: str, token: int) -> Path | None:
    path = store.codebook(digest) / "pictures" / f"{visual_name(token)}.jpg"
    return path if path.exists() else None


def encode_videos(store: Store, digest: str, videos: Sequence[Video], report: Report) -> None:
    """The tokens of each video under a codebook, for those that have none yet."""
    left = [v for v in videos if v.clips and not store.tokens(digest, v.video).exists()]
    codebook = load_codebook(store, digest) if left else None
    for done, video in enumerate(left, 1):
        starts, tokens = _encoded(store, codebook, video)
        buffer = io.BytesIO()
        pq.write_table(tokens_table(starts, tokens), buffer)
        write_whole(store.tokens(digest, video.video), buffer.getvalue())
        report(done, len(left), video.name)


def _encoded(store: Store, codebook: Codebook, video: Video) -> tuple[np.ndarray, np.ndarray]:
    """The video's ``starts`` and tokens: encoded from its features, or as they were imported."""
    given = read_imported_tokens(store, video)
    if given is None:
        values, starts = read_features(store, video)
        try:
            return starts, codebook.encode(values.astype(np.float32))
        except CodebookError as error:
            raise InputError(f"video {video.name}: {error}, or keep it in another --store") from error
    tokens, starts = given
    if codebook.has_centroids or tokens.max() >= len(codebook.used_):
        held = "features" if codebook.has_centroids else f"tokens 0 to {len(codebook.used_) - 1}"
        raise InputError(
            f"video {video.name}: its imported tokens (up to {tokens.max()}) are not those of the codebook, which has {held}; "
            "run `videobert codebook --refit`, or keep it in another --store"
        )
    return starts, tokens


def train_and_held_out(
    store: Store, videos: Sequence[Video], codebook: str
) -> tuple[list[Video], list[Video]]:
    """The videos that the codebook was fitted on, which the model learns from, and those held out of both.

    A video that came into the store later is in neither: it can be searched, and is learned from after a refit.
    """
    description = describe(store, codebook)
    by_digest = {v.video: v for v in videos}
    learned = [by_digest[v] for v, _ in description["videos"] if v in by_digest]
    held_out = [by_digest[v] for v in description["held_out"] if v in by_digest]
    wordy = [v for v in videos if not v.clips and v.sentences and v.video not in description["held_out"]]
    return learned + [v for v in wordy if v.video in description["words_only"]], held_out
