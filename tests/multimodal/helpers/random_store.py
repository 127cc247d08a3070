"""A store of random clips and the kitchen's sentences, as taking in and the codebook leave it."""

import json
from pathlib import Path

import joint_samples
import numpy as np
import safetensors.numpy

from multimodal.catalogue import Video
from multimodal.store import Store, canonical_json
from multimodal.tokens import TokenOptions, encode_videos, fit_codebook


def quiet(*_: object) -> None:
    """Says nothing."""


def put(store: Store, number: int, imported: bool = False, content: int | None = None) -> Video:
    """A video of 12 clips of random features, or tokens made elsewhere, and four sentences, as taking in leaves it.

    `content` puts in it what the video of that number holds."""
    held = number if content is None else content
    sentences = joint_samples.materials()[held].transcript.sentences[:4]
    video = Video(f"{number:064x}", f"{number}.mp4", f"/nowhere/{number}.mp4", 1, "done", clips=12,
                  sentences=4, features="f", transcript="t")  # fmt: skip
    random = np.random.default_rng(held)
    values = {"values": random.standard_normal((12, 16)).astype(np.float16)}
    if imported:
        values = {"tokens": random.integers(5, size=12).astype(np.int32)}
    about = json.dumps({"problems": [], "reader": "pyav", "recipe": {}})
    blob = safetensors.numpy.save(values | {"starts": np.arange(12) * 1.5}, metadata={"about": about})
    words = {"language": "en", "source": {"kind": "sample"}, "sentences": sentences}
    for path, data in (
        (store.features(video.video, "f"), blob),
        (store.transcript(video.video, "t"), canonical_json(words).encode()),
    ):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    return video


def made(root: Path, count: int = 4) -> tuple[Store, list[Video], str]:
    """A store of `count` videos, the last held out, and its codebook of 9 visual tokens."""
    store = Store(root)
    videos = [put(store, n) for n in range(count)]
    codebook = fit_codebook(store, videos[:-1], videos[-1:], TokenOptions(k=3, depth=2), quiet)
    encode_videos(store, codebook, videos, quiet)
    return store, videos, codebook
