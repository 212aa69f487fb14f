"""Tables, records and event logs say what was measured, by task name."""

import json
from pathlib import Path

import pytest
from rich.console import Console, RenderableType
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mtl_lightning.report.render.tables import header_table, metrics_table
from mtl_lightning.report.training.events import EventLog
from mtl_lightning.runs.directory import RunDirectory
from mtl_lightning.runs.records.metrics import add_test, read, reopen


def shown(renderable: RenderableType, width: int = 80) -> list[list[str]]:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(renderable)
    return [line.split() for line in capture.get().splitlines()]


def test_oracle_stands_beside_the_measured_value_with_the_gap() -> None:
    results = {
        "test/click/auc": 0.7,
        "test/click/log_loss": 0.5,
        "test/click/normalized_entropy": 0.9,
        "test/click/calibration": 1.0,
        "test/click/expected_auc": 0.71,
        "test/click/oracle_auc": 0.73,
        "test/dwell/mae": 12.0,
        "test/score": 0.7,
    }
    lines = shown(metrics_table(results, "test", "Test"))
    assert ["task", "auc", "loss", "entropy", "calibration", "auc", "auc", "gap"] in lines
    assert ["click", "0.7000", "0.5000", "0.9000", "1.0000", "0.7100", "0.7300", "0.0200"] in lines
    assert ["dwell", "12.00"] in lines
    assert ["score", "0.7000"] in lines


def test_undefined_metrics_are_called_so() -> None:
    lines = shown(metrics_table({"test/click/auc": float("nan"), "test/score": float("nan")}, "test", "Test"))
    assert ["click", "undefined"] in lines
    assert ["score", "undefined"] in lines


def test_header_names_every_part() -> None:
    table = header_table(
        rows={"train": 1000, "test": 10},
        tasks=[("click", "binary", "100%", "0.0500"), ("buy", "binary", "5%", "0.1000")],
        parameters={"tables": 12345, "dense": 67},
        facts={"recipe": "ads"},
    )
    lines = [" ".join(line) for line in shown(table)]
    assert lines[0] == "recipe ads"
    assert "rows train 1,000, test 10" in lines
    assert "buy (binary): known 5%, mean label 0.1000" in lines
    assert "parameters tables 12,345, dense 67" in lines


def test_the_record_counts_looks_at_the_test_split_and_stays_json(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert read(run) == {"validations": [], "test": None}
    assert [add_test(run, {"test/click/auc": float("nan")}, "best.ckpt") for _ in range(3)] == [1, 2, 3]
    strict = json.loads((tmp_path / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert strict["test"] == {"evaluations": 3, "weights": "best.ckpt", "metrics": {"test/click/auc": None}}


def test_a_run_is_complete_when_fit_has_evaluated_it_and_nothing_was_trained_since(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    reopen(run)
    assert not list(tmp_path.iterdir())
    add_test(run, {"test/score": 0.5}, "best.ckpt")  # by hand, in the midst of the training
    add_test(run, {"test/score": 0.5}, "best.ckpt")
    assert not run.is_complete()
    add_test(run, {"test/score": 0.6}, "best.ckpt", complete=True)
    assert run.is_complete()
    add_test(run, {"test/score": 0.6}, "best.ckpt")
    assert run.is_complete()
    reopen(run)
    assert not run.is_complete()
    assert read(run)["test"]["evaluations"] == 4
    run.save_json("metrics.json", {"validations": [], "test": {"evaluations": 1, "metrics": {}}})  # as before
    assert run.is_complete()


def test_events_lie_alone_in_their_directory_and_resume_beside_each_other(tmp_path: Path) -> None:
    for step in (1, 2):
        log = EventLog(tmp_path)
        log.log_hyperparams({"a": 1})
        log.log_metrics({"train/loss/click": step / 2}, step=step)
        log.save()
        log.finalize("success")
    assert all(path.name.startswith("events.") for path in (tmp_path / "tensorboard").iterdir())
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert events.Tags()["scalars"] == ["train/loss/click"]
