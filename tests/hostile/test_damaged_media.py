"""Media that were cut off, flipped at random places, or point elsewhere: an answer in a line each, no request, no escape.

In `make test` a few of each; `make hostile` (VIDEOBERT_HOSTILE=1) has 50 cuts and 500 flips. It prints its counts.
"""

import os
import random
import resource
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

import fragments
import looking
import pytest

from multimodal.intake import sandbox
from multimodal.intake.sandbox import Limits, SandboxError

WHOLE = bool(os.environ.get("VIDEOBERT_HOSTILE"))
CUTS, FLIPS = (50, 500) if WHOLE else (6, 24)
ENDINGS = (".mp4", ".mkv", ".ts", ".mov")
SECONDS_A_FILE = 120.0
LIMITS = Limits(SECONDS_A_FILE, 2 << 30)
IMPORTS = ("vision.frames", "vision.timeline")


@pytest.fixture(autouse=True)
def helpers_in_the_child(monkeypatch):
    path = os.pathsep.join([str(Path(looking.__file__).parent), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    """A video of 3 s with speech in each container."""
    folder = tmp_path_factory.mktemp("whole")
    return {ending: fragments.spoken(folder / f"whole{ending}").read_bytes() for ending in ENDINGS}


@dataclass
class Looked:
    """An answer for each file, how often a child crashed or did not finish, and the most seconds that one answer took."""

    answers: list[str] = field(default_factory=list)
    crashes: int = 0
    hangs: int = 0
    longest: float = 0.0

    def add(self, answer: str, since: float) -> float:
        """Returns the time of the answer."""
        now = time.monotonic()
        self.answers.append(answer)
        self.longest = max(self.longest, now - since)
        return now


def looked_at(files: list[Path]) -> Looked:
    """Behind a child that failed the next one goes on. The first answer of a child takes its start, too."""
    found, at = Looked(), time.monotonic()
    while len(found.answers) < len(files):
        rest = files[len(found.answers) :]
        try:
            for answer in sandbox.stream(
                looking.look_at_each, rest, types=(), limits=LIMITS, imports=IMPORTS
            ):
                at = found.add(answer, at)
        except SandboxError as error:
            hung = "did not finish" in str(error)
            found.hangs, found.crashes = found.hangs + hung, found.crashes + (not hung)
            at = found.add(f"{files[len(found.answers)].name}: {error}", at)
    return found


def told(capsys, what: str, found: Looked) -> None:
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    with capsys.disabled():
        print(
            f"\n{what}: {len(found.answers)} inputs, {found.crashes} children crashed, {found.hangs} did not finish, "
            f"{found.longest:.1f} s at most for one; the largest child so far {largest:.0f} MiB"
        )


def check(capsys, tmp_path: Path, what: str, contents: list[tuple[str, bytes]]) -> list[str]:
    files = []
    for n, (ending, content) in enumerate(contents):
        files.append(tmp_path / f"{n:03}{ending}")
        files[-1].write_bytes(content)
    before = sorted(p.name for p in tmp_path.iterdir())
    found = looked_at(files)
    told(capsys, what, found)
    assert all(answer and "\n" not in answer for answer in found.answers)
    assert found.crashes == found.hangs == 0, [answer for answer in found.answers if answer[:3].isdigit()]
    assert sorted(p.name for p in tmp_path.iterdir()) == before, "a child wrote"
    return found.answers


def test_media_that_were_cut_off(capsys, tmp_path, whole):
    draw = random.Random(0)
    contents = []
    for n in range(CUTS):
        ending = ENDINGS[n % len(ENDINGS)]
        contents.append((ending, whole[ending][: draw.randrange(1, len(whole[ending]))]))
    contents += whole.items()
    answers = check(capsys, tmp_path, "cut off", contents)
    assert all("2 clips" in answer for answer in answers[-len(ENDINGS) :]), (
        "the control: whole files are read"
    )


def test_media_with_flipped_bytes(capsys, tmp_path, whole):
    """One to thirty bytes each, half of them among the first kilobyte, where headers are."""
    draw = random.Random(1)
    contents = []
    for n in range(FLIPS):
        ending = ENDINGS[n % len(ENDINGS)]
        content = bytearray(whole[ending])
        for _ in range(draw.choice((1, 1, 3, 30))):
            content[draw.randrange(1024 if draw.random() < 0.5 else len(content))] ^= 1 << draw.randrange(8)
        contents.append((ending, bytes(content)))
    check(capsys, tmp_path, "flipped", contents)


def pointing_elsewhere(port: int, secret: Path) -> dict[str, bytes]:
    """Files that name others: by address, and by path."""
    web, path = f"http://127.0.0.1:{port}/x.ts", f"file://{secret}"
    texts = {}
    for name, target in (("web", web), ("file", path)):
        texts |= {
            f"{name}.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n",
            f"{name}-key.m3u8": f'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{target}"\n#EXTINF:9,\na.ts\n#EXT-X-ENDLIST\n',
            f"{name}.m3u": f"#EXTM3U\n{target}\n",
            f"{name}.ffconcat": f"ffconcat version 1.0\nfile '{target}'\n",
            f"{name}.sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\na=control:{target}\n",
            f"{name}.mpd": f'<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><AdaptationSet><Representation><BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>',
            f"{name}.asx": f'<asx version="3.0"><entry><ref href="{target}"/></entry></asx>',
            f"{name}.ram": f"{target}\n",
            f"{name}.smil": f'<smil><body><video src="{target}"/></body></smil>',
            f"{name}.svg": f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"><image xlink:href="{target}"/></svg>',
            f"{name}.xspf": f'<playlist xmlns="http://xspf.org/ns/0/"><trackList><track><location>{target}</location></track></trackList></playlist>',
        }
    return {f"{name}{ending}": text.encode() for name, text in texts.items() for ending in ("", ".mp4")}


def test_playlists_make_no_request_and_read_no_other_file(capsys, tmp_path):
    secret = tmp_path / "secret.ts"
    secret.write_bytes(fragments.spoken(tmp_path / "s.ts").read_bytes())
    with socket.create_server(("127.0.0.1", 0)) as canary:
        canary.settimeout(0.0)
        files = []
        for name, content in pointing_elsewhere(canary.getsockname()[1], secret).items():
            files.append(tmp_path / name)
            files[-1].write_bytes(content)
        found = looked_at(files)
        requests = 0
        while True:
            try:
                canary.accept()[0].close()
                requests += 1
            except BlockingIOError:
                break
    told(capsys, f"pointing elsewhere ({requests} requests)", found)
    assert requests == found.crashes == found.hangs == 0
    assert all(answer.startswith("refused: ") for answer in found.answers), found.answers
    assert "2 clips" in looked_at([secret]).answers[0], "the control: the secret could be read"
