"""The codebook of a store: features of one recipe only, read from their files a part at a time, the same however it ends."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.numpy

from multimodal.catalogue import Video
from multimodal.feature_rows import FeatureRows
from multimodal.store import InputError, Store
from multimodal.tokens import (
    TokenOptions,
    codebook_digest,
    describe,
    encode_videos,
    fit_codebook,
    load_codebook,
)


def put(store: Store, name: str, recipe: str, clips: int = 6) -> Video:
    video = Video(name * 64, f"{name}.mp4", f"/nowhere/{name}.mp4", 1, "done", clips=clips, features=recipe)
    path = store.features(video.video, recipe)
    path.parent.mkdir(exist_ok=True)
    values = np.random.default_rng(ord(name)).standard_normal((clips, 16)).astype(np.float16)
    about = json.dumps({"problems": [], "reader": "pyav", "recipe": {}})
    path.write_bytes(
        safetensors.numpy.save(
            {"values": values, "starts": np.arange(clips) * 1.5}, metadata={"about": about}
        )
    )
    return video


def test_features_of_two_recipes_are_not_fitted_together(tmp_path):
    store = Store(tmp_path / "store")
    videos = [put(store, "a", "one"), put(store, "b", "two")]
    with pytest.raises(InputError, match=r"a\.mp4 and b\.mp4.*one, two"):
        fit_codebook(store, videos, [], TokenOptions(), lambda *_: None)


def test_features_of_one_recipe_are(tmp_path):
    store = Store(tmp_path / "store")
    videos = [put(store, "a", "one"), put(store, "b", "one")]
    digest = fit_codebook(store, videos, [], TokenOptions(k=3, depth=1), lambda *_: None)
    assert describe(store, digest)["clips"] == 12
    assert describe(store, digest)["without_picture"], "their files are gone: said, not an error"
    cpu, gpu = (codebook_digest(videos, [], TokenOptions(k=3, depth=1), device) for device in ("cpu", "cuda"))
    assert digest == cpu != gpu, "a GPU's centroids are others to the bit"


def test_rows_on_disk_are_those_of_all_files_in_order(tmp_path):
    store = Store(tmp_path / "store")
    videos = [put(store, name, "one", clips) for name, clips in (("a", 40), ("b", 1), ("c", 300))]
    rows = FeatureRows(store, videos)
    files = [safetensors.numpy.load_file(store.features(v.video, "one"))["values"] for v in videos]
    whole = np.concatenate(files)
    assert rows.shape == whole.shape == (341, 16)
    rng = np.random.default_rng(0)
    for count in (1, 2, 7, 40, 200, 341):
        wanted = np.sort(rng.choice(341, count, replace=False))
        np.testing.assert_array_equal(rows.read(wanted), whole[wanted])
    assert rows.locate(40) == (videos[1], 0.0) and rows.locate(43) == (videos[2], 3.0)


def test_its_figures_are_those_of_the_tokens(tmp_path):
    store = Store(tmp_path / "store")
    videos = [put(store, "a", "one", 50), put(store, "b", "one", 30)]
    digest = fit_codebook(store, videos, [], TokenOptions(k=3, depth=2), lambda *_: None)
    about, counts = describe(store, digest), load_codebook(store, digest).counts_
    encode_videos(store, digest, videos, lambda *_: None)
    tokens = np.concatenate(
        [pq.read_table(store.tokens(digest, v.video))["token"].to_numpy() for v in videos]
    )
    np.testing.assert_array_equal(np.bincount(tokens, minlength=9), counts)
    full = counts[counts > 0]
    assert about["clips_per_used_token"] == {"min": full.min(), "median": np.median(full), "max": full.max()}
    assert (about["tokens"], about["used"], about["clips"]) == (9, len(full), 80)
    assert 0 < about["quantisation_error"] < 1 < about["perplexity"] <= about["used"]


FIT = """
import sys
from pathlib import Path
from multimodal.catalogue import Video
from multimodal.store import Store
from multimodal.tokens import TokenOptions, fit_codebook

def slow(done, n, words):
    print("under way", flush=True)
    if len(sys.argv) > 2:
        import time
        time.sleep(60)

video = Video("a" * 64, "a.mp4", "/nowhere/a.mp4", 1, "done", clips=900, features="one")
store = Store(Path(sys.argv[1]))
with store.writing():
    print(fit_codebook(store, [video], [], TokenOptions(k=4, depth=3), slow))
"""


def test_killed_and_begun_again_gives_the_same(tmp_path):
    """A fit that dies leaves no codebook behind; the next one's is that of a fit that was never stopped, to the byte."""
    stores = [Store(tmp_path / name) for name in ("whole", "killed")]
    for store in stores:
        put(store, "a", "one", 900)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "2"}

    def command(store: Store, *more: str) -> list[str]:
        return [sys.executable, "-c", FIT, str(store.root), *more]

    child = subprocess.Popen(command(stores[1], "slow"), env=environment, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "under way\n"
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert not list((stores[1].root / "codebooks").glob("*/manifest.json"))
    begun_again = subprocess.run(
        command(stores[1]), env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    video = Video("a" * 64, "a.mp4", "/nowhere/a.mp4", 1, "done", clips=900, features="one")
    digest = fit_codebook(stores[0], [video], [], TokenOptions(k=4, depth=3), lambda *_: None)
    assert begun_again.stdout.split()[-1] == digest
    files = [(store.codebook(digest) / "centroids.safetensors").read_bytes() for store in stores]
    assert files[0] == files[1]
