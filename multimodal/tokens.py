"""Owns the visual tokens of a store: fits the codebook, keeps a picture a token, encodes each video."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import faiss
import numpy as np
import pyarrow.parquet as pq
import safetensors.numpy

from multimodal import pictures
from multimodal.catalogue import Video
from multimodal.library import read_features, tokens_table
from multimodal.store import InputError, Store, canonical_json, is_published, publish_folder, write_whole
from multimodal.vocabulary import visual_name
from vision.clips import CLIP_SECONDS
from vision.codebook import Codebook, CodebookOptions, shape_for

Report = Callable[[int, int, str], None]
PICTURE_SIDE = 160
VERSION = 2


@dataclasses.dataclass(frozen=True)
class TokenOptions:
    """``k`` children a node and ``depth`` levels; ``None`` lets them grow with the data, up to ``largest``."""

    k: int | None = None
    depth: int | None = None
    largest: tuple[int, int] = (12, 3)
    seed: int = 0

    def shape(self, clips: int) -> tuple[int, int]:
        k, depth = shape_for(clips, self.largest)
        return self.k or k, self.depth or depth


def codebook_digest(videos: Sequence[Video], held_out: Sequence[Video], options: TokenOptions) -> str:
    """The address of the codebook that these videos' features and options give: 16 hex digits."""
    inputs = [sorted(f"{v.video}.{v.features}" for v in part) for part in (videos, held_out)]
    return hashlib.sha256(canonical_json([VERSION, inputs, options]).encode()).hexdigest()[:16]


def fit_codebook(
    store: Store,
    videos: Sequence[Video],
    held_out: Sequence[Video],
    options: TokenOptions,
    report: Report,
    device: str = "cpu",
) -> str:
    """Fits the codebook over all clips of ``videos`` and publishes it with a picture for each token; returns its digest.

    On ``cuda`` k-means runs on the GPU where faiss is built for it; the report says so where it is not.
    ``held_out`` videos are only written down: neither the codebook nor a model made with it learns from them.
    Raises :class:`InputError` where no video has a clip.
    """
    words_only = [v.video for v in videos if not v.clips]
    digest = codebook_digest(videos, held_out, options)
    videos = [v for v in videos if v.clips]
    if not videos:
        raise InputError(
            f"store {store.root}: no video has a clip to see, so there are no visual tokens; `videobert status` tells why"
        )
    folder = store.codebook(digest)
    if is_published(folder):
        return digest
    read = [read_features(store, v) for v in videos]
    values = np.concatenate([v for v, _ in read]).astype(np.float32)
    k, depth = options.shape(len(values))
    gpu = device == "cuda" and faiss.get_num_gpus() > 0
    where = " on the CPU, as faiss here has no GPU" if device == "cuda" and not gpu else ""
    report(0, 2, f"{len(values)} clips into {k}^{depth} = {k**depth} tokens{where}")
    codebook = Codebook(CodebookOptions(k=k, depth=depth, seed=options.seed)).fit(values, gpu=gpu)
    report(1, 2, f"{int(codebook.used_.sum())} of {k**depth} tokens used; a picture for each")
    whose = np.concatenate([np.full(len(starts), i) for i, (_, starts) in enumerate(read)])
    when = np.concatenate([starts for _, starts in read])
    nearest = codebook.nearest(values, 1)[:, 0]
    examples = {int(t): (videos[whose[c]].video, float(when[c])) for t, c in enumerate(nearest) if c >= 0}
    shown = _pictures(videos, examples)
    with publish_folder(folder) as beside:
        (beside / "centroids.safetensors").write_bytes(safetensors.numpy.save(codebook.to_arrays()))
        (beside / "pictures").mkdir()
        for token, picture in shown.items():
            (beside / "pictures" / f"{visual_name(token)}.jpg").write_bytes(picture)
        description = {
            "options": dataclasses.asdict(codebook.options),
            "videos": [[v.video, v.features] for v in videos],
            "held_out": [v.video for v in held_out],
            "words_only": words_only,
            "clips": len(values),
            "used": int(codebook.used_.sum()),
            "perplexity": float(codebook.perplexity_),
            "quantisation_error": float(codebook.quantisation_error_),
            "examples": {str(token): list(example) for token, example in examples.items()},
            "without_picture": sorted(set(examples) - set(shown)),
        }
        (beside / "codebook.json").write_text(json.dumps(description, indent=1))
    report(2, 2, f"{int(codebook.used_.sum())} of {k**depth} tokens used{where}")
    return digest


def _pictures(videos: Sequence[Video], examples: dict[int, tuple[str, float]]) -> dict[int, bytes]:
    """A JPEG for each token whose nearest clip can be shown; one visit to each video."""
    paths = {v.video: v.path for v in videos}
    shown = {}
    for video in sorted({video for video, _ in examples.values()}):
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
        values, starts = read_features(store, video)
        buffer = io.BytesIO()
        pq.write_table(tokens_table(starts, codebook.encode(values.astype(np.float32))), buffer)
        write_whole(store.tokens(digest, video.video), buffer.getvalue())
        report(done, len(left), video.name)
