"""The codebook: speed of fitting and encoding, quantisation error, and memory for features on disk.

    python tests/benchmarks/codebook.py [--clips 200000] [--rounds 1] [--memory 2048] [--shape 12 4] [--features FILE.npz]
    python tests/benchmarks/codebook.py --scale [100000 300000 1000000] [--memory 2048]

The first form fits k^depth tokens (`--shape`, by default the paper's 12^4) to synthetic clustered features: a tree of
groups of unequal sizes in 64 dimensions, through random weights, noise and a ReLU to 1024. With `--features` it repeats
those of `FILE.npz` (`X` [n, d]) with 10 % of noise until there are `--clips` of them.
Peers: the same tree with scikit-learn's KMeans (lloyd, n_init=1, at most 20 iterations) and with faiss.Kmeans (20
iterations, all points) in each node, on the same features of length 1. An error is the sum of squares within the leaves
over that around the mean, both from means computed anew. Then encoding is compared with faiss.IndexFlatL2 over the
leaves, and with the plain descent in float64.
`--scale` writes float16 features of n clips block by block to a temporary file (n x 2 KiB), and fits each in a process
of its own that reads them from there.
CPU seconds of one thread; rounds interleaved, each with one seed for all three.
"""

import argparse
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import faiss
import numpy as np
import torch
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).parents[2]))

from vision.assignment import l2_normalize  # noqa: E402
from vision.codebook import MEMORY_BYTES, Codebook, CodebookOptions  # noqa: E402

SHAPE, ITERATIONS, WIDTH, LATENT, BLOCK = (12, 4), 20, 1024, 64, 8192
GROUPS = ((20, 1.0), (20, 0.7), (15, 0.5), (10, 0.35))


def synthetic(clips: int, seed: int = 0):
    """Blocks float16 [<= BLOCK, WIDTH] of features in groups of groups."""
    rng = np.random.default_rng(seed)
    weights = (rng.normal(size=(LATENT, WIDTH)) / 8).astype(np.float32)
    bias = (rng.normal(size=WIDTH) * 0.3).astype(np.float32)
    centres = np.zeros((1, LATENT), np.float32)
    for number, spread in GROUPS:
        centres = np.repeat(centres, number, 0)
        centres = (centres + rng.normal(size=centres.shape) * spread).astype(np.float32)
    shares = rng.pareto(1.5, len(centres)) + 0.1
    shares /= shares.sum()
    for begin in range(0, clips, BLOCK):
        n = min(BLOCK, clips - begin)
        inner = centres[rng.choice(len(centres), n, p=shares)]
        inner = inner + rng.normal(size=(n, LATENT)).astype(np.float32) * 0.4
        noise = rng.normal(size=(n, WIDTH)).astype(np.float32) * 0.25
        yield np.maximum(inner @ weights + bias + noise, 0).astype(np.float16)


def repeated(path: Path, clips: int) -> np.ndarray:
    """float16 [clips, d]: real features repeated, each time with noise of a tenth of the feature's standard deviation."""
    rng, real = np.random.default_rng(0), np.load(path)["X"].astype(np.float32)
    out = np.empty((clips, real.shape[1]), np.float16)
    for begin in range(0, clips, BLOCK):
        block = real[rng.integers(len(real), size=min(BLOCK, clips - begin))]
        noise = rng.normal(size=block.shape).astype(np.float32) * 0.1 * block.std(1, keepdims=True)
        out[begin : begin + BLOCK] = np.maximum(block + noise, 0)
    return out


def peer_tree(
    x_ND: np.ndarray, node: Callable[[np.ndarray, int, int], np.ndarray], shape: tuple[int, int], seed: int
) -> np.ndarray:
    """int64 [n]: the leaves of a tree that `node` (rows, k, seed -> children) splits level by level."""
    (k, depth), ids_N = shape, np.zeros(len(x_ND), np.int64)
    for _ in range(depth):
        children_N, order_N = np.empty_like(ids_N), np.argsort(ids_N, kind="stable")
        for rows in np.split(order_N, np.flatnonzero(np.diff(ids_N[order_N])) + 1):
            own = node(x_ND[rows], k, seed) if len(rows) > k else np.arange(len(rows))
            children_N[rows] = ids_N[rows[0]] * k + own
        ids_N = children_N
    return ids_N


def with_sklearn(x_ND: np.ndarray, k: int, seed: int) -> np.ndarray:
    kmeans = KMeans(k, n_init=1, max_iter=ITERATIONS, random_state=seed, algorithm="lloyd")
    return kmeans.fit_predict(x_ND)


def with_faiss(x_ND: np.ndarray, k: int, seed: int) -> np.ndarray:
    kmeans = faiss.Kmeans(
        x_ND.shape[1],
        k,
        niter=ITERATIONS,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=10**9,
    )
    kmeans.train(x_ND)
    return kmeans.index.search(x_ND, 1)[1][:, 0]


def relative_error(x_ND: np.ndarray, ids_N: np.ndarray) -> float:
    """Sum of squares within the leaves over that around the mean of all rows; all means are computed anew."""
    order_N, inside = np.argsort(ids_N, kind="stable"), 0.0
    for rows in np.split(order_N, np.flatnonzero(np.diff(ids_N[order_N])) + 1):
        leaf = x_ND[rows].astype(np.float64)
        inside += ((leaf - leaf.mean(0)) ** 2).sum()
    mean_D = x_ND.mean(0, dtype=np.float64)
    blocks = range(0, len(x_ND), BLOCK)
    return inside / sum(float(((x_ND[b : b + BLOCK] - mean_D) ** 2).sum()) for b in blocks)


def seconds(work: Callable[[], object]) -> tuple[float, object]:
    """CPU seconds of the call, and its result."""
    begun = time.process_time()
    result = work()
    return time.process_time() - begun, result


def plain_descent(book: Codebook, x_ND: np.ndarray) -> np.ndarray:
    """Node by node, in float64 differences."""
    ids = []
    for x in x_ND.astype(np.float64):
        node = 0
        for centroids, used in zip(book.centroids_, book.used_levels_, strict=True):
            first = node * book.options.k
            children = np.flatnonzero(used[first : first + book.options.k]) + first
            node = children[((x - centroids[children]) ** 2).sum(1).argmin()]
        ids.append(node)
    return np.array(ids)


def speed(clips: int, rounds: int, features: Path | None, memory: int, shape: tuple[int, int]) -> None:
    raw = repeated(features, clips) if features else np.concatenate(list(synthetic(clips)))
    unit = l2_normalize(raw)
    k, depth = shape

    def ours(seed: int) -> Codebook:
        return Codebook(CodebookOptions(k, depth, ITERATIONS, seed)).fit(unit, memory=memory)

    ways = {
        "ours": ours,
        "faiss": lambda seed: peer_tree(unit, with_faiss, shape, seed),
        "scikit-learn": lambda seed: peer_tree(unit, with_sklearn, shape, seed),
    }
    found: dict[str, list[tuple[float, float, int]]] = {name: [] for name in ways}
    for seed in range(rounds):
        for name, work in ways.items():
            spent, ids_N = seconds(partial(work, seed))
            if name == "ours":
                book, ids_N = ids_N, ids_N.encode(unit)
            found[name].append((spent, relative_error(unit, ids_N), len(np.unique(ids_N))))
    theirs = np.median([spent for spent, *_ in found["scikit-learn"]])
    print(f"{clips} clips x {unit.shape[1]}, {k}^{depth} tokens, {rounds} seeds")
    print("  median CPU s, times as fast as scikit-learn, mean error (least to most), leaves")
    for name, rows in found.items():
        spent, errors, leaves = (np.array(column) for column in zip(*rows, strict=True))
        median = np.median(spent)
        print(f"  {name:<14}{median:8.2f}  x{theirs / median:5.2f}  {errors.mean():.4f} ({errors.min():.4f} to {errors.max():.4f})  {leaves.mean():.0f}", flush=True)  # fmt: skip
    encoding(book, unit[np.random.default_rng(1).permutation(clips)], rounds)


def encoding(book: Codebook, x_ND: np.ndarray, rounds: int) -> None:
    flat = faiss.IndexFlatL2(x_ND.shape[1])
    flat.add(book.centroids_[-1])
    queries = x_ND[:4096]
    with threadpool_limits(1):
        rates = []
        for _ in range(max(rounds, 3)):
            spent = seconds(lambda: flat.search(queries, 1))[0]
            rates.append((len(queries) / spent, len(x_ND) / seconds(lambda: book.encode(x_ND))[0]))
    theirs, ours = np.median(rates, 0)
    same = (book.encode(x_ND[:20_000]) == plain_descent(book, x_ND[:20_000])).mean()
    print(f"encoding: faiss flat {theirs:.0f}, ours {ours:.0f} vectors a CPU s, x{ours / theirs:.1f}; the plain descent's token for {same:.4%} of 20000", flush=True)  # fmt: skip


class FileRows:
    """float16 rows in a file, read one by one: `Rows` that keep nothing in memory, and map no pages."""

    def __init__(self, path: Path, clips: int):
        self.file, self.shape, self.rows_read = path.open("rb"), (clips, WIDTH), 0

    def read(self, rows_N: np.ndarray) -> np.ndarray:
        self.rows_read += len(rows_N)
        out_ND = np.empty((len(rows_N), WIDTH), np.float16)
        bytes_a_row = out_ND.strides[0]
        for row, number in zip(out_ND, rows_N.tolist(), strict=True):
            os.preadv(self.file.fileno(), [row], number * bytes_a_row)
        return out_ND


def measure_fit(path: Path, clips: int, memory: int) -> None:
    """One fit in this process: CPU seconds, memory above what the imports and a first small fit took, reads of a row."""
    torch.set_num_threads(1)
    rows = FileRows(path, clips)
    Codebook(CodebookOptions(k=2, depth=1)).fit(np.eye(4))
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
    spent, book = seconds(lambda: Codebook(CodebookOptions(*SHAPE)).fit(rows, memory=memory))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{clips:>9}  {memory >> 20:>6}  {spent:8.1f}  {spent / clips * 1e6:6.1f}  {peak - before:8.0f}  {rows.rows_read / clips:5.2f}  {int(book.used_.sum()):>6}  {book.quantisation_error_:.4f}", flush=True)  # fmt: skip


def scale(sizes: list[int], memories: list[int]) -> None:
    print("    clips  MiB allowed  CPU s  us/clip  MiB held  reads of a row  leaves  error")
    for clips in sizes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "features"
            with path.open("wb") as stream:
                for block in synthetic(clips):
                    stream.write(block.tobytes())
            for memory in memories:
                child = multiprocessing.get_context("spawn").Process(
                    target=measure_fit, args=(path, clips, memory)
                )
                child.start()
                child.join()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clips", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--shape", type=int, nargs=2, default=SHAPE, metavar=("K", "DEPTH"))
    parser.add_argument("--features", type=Path)
    parser.add_argument("--scale", type=int, nargs="*")
    parser.add_argument("--memory", type=int, nargs="*", default=[MEMORY_BYTES >> 20], help="MiB")
    args = parser.parse_args()
    if args.scale is not None:
        scale(args.scale or [100_000, 300_000, 1_000_000], [m << 20 for m in args.memory])
        return
    with threadpool_limits(1):
        torch.set_num_threads(1)
        faiss.omp_set_num_threads(1)
        speed(args.clips, args.rounds, args.features, args.memory[0] << 20, tuple(args.shape))


if __name__ == "__main__":
    main()
