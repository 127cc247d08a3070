"""Question speed: search, caption and next of a store, cold and warm, beside `import torch` and reading the weights.

    python tests/benchmarks/question_speed.py [STORE]        demo-store where none is named (`make demo` makes it)

Cold is a new process from its start to the answer, by the Python function and by the command; warm is the same function
again in the same process, which opens the store and the model again. One line a question, in rounds in turn: seconds by
the clock and of CPU, MB read by system calls (files mapped into memory, such as the weights that are loaded, are not
counted), and the ratio of the cold CPU time to that of the baseline in the same run.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROUNDS = 5
MOST = 2.0
"""A cold answer on a small store is to take at most so many times the baseline."""

IO = """
import json, time
from pathlib import Path
def told(**more):
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    print(json.dumps({"cpu": time.process_time(), "read": int(lines["rchar"])} | more))
"""
BASELINES = {
    "python": "told()",
    "import torch": "import torch; told()",
    "import torch, read the weights": "import torch; Path({weights!r}).read_bytes(); told()",
}
ANSWERS = {
    "search": "search(store, 'how to cut the onion')",
    "caption": "caption(store, {moment!r})",
    "next": "forecast(store, {moment!r})",
}
ANSWER = """
from multimodal.answers.answer_json import caption, forecast, search
store = Path({store!r})
{question}
cold, began, spent = time.process_time(), time.monotonic(), time.process_time()
{question}
told(cpu=cold, warm_wall=time.monotonic() - began, warm_cpu=time.process_time() - spent)
"""


def run(command: Sequence[str]) -> dict[str, float]:
    """Wall seconds of a process from its start, its CPU seconds, and what it tells of itself in its last line."""
    began = time.monotonic()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)[:200]}: ended with status {status}")
    found = {"wall": time.monotonic() - began, "cpu": usage.ru_utime + usage.ru_stime}
    last = output.strip().splitlines()[-1]
    return found | json.loads(last) if last.startswith('{"cpu"') else found


def middle(runs: Sequence[dict[str, float]], name: str) -> float:
    return statistics.median(r[name] for r in runs)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", nargs="?", type=Path, default=ROOT / "demo-store")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    from multimodal.catalogue import Catalogue
    from multimodal.library import usable
    from multimodal.store import Store
    from multimodal.training.checkpoints import latest

    store = Store(arguments.store, create=False)
    with Catalogue(store.catalogue) as catalogue:
        seen = next(v for v in usable(catalogue) if v.clips and (v.seconds or 0) > 9)
        model = catalogue.current("model")
    moment = f"{seen.video}@6"
    weights = latest(store.model(model)) / "model.safetensors"
    python = {name: IO + code.format(weights=str(weights)) for name, code in BASELINES.items()}
    for name, code in ANSWERS.items():
        question = code.format(moment=moment)
        python[name] = IO + ANSWER.format(store=str(store.root), question=question)
    commands = {name: [sys.executable, "-c", code] for name, code in python.items()}
    words = {
        "search": ["search", "how to cut the onion"],
        "caption": ["caption", moment],
        "next": ["next", moment],
    }
    for name, given in words.items():
        commands[f"videobert {name}"] = [sys.executable, "-m", "flows", *given, "--store", str(store.root)]
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
    for _ in range(arguments.rounds):
        for name, command in commands.items():
            runs[name].append(run(command))
    base = middle(runs["import torch, read the weights"], "cpu")
    print(
        f"{store.root}: weights of {weights.stat().st_size / 1e6:.1f} MB, {arguments.rounds} rounds in turn, medians"
    )
    for name, found in runs.items():
        cold = middle(found, "cpu")
        line = f"{name:<32}{middle(found, 'wall'):6.2f} s, {cold:5.2f} s of CPU, {cold / base:4.2f} of the baseline"
        if "read" in found[0]:
            line += f", {middle(found, 'read') / 1e6:6.1f} MB read"
        if "warm_cpu" in found[0]:
            line += f"; warm {middle(found, 'warm_wall'):.2f} s, {middle(found, 'warm_cpu'):.2f} s of CPU"
        print(line)
    slow = [name for name in runs if middle(runs[name], "cpu") > MOST * base]
    print(f"over {MOST:g} times the baseline: {', '.join(slow) or 'none'}")


if __name__ == "__main__":
    main()
