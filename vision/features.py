"""Clip features: a backbone turns each clip of a video into one vector.

Shapes: N clips, C channels, T frames, H x W pixels, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch

from vision.clips import Clip
from vision.errors import MediaError, ModelError
from vision.networks import Network

BATCH = 16
"""Clips in a batch on a GPU. A CPU takes them one by one, since batches gain nothing there."""


@dataclass
class Backbone:
    """A network on a device. `backbone(frames)` maps uint8 [n, 30, 224, 224, 3] RGB to float32 [n, `features`].

    The result for a clip does not depend on the clips beside it. `recipe` names all that the values depend on:
    the network, the digest of its weights, the preprocessing and the precision.
    """

    name: str
    recipe: dict[str, str]
    device: torch.device
    precision: str
    network: Network

    @property
    def features(self) -> int:
        """The length of a feature vector."""
        return self.network.head.in_features

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the network's classes: actions for I3D and S3D, ImageNet's classes for the others."""
        return self.network.labels

    @property
    def batch_size(self) -> int:
        """Clips that go through the network at a time."""
        return BATCH if self.device.type == "cuda" else 1

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Features, float32 [n, `features`], of uint8 [n, T, H, W, 3]. Raises ModelError for another shape or type."""
        return self._run(frames, torch.nn.Identity(), self.features)

    def classify(self, frames: np.ndarray) -> np.ndarray:
        """Logits, float32 [n, classes], in the order of `labels`."""
        return self._run(frames, self.network.head, len(self.labels))

    @torch.inference_mode()
    def _run(
        self, frames: np.ndarray, head: Callable[[torch.Tensor], torch.Tensor], width: int
    ) -> np.ndarray:
        if frames.ndim != 5 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
            raise ModelError(
                f"clips are {frames.dtype} {list(frames.shape)}: they must be uint8 [n, frames, height, width, 3]"
            )
        size = self.batch_size
        results = np.empty((len(frames), width), np.float32)
        for begin in range(0, len(frames), size):
            batch = frames[begin : begin + size]
            # The last batch is filled up with zeros: a GPU chooses its kernels by the batch's size, and other kernels
            # would give other last bits for the same clip.
            padding = np.zeros((size - len(batch), *batch.shape[1:]), np.uint8)
            padded = torch.from_numpy(np.concatenate([batch, padding])).to(self.device)
            outputs = head(self._features(padded))
            results[begin : begin + len(batch)] = outputs[: len(batch)].cpu().numpy()
        return results

    def _features(self, frames_NTHWC: torch.Tensor) -> torch.Tensor:
        """float32 [N, F]."""
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        # The network's statistics are of pixels in [0, 1]; scaling them instead saves a pass over the pixels.
        mean, std = (
            torch.tensor(value, device=self.device) * 255 for value in (self.network.mean, self.network.std)
        )
        x_NCTHW = ((frames_NTHWC.float() - mean) / std).to(dtype).permute(0, 4, 1, 2, 3)
        return self.network.pool(self.network.trunk(x_NCTHW).float().mean((3, 4)))


@dataclass(frozen=True)
class Features:
    """`values`: float16 [n, backbone.features], a row a clip. `starts`: float64 [n], seconds on the container's timeline."""

    values: np.ndarray
    starts: np.ndarray


def extract(
    clips: Iterable[Clip], backbone: Backbone, *, on_clip: Callable[[int], None] | None = None
) -> Features:
    """The features of `clips`, which are read one batch at a time. `on_clip` is called with the number done so far.

    No clips give arrays of length 0. Raises MediaError where a feature is NaN or beyond float16's range. Errors of the
    iterable pass through.
    """
    values: list[np.ndarray] = []
    starts: list[float] = []
    batch: list[Clip] = []

    def flush() -> None:
        values.extend(_float16_features(batch, backbone))
        starts.extend(clip.start for clip in batch)
        batch.clear()
        if on_clip:
            on_clip(len(starts))

    for clip in clips:
        batch.append(clip)
        if len(batch) == backbone.batch_size:
            flush()
    if batch:
        flush()
    matrix = np.array(values, np.float16).reshape(len(values), backbone.features)
    return Features(matrix, np.array(starts, np.float64))


def _float16_features(batch: list[Clip], backbone: Backbone) -> np.ndarray:
    """float16 [len(batch), F], all finite."""
    with np.errstate(over="ignore"):
        features = backbone(np.stack([clip.frames for clip in batch])).astype(np.float16)
    bad = np.flatnonzero(~np.isfinite(features).all(1))
    if len(bad):
        raise MediaError(
            f"the clip at {batch[bad[0]].start:g} s: backbone {backbone.name} gives NaN or more than 65504 for it; "
            "take --device cpu, or another --backbone"
        )
    return features
