"""Puts the small kitchen into a store as a run leaves it: videos, features, a codebook with pictures, tokens, a model."""

import dataclasses
import io
import json
import shutil

import joint_samples
import numpy as np
import pyarrow.parquet as pq
import safetensors.numpy
from PIL import Image

from multimodal.catalogue import Catalogue, Video
from multimodal.inference.trained import Trained, load_trained
from multimodal.library import Material, tokens_table
from multimodal.store import Store, canonical_json, publish_folder, write_whole
from multimodal.vocabulary import visual_name

KINDS = 6
"""As many kinds of steps as the fixture `learned` has read of."""
LEARNED, HELD_OUT = 24, 4


def materials() -> tuple[list[Material], list[Material]]:
    """The videos that `learned` has read, and others of the same kinds of steps."""
    others = [
        dataclasses.replace(m, video=dataclasses.replace(m.video, video=f"{n:064x}", name=f"held-{n}.mp4"))
        for n, m in enumerate(joint_samples.materials(HELD_OUT, seed=50, kinds=KINDS), 100)
    ]
    return joint_samples.materials(LEARNED, kinds=KINDS), others


def put(store: Store, catalogue: Catalogue, material: Material) -> Video:
    video = dataclasses.replace(material.video, transcript="t", features="f")
    write_whole(store.transcript(video.video, "t"), canonical_json(material.transcript.to_dict()).encode())
    values = np.eye(joint_samples.VISUAL, dtype=np.float16)[material.tokens]
    write_whole(store.features(video.video, "f"), safetensors.numpy.save({"values": values, "starts": material.starts}))  # fmt: skip
    buffer = io.BytesIO()
    pq.write_table(tokens_table(material.starts, material.tokens), buffer)
    write_whole(store.tokens("codebook", video.video), buffer.getvalue())
    catalogue.put(video)
    return video


def fill(store: Store, learned: Trained) -> Trained:
    """The store with all of it; the model is `learned`."""
    known, others = materials()
    with Catalogue(store.catalogue) as catalogue:
        for material in (*known, *others):
            put(store, catalogue, material)
        catalogue.set_current("codebook", "codebook")
        catalogue.set_current("model", learned.name)
        catalogue.set_current("model_codebook", "codebook")
    first = {int(t): [m.video.video, float(s)] for m in reversed(known) for s, t in zip(m.starts, m.tokens, strict=True)}  # fmt: skip
    description = {
        "options": {"k": joint_samples.VISUAL, "depth": 1}, "examples": {str(t): e for t, e in first.items()},
        "videos": [[m.video.video, "f"] for m in known], "held_out": [m.video.video for m in others],
        "words_only": [], "without_picture": [],
    }  # fmt: skip
    with publish_folder(store.codebook("codebook")) as folder:
        (folder / "codebook.json").write_text(json.dumps(description))
        (folder / "pictures").mkdir()
        for token in first:
            picture = Image.new("RGB", (213, 160), (token * 16, 255 - token * 16, 0))
            picture.save(folder / "pictures" / f"{visual_name(token)}.jpg", quality=95)
    shutil.copytree(learned.folder, store.model(learned.name) / learned.folder.name)
    return load_trained(store, learned.name, "codebook", "cpu")
