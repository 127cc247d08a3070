"""Clip features: a backbone turns each clip of a video into one vector.

Shapes: N clips, C channels, T frames, H x W pixels, F features.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

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
    """`values`: float16 [n, backbone.features], a row a clip. `starts`: float64 [n], seconds from the file's start."""

    values: np.ndarray
    starts: np.ndarray


def extract(
    clips: Iterable[Clip], backbone: Backbone, *, on_clip: Callable[[int], None] | None = None
) -> Features:
    """The features of `clips`, which are read a few batches ahead. `on_clip` is called with the number done so far.

    No clips give arrays of length 0. Raises MediaError where a feature is NaN or beyond float16's range. Errors of the
    iterable pass through.
    """
    values: list[np.ndarray] = []
    starts: list[float] = []
    waiting: deque[tuple[list[Clip], Future[np.ndarray]]] = deque()

    def collect() -> None:
        batch, features = waiting.popleft()
        values.extend(features.result())
        starts.extend(clip.start for clip in batch)
        if on_clip:
            on_clip(len(starts))

    # On a CPU a thread for each core has clips of its own: twice the cores are then twice as fast, which the threads of
    # PyTorch within a clip are not.
    workers = torch.get_num_threads() if backbone.device.type == "cpu" else 1
    clips = iter(clips)
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        while batch := list(islice(clips, backbone.batch_size)):
            waiting.append((batch, pool.submit(_float16_features, batch, backbone)))
            if len(waiting) > workers:
                collect()
        while waiting:
            collect()
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
