"""The figures of a training: a line a step, and TensorBoard's own reader finds the same in the curves."""

import itertools
import json
import signal
from pathlib import Path

import killed
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from multimodal.store import InputError
from multimodal.training import log
from multimodal.training.log import CURVES, TrainingLog

STEPS = 6
Curves = dict[str, list[tuple[int, float]]]


def shown(root: Path) -> Curves:
    """The steps and values of each curve, as TensorBoard shows a run."""
    found = EventAccumulator(str(root / CURVES)).Reload()
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def lines(root: Path) -> list[dict]:
    return [json.loads(line) for line in (root / "metrics.jsonl").read_text().splitlines()]


def drawn(written: list[dict]) -> Curves:
    """The curves of lines of metrics.jsonl."""
    curves: Curves = {}
    for line in written:
        held_out = {f"held_out/{name}": value for name, value in line.get("held_out", {}).items()}
        for name, value in (line | held_out).items():
            if name != "step" and isinstance(value, float):
                curves.setdefault(name, []).append((line["step"], pytest.approx(value, rel=1e-6)))
    return curves


@pytest.mark.parametrize("kills", [[("stepping", 5)], [("saved", 2), ("stepping", 3), ("stepping", 6)]])
def test_each_step_is_shown_once_after_kills_and_resumes(tmp_path, kills):
    """TensorBoard reads files by second, then by process: each run is a process of its own, the last one too."""
    for moment, step in kills:
        assert killed.forked(tmp_path, STEPS, moment, step) == -signal.SIGKILL
    assert killed.forked(tmp_path, STEPS, "never", 0) == 0
    written = lines(tmp_path)
    assert [line["step"] for line in written] == [*range(1, STEPS + 1)]
    assert {"loss", "learning_rate", "held_out/text"} <= drawn(written).keys()
    assert shown(tmp_path) == drawn(written)


@pytest.fixture
def seconds_apart(monkeypatch):
    """TensorBoard reads the files of a run by the second in their names, and those of one second in no order of ours."""
    clock = itertools.count(1_800_000_000)
    monkeypatch.setattr("time.time", lambda: float(next(clock)))


def log_steps(root: Path, step: int, losses: dict[int, float], more: dict | None = None) -> None:
    with TrainingLog(root, step) as written:
        for at, loss in losses.items():
            written.write({"step": at, "loss": loss} | (more or {}))
        written.sync()


def test_what_was_written_after_a_checkpoint_goes(tmp_path, seconds_apart):
    log_steps(tmp_path, 0, {1: 2.0, 2: 1.0, 3: 0.0}, {"went_back": {"because": "a spike", "skipped": [1, 2]}})
    log_steps(tmp_path, 2, {3: 0.5})
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3]
    assert shown(tmp_path) == {"loss": [(1, 2.0), (2, 1.0), (3, 0.5)]}


def test_a_forgotten_purge_would_be_seen(tmp_path, monkeypatch, seconds_apart):
    monkeypatch.setattr(log, "SummaryWriter", lambda folder, purge_step: SummaryWriter(folder))
    log_steps(tmp_path, 0, {1: 2.0, 2: 1.0, 3: 0.0})
    log_steps(tmp_path, 2, {3: 0.5})
    assert shown(tmp_path) != {"loss": [(1, 2.0), (2, 1.0), (3, 0.5)]}


def test_events_after_a_checkpoint_go_also_where_no_step_follows(tmp_path, seconds_apart):
    log_steps(tmp_path, 0, {1: 2.0, 2: 1.0, 3: 0.0})
    log_steps(tmp_path, 1, {})
    assert shown(tmp_path) == {"loss": [(1, 2.0)]}


def test_a_line_half_written_goes(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    log_steps(tmp_path, 2, {})
    assert lines(tmp_path) == [{"step": 1, "loss": 2.0}]


@pytest.mark.parametrize("damaged", ['{"step": 2, "lo', "", "3", "[]", "{}", '{"step": "two"}', "\udcff"])
def test_a_damaged_line_is_told_by_its_number(tmp_path, damaged):
    written = f'{{"step": 1, "loss": 2.0}}\n{damaged}\n{{"step": 3, "loss": 1.0}}\n'
    (tmp_path / "metrics.jsonl").write_bytes(written.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=r"metrics.jsonl: line 2 ") as error:
        TrainingLog(tmp_path, 3)
    assert "\n" not in str(error.value)
    assert (tmp_path / "metrics.jsonl").read_bytes() == written.encode(errors="surrogateescape")
