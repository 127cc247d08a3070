"""Voice activity detection (VAD): Silero's network, at once or streaming, and the speech segments it finds."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from speech.audio import SAMPLE_RATE
from speech.errors import SpeechModelError

FRAME_SAMPLES = 512
FRAME_SECONDS = FRAME_SAMPLES / SAMPLE_RATE
CONTEXT_SAMPLES = 64
STFT_SAMPLES = 256
HOP = STFT_SAMPLES // 2
BINS = STFT_SAMPLES // 2 + 1
FRAMES_AT_ONCE = 4096

StreamState = tuple[Tensor, tuple[Tensor, Tensor] | None]
"""The last CONTEXT_SAMPLES samples, and the LSTM's hidden and cell state."""
Segment = tuple[float, float]
"""Start and end in seconds, [start, end)."""


@dataclass(frozen=True)
class VADOptions:
    """How probabilities become speech segments.

    Speech begins where the probability reaches `threshold`. It ends where the probability stays below `release` for
    `shortest_silence` seconds. A segment shorter than `shortest_speech` seconds is dropped. Each segment is widened by
    `margin` seconds on both sides, at most to the middle of the silence beside it. Raises ValueError.
    """

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


class SileroVAD(nn.Module):
    """Silero VAD 6 for 16 kHz (https://github.com/snakers4/silero-vad, MIT).

    All frames are one batch up to the LSTM, which makes it faster than Silero's own loop over frames. Only the weights
    of the package silero_vad are used: importing it sets the whole process to one thread.
    """

    def __init__(self):
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 2 * BINS, STFT_SAMPLES, stride=HOP, bias=False)
        self.conv1 = nn.Conv1d(BINS, 128, 3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, 128, 3, padding=1)
        self.lstm = nn.LSTM(128, 128)
        self.final_conv = nn.Conv1d(128, 1, 1)

    def forward(self, samples: Tensor) -> Tensor:
        """float32 [n] at 16 kHz -> the probability of speech in each frame of 512 samples, [ceil(n / 512)]."""
        return self.stream(samples, None)[0]

    def stream(self, samples: Tensor, state: StreamState | None) -> tuple[Tensor, StreamState]:
        """`forward` for samples that follow others. `state` is what the call before returned, None at the start.

        The samples before must have been whole frames.
        """
        frames = -(-len(samples) // FRAME_SAMPLES)
        context, lstm_state = state or (samples.new_zeros(CONTEXT_SAMPLES), None)
        # Each frame is read together with the end of the one before it; the last is filled up with zeros.
        padded = F.pad(torch.cat([context, samples]), (0, frames * FRAME_SAMPLES - len(samples)))
        windows = padded.unfold(0, CONTEXT_SAMPLES + FRAME_SAMPLES, FRAME_SAMPLES)
        probabilities = []
        for part in windows.split(FRAMES_AT_ONCE):
            hidden, lstm_state = self.lstm(self._encode(part)[:, None], lstm_state)
            logits = self.final_conv(F.relu(hidden.squeeze(1))[:, :, None])
            probabilities.append(torch.sigmoid(logits).flatten())
        return torch.cat(probabilities), (padded[-CONTEXT_SAMPLES:].clone(), lstm_state)

    def _encode(self, windows: Tensor) -> Tensor:
        """[frames, 576] -> [frames, 128]."""
        spectrum = self.stft_conv(F.pad(windows[:, None], (0, STFT_SAMPLES // 4), mode="reflect"))
        # The kernel's first half gives the real parts, its second half the imaginary ones.
        x = torch.hypot(spectrum[:, :BINS], spectrum[:, BINS:])
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = F.relu(conv(x))
        return x.squeeze(-1)


class StreamingVAD:
    """VAD over audio that comes in parts. The probabilities are those of the whole."""

    def __init__(self):
        self._state: StreamState | None = None

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """float32 [n] at 16 kHz -> float32 [ceil(n / 512)]. Every part but the last must be whole frames.

        Raises SpeechModelError.
        """
        if not len(samples):
            return np.zeros(0, np.float32)
        with torch.inference_mode():
            part = torch.from_numpy(np.ascontiguousarray(samples, np.float32))
            probabilities, self._state = _network().stream(part, self._state)
            return probabilities.numpy()


def probabilities(samples: np.ndarray) -> np.ndarray:
    """The probability of speech in each 32 ms of `samples` (float32 [n], 16 kHz): float32 [ceil(n / 512)]."""
    return StreamingVAD()(samples)


def speech_segments(
    probabilities: np.ndarray, seconds: float, options: VADOptions | None = None
) -> tuple[Segment, ...]:
    """Where speech is, in seconds from the start of the audio, which is `seconds` long.

    `probabilities`: one a frame, [frames]. Segments are in order, do not touch, and lie within [0, seconds).
    """
    options = options or VADOptions()
    found = []
    start = silence = None
    for frame, probability in enumerate(probabilities):
        time = frame * FRAME_SECONDS
        if probability >= options.threshold:
            silence = None
            start = time if start is None else start
        elif start is not None and probability < options.release:
            # Between `release` and `threshold` nothing changes: speech that fades is neither begun nor ended.
            silence = time if silence is None else silence
            if time - silence >= options.shortest_silence:
                found.append((start, silence))
                start = silence = None
    if start is not None:
        found.append((start, seconds))
    found = [(start, end) for start, end in found if end - start >= options.shortest_speech]
    return _widened(found, seconds, options.margin)


def _widened(segments: list[Segment], seconds: float, margin: float) -> tuple[Segment, ...]:
    widened = []
    for n, (start, end) in enumerate(segments):
        # The silence before the first and after the last segment is shared with no other: all of it may be taken.
        before = start - segments[n - 1][1] if n else math.inf
        after = segments[n + 1][0] - end if n + 1 < len(segments) else math.inf
        first, last = start - min(margin, before / 2), end + min(margin, after / 2)
        widened.append((max(0.0, first), min(seconds, last)))
    return tuple(widened)


@lru_cache(maxsize=1)
def _network() -> SileroVAD:
    # `find_spec` finds the package's folder without importing it.
    package = importlib.util.find_spec("silero_vad")
    folders = package.submodule_search_locations if package else []
    files = [Path(folder) / "data" / "silero_vad_16k.safetensors" for folder in folders]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        raise SpeechModelError(
            "silero_vad_16k.safetensors: not found; install the package silero-vad, 6.2 or later"
        )
    # The package runs one step of an LSTM at a time; torch names the weights of a whole layer otherwise.
    weights = {
        f"lstm.{name.removeprefix('lstm_cell.')}_l0" if name.startswith("lstm_cell.") else name: tensor
        for name, tensor in load_file(file).items()
    }
    network = SileroVAD()
    network.load_state_dict(weights)
    return network.eval()
