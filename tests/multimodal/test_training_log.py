"""The figures of a training: a line a step, and TensorBoard's own reader finds the same in the curves."""

import json
import signal
from pathlib import Path

import killed
import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from multimodal.store import InputError
from multimodal.training.log import CURVES, TrainingLog

STEPS = 6


def curves(root: Path) -> list[tuple[int, dict[str, float]]]:
    """Each event's step and numbers, as TensorBoard reads them."""
    events = EventFileLoader(str(root / CURVES)).Load()
    numbers = [(e.step, {v.tag: v.tensor.float_val[0] for v in e.summary.value}) for e in events]
    return [(step, values) for step, values in numbers if values]


def moments(root: Path) -> list[float]:
    """When each event was drawn, that of the file's version first."""
    return [event.wall_time for event in EventFileLoader(str(root / CURVES)).Load()]


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


@pytest.mark.parametrize("damage", [0, 5])
def test_curves_drawn_again_keep_their_moments(tmp_path, monkeypatch, damage):
    """Those of a file that was cut short, too, as far as it goes."""
    clock = iter(range(100, 200))
    monkeypatch.setattr("time.time", lambda: float(next(clock)))
    with TrainingLog(tmp_path, 0) as log:
        for step in (1, 2, 3):
            log.write({"step": step, "loss": 1.0})
        log.sync()
    assert moments(tmp_path) == [100, 101, 102, 103]
    written = (tmp_path / CURVES).read_bytes()
    (tmp_path / CURVES).write_bytes(written[: len(written) - damage])
    with TrainingLog(tmp_path, 3) as log:
        log.write({"step": 4, "loss": 1.0})
    assert moments(tmp_path)[:-1] == [100, 101, 102, 102 if damage else 103]
    assert moments(tmp_path)[-1] >= 104 and [step for step, _ in curves(tmp_path)] == [1, 2, 3, 4]


def test_a_line_half_written_goes(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    with TrainingLog(tmp_path, 2):
        pass
    assert lines(tmp_path) == [{"step": 1, "loss": 2.0}] and curves(tmp_path) == [(1, {"loss": 2.0})]


@pytest.mark.parametrize("damaged", ['{"step": 2, "lo', "", "3", "[]", "{}", '{"step": "two"}', "\udcff"])
def test_a_damaged_line_is_told_by_its_number(tmp_path, damaged):
    written = f'{{"step": 1, "loss": 2.0}}\n{damaged}\n{{"step": 3, "loss": 1.0}}\n'
    (tmp_path / "metrics.jsonl").write_bytes(written.encode(errors="surrogateescape"))
    with pytest.raises(
        InputError, match=r"metrics.jsonl: line 2 is not as it was written; mend or remove the line"
    ):
        TrainingLog(tmp_path, 3)
    assert (tmp_path / "metrics.jsonl").read_bytes() == written.encode(errors="surrogateescape")
