"""The networks see what is there, and the fast forms give the numbers of the plain ones."""

import os

import numpy as np
import pytest
import torch
from torch.nn import functional

from multimodal.weights import WeightsError, fetch
from vision import backbones
from vision.backbones import BackboneError, SameMaxPool3d, load
from vision.clips import Clip, read_clips
from vision.features import extract


@pytest.fixture(scope="module")
def i3d_weights():
    try:
        return fetch("i3d-kinetics-400")
    except WeightsError as error:
        if "weights" in os.environ.get("VIDEOBERT_REQUIRE", ""):
            raise
        pytest.skip(f"no I3D weights: {error}")


@pytest.fixture(scope="module")
def i3d(i3d_weights):
    return load("i3d", i3d_weights)


@pytest.fixture(scope="module")
def pancake(videos):
    """uint8 [6, 30, 224, 224, 3]: the six whole clips."""
    clips = list(read_clips(videos / "narrated/flipping_a_pancake.mkv"))
    return np.stack([clip.frames for clip in clips if not clip.repeated])


@pytest.fixture(scope="module")
def random_s3d(tmp_path_factory):
    """torchvision's S3D with random weights and batch statistics, and its state dict in a file."""
    from torchvision.models.video import s3d

    torch.manual_seed(0)
    network = s3d(weights=None).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    path = tmp_path_factory.mktemp("s3d") / "s3d.pth"
    torch.save(network.state_dict(), path)
    return network, path


def cosine(a, b):
    return (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


def test_i3d_sees_a_pancake_flipped(i3d, pancake):
    assert len(pancake) == 6
    best = i3d.classify(pancake).argmax(1)
    assert {i3d.labels[label] for label in best} == {"flipping pancake"}


def test_i3d_sees_what_another_video_shows(i3d, videos):
    """The control for the labels: the same network does not call everything a pancake."""
    clips = [clip.frames for clip in read_clips(videos / "no_speech/bikes.mp4")][:2]
    best = i3d.classify(np.stack(clips)).argmax(1)
    assert "flipping pancake" not in {i3d.labels[label] for label in best}


def test_i3d_in_bfloat16_is_near_float32(i3d_weights, pancake):
    exact = load("i3d", i3d_weights, precision="fp32")(pancake[:2])
    fast = load("i3d", i3d_weights, precision="bf16")(pancake[:2])
    assert exact.shape == (2, 1024) and exact.dtype == fast.dtype == np.float32
    assert cosine(exact, fast).min() > 0.9998
    apart = exact - exact.mean(0), fast - fast.mean(0)
    assert cosine(*apart).min() > 0.998


def test_i3d_has_its_size_and_recipe(i3d, i3d_weights):
    count = sum(p.numel() for p in i3d.trunk.parameters()) + sum(p.numel() for p in i3d.head.parameters())
    assert round(count / 1e6, 1) == 12.7
    assert i3d.features == 1024 and len(i3d.labels) == 400
    assert i3d.recipe["name"] == "i3d" and len(i3d.recipe["weights"]) == 64
    assert i3d.recipe["precision"] == ("bf16" if backbones.has_fast_bf16() else "fp32")


def test_a_clip_does_not_depend_on_its_neighbours(i3d, pancake):
    alone = i3d(pancake[:1])
    beside = i3d(np.stack([pancake[0], 255 - pancake[3]]))
    np.testing.assert_array_equal(alone[0], beside[0])


def test_s3d_equals_torchvision(random_s3d):
    network, path = random_s3d
    frames = np.random.default_rng(0).integers(0, 256, (1, 30, 224, 224, 3), np.uint8)
    mine = load("s3d", path, precision="fp32")
    mean, deviation = torch.tensor([0.43216, 0.394666, 0.37645]), torch.tensor([0.22803, 0.22145, 0.216989])
    x_NCTHW = ((torch.from_numpy(frames) / 255 - mean) / deviation).permute(0, 4, 1, 2, 3)
    with torch.inference_mode():
        logits = network(x_NCTHW).numpy()
        features = network.avgpool(network.features(x_NCTHW)).mean((2, 3, 4)).numpy()
    assert sum(p.numel() for p in network.parameters()) == 8_320_048
    np.testing.assert_allclose(mine(frames), features, rtol=1e-3, atol=1e-4 * np.abs(features).max())
    np.testing.assert_allclose(mine.classify(frames), logits, rtol=1e-3, atol=1e-4 * np.abs(logits).max())
    fast = load("s3d", path, precision="bf16")
    assert cosine(fast(frames), features).min() > 0.999


@pytest.mark.parametrize("size", [(30, 112, 112), (15, 28, 28), (8, 14, 14), (7, 9, 11)])
@pytest.mark.parametrize(
    "kernel, stride", [((1, 3, 3), (1, 2, 2)), ((3, 3, 3), (2, 2, 2)), ((2, 2, 2), (2, 2, 2))]
)
def test_pools_pad_as_tensorflow_does(size, kernel, stride):
    """Against padding written out: the total goes half before and the odd one after."""
    x = torch.rand(1, 2, *size)
    pads = []
    for n, k, s in zip(size, kernel, stride, strict=True):
        total = max((-(-n // s) - 1) * s + k - n, 0)
        pads = [total // 2, total - total // 2, *pads]
    plain = functional.max_pool3d(functional.pad(x, pads, value=-1), kernel, stride)
    torch.testing.assert_close(SameMaxPool3d(kernel, stride)(x), plain, rtol=0, atol=0)


def test_what_does_not_fit_is_refused(tmp_path, i3d, random_s3d):
    with pytest.raises(BackboneError, match="choose one of i3d, s3d"):
        load("resnet", tmp_path)
    with pytest.raises(BackboneError, match="choose one of auto"):
        load("i3d", tmp_path, precision="int8")
    (tmp_path / "w").write_bytes(b"not weights")
    for name in ("i3d", "s3d"):
        with pytest.raises(BackboneError, match="does not hold its weights") as refused:
            load(name, tmp_path / "w")
        assert "\n" not in str(refused.value)
    with pytest.raises(BackboneError, match="does not hold its weights"):
        load("i3d", random_s3d[1])
    with pytest.raises(BackboneError, match="uint8"):
        i3d(np.zeros((1, 30, 224, 224, 3), np.float32))


def test_features_of_a_video_are_those_of_its_clips(i3d, pancake):
    done = []
    clips = (Clip(1.5 * i, frames, 0) for i, frames in enumerate(pancake[:3]))
    found = extract(clips, i3d, on_clip=done.append)
    assert done == [1, 2, 3] and found.starts.tolist() == [0, 1.5, 3] and found.starts.dtype == np.float64
    assert found.values.dtype == np.float16
    np.testing.assert_array_equal(found.values[1], i3d(pancake[1:2])[0].astype(np.float16))
    nothing = extract([], i3d)
    assert nothing.values.shape == (0, 1024) and nothing.starts.shape == (0,)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
def test_a_gpu_gives_the_same_features_within_tolerance(i3d_weights, pancake):
    here, there = load("i3d", i3d_weights, precision="fp32"), load("i3d", i3d_weights, "cuda")
    assert cosine(here(pancake), there(pancake)).min() > 0.9998
    np.testing.assert_array_equal(there(pancake)[0], there(pancake[:1])[0])
