"""The networks see what is there, and the fast forms give the numbers of the plain ones."""

from itertools import islice

import numpy as np
import pytest
import torch
from torch.nn import functional

from vision.backbones import BACKBONES, has_fast_bf16, load
from vision.clips import Clip
from vision.errors import ModelError
from vision.features import extract
from vision.networks import BUILDERS, MaxPool3x3x3, SameMaxPool3d
from vision.readers import read_clips


@pytest.fixture(scope="module")
def i3d_weights(weights_or_skip):
    return weights_or_skip("i3d-kinetics-400")


@pytest.fixture(scope="module")
def i3d(i3d_weights):
    return load("i3d", i3d_weights)


@pytest.fixture(scope="module")
def kitchen(samples):
    """uint8 [3, 30, 224, 224, 3]: clips of a sample video, some seconds apart."""
    return np.stack([clip.frames for clip in islice(read_clips(samples / "kitchen-000.mp4"), 0, 15, 5)])


@pytest.fixture(scope="module")
def random_weights(tmp_path_factory):
    """`random_weights(name)`: torchvision's network with random weights and batch statistics, and its file."""
    from torchvision.models import mobilenet_v2, resnet50
    from torchvision.models.video import s3d

    made = {}

    def weights(name):
        if name not in made:
            torch.manual_seed(0)
            network = {"s3d": s3d, "mobilenetv2": mobilenet_v2, "resnet50": resnet50}[name](
                weights=None
            ).eval()
            for module in network.modules():
                if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm3d):
                    module.running_mean.normal_(0, 0.1)
                    module.running_var.uniform_(0.5, 1.5)
            path = tmp_path_factory.mktemp(name) / f"{name}.pth"
            torch.save(network.state_dict(), path)
            made[name] = network, path
        return made[name]

    return weights


@pytest.fixture(scope="module")
def random_s3d(random_weights):
    return random_weights("s3d")


@pytest.fixture(scope="module")
def backbone(random_weights, i3d_weights):
    """`backbone(name)`: I3D with its weights, the others with random ones."""
    loaded = {}

    def get(name):
        if name not in loaded:
            loaded[name] = load(name, i3d_weights if name == "i3d" else random_weights(name)[1])
        return loaded[name]

    return get


def cosine(a, b):
    return (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


def test_i3d_sees_a_pancake_flipped_and_not_everywhere(i3d, videos, kitchen):
    clips = list(read_clips(videos / "narrated/flipping_a_pancake.mkv"))
    whole = np.stack([clip.frames for clip in clips if not clip.repeated])
    assert len(whole) == 6
    assert {i3d.labels[label] for label in i3d.classify(whole).argmax(1)} == {"flipping pancake"}
    assert "flipping pancake" not in {i3d.labels[label] for label in i3d.classify(kitchen).argmax(1)}


@pytest.mark.skipif(not has_fast_bf16(), reason="bfloat16 is emulated on this processor, which takes minutes")
def test_i3d_in_bfloat16_is_near_float32(i3d_weights, kitchen):
    exact = load("i3d", i3d_weights, precision="fp32")(kitchen)
    fast = load("i3d", i3d_weights, precision="bf16")(kitchen)
    assert exact.shape == (3, 1024) and exact.dtype == fast.dtype == np.float32
    assert cosine(exact, fast).min() > 0.9998
    apart = exact - exact.mean(0), fast - fast.mean(0)
    assert cosine(*apart).min() > 0.998


def test_i3d_has_its_size_and_recipe(i3d, i3d_weights):
    count = sum(p.numel() for part in (i3d.network.trunk, i3d.network.head) for p in part.parameters())
    assert round(count / 1e6, 1) == 12.7
    assert i3d.features == 1024 and len(i3d.labels) == 400
    assert i3d.recipe["name"] == "i3d" and len(i3d.recipe["weights"]) == 64
    assert i3d.recipe["precision"] == ("bf16" if has_fast_bf16() else "fp32")


LENGTHS = {"i3d": (1024, 400), "s3d": (1024, 400), "mobilenetv2": (1280, 1000), "resnet50": (2048, 1000)}


NOT_LONG = ("i3d", "s3d", "mobilenetv2")


@pytest.mark.parametrize(
    "name", [n if n in NOT_LONG else pytest.param(n, marks=pytest.mark.long) for n in BACKBONES]
)
def test_every_backbone_keeps_the_rules(backbone, name):
    """Shape, length, determinism, no neighbour's influence, another clip another feature, and a recipe that says all."""
    net = backbone(name)
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (3, 4, 4, 4, 3), np.uint8)
    clips = coarse.repeat(4, 1).repeat(32, 2).repeat(32, 3)
    together = net(clips)
    assert together.shape == (3, net.features) and together.dtype == np.float32
    assert (net.features, len(net.labels)) == LENGTHS[name] and net.classify(clips[:1]).shape == (
        1,
        len(net.labels),
    )
    assert np.isfinite(together).all() and len(np.unique(together, axis=0)) == 3
    np.testing.assert_array_equal(together, net(clips))
    for row in range(3):
        np.testing.assert_array_equal(together[row], net(clips[row : row + 1])[0])
    np.testing.assert_array_equal(together[::-1], net(clips[::-1]))
    assert net(clips[:0]).shape == (0, net.features)
    assert set(net.recipe) == {"name", "weights", "preprocessing", "precision"}
    assert net.recipe["name"] == name and len(net.recipe["weights"]) == 64
    assert all(str(part) in net.recipe["preprocessing"] for part in net.network.mean)
    found = extract((Clip(1.5 * i, clip, 0) for i, clip in enumerate(clips[:2])), net)
    assert found.values.shape == (2, net.features)
    # One thread has a clip of its own there; several add in another order.
    np.testing.assert_allclose(found.values, together[:2].astype(np.float16), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("name", ["mobilenetv2", pytest.param("resnet50", marks=pytest.mark.long)])
def test_an_image_network_equals_torchvision_frame_by_frame(random_weights, name):
    network, path = random_weights(name)
    frames = np.random.default_rng(0).integers(0, 256, (1, 4, 224, 224, 3), np.uint8)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x_TCHW = ((torch.from_numpy(frames[0]) / 255 - mean) / deviation).permute(0, 3, 1, 2)
    last = network.classifier if name == "mobilenetv2" else network.fc
    seen = []
    last.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    with torch.inference_mode():
        logits = network(x_TCHW).mean(0).numpy()
    exact, mine = seen[0].mean(0).numpy(), load(name, path, precision="fp32")
    np.testing.assert_allclose(mine(frames)[0], exact, rtol=1e-3, atol=1e-4 * np.abs(exact).max())
    np.testing.assert_allclose(mine.classify(frames)[0], logits, rtol=1e-3, atol=1e-3 * np.abs(logits).max())
    assert cosine(load(name, path, precision="bf16")(frames)[0], exact) > 0.999


def test_mobilenet_sees_what_is_in_the_picture(weights_or_skip, videos):
    """With its own weights, the first five of 1000 things: insects' flowers, a screencast's page, a street."""
    net = load("mobilenetv2", weights_or_skip("mobilenetv2-imagenet"))
    things = {
        "no_speech/flower.webm": {"ant", "hip", "bee"},
        "narrated/ds4200_var_screencast.mp4": {"web site"},
        "no_speech/bikes.mp4": {"car mirror", "cab"},
    }
    for name, expected in things.items():
        clip = list(islice(read_clips(videos / name), 2))[1]
        best = net.classify(clip.frames[None])[0].argsort()[-5:]
        assert expected <= {net.labels[label] for label in best}


@pytest.mark.long
def test_s3d_equals_torchvision(random_s3d):
    network, path = random_s3d
    frames = np.random.default_rng(0).integers(0, 256, (1, 30, 224, 224, 3), np.uint8)
    mine = load("s3d", path, precision="fp32")
    mean, deviation = torch.tensor([0.43216, 0.394666, 0.37645]), torch.tensor([0.22803, 0.22145, 0.216989])
    x_NCTHW = ((torch.from_numpy(frames) / 255 - mean) / deviation).permute(0, 4, 1, 2, 3)
    with torch.inference_mode():
        pooled = network.avgpool(network.features(x_NCTHW))
        features = pooled.mean((2, 3, 4)).numpy()
        logits = network.classifier(pooled).mean((2, 3, 4)).numpy()  # as its `forward` does
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


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [(15, 28, 28), (4, 7, 9), (1, 2, 1)])
def test_max_pooling_by_shifted_copies_is_the_librarys(size, kind):
    x = torch.randn(2, 5, *size).to(kind).contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(MaxPool3x3x3()(x), functional.max_pool3d(x, 3, 1, 1), rtol=0, atol=0)


def test_what_does_not_fit_is_refused(tmp_path, i3d, random_s3d):
    with pytest.raises(ModelError, match="vgg.*mobilenetv2"):
        load("vgg", tmp_path)
    with pytest.raises(ModelError, match="int8.*bf16"):
        load("i3d", tmp_path, precision="int8")
    (tmp_path / "w").write_bytes(b"not weights")
    for name in BACKBONES:
        with pytest.raises(ModelError, match=name) as refused:
            load(name, tmp_path / "w")
        assert str(tmp_path / "w") in str(refused.value) and "\n" not in str(refused.value)
    with pytest.raises(ModelError, match="i3d"):
        load("i3d", random_s3d[1])
    with pytest.raises(ModelError, match="uint8"):
        i3d(np.zeros((1, 30, 224, 224, 3), np.float32))


def test_each_name_has_a_network():
    assert tuple(BUILDERS) == BACKBONES


def test_features_of_a_video_are_those_of_its_clips(i3d, kitchen):
    done = []
    clips = (Clip(1.5 * i, frames, 0) for i, frames in enumerate(kitchen))
    found = extract(clips, i3d, on_clip=done.append)
    assert done == [1, 2, 3] and found.starts.tolist() == [0, 1.5, 3] and found.starts.dtype == np.float64
    assert found.values.dtype == np.float16
    np.testing.assert_array_equal(found.values[1], i3d(kitchen[1:2])[0].astype(np.float16))
    nothing = extract([], i3d)
    assert nothing.values.shape == (0, 1024) and nothing.starts.shape == (0,)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
def test_a_gpu_gives_the_same_features_within_tolerance(i3d_weights, kitchen):
    here, there = load("i3d", i3d_weights, precision="fp32"), load("i3d", i3d_weights, "cuda")
    assert cosine(here(kitchen), there(kitchen)).min() > 0.9998
    np.testing.assert_array_equal(there(kitchen)[0], there(kitchen[:1])[0])
