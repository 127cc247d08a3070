"""A coverage-guided fuzzer over our own parsers of files from outside: `make fuzz`, which installs atheris.

    python tests/hostile/fuzz.py captions|json [-max_total_time=600] [FOLDER OF FOUND INPUTS]

Arguments are libFuzzer's. Whatever a parser raises beside its errors for people is a finding, as is an input that takes more than
ten seconds or 2 GB; libFuzzer writes it to a file `crash-…`, `timeout-…` or `oom-…`.
"""

import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[2]))

with atheris.instrument_imports(include=["speech", "multimodal.intake"]):
    from multimodal.intake import imported_json
    from multimodal.store import InputError
    from speech import caption_files, captions
    from speech.control_characters import STEERING
    from speech.errors import SpeechError

SEEDS = {
    "captions": (
        b"WEBVTT\n\n00:00.500 --> 00:01.000 line:0\n<v Ann>now <00:00.700><c>chop</c> it\n",
        b"1\n00:00:00,500 --> 00:00:01,000\nNow chop it.\n\n2\n00:00:02,000 --> 00:00:03,000\n[music]\n",
        b'{"events": [{"tStartMs": 0, "dDurationMs": 900, "segs": [{"utf8": "now", "tOffsetMs": 10}]}]}',
        b'<?xml version="1.0"?><tt><body><div><p begin="0.5s" end="1s">now <br/>chop</p></div></body></tt>',
        b"[Events]\nFormat: Start, End, Text\nDialogue: 0:00:00.50,0:00:01.00,{\\i1}now\n",
        b"<SAMI><BODY><SYNC Start=500><P>now<SYNC Start=900><P>&nbsp;</SAMI>",
        b"0:00:00.500,0:00:01.000\nnow chop it\n",
        b"{12}{25}now|chop it\n",
    ),
    "json": (
        b'{"segments": [{"start": 0, "end": 1, "text": "now", "words": [{"word": "now", "start": 0, "end": 1}]}]}',
        b'[{"start": 0.0, "end": 1.0, "text": "now"}]',
        b'{"database": {"a": {"annotations": [{"segment": [0, 1], "sentence": "now"}]}}}',
        b'{"a": {"start": [0], "end": [1], "text": ["now"]}, "b": {"timestamps": [[0, 1]], "sentences": ["x"]}}',
    ),
}
FOLDER = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))


def read_captions(data: bytes) -> None:
    """The first byte chooses the ending, the rest is the file."""
    if not data:
        return
    path = FOLDER / f"a{caption_files.SUFFIXES[data[0] % len(caption_files.SUFFIXES)]}"
    path.write_bytes(data[1:])
    try:
        found = caption_files.read(path, frame_rate=25.0)
        said = captions.transcript(found.cues, {}) if found.kind == "speech" else None
    except SpeechError as error:
        assert "\n" not in str(error)
        return
    for sentence in said.sentences if said else ():
        assert sentence.start <= sentence.end and not STEERING.search(sentence.text)


def read_json(data: bytes) -> None:
    try:
        count, found = imported_json.read_json(data.decode("utf-8", "replace"))
        for n, one in enumerate(found, 1):
            assert (one.transcript is None) == bool(one.problem) and n <= count
    except (SpeechError, InputError) as error:
        assert len(str(error)) < 10_000


TARGETS = {"captions": read_captions, "json": read_json}


def main() -> None:
    name, *arguments = sys.argv[1:]
    seeds = FOLDER / "seeds"
    seeds.mkdir()
    for n, seed in enumerate(SEEDS[name]):
        for first in range(len(caption_files.SUFFIXES)) if name == "captions" else [0]:
            (seeds / f"{n}-{first}").write_bytes(bytes([first]) * (name == "captions") + seed)
    limits = ["-timeout=10", "-rss_limit_mb=2048", "-max_len=4096"]
    atheris.Setup([sys.argv[0], *limits, *arguments, str(seeds)], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
