"""Channels: which of a sound track's channels are heard. Most tracks are mixed down to one; some lose the speech by that."""

from __future__ import annotations

from dataclasses import dataclass

import av
import numpy as np

CANCELS = 0.1
"""Two channels cancel where their mean has less than this share of the power of the louder one: -10 dB. Channels that have
nothing in common keep a half or, where one is silent, a quarter."""
CENTRE_AUDIBLE = 0.01
"""The centre of a surround track is heard alone where it has this share of the power of the loudest channel: -20 dB."""
LEAST_POWER = 1e-7
"""Mean square of samples in [-1, 1] from which a part of the sound counts: -70 dB."""
ENOUGH_SECONDS, MOST_SECONDS = 20.0, 120.0
"""Seconds of sound that decide, and seconds of the track, silent or not, after which what there is decides."""
CENTRES = ("FC", "C")


@dataclass(frozen=True)
class Choice:
    """The `channel` that is heard, by its place in a frame, and a `note` that says why; None mixes all down to one."""

    channel: int | None = None
    note: str = ""


class ChannelChooser:
    """Decides by the first seconds of a track."""

    def __init__(self) -> None:
        self._power: np.ndarray | None = None  # of each channel and of their mean, summed over samples
        self._seconds = self._loud = 0.0
        self._names: tuple[str, ...] = ()

    @property
    def decided(self) -> bool:
        return self._loud >= ENOUGH_SECONDS or self._seconds >= MOST_SECONDS

    def add(self, frame: av.AudioFrame) -> None:
        samples_CN = _samples(frame)
        self._names = tuple(channel.name for channel in frame.layout.channels)
        power = np.square(np.vstack([samples_CN, samples_CN.mean(0)])).mean(1)
        seconds = frame.samples / frame.rate
        self._seconds += seconds
        if self._power is None or len(power) != len(self._power):
            self._power = np.zeros(len(power))
        if power.max() >= LEAST_POWER:
            self._loud += seconds
            self._power += power * seconds

    def choice(self) -> Choice:
        if self._power is None or not self._loud:
            return Choice()
        *of_each, of_mean = self._power.tolist()
        loudest = max(of_each)
        if len(of_each) == 2 and of_mean < CANCELS * loudest:
            channel = of_each.index(loudest)
            return Choice(
                channel,
                f"the two channels of the sound cancel: the {('left', 'right')[channel]} one is heard",
            )
        centre = next((n for n, name in enumerate(self._names) if name in CENTRES), None)
        if len(of_each) > 2 and centre is not None and of_each[centre] >= CENTRE_AUDIBLE * loudest:
            return Choice(centre, f"of the sound's {len(of_each)} channels the centre is heard")
        return Choice()


def one_channel(frame: av.AudioFrame, channel: int) -> av.AudioFrame:
    """The frame's `channel` as a mono frame of the same rate and time stamp."""
    values = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, len(frame.layout.channels)).T
    made = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(values[channel : channel + 1]), frame.format.name, "mono"
    )
    made.sample_rate, made.pts, made.time_base = frame.rate, frame.pts, frame.time_base
    return made


class HeardChannel:
    """The frames of a track, each of the channel that is heard. Frames are held back until it is decided.

    `note`: why a channel is heard alone; empty where all are mixed. `mixed`: all are, as one alone held no speech.
    """

    def __init__(self, mixed: bool = False) -> None:
        self._chooser, self._waiting = ChannelChooser(), []
        self._choice = (
            Choice(note="one channel of the sound holds no speech: all are heard") if mixed else None
        )

    @property
    def note(self) -> str:
        return self._choice.note if self._choice else ""

    def add(self, frame: av.AudioFrame) -> list[av.AudioFrame]:
        """The frames that are ready, after the one that was decoded next."""
        if self._choice is not None:
            return [self._heard(frame)]
        self._waiting.append(frame)
        if len(frame.layout.channels) > 1:
            self._chooser.add(frame)
        elif len(self._waiting) == 1:
            return self.finish()
        return self.finish() if self._chooser.decided else []

    def finish(self) -> list[av.AudioFrame]:
        """The frames that were held back."""
        self._choice = self._choice or self._chooser.choice()
        ready, self._waiting = [self._heard(frame) for frame in self._waiting], []
        return ready

    def _heard(self, frame: av.AudioFrame) -> av.AudioFrame:
        # A track may change its layout on the way; then all that is there is mixed.
        channel, channels = self._choice.channel, len(frame.layout.channels)
        return frame if channel is None or not 1 < channels > channel else one_channel(frame, channel)


def _samples(frame: av.AudioFrame) -> np.ndarray:
    """float64 [channels, samples] in [-1, 1]."""
    values = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, len(frame.layout.channels)).T
    if values.dtype == np.uint8:
        return values.astype(np.float64) / 128 - 1
    if np.issubdtype(values.dtype, np.integer):
        return values / -float(np.iinfo(values.dtype).min)
    return values.astype(np.float64)
