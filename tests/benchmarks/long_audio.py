"""Peak memory of hearing 5 and 30 minutes, in windows and all at once: `python tests/benchmarks/long_audio.py [minutes …]`.

Each is a process of its own: the file is decoded in the sandbox, heard by Whisper tiny.en. The sound is real narration,
repeated, with silence for three quarters of the time. What grows with the length is the difference to the shorter one.
"""

import resource
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
NARRATION = ROOT.parent / "shared/videos/narrated/autoeditor_example.mp4"
RATE = 16_000


def make(path: Path, minutes: float) -> None:
    """A WAV file of so many minutes, written a part at a time."""
    from speech import audio

    said = (audio.read(NARRATION).samples * 32767).astype(np.int16)
    turn = np.concatenate([said, np.zeros(3 * len(said), np.int16)])
    left = round(minutes * 60 * RATE)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        while left > 0:
            file.writeframes(turn[:left].tobytes())
            left -= len(turn)


def hear(path: Path, how: str) -> None:
    """Hears the file and prints the peak memory of this process and of the decoder, in MiB, CPU seconds, and words."""
    from multimodal import sandbox, weights
    from speech import audio, transcribe
    from speech.audio import AudioError, Sound

    model = transcribe.load("tiny.en", weights.fetch("whisper-tiny.en").parent, "cpu")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    if how == "windows":
        sound = sandbox.stream(audio.pieces, path, types=(Sound, AudioError))
        found = transcribe.transcribe(sound, model)
    else:
        sound = sandbox.call(audio.read, path, types=(Sound, AudioError))
        found = transcribe.transcribe(sound, model, window=float("inf"))
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    words = sum(len(s.words) for s in found.sentences)
    print(before // 1024, peaks[0] // 1024, peaks[1] // 1024, round(time.process_time() - began), words)


def main() -> None:
    lengths = [float(m) for m in sys.argv[1:]] or [5.0, 30.0]
    print(f"{'':8}{'minutes':>8}{'loaded':>9}{'peak':>9}{'decoder':>9}   MiB{'CPU s':>9}{'words':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for minutes in lengths:
            path = Path(folder) / f"{minutes:g}.wav"
            make(path, minutes)
            for how in ("windows", "whole"):
                done = subprocess.run(
                    [sys.executable, __file__, "--hear", str(path), how],
                    capture_output=True,
                    text=True,
                    check=True,
                )
                before, peak, decoder, seconds, words = done.stdout.split()
                print(
                    f"{how:8}{minutes:8g}{before:>9}{peak:>9}{decoder:>9}{seconds:>15}{words:>8}", flush=True
                )


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    if sys.argv[1:2] == ["--hear"]:
        hear(Path(sys.argv[2]), sys.argv[3])
    else:
        main()
