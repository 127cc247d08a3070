"""The rule of the seeded loss: a refactor leaves the default loss over 50 steps identical to the bit.

``seeded_loss.json`` holds the losses that the named commit gave. A change of behaviour brings a new record and says why.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import seeded
import torch

RECORD = json.loads((Path(__file__).parent / "seeded_loss.json").read_text())
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]

pytestmark = pytest.mark.skipif(
    torch.__version__.split("+")[0] != RECORD["torch"],
    reason=f"recorded with torch {RECORD['torch']}, whose kernels add in another order than this one's",
)


def losses(root: Path, environment: dict[str, str], launcher: list[str]) -> list[dict[str, float]]:
    command = [sys.executable, *launcher, seeded.__file__, str(root)]
    subprocess.run(
        command,
        env=environment | seeded.PINNED,
        check=True,
        capture_output=True,
        timeout=300,
        cwd=root.parent,
    )
    lines = [json.loads(line) for line in (root / "metrics.jsonl").read_text().splitlines()]
    return [
        {name: line[name] for name in line if name not in ("step", "learning_rate", "held_out")}
        for line in lines
    ]


@pytest.mark.parametrize("launcher, record", [([], "one_process"), (TORCHRUN, "two_processes")])
def test_the_seeded_loss_is_that_on_record(launcher, record, tmp_path, session_environment):
    found = losses(tmp_path / "model", session_environment, launcher)
    assert len(found) == 50 and found == RECORD[record]
