"""Commands of a document, run one after the other in one process: it imports PyTorch and Prefect once for all."""

import json
import re
import subprocess
import sys
from pathlib import Path

LOOP = """
import json, sys
from flows import cli
for words in json.loads(sys.argv[1]):
    print("$", json.dumps(words), flush=True)
    cli.app(words, exit_on_error=False, print_error=False, result_action="return_value")
"""


def said(commands: list[list[str]], environment: dict[str, str], cwd: Path) -> list[str]:
    """What each of the commands printed, given by their words without `videobert`."""
    done = subprocess.run(
        [sys.executable, "-c", LOOP, json.dumps(commands)],
        env=environment, cwd=cwd, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    parts = re.split(r"^\$ (.*)$", done.stdout, flags=re.MULTILINE)
    assert [json.loads(words) for words in parts[1::2]] == commands
    return [text.removeprefix("\n") for text in parts[2::2]]
