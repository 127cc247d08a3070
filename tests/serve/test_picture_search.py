"""Search by a picture of one's own: a frame of a video finds the moment that it is from."""

import io
import json

import numpy as np
import pytest
import safetensors.numpy
import sample_store
import torch
from PIL import Image

from multimodal.catalogue import Catalogue
from multimodal.pictures import frames_at, jpeg
from multimodal.serve import clips
from multimodal.serve.live import LiveStore
from multimodal.serve.picture_search import search, search_clip
from multimodal.store import InputError, Store
from vision import backbones
from vision.features import extract
from vision.readers import read_clips

CLIPS = 4


def test_a_store_whose_features_were_made_elsewhere_says_so(server, sample):
    picture = io.BytesIO()
    Image.new("RGB", (64, 48)).save(picture, "PNG")
    answer = server.client.post("/api/search/picture", content=picture.getvalue())
    assert answer.status_code == 400 and "made elsewhere" in answer.json()["detail"]


@pytest.fixture(scope="module")
def seen(tmp_path_factory, weights_or_skip):
    """A store of the first clips of two videos with I3D's real features."""
    backbone = backbones.load("i3d", weights_or_skip("i3d-kinetics-400"))
    torch.set_num_threads(1)
    store = Store(tmp_path_factory.mktemp("seen") / "store")
    with Catalogue(store.catalogue) as catalogue:
        for name in ("kitchen-000.mp4", "kitchen-001.mp4"):
            file, read = sample_store.SAMPLES / name, []
            for clip in read_clips(file):
                read.append(clip)
                if len(read) == CLIPS:
                    break
            video = sample_store.add(store, catalogue, file, [(0.0, 6.0, "See this.")], np.zeros(CLIPS, int))
            found = extract(read, backbone)
            blob = safetensors.numpy.save(
                {"values": found.values, "starts": found.starts},
                metadata={"about": json.dumps({"recipe": backbone.recipe})},
            )
            store.features(video.video, "f").write_bytes(blob)
        sample_store.finish(store, catalogue)
    return LiveStore(store.root, "cpu", create=False)


def test_a_frame_is_taken_for_a_visual_token_of_its_own_video(seen):
    """Which moments come first is the model's to say, and this one has random weights."""
    opened = seen.snapshot().opened
    for name in ("kitchen-000.mp4", "kitchen-001.mp4"):
        (frame,) = frames_at(sample_store.SAMPLES / name, [1.0], 240)
        found = search(seen.snapshot(), jpeg(frame), 5)
        ((token, _),) = found.tokens
        assert token in opened.tokens(name)["token"].to_pylist(), name
        assert len(found.hits) == 2


def test_a_clip_is_taken_for_the_visual_tokens_of_its_own_video(seen):
    opened, file = seen.snapshot().opened, sample_store.SAMPLES / "kitchen-000.mp4"
    found = search_clip(seen.snapshot(), clips.cut(file, 0.0, 4.6), 5)
    shown = opened.tokens("kitchen-000.mp4")["token"].to_pylist()
    # Encoded again and cut elsewhere, a clip may fall to a neighbour.
    assert found.tokens and {token for token, _ in found.tokens} & set(shown)
    assert len(found.hits) == 2


@pytest.mark.parametrize("data", [b"", b"#EXTM3U\nfile:///etc/passwd\n", b"\0" * 1000])
def test_what_is_no_clip_is_one_line(seen, data):
    with pytest.raises(InputError, match="the clip cannot be read") as error:
        search_clip(seen.snapshot(), data, 5)
    assert "\n" not in str(error.value) and "/tmp" not in str(error.value)


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a" + b"\0" * 50, b"\x89PNG\r\n\x1a\n" + b"\0" * 50, b"#EXTM3U\n"]
)
def test_what_is_no_picture_is_one_line(seen, data):
    with pytest.raises(InputError, match="JPEG, PNG or WebP") as error:
        search(seen.snapshot(), data, 5)
    assert "\n" not in str(error.value)


def test_a_picture_that_swells_is_refused(seen):
    swollen = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(swollen, "PNG")
    assert len(swollen.getvalue()) < 200_000
    with pytest.raises(InputError, match="JPEG, PNG or WebP"):
        search(seen.snapshot(), swollen.getvalue(), 5)
