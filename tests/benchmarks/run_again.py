"""A run that finds nothing to do, beside an empty flow of Prefect's own: `python tests/benchmarks/run_again.py STORE VIDEOS [SETTING…]`.

STORE is one that `videobert run VIDEOS --store STORE SETTING…` has finished, as `make demo` leaves `demo-store` with `tests/samples`,
`--size demo` and `--truth tests/samples/truth.json`. Each is a process of its own, in turn, ``--rounds`` times, with the embedded
server that it starts in an empty home: seconds by the clock and CPU seconds, with all children.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time

EMPTY = "from prefect import flow\n@flow\ndef empty():\n    return 1\nempty()\n"


def timed(command: list[str], home: str) -> str:
    environment = os.environ | {
        "PREFECT_HOME": home,
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    }
    began, before = time.monotonic(), os.times()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return f"{time.monotonic() - began:6.1f} s by the clock, {cpu:6.1f} CPU s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("videos")
    parser.add_argument("--rounds", type=int, default=2)
    given, settings = parser.parse_known_args()
    run = [sys.executable, "-m", "flows", "run", given.videos, "--store", given.store, *settings]
    for _ in range(given.rounds):
        with tempfile.TemporaryDirectory() as home:
            print("an empty flow ", timed([sys.executable, "-c", EMPTY], home), flush=True)
        with tempfile.TemporaryDirectory() as home:
            print("videobert run ", timed(run, home), flush=True)


if __name__ == "__main__":
    main()
