"""What search costs: exact search and the graph against FAISS's flat index, and a text query from its words to its answers.

    python tests/benchmarks/search_speed.py exact    1,000,000 × 512, a batch of 1000 queries and one query, one thread
    python tests/benchmarks/search_speed.py graph    sentence embeddings of the installed packages' documentation, one thread
    python tests/benchmarks/search_speed.py query    100,000 moments, the 6 × 384 model, two threads

Without a word all three, each in a process of its own. ``--sentences N`` takes fewer. CPU seconds, rounds in turn.
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

from multimodal.answers.cache import bring_up, open_cache  # noqa: E402
from multimodal.answers.exact import Exact  # noqa: E402
from multimodal.answers.index import index  # noqa: E402
from multimodal.answers.nearest import Graph, widened  # noqa: E402
from multimodal.answers.search import Index  # noqa: E402
from multimodal.catalogue import Video  # noqa: E402
from multimodal.examples.packing import pack, sequence, unmasked  # noqa: E402
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


def recall(truly: np.ndarray, found: np.ndarray) -> float:
    return float(
        np.mean([len(set(a) & set(b)) / len(a) for a, b in zip(truly.tolist(), found.tolist(), strict=True)])
    )


def exact(count: int = 1_000_000, width: int = 512, queries: int = 1000) -> None:
    """Random vectors with 64 directions of large spread, as the log's other figures have."""
    random = np.random.default_rng(0)
    directions = random.standard_normal((64, width), dtype=np.float32)

    def drawn(n: int) -> np.ndarray:
        x = random.standard_normal((n, 64), dtype=np.float32) @ directions
        return unit(x + 0.3 * random.standard_normal((n, width), dtype=np.float32))

    vectors = np.concatenate([drawn(100_000) for _ in range(count // 100_000)])
    asked = drawn(queries)
    flat = faiss.IndexFlatIP(width)
    flat.add(vectors)
    ours = Exact(vectors)
    same = recall(flat.search(asked, NEAREST)[1], ours.search(asked, NEAREST)[1])
    for some in (asked, asked[:1]):
        took = in_turn(
            {"flat": lambda s=some: flat.search(s, NEAREST), "ours": lambda s=some: ours.search(s, NEAREST)}
        )
        print(
            f"exact, {count:,} × {width}, {len(some)} queries: flat {took['flat']:.3f} s, ours {took['ours']:.3f} s, "
            f"{took['flat'] / took['ours']:.2f} times flat; recall of the {NEAREST} nearest {same:.4f}"
        )


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


@torch.no_grad()
def embedded(texts: list[str]) -> np.ndarray:
    """MiniLM's sentence embeddings, packed, in bf16 where that is fast: [n, 384]."""
    model, vocabulary = minilm()
    ids = [vocabulary.encode(t) for t in texts]
    vectors = np.zeros((len(texts), model.options.hidden_size), np.float32)
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    with torch.autocast("cpu", torch.bfloat16, enabled=fast_bf16(torch.device("cpu"))):
        for first in range(0, len(order), 256):
            some = order[first : first + 256]
            batch = pack([unmasked(*sequence(vocabulary, ids[i], None)) for i in some])
            vectors[some] = model.embed(model.encode(batch), batch).numpy()
    return vectors


def graph(count: int, keep: Path | None) -> None:
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
    random = np.random.default_rng(0)
    order = random.permutation(len(vectors))
    asked, held = vectors[order[:1000]], np.ascontiguousarray(vectors[order[1000:]])
    began = time.process_time()
    made = Graph(held)
    made.add_rest()
    building = time.process_time() - began
    alive = np.ones(len(held), bool)
    reached = widened(made, asked[:200], np.full(200, -1), alive, 0.95)
    flat = faiss.IndexFlatIP(held.shape[1])
    flat.add(held)
    truly = flat.search(asked, NEAREST)[1]
    quick = Exact(held)
    took = in_turn(
        {"flat": lambda: flat.search(asked, NEAREST), "exact": lambda: quick.search(asked, NEAREST),
         "graph": lambda: made.search(asked, NEAREST, None)})  # fmt: skip
    print(
        f"graph, {len(held):,} × {held.shape[1]} sentence embeddings, 1000 queries not among them: built in {building:.0f} CPU "
        f"seconds; breadth {made.breadth} chosen (recall {reached:.3f} over 200 queries), recall over the 1000 "
        f"{recall(truly, made.search(asked, NEAREST, None)[1]):.4f}; flat {took['flat']:.3f} s, exact in half precision "
        f"{took['exact']:.3f} s ({took['flat'] / took['exact']:.1f} times), graph {took['graph']:.3f} s "
        f"({took['flat'] / took['graph']:.1f} times flat)"
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
        with mock.patch(
            "multimodal.answers.index.embed", lambda _, texts=(), tokens=(): drawn(len(texts or tokens))
        ):
            index(store, trained, named, lambda *_: None)
        began = time.monotonic()
        bring_up(store, trained, named, lambda *_: None)
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
    parser.add_argument("part", nargs="?", choices=("exact", "graph", "query"))
    parser.add_argument("--sentences", type=int, default=200_000)
    parser.add_argument(
        "--keep", type=Path, help="a file in which the sentence embeddings are kept for another time"
    )
    arguments = parser.parse_args()
    if arguments.part is None:
        for part in ("exact", "graph", "query"):
            subprocess.run([sys.executable, __file__, part, *sys.argv[1:]], check=True)
        return
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    if arguments.part == "exact":
        exact()
    elif arguments.part == "graph":
        graph(arguments.sentences, arguments.keep)
    else:
        query()


if __name__ == "__main__":
    main()
