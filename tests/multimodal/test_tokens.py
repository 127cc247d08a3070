"""The codebook of a store: features of one recipe only, whatever their width."""

import json

import numpy as np
import pytest
import safetensors.numpy

from multimodal.catalogue import Video
from multimodal.store import InputError, Store
from multimodal.tokens import TokenOptions, describe, fit_codebook


def put(store: Store, name: str, recipe: str) -> Video:
    video = Video(name * 64, f"{name}.mp4", f"/nowhere/{name}.mp4", 1, "done", clips=6, features=recipe)
    path = store.features(video.video, recipe)
    path.parent.mkdir(exist_ok=True)
    values = np.random.default_rng(ord(name)).standard_normal((6, 16)).astype(np.float16)
    about = json.dumps({"problems": [], "reader": "pyav", "recipe": {}})
    path.write_bytes(
        safetensors.numpy.save({"values": values, "starts": np.arange(6) * 1.5}, metadata={"about": about})
    )
    return video


def test_features_of_two_recipes_are_not_fitted_together(tmp_path):
    store = Store(tmp_path / "store")
    videos = [put(store, "a", "one"), put(store, "b", "two")]
    with pytest.raises(
        InputError, match=r"videos a.mp4 and b.mp4: their features are of two recipes \(one, two\)"
    ):
        fit_codebook(store, videos, [], TokenOptions(), lambda *_: None)


def test_features_of_one_recipe_are(tmp_path):
    store = Store(tmp_path / "store")
    videos = [put(store, "a", "one"), put(store, "b", "one")]
    digest = fit_codebook(store, videos, [], TokenOptions(k=3, depth=1), lambda *_: None)
    assert describe(store, digest)["clips"] == 12
    assert describe(store, digest)["without_picture"], "their files are gone: said, not an error"
