"""Speed of `videobert serve`: start to the first answer, the first page, searches by one user and by 50 at once, memory.

    python tests/benchmarks/serve_speed.py                      100,000 moments, the 6 × 384 model, a server process of its own
    python tests/benchmarks/serve_speed.py --minutes 10         50 users for so long, and the memory at each minute
    python tests/benchmarks/serve_speed.py --keep FOLDER        keeps the store for another time

Vectors of the moments are drawn at random, a quarter of the video vectors near those of the questions, so that as many moments
are seen as the alignment head reads; words, model and server are real. No question is asked twice, as the server keeps its latest answers. Beside the seconds by the clock stand the CPU
seconds of the server, and the load of the machine.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import httpx
import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import search_speed  # noqa: E402

from multimodal.answers.cache import update_cache  # noqa: E402
from multimodal.answers.index import index  # noqa: E402
from multimodal.catalogue import Catalogue  # noqa: E402
from multimodal.inference.embedding import embed_texts  # noqa: E402
from multimodal.inference.trained import load_trained  # noqa: E402
from multimodal.objectives.pretraining import PretrainingObjective  # noqa: E402
from multimodal.store import Store, publish_folder  # noqa: E402
from multimodal.training import checkpoints  # noqa: E402
from multimodal.training.checkpoints import Progress  # noqa: E402

VIDEOS = 100
USERS = 50
DISTINCT = 30_000
"""Sentences that differ, at most: reading the documentation of more packages takes minutes."""


def make(folder: Path, moments: int) -> None:
    """A store of 100 imported videos that speak, with a model, its index and its cache, as a run leaves them."""
    drawing = np.random.default_rng(0)
    said = search_speed.sentences(min(moments, DISTINCT))
    said += [said[i] for i in drawing.integers(len(said), size=moments - len(said))]

    def drawn(count: int) -> np.ndarray:
        return search_speed.unit(drawing.standard_normal((count, 384), dtype=np.float32))

    def seen(count: int) -> np.ndarray:
        """A quarter of the vectors is near a question's, with a cosine of about 0.8."""
        near = drawing.random((count, 1)) < 0.25
        return np.where(
            near,
            search_speed.unit(4 * of_asked[drawing.integers(len(asked), size=count)] + 3 * drawn(count)),
            drawn(count),
        )

    store = Store(folder)
    with Catalogue(store.catalogue):
        pass  # there before the artefacts that it names
    model, vocabulary = search_speed.minilm()
    objective = PretrainingObjective(model, vocabulary)
    checkpoints.save(store.model("m"), objective, objective.state_dict(), {}, Progress(1, 1, 0, 0), {})
    with publish_folder(store.codebook("codebook")) as made:
        (made / "codebook.json").write_text(json.dumps({"videos": [], "held_out": [], "words_only": []}))
    trained = load_trained(store, "m", "codebook", "cpu")
    asked = questions(said)
    of_asked = embed_texts(trained, asked)
    with Catalogue(store.catalogue) as catalogue:
        named = [search_speed._video(store, n, said[n::VIDEOS], drawing) for n in range(VIDEOS)]
        for video in named:
            catalogue.put(video)
        with (
            mock.patch("multimodal.inference.embedding.embed_texts", lambda _, texts: drawn(len(texts))),
            mock.patch("multimodal.inference.embedding.embed_videos", lambda _, tokens: seen(len(tokens))),
        ):
            index(store, trained, named, lambda *_: None)
        update_cache(store, trained, named, lambda *_: None)
        for kind, value in (("codebook", "codebook"), ("model", "m"), ("model_codebook", "codebook")):
            catalogue.set_current(kind, value)
    (folder / "questions.json").write_text(json.dumps(asked))


def questions(said: list[str], count: int = 400) -> list[str]:
    """Two words in a row of a sentence that was drawn."""
    drawing = random.Random(0)
    found = []
    while len(found) < count:
        words = drawing.choice(said).split()
        place = drawing.randrange(len(words) - 1)
        found.append(" ".join(word.strip(".,:;!?'()") for word in words[place : place + 2]))
    return found


def cpu(process: subprocess.Popen) -> float:
    """CPU seconds of the server and of its children that have ended."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def load() -> str:
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def memory(process: subprocess.Popen) -> int:
    """MiB resident."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) >> 10


def ask(client: httpx.Client, text: str) -> float:
    began = time.monotonic()
    answer = client.get("/api/search", params={"q": text, "top": 10})
    assert answer.status_code in (200, 400), answer.text  # 400: stop words without a letter
    return time.monotonic() - began


async def together(url: str, texts: list[str]) -> list[float]:
    """The seconds that each of the users waits who ask at the same moment."""
    async with httpx.AsyncClient(
        base_url=url, timeout=120, limits=httpx.Limits(max_connections=USERS)
    ) as client:

        async def one(text: str) -> float:
            began = time.monotonic()
            answer = await client.get("/api/search", params={"q": text, "top": 10})
            assert answer.status_code in (200, 400), answer.text
            return time.monotonic() - began

        return await asyncio.gather(*(one(text) for text in texts))


def measure(folder: Path, minutes: float) -> None:
    asked = json.loads((folder / "questions.json").read_text())
    command = [sys.executable, "-m", "flows", "serve", "--store", str(folder), "--port", "0"]
    began = time.monotonic()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )
    try:
        url = process.stdout.readline().strip()
        with httpx.Client(base_url=url, timeout=120) as client:
            client.get("/api/health")
            up = time.monotonic() - began
            ask(client, asked[0])
            print(
                f"listening after {up:.1f} s, first answer after {time.monotonic() - began:.1f} s, {cpu(process):.1f} s of CPU ({load()})"
            )
            pages = []
            for _ in range(5):
                began = time.monotonic()
                size = len(client.get("/", params={"q": asked[0]}).content)
                pages.append(time.monotonic() - began)
            print(
                f"page with results: {size / 1000:.0f} kB, {1000 * statistics.median(pages):.0f} ms ({load()})"
            )
            began = time.monotonic()
            size = len(client.get("/").content)
            print(f"first page: {size / 1000:.1f} kB, {1000 * (time.monotonic() - began):.0f} ms ({load()})")
            spent = cpu(process)
            took = sorted(ask(client, text) for text in asked[1:101])
            print(
                f"one user, 100 searches: median {1000 * took[50]:.0f} ms, 95th percentile {1000 * took[95]:.0f} ms, "
                f"{10 * (cpu(process) - spent):.0f} ms of CPU each ({load()})"
            )
        before, spent = memory(process), cpu(process)
        worst = [
            max(asyncio.run(together(url, asked[101 + n : 101 + n + USERS])))
            for n in range(0, 3 * USERS, USERS)
        ]
        print(
            f"{USERS} users at once, three times: the last has its answer after {', '.join(f'{w:.2f}' for w in worst)} s, "
            f"{(cpu(process) - spent) / 3:.2f} s of CPU for {USERS} ({load()})"
        )
        began, rounds, by_minute = time.monotonic(), 0, []
        while (passed := time.monotonic() - began) < 60 * minutes:
            if passed >= 60 * len(by_minute):
                by_minute.append(memory(process))
            # A word more makes another question, which is not among the answers that are kept.
            place = random.Random(rounds).randrange(len(asked) - USERS)
            asyncio.run(together(url, [f"{text} {rounds}" for text in asked[place : place + USERS]]))
            rounds += 1
        print(
            f"memory {before} MiB before and {memory(process)} MiB after {(3 + rounds) * USERS} more searches; "
            f"minute by minute {' '.join(map(str, by_minute))} ({load()})"
        )
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--moments", type=int, default=100_000)
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--keep", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary) / "store"
        if not (folder / "questions.json").exists():
            make(folder, arguments.moments)
        measure(folder, arguments.minutes)


if __name__ == "__main__":
    main()
