"""Search speed: HNSW against FAISS's flat index, and a text query from its words to its hits.

    python tests/benchmarks/search_speed.py hnsw     sentence embeddings of the installed packages' documentation, one thread
    python tests/benchmarks/search_speed.py query    100,000 moments, the 6 × 384 model, two threads

Without a word both, each in a process of its own. ``--sentences N`` takes fewer. CPU seconds, rounds in turn.
"""

import argparse
import ast
import re
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import faiss
import numpy as np
import pyarrow.parquet as pq
import torch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from multimodal.answers.cache import open_cache, update_cache  # noqa: E402
from multimodal.answers.index import index  # noqa: E402
from multimodal.answers.search import Index  # noqa: E402
from multimodal.answers.vectors import EF_SEARCH, VectorIndex  # noqa: E402
from multimodal.catalogue import Video  # noqa: E402
from multimodal.inference.embedding import embed_texts  # noqa: E402
from multimodal.inference.trained import Trained  # noqa: E402
from multimodal.joint.initialization import from_checkpoint  # noqa: E402
from multimodal.joint.model import JointBert  # noqa: E402
from multimodal.library import tokens_table  # noqa: E402
from multimodal.store import Store, canonical_json, write_whole  # noqa: E402
from multimodal.training.precision import fast_bf16  # noqa: E402
from multimodal.vocabulary import Vocabulary  # noqa: E402
from multimodal.weights import fetching  # noqa: E402

ROUNDS, NEAREST = 3, 10
QUESTIONS = (
    "how to peel the carrot",
    "dating apps",
    "log in as administrator",
    "a pie chart of ages",
    "flip the pancake",
)


def in_turn(ways: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The median CPU seconds of each way, after one call that is not counted."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(ROUNDS + 1):
        for name, way in ways.items():
            began = time.process_time()
            way()
            if turn:
                took[name].append(time.process_time() - began)
    return {name: statistics.median(seconds) for name, seconds in took.items()}


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def sentences(count: int) -> list[str]:
    """Sentences of 4 to 24 words from the docstrings of installed Python files in a random order, each once."""
    files = [
        p for name in ("purelib", "stdlib") for p in sorted(Path(sysconfig.get_path(name)).rglob("*.py"))
    ]
    found: dict[str, str] = {}
    for place in np.random.default_rng(0).permutation(len(files)):
        for text in docstrings(files[place]):
            for sentence in re.split(r"(?<=[.!?])\s+|\n\s*\n", text):
                said = " ".join(sentence.split())
                if 4 <= len(said.split()) <= 24 and re.fullmatch(r"[A-Z][\w ,;:'()\-]+[.!?]", said):
                    found.setdefault(said.casefold(), said)
        if len(found) >= count:
            break
    return list(found.values())[:count]


def docstrings(path: Path) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError, RecursionError, OSError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


def minilm() -> tuple[JointBert, Vocabulary]:
    folder = fetching.fetch("minilm-l6").parent
    vocabulary = Vocabulary.of_bert(folder, 144)
    centroids = torch.randn(144, 1024, generator=torch.Generator().manual_seed(0))
    return from_checkpoint(folder, vocabulary, centroids, 0).eval(), vocabulary


def embedded(texts: list[str]) -> np.ndarray:
    """MiniLM's sentence embeddings, in bf16 where that is fast: [n, 384]."""
    model, vocabulary = minilm()
    trained = Trained("minilm", Path(), model, vocabulary, "")
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    vectors = np.zeros((len(texts), model.options.hidden_size), np.float32)
    with torch.autocast("cpu", torch.bfloat16, enabled=fast_bf16(torch.device("cpu"))):
        vectors[order] = embed_texts(trained, [texts[i] for i in order])
    return vectors


def hnsw(count: int, keep: Path | None) -> None:
    if keep is not None and keep.exists():
        vectors = np.load(keep)
    else:
        began = time.process_time()
        said = sentences(count)
        print(f"{len(said):,} sentences found in {time.process_time() - began:.0f} CPU seconds", flush=True)
        began = time.process_time()
        vectors = embedded(said)
        print(f"embedded in {time.process_time() - began:.0f} CPU seconds", flush=True)
        if keep is not None:
            np.save(keep, vectors)
    order = np.random.default_rng(0).permutation(len(vectors))
    queries, held = vectors[order[:1000]], np.ascontiguousarray(vectors[order[1000:]])
    flat = VectorIndex.of(held)
    began = time.process_time()
    graph = flat.rebuilt("hnsw")
    building = time.process_time() - began
    for depth in (10, 1000):
        took = in_turn(
            {"flat": lambda k=depth: [flat.search(q, k) for q in queries[:100]],
             "hnsw": lambda k=depth: [graph.search(q, k) for q in queries[:100]]})  # fmt: skip
        print(
            f"{len(held):,} × {held.shape[1]} sentence embeddings, one query at a time, {depth} wanted: flat "
            f"{10 * took['flat']:.1f} ms, HNSW with efSearch {max(EF_SEARCH, depth)} {10 * took['hnsw']:.1f} ms, "
            f"{took['flat'] / took['hnsw']:.1f} times as fast"
        )
    recall = graph.recall(queries, np.full(len(queries), -1))
    print(
        f"HNSW: built in {building:.0f} CPU seconds; recall of the 10 nearest {recall:.4f} over 1000 queries"
    )


def query(moments: int = 100_000, videos: int = 100) -> None:
    """A store of 100 videos that speak 1000 sentences each, and the median of several questions asked of it.

    The moments' vectors are drawn at random: what they are does not change what search costs. The words, the model that
    encodes the question and puts the first 50 in order, and everything else are real.
    """
    torch.set_num_threads(2)
    faiss.omp_set_num_threads(2)
    random, said = np.random.default_rng(0), sentences(moments)

    def drawn(count: int) -> np.ndarray:
        return unit(random.standard_normal((count, 384), dtype=np.float32))

    said += [said[i] for i in random.integers(len(said), size=moments - len(said))]
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        model, vocabulary = minilm()
        trained = Trained("benchmark", Path(folder) / "step-0", model, vocabulary, "codebook")
        named = [_video(store, n, said[n::videos], random) for n in range(videos)]
        with (
            mock.patch("multimodal.inference.embedding.embed_texts", lambda _, texts: drawn(len(texts))),
            mock.patch("multimodal.inference.embedding.embed_videos", lambda _, tokens: drawn(len(tokens))),
        ):
            index(store, trained, named, lambda *_: None)
        began = time.monotonic()
        update_cache(store, trained, named, lambda *_: None)
        print(f"query: cache made in {time.monotonic() - began:.2f} s")
        opening = []
        for _ in range(ROUNDS):
            began = time.monotonic()
            ready = Index.load(store, trained, named)
            opening.append(time.monotonic() - began)
        assert open_cache(store, trained, named) is not None
        for question in QUESTIONS:
            ready.search(question, 5)
        wall, cpu = [], []
        for _ in range(ROUNDS):
            for question in QUESTIONS:
                began, spent = time.monotonic(), time.process_time()
                ready.search(question, 5)
                wall.append(time.monotonic() - began)
                cpu.append(time.process_time() - spent)
        print(
            f"query: {moments:,} moments, opened in {1000 * statistics.median(opening):.0f} ms; a text query "
            f"{1000 * statistics.median(wall):.0f} ms (slowest {1000 * max(wall):.0f}), {1000 * statistics.median(cpu):.0f} ms of CPU"
        )


def _video(store: Store, number: int, said: list[str], random: np.random.Generator) -> Video:
    """A video in the store that speaks for 6 seconds a sentence, with four clips beside each."""
    name = f"{number:064x}"
    spoken = [
        {"start": 6.0 * i, "end": 6.0 * i + 6, "text": text, "words": []} for i, text in enumerate(said)
    ]
    transcript = {"language": "en", "source": {"kind": "benchmark"}, "sentences": spoken}
    write_whole(store.transcript(name, "t"), canonical_json(transcript).encode())
    starts = 1.5 * np.arange(4 * len(said))
    path = store.tokens("codebook", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(tokens_table(starts, random.integers(144, size=len(starts))), path)
    return Video(name, f"{number}.mp4", "", 1, "done", "", 6.0 * len(said), len(starts), len(said), "t", "f")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", nargs="?", choices=("hnsw", "query"))
    parser.add_argument("--sentences", type=int, default=200_000)
    parser.add_argument(
        "--keep", type=Path, help="a file in which the sentence embeddings are kept for another time"
    )
    arguments = parser.parse_args()
    if arguments.part is None:
        for part in ("hnsw", "query"):
            subprocess.run([sys.executable, __file__, part, *sys.argv[1:]], check=True)
        return
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    if arguments.part == "hnsw":
        hnsw(arguments.sentences, arguments.keep)
    else:
        query()


if __name__ == "__main__":
    main()
