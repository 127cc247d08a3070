"""Backbones: CPU seconds a clip, against the same networks in eager fp32; and whether ours keep the visual tokens.

    python tests/benchmarks/features.py [i3d] [s3d] [mobilenetv2] [resnet50]

The peer is eager fp32 with separate batch normalisations and PyTorch's default memory layout, one clip at a time:
torchvision's network as it is; for I3D, which torchvision lacks, the same convolutions followed by normalisations that
change nothing. Published weights are used where they can be fetched, else random ones.
Then the visual tokens of real clips are compared, from the features of the direct convolutions in fp32 and from ours,
with a codebook fitted to the former (7^2 leaves for about 240 clips, by `shape_for`). One thread, rounds interleaved, medians.
"""

import resource
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))

from multimodal.intake.model_cache import BACKBONE_WEIGHTS  # noqa: E402
from multimodal.store import InputError  # noqa: E402
from multimodal.weights.fetching import fetch  # noqa: E402
from vision.backbones import BACKBONES, has_fast_bf16, load  # noqa: E402
from vision.codebook import Codebook, CodebookOptions, shape_for  # noqa: E402
from vision.errors import MediaError  # noqa: E402
from vision.features import Backbone  # noqa: E402
from vision.networks import BUILDERS, MaxPool3x3x3  # noqa: E402
from vision.readers import read_clips  # noqa: E402

ROUNDS = 7
CLIPS_OF_A_VIDEO = 16
REAL = Path(__file__).parents[3] / "shared/videos"


class Plain(nn.Module):
    """A convolution followed by a batch normalisation."""

    def __init__(self, convolution: nn.Conv3d) -> None:
        super().__init__()
        self.convolution, self.norm = convolution, nn.BatchNorm3d(convolution.out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.convolution(x))


def plain_i3d(weights: Path) -> nn.Module:
    """I3D with separate normalisations and the library's convolutions, pools and layout."""
    trunk = BUILDERS["i3d"](weights).trunk
    for module in list(trunk.modules()):
        for name, part in list(module.named_children()):
            if isinstance(part, nn.Conv3d):
                setattr(module, name, Plain(part))
            if isinstance(part, MaxPool3x3x3):
                setattr(module, name, nn.MaxPool3d(3, 1, padding=1))
    return trunk.eval().to(memory_format=torch.contiguous_format)


def plain(name: str, weights: Path) -> nn.Module:
    """A network on [n, 3, 30, 224, 224] that computes at least what the feature needs; its output is not used."""
    from torchvision.models import mobilenet_v2, resnet50
    from torchvision.models.video import s3d

    if name == "i3d":
        return plain_i3d(weights)
    network = {"s3d": s3d, "mobilenetv2": mobilenet_v2, "resnet50": resnet50}[name](weights=None)
    network.load_state_dict(torch.load(weights, weights_only=True))
    return network.eval()


def weights_of(name: str, folder: Path) -> tuple[Path, str]:
    """The weights file and what it is: published, or random."""
    try:
        return fetch(BACKBONE_WEIGHTS[name]), "published"
    except InputError:
        from torchvision.models import resnet50
        from torchvision.models.video import s3d

        torch.manual_seed(0)
        path = folder / f"{name}.pth"
        torch.save({"s3d": s3d, "resnet50": resnet50}[name](weights=None).state_dict(), path)
        return path, "random"


def real_clips() -> list[np.ndarray]:
    found = []
    for path in sorted(REAL.glob("*/*.*")):
        try:
            clips = [clip.frames for clip in islice(read_clips(path), CLIPS_OF_A_VIDEO)]
        except MediaError:
            continue
        found += clips if path.parent.name != "awkward" else clips[:4]
    return found


def seconds(work: object) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def measure(name: str, folder: Path, clips: list[np.ndarray]) -> None:
    weights, whose = weights_of(name, folder)
    ours, peer = load(name, weights), plain(name, weights)
    frames = (clips[0] if clips else np.random.default_rng(0).integers(0, 256, (30, 224, 224, 3), np.uint8))[
        None
    ]
    mean, std = (torch.tensor(value) * 255 for value in (ours.network.mean, ours.network.std))

    def eager() -> None:
        with torch.inference_mode():
            x = ((torch.from_numpy(frames).float() - mean) / std).permute(0, 4, 1, 2, 3).contiguous()
            peer(x if name in ("i3d", "s3d") else x[0].transpose(0, 1).contiguous())

    rounds = [(seconds(eager), seconds(lambda: ours(frames))) for _ in range(ROUNDS)][1:]
    theirs, mine = np.median(rounds, 0)
    print(f"{name:<12}{whose:<15}eager fp32 {theirs:6.3f}  ours ({ours.precision}) {mine:6.3f} CPU s a clip   x{theirs / mine:.2f}", flush=True)  # fmt: skip
    print(f"{'':<12}peak memory of the process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB", flush=True)  # fmt: skip
    if clips:
        exact = Backbone(name, {}, ours.device, "fp32", BUILDERS[name](weights))
        exact.network.trunk.eval()
        fast = np.concatenate([ours(clip[None]) for clip in clips])
        slow = np.concatenate([exact(clip[None]) for clip in clips])
        k, depth = shape_for(len(clips))
        book = Codebook(CodebookOptions(k=k, depth=depth)).fit(slow)
        same = (book.encode(slow) == book.encode(fast)).mean()
        lengths = np.linalg.norm(slow, axis=1) * np.linalg.norm(fast, axis=1)
        print(f"{'':<12}{len(clips)} real clips, {k}^{depth} tokens: the same for {same:.2%}; cosine at least {((slow * fast).sum(1) / lengths).min():.5f}", flush=True)  # fmt: skip


def main() -> None:
    torch.set_num_threads(1)
    print(f"bf16 in hardware: {has_fast_bf16()}")
    clips = real_clips()
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:] or BACKBONES:
            measure(name, Path(folder), clips)


if __name__ == "__main__":
    main()
