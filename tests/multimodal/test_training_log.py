"""The figures of a training: a line a step, and TensorBoard's own reader finds the same in the curves."""

import json
import signal
from pathlib import Path

import killed
import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from multimodal.training.log import CURVES, TrainingLog

STEPS = 6


def curves(root: Path) -> list[tuple[int, dict[str, float]]]:
    """Each event's step and numbers, as TensorBoard reads them."""
    events = EventFileLoader(str(root / CURVES)).Load()
    numbers = [(e.step, {v.tag: v.tensor.float_val[0] for v in e.summary.value}) for e in events]
    return [(step, values) for step, values in numbers if values]


def lines(root: Path) -> list[dict]:
    return [json.loads(line) for line in (root / "metrics.jsonl").read_text().splitlines()]


def test_tensorboard_reads_the_same_after_a_kill(tmp_path):
    assert killed.forked(tmp_path, STEPS, "stepping", 5) == -signal.SIGKILL
    killed.run(tmp_path, STEPS, 0.0)
    written = lines(tmp_path)
    assert (
        [step for step, _ in curves(tmp_path)] == [line["step"] for line in written] == [*range(1, STEPS + 1)]
    )
    for (_, values), line in zip(curves(tmp_path), written, strict=True):
        held_out = {f"held_out/{name}": value for name, value in line.pop("held_out").items()}
        line.pop("step")
        assert values == pytest.approx(line | held_out)
    assert len(list((tmp_path / CURVES).parent.iterdir())) == 1


def test_what_was_written_after_a_checkpoint_goes(tmp_path):
    with TrainingLog(tmp_path, 0) as log:
        for step in (1, 2, 3):
            log.write(
                {"step": step, "loss": 3.0 - step, "went_back": {"because": "a spike", "skipped": [1, 2]}}
            )
        log.sync()
    with TrainingLog(tmp_path, 2) as log:
        log.write({"step": 3, "loss": 0.5})
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3]
    assert curves(tmp_path) == [(1, {"loss": 2.0}), (2, {"loss": 1.0}), (3, {"loss": 0.5})]
