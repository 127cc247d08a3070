"""This tree against an earlier commit: `OMP_NUM_THREADS=1 python tests/benchmarks/before_and_after.py COMMIT`.

Both make a store of ``--videos`` sample videos stage by stage, `--size demo --epochs 1`, and ask it three questions, in the turn
before, after, after, before (``--rounds`` times). Shown are the medians of the CPU seconds of each command, with its start, which
takes some seconds of Prefect's. Of the trainings the steps are shown, too: those of the size are what each commit takes them to be.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
STAGES = ("ingest", "codebook", "pretrain", "captioner", "index", "evaluate")
QUESTIONS = {
    "search": ["search", "chop the carrot"],
    "caption": ["caption", "kitchen-000@3"],
    "next": ["next", "kitchen-000@3"],
}


def command(tree: Path, home: Path, *words: str) -> float:
    """CPU seconds of a command of a tree."""
    environment = os.environ | {"PYTHONPATH": str(tree), "PREFECT_HOME": str(home / "prefect")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run(
        [sys.executable, "-m", "flows", *words, "--store", str(home / "store")],
        env=environment, cwd=tree, capture_output=True, text=True, check=False,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.returncode:
        raise SystemExit(f"{tree}: {' '.join(words)}: {ended.stderr[-500:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(tree: Path, videos: int) -> dict[str, float]:
    found = {}
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        for number in range(videos):
            name = f"kitchen-{number:03d}.mp4"
            (home / "videos").mkdir(exist_ok=True)
            shutil.copyfile(ROOT / "tests/samples" / name, home / "videos" / name)
        for stage in STAGES:
            words = [str(home / "videos"), "--size", "demo", "--epochs", "1"] if stage == "ingest" else []
            found[stage] = command(tree, home, stage, *words)
        for stage, folder in (("pretrain", "models"), ("captioner", "captioners")):
            (metrics,) = (home / "store" / folder).glob("*/metrics.jsonl")
            found[f"{stage}, steps"] = len(metrics.read_text().splitlines())
        for name, words in QUESTIONS.items():
            command(tree, home, *words)
            found[name] = command(tree, home, *words)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("commit")
    parser.add_argument("--videos", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    figures: dict[str, dict[str, list[float]]] = {"before": defaultdict(list), "after": defaultdict(list)}
    with tempfile.TemporaryDirectory() as temporary:
        old = Path(temporary) / "before"
        subprocess.run(
            ["git", "-C", ROOT, "worktree", "add", "--quiet", "--detach", old, given.commit], check=True
        )
        try:
            for when in ("before", "after", "after", "before") * given.rounds:
                measured = measure(old if when == "before" else ROOT, given.videos)
                print(when, " ".join(f"{name}={value:.1f}" for name, value in measured.items()), flush=True)
                for name, value in measured.items():
                    figures[when][name].append(value)
        finally:
            subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", old], check=True)
    print(f"{'':24}{'before':>10}{'after':>10}{'after / before':>16}")
    for name in figures["after"]:
        if name in figures["before"]:
            before, after = (statistics.median(figures[when][name]) for when in ("before", "after"))
            print(f"{name:24}{before:10.1f}{after:10.1f}{after / before:16.2f}")


if __name__ == "__main__":
    main()
