"""Transcription with word times, ours against `whisper.transcribe`, on real narrated videos: CPU seconds and words.

    python tests/benchmarks/whisper_speed.py [--rounds 3] [--threads 1 2] [--model tiny.en] [NAME ...]

Both get the same weights and the same samples, one after the other for each video. A ratio is the median over the
rounds. The reference for the word error rate is the captions beside a video, or for grid_* the sentence that the
file's name spells.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jiwer
import torch
import whisper
from whisper.normalizers import EnglishTextNormalizer

from multimodal.weights import fetching
from speech import audio, caption_files, captions, transcribe

NARRATED = Path(__file__).parents[2].parent / "shared/videos/narrated"
GRID = (
    {"b": "bin", "l": "lay", "p": "place", "s": "set"},
    {"b": "blue", "g": "green", "r": "red", "w": "white"},
    {"a": "at", "b": "by", "i": "in", "w": "with"},
    {},
    dict(zip("z123456789", "zero one two three four five six seven eight nine".split(), strict=True)),
    {"a": "again", "n": "now", "p": "please", "s": "soon"},
)
NORMAL = EnglishTextNormalizer()


def reference(video: Path) -> str | None:
    """The reference text of a video; None where there is none."""
    if video.stem.startswith("grid_"):
        code = video.stem.removeprefix("grid_")
        return " ".join(words.get(letter, letter) for words, letter in zip(GRID, code, strict=True))
    beside = video.with_suffix(".en.vtt")
    if not beside.exists():
        return None
    return text_of(captions.transcript(caption_files.read(beside).cues, {}))


def text_of(transcript) -> str:
    return " ".join(sentence.text for sentence in transcript.sentences)


def timed(work: Callable[[], str]) -> tuple[float, str]:
    """CPU seconds of all threads, and the text."""
    before = time.process_time()
    text = work()
    return time.process_time() - before, text


def measure(plain, model, sound, rounds: int) -> tuple[list[tuple[float, float]], str, str]:
    """CPU seconds of theirs and ours for each round, and the last text of each."""
    seconds = []
    for _ in range(rounds):
        torch.manual_seed(0)
        theirs, their_text = timed(
            lambda: whisper.transcribe(plain, sound.samples, word_timestamps=True, fp16=False)["text"]
        )
        ours, our_text = timed(lambda: text_of(transcribe.transcribe(sound, model)))
        seconds.append((theirs, ours))
    return seconds, their_text, our_text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="videos of the folder, by the beginning of their names")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--model", default="tiny.en")
    given = parser.parse_args()
    videos = sorted(path for path in NARRATED.iterdir() if path.suffix in (".mp4", ".mkv", ".mpg"))
    videos = [video for video in videos if video.name.startswith(tuple(given.names) or "")]
    if not videos:
        parser.error(f"no such videos in {NARRATED}")
    folder = fetching.fetch(f"whisper-{given.model}").parent
    plain = whisper.load_model(given.model, "cpu", str(folder)).eval()
    model = transcribe.load(given.model, folder, "cpu")
    for threads in given.threads:
        if os.environ.get("OMP_NUM_THREADS") != str(threads):
            # Whisper's aligner has loops in numba that take every core for OpenMP where the environment lets them.
            count = {"OMP_NUM_THREADS": str(threads), "NUMBA_NUM_THREADS": str(threads)}
            again = [
                *given.names,
                "--rounds",
                str(given.rounds),
                "--model",
                given.model,
                "--threads",
                str(threads),
            ]
            subprocess.run([sys.executable, __file__, *again], env=os.environ | count, check=True)
            continue
        totals = [[0.0, 0.0] for _ in range(given.rounds)]
        texts: list[tuple[str, str, str]] = []
        print(f"{threads} thread(s), {given.model}, CPU seconds, median of {given.rounds} rounds")
        print(
            f"{'video':34}{'seconds':>8}{'theirs':>8}{'ours':>8}{'times':>7}  word error rate, theirs and ours"
        )
        for video in videos:
            sound = audio.read(video)
            seconds, their_text, our_text = measure(plain, model, sound, given.rounds)
            for total, (theirs, ours) in zip(totals, seconds, strict=True):
                total[0] += theirs
                total[1] += ours
            theirs, ours = (statistics.median(column) for column in zip(*seconds, strict=True))
            ratio = statistics.median(theirs / ours for theirs, ours in seconds)
            text, rates = reference(video), ""
            if text is not None:
                texts.append((NORMAL(text), NORMAL(their_text), NORMAL(our_text)))
                rates = "  ".join(f"{jiwer.wer(texts[-1][0], found):.3f}" for found in texts[-1][1:])
            line = f"{video.name:34}{sound.seconds:8.1f}{theirs:8.2f}{ours:8.2f}{ratio:7.2f}  {rates}"
            print(line, flush=True)
        ratio = statistics.median(theirs / ours for theirs, ours in totals)
        print(f"all: {ratio:.2f} times as fast", end="")
        if texts:
            references, *found = (list(column) for column in zip(*texts, strict=True))
            theirs, ours = (jiwer.wer(references, column) for column in found)
            print(
                f"; word error rate {theirs:.4f} and {ours:.4f}, {100 * (ours - theirs):+.2f} points (at most +0.5)"
            )
        print(flush=True)


if __name__ == "__main__":
    main()
