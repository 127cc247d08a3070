"""What a run says costs: `OMP_NUM_THREADS=1 python tests/benchmarks/history_cost.py COMMIT [--rounds 3]`.

This tree against an earlier commit, in turn: CPU seconds of `videobert run` over twelve imported videos, with the start of its
own Prefect server, and of the same run again with nothing left to do; the medians of each.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "tests/helpers"), str(ROOT)]

import imported_corpus  # noqa: E402
from before_and_after import command  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("commit")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        subprocess.run(
            ["git", "worktree", "add", "-q", "--detach", root / "before", given.commit], cwd=ROOT, check=True
        )
        try:
            corpus = imported_corpus.write_corpus(root / "corpus")
            bert = imported_corpus.write_bert(root / "bert")
            words = ["run", "--import", corpus, "--import-stride", 1.5, "--text-start", bert, "--epochs", 1]
            for n in range(given.rounds):
                trees = [("before", root / "before"), ("after", ROOT)]
                for name, tree in trees if n % 2 == 0 else trees[::-1]:
                    home = root / f"{name}-{n}"
                    for what in ("everything", "nothing to do"):
                        found[name, what].append(command(tree, home, *map(str, words)))
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", root / "before"], cwd=ROOT, check=True)
    for (name, what), seconds in found.items():
        print(
            f"{what:<14} {name:<7} {statistics.median(seconds):6.2f} CPU s  ({', '.join(f'{s:.2f}' for s in seconds)})"
        )


if __name__ == "__main__":
    main()
