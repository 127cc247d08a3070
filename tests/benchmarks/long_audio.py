"""Peak memory of transcribing 5 and 30 minutes, in windows and all at once: `python tests/benchmarks/long_audio.py [minutes …]`.

The file is decoded in the sandbox and transcribed by Whisper tiny.en. The audio is real narration, repeated, with silence for
three quarters of the time. `loaded` is the memory before that: Whisper and its libraries.
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


def transcribe_file(path: Path, how: str) -> None:
    """Transcribes the file and prints this process's memory before and its peak, in MiB, CPU seconds, and words."""
    from multimodal.intake import sandbox
    from multimodal.weights import fetching
    from speech import audio, transcribe
    from speech.audio import Audio
    from speech.errors import SpeechError

    model = transcribe.load("tiny.en", fetching.fetch("whisper-tiny.en").parent, "cpu")
    before, began = peak(), time.process_time()
    if how == "windows":
        found = transcribe.transcribe(sandbox.stream(audio.pieces, path, types=(Audio, SpeechError)), model)
    else:
        sound = sandbox.call(audio.read, path, types=(Audio, SpeechError))
        found = transcribe.transcribe(sound, model, window=float("inf"))
    words = sum(len(s.words) for s in found.sentences)
    print(before, peak(), round(time.process_time() - began), words)


def decode(path: Path, how: str) -> None:
    """Decodes the file and prints this process's peak memory in MiB: what the sandbox's child needs."""
    from speech import audio

    if how == "windows":
        for _ in audio.pieces(path):
            pass
    else:
        audio.read(path)
    print(peak())


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    lengths = [float(m) for m in sys.argv[1:]] or [5.0, 30.0]
    print(f"{'MiB':8}{'minutes':>8}{'decoder':>9}{'loaded':>8}{'peak':>7}{'CPU s':>8}{'words':>7}")
    with tempfile.TemporaryDirectory() as folder:
        for minutes in lengths:
            path = Path(folder) / f"{minutes:g}.wav"
            make(path, minutes)
            for how in ("windows", "whole"):
                (decoder,) = run("--decode", path, how)
                before, most, seconds, words = run("--transcribe", path, how)
                print(
                    f"{how:8}{minutes:8g}{decoder:>9}{before:>8}{most:>7}{seconds:>8}{words:>7}", flush=True
                )


def run(*arguments: object) -> list[str]:
    """What this script prints in a process of its own: a peak is that of a process, and never falls."""
    command = [sys.executable, __file__, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    if sys.argv[1:2] in (["--transcribe"], ["--decode"]):
        {"--transcribe": transcribe_file, "--decode": decode}[sys.argv[1]](Path(sys.argv[2]), sys.argv[3])
    else:
        main()
