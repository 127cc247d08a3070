"""Makes the sample corpus: narrated videos of a drawn kitchen, and `truth.json` that tells what is in them."""

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np
from actions import ACTIONS, Stage, film
from canvas import HEIGHT, WIDTH, Camera
from corners import corner
from recipes import Recipe, recipes
from things import THINGS
from tools import Look, tools_for
from voices import SAMPLE_RATE, VOICES, Spoken, voice

FRAMES_PER_SECOND = 25
CLIP_SECONDS = 1.5
SHORTEST_STEP = 2 * CLIP_SECONDS
BEFORE_SPEECH, AFTER_SPEECH = 0.25, 0.35  # least silence, in seconds
AUDIO_FRAME = 1024  # samples
VIDEO_OPTIONS = {"crf": "34", "threads": "1"}
PRESETS = ("veryslow", "medium", "ultrafast")  # of x264: slower is smaller
AUDIO_BITS_PER_SECOND = 32_000

HANDS = ((250, 214, 184), (228, 180, 140), (186, 130, 92), (122, 80, 56))
SLEEVES = ((60, 110, 190), (200, 60, 70), (70, 70, 80), (240, 240, 236), (70, 150, 110), (230, 170, 60))


class BadOptionError(ValueError):
    """An option is out of its range."""


@dataclass(frozen=True)
class Options:
    """What the corpus is made from; the same options give the same pictures.

    videos: how many. actions, things: how many of each, in the order of ACTIONS and THINGS.
    seed: of every choice. voices: "piper" (spoken) or "captions" (silent, a `.vtt` beside each video).
    """

    videos: int = 24
    actions: int = 6
    things: int = 6
    seed: int = 0
    voices: str = "piper"

    def __post_init__(self) -> None:
        for name, value, most in (
            ("videos", self.videos, 10_000),
            ("actions", self.actions, len(ACTIONS)),
            ("things", self.things, len(THINGS)),
        ):
            if not 1 <= value <= most:
                raise BadOptionError(f"--{name} {value}: must be 1 to {most}; choose a number in that range")
        if self.actions * self.things < 6:
            raise BadOptionError(
                f"--actions {self.actions} --things {self.things}: a recipe has 6 different steps; choose more of either"
            )


def _filmed(recipe: Recipe, lengths: list[float], rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield the pictures `[240, 320, 3]` uint8 of a whole video."""
    camera = Camera(rng.uniform(0.97, 1.05), rng.uniform(-6, 6), rng.uniform(-4, 4))
    look = Look(HANDS[rng.integers(len(HANDS))], SLEEVES[rng.integers(len(SLEEVES))], camera)
    gain, warmth = rng.uniform(0.95, 1.04), rng.uniform(-0.02, 0.02)
    light = np.array([gain * (1 + warmth), gain, gain * (1 - warmth)])
    tools = tools_for(look)
    for step, seconds in zip(recipe.steps, lengths, strict=True):
        stage = Stage(corner(step.thing, camera, rng), step.thing, look, tools, rng)
        for number in range(round(seconds * FRAMES_PER_SECOND)):
            frame_hw3 = film(stage, step.action, number / FRAMES_PER_SECOND)
            yield np.clip(np.round(frame_hw3 * light), 0, 255).astype(np.uint8)


def _step_seconds(spoken: Spoken) -> float:
    """The least whole number of clips, but two, that holds the sentence and the silence around it."""
    needed = BEFORE_SPEECH + spoken.seconds + AFTER_SPEECH
    return max(SHORTEST_STEP, math.ceil(needed / CLIP_SECONDS) * CLIP_SECONDS)


def _encode(path: Path, frames: Iterator[np.ndarray], samples: np.ndarray, preset: str) -> str:
    """Write the video; the digest of its pictures before encoding."""
    digest = hashlib.sha256()
    with av.open(str(path), "w") as container:
        picture = container.add_stream(
            "libx264", rate=FRAMES_PER_SECOND, options={**VIDEO_OPTIONS, "preset": preset}
        )
        picture.width, picture.height, picture.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        sound = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        sound.bit_rate = AUDIO_BITS_PER_SECOND
        said = 0
        for number, frame_hw3 in enumerate(frames, start=1):
            digest.update(frame_hw3.tobytes())
            container.mux(picture.encode(av.VideoFrame.from_ndarray(frame_hw3, format="rgb24")))
            due = min(len(samples), number * SAMPLE_RATE // FRAMES_PER_SECOND)
            while said < due:
                part = samples[said : said + AUDIO_FRAME]
                audio = av.AudioFrame.from_ndarray(part[None], format="fltp", layout="mono")
                audio.sample_rate, audio.pts = SAMPLE_RATE, said
                container.mux(sound.encode(audio))
                said += len(part)
        container.mux(picture.encode(None))
        container.mux(sound.encode(None))
    return digest.hexdigest()


def _stamp(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes // 60):02d}:{int(minutes % 60):02d}:{rest:06.3f}"


def make_video(numbered: tuple[int, Recipe], options: Options, out: Path, preset: str) -> dict:
    """Speak, film and write one video (and its captions); its entry in the truth file."""
    number, recipe = numbered
    cv2.setNumThreads(1)
    rng = np.random.default_rng([options.seed, 3, number])
    speaker = voice(options.voices)
    pace = rng.uniform(0.98, 1.1)
    spoken = [speaker.say(step.sentence, pace) for step in recipe.steps]
    lengths = [_step_seconds(one) for one in spoken]
    samples = np.zeros(round(sum(lengths) * SAMPLE_RATE), np.float32)
    steps, start = [], 0.0
    for planned, one, seconds in zip(recipe.steps, spoken, lengths, strict=True):
        begin = (
            start + BEFORE_SPEECH + rng.uniform(0, 1) * (seconds - one.seconds - BEFORE_SPEECH - AFTER_SPEECH)
        )
        at = round(begin * SAMPLE_RATE)
        samples[at : at + len(one.samples)] = one.samples
        times = {"start": start, "end": start + seconds}
        said = {"spoken_start": round(begin, 3), "spoken_end": round(begin + one.seconds, 3)}
        steps.append({**times, **asdict(planned), **said})
        start += seconds
    path = out / f"kitchen-{number:03d}.mp4"
    pictures = _encode(path, _filmed(recipe, lengths, rng), samples, preset)
    if options.voices == "captions":
        cues = [
            f"{_stamp(s['spoken_start'])} --> {_stamp(s['spoken_end'])}\n{s['sentence']}\n" for s in steps
        ]
        path.with_suffix(".vtt").write_text("\n".join(["WEBVTT\n", *cues]), encoding="utf-8")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    known = {"file": path.name, "sha256": sha256, "pictures_sha256": pictures, "split": recipe.split}
    return {**known, "seconds": start, "steps": steps}


def make(options: Options, out: Path, jobs: int = 1, preset: str = PRESETS[0]) -> dict:
    """Write the videos and `truth.json` into `out`; the truth.

    Raises VoiceMissingError or BadOptionError before anything is written.
    """
    if jobs < 1:
        raise BadOptionError(f"--jobs {jobs}: must be at least 1; choose the number of processor cores")
    voice(options.voices)
    out.mkdir(parents=True, exist_ok=True)
    actions, things = list(ACTIONS)[: options.actions], list(THINGS)[: options.things]
    planned = list(enumerate(recipes(actions, things, options.videos, options.seed)))
    one = partial(make_video, options=options, out=out, preset=preset)
    videos = []
    with ProcessPoolExecutor(jobs) as pool:
        for video in map(one, planned) if jobs == 1 else pool.map(one, planned):
            videos.append(video)
            print(
                f"{video['file']}  {video['seconds']:.1f} s  ({len(videos)} of {options.videos})",
                file=sys.stderr,
            )
    truth = {"options": asdict(options), "actions": actions, "things": things, "videos": videos}
    (out / "truth.json").write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
    return truth


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--videos", type=int, default=Options.videos, metavar="N")
    parser.add_argument("--actions", type=int, default=Options.actions, metavar="A", help=", ".join(ACTIONS))
    parser.add_argument("--things", type=int, default=Options.things, metavar="T", help=", ".join(THINGS))
    parser.add_argument("--seed", type=int, default=Options.seed, metavar="S")
    parser.add_argument("--voices", choices=list(VOICES), default=Options.voices)
    parser.add_argument("--jobs", type=int, default=1, metavar="J", help="videos made at the same time")
    parser.add_argument("--preset", choices=PRESETS, default=PRESETS[0], help="of x264: slower is smaller")
    given = vars(parser.parse_args())
    out, jobs, preset = given.pop("out"), given.pop("jobs"), given.pop("preset")
    try:
        make(Options(**given), out, jobs, preset)
    except ValueError as error:
        print(f"make_corpus: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
