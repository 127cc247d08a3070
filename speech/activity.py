"""Where in a sound somebody speaks: Silero's voice activity network, whose weights its package carries."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from speech.audio import SAMPLE_RATE

FRAME_SAMPLES = 512
FRAME_SECONDS = FRAME_SAMPLES / SAMPLE_RATE
CONTEXT_SAMPLES = 64
WINDOW = 256
HOP = WINDOW // 2
BINS = WINDOW // 2 + 1
FRAMES_AT_ONCE = 4096
Before = tuple[Tensor, tuple[Tensor, Tensor] | None]
"""The last samples and the LSTM's state."""


class ActivityError(ValueError):
    """The network's weights cannot be had; the message says what to install."""


@dataclass(frozen=True)
class ActivityOptions:
    """Speech begins where the probability reaches `threshold` and ends where it stays below `release` for
    `shortest_silence` seconds; a stretch shorter than `shortest_speech` is none. Each stretch is widened by
    `margin` seconds, at most to the middle of the silence beside it."""

    threshold: float = 0.5
    release: float = 0.35
    shortest_speech: float = 0.25
    shortest_silence: float = 0.1
    margin: float = 0.4

    def __post_init__(self):
        if not 0 < self.release <= self.threshold < 1:
            raise ValueError(
                f"release={self.release}, threshold={self.threshold}: must rise from 0 to 1 in this order"
            )
        for name in ("shortest_speech", "shortest_silence", "margin"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)}: must not be less than 0")


class VoiceActivity(nn.Module):
    """Silero VAD 6 for 16 kHz (MIT), many frames at once: they are a batch up to the LSTM.

    silero_vad's own loader runs a TorchScript archive and sets the process to one thread when it is imported, so
    only its weights are taken.
    """

    def __init__(self):
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 2 * BINS, WINDOW, stride=HOP, bias=False)
        self.conv1 = nn.Conv1d(BINS, 128, 3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, 128, 3, padding=1)
        self.lstm = nn.LSTM(128, 128)
        self.final_conv = nn.Conv1d(128, 1, 1)

    def forward(self, samples: Tensor) -> Tensor:
        """float32 [n] at 16 kHz -> the probability of speech in each frame of 512 samples, [ceil(n / 512)]."""
        return self.go_on(samples, None)[0]

    def go_on(self, samples: Tensor, before: Before | None) -> tuple[Tensor, Before]:
        """The same for samples that follow others: `before` is what came with these, which were whole frames."""
        frames = -(-len(samples) // FRAME_SAMPLES)
        context, state = before or (samples.new_zeros(CONTEXT_SAMPLES), None)
        padded = F.pad(torch.cat([context, samples]), (0, frames * FRAME_SAMPLES - len(samples)))
        windows = padded.unfold(0, CONTEXT_SAMPLES + FRAME_SAMPLES, FRAME_SAMPLES)
        probabilities = []
        for part in windows.split(FRAMES_AT_ONCE):
            hidden, state = self.lstm(self._encode(part)[:, None], state)
            logits = self.final_conv(F.relu(hidden.squeeze(1))[:, :, None])
            probabilities.append(torch.sigmoid(logits).flatten())
        return torch.cat(probabilities), (padded[-CONTEXT_SAMPLES:].clone(), state)

    def _encode(self, windows: Tensor) -> Tensor:
        """[frames, 576] -> [frames, 128]."""
        spectrum = self.stft_conv(F.pad(windows[:, None], (0, WINDOW // 4), mode="reflect"))
        x = torch.hypot(spectrum[:, :BINS], spectrum[:, BINS:])
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = F.relu(conv(x))
        return x.squeeze(-1)


def probabilities(samples: np.ndarray) -> np.ndarray:
    """The probability of speech in each 32 ms of `samples` (float32 [n], 16 kHz): float32 [ceil(n / 512)]."""
    return Listener()(samples)


class Listener:
    """Voice activity over a sound that comes in parts: the same probabilities as for the whole."""

    def __init__(self):
        self._before: Before | None = None

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """float32 [ceil(n / 512)]; only the last part may hold other than whole frames."""
        if not len(samples):
            return np.zeros(0, np.float32)
        with torch.inference_mode():
            part = torch.from_numpy(np.ascontiguousarray(samples, np.float32))
            found, self._before = _network().go_on(part, self._before)
            return found.numpy()


def regions(
    probabilities: np.ndarray, seconds: float, options: ActivityOptions | None = None
) -> tuple[tuple[float, float], ...]:
    """Where speech is, in seconds from the sound's start: half-open, in order, apart, within [0, seconds)."""
    options = options or ActivityOptions()
    found = []
    start = silence = None
    for frame, probability in enumerate(probabilities):
        time = frame * FRAME_SECONDS
        if probability >= options.threshold:
            silence = None
            start = time if start is None else start
        elif start is not None and probability < options.release:
            silence = time if silence is None else silence
            if time - silence >= options.shortest_silence:
                found.append((start, silence))
                start = silence = None
    if start is not None:
        found.append((start, seconds))
    found = [(start, end) for start, end in found if end - start >= options.shortest_speech]
    return _widened(found, seconds, options.margin)


def _widened(
    stretches: list[tuple[float, float]], seconds: float, margin: float
) -> tuple[tuple[float, float], ...]:
    edges = [-seconds, *(time for stretch in stretches for time in stretch), 2 * seconds]
    widened = []
    for n, (start, end) in enumerate(stretches):
        before, after = start - edges[2 * n], edges[2 * n + 3] - end
        widened.append(
            (max(0.0, start - min(margin, before / 2)), min(seconds, end + min(margin, after / 2)))
        )
    return tuple(widened)


@lru_cache(maxsize=1)
def _network() -> VoiceActivity:
    package = importlib.util.find_spec("silero_vad")
    folders = package.submodule_search_locations if package else []
    files = [Path(folder) / "data" / "silero_vad_16k.safetensors" for folder in folders]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        raise ActivityError(
            "silero_vad_16k.safetensors: not found; install the package silero-vad, 6.2 or later"
        )
    weights = {
        f"lstm.{name.removeprefix('lstm_cell.')}_l0" if name.startswith("lstm_cell.") else name: tensor
        for name, tensor in load_file(file).items()
    }
    network = VoiceActivity()
    network.load_state_dict(weights)
    return network.eval()
