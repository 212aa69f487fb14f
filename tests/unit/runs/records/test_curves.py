"""Curves of a run from what its loggers wrote."""

import math

import pytest

from mtl_lightning.errors import MtlError
from mtl_lightning.loggers.csv import CSVLog
from mtl_lightning.report.training.events import EventLog
from mtl_lightning.runs.directory import RunDirectory
from mtl_lightning.runs.records.curves import finite, read_curves


@pytest.mark.parametrize("logger", [EventLog, CSVLog])
def test_a_resumed_run_replaces_the_steps_that_it_repeats(logger, tmp_path):
    for values in ({10: 0.5, 20: 0.4, 30: 9.0}, {30: 0.25, 40: math.nan}):
        log = logger(tmp_path)
        for step, value in values.items():
            log.log_metrics({"train/loss/a/b": value}, step=step)
        log.save()
        log.finalize("success")
    curve = read_curves(RunDirectory(tmp_path))["train/loss/a/b"]
    assert [step for step, _ in curve] == [10, 20, 30, 40]
    assert [value for _, value in finite(curve)] == pytest.approx([0.5, 0.4, 0.25])
    assert math.isnan(curve[-1][1])


def test_a_record_cut_short_by_a_kill_is_left_out(tmp_path):
    log = EventLog(tmp_path)
    for step in (10, 20):
        log.log_metrics({"train/loss/click": 0.5}, step=step)
    log.save()
    (file,) = (tmp_path / "tensorboard").iterdir()
    file.write_bytes(file.read_bytes()[:-5])
    assert read_curves(RunDirectory(tmp_path)) == {"train/loss/click": [(10, 0.5)]}


def test_a_run_without_files_has_no_curves_and_a_damaged_file_is_named(tmp_path):
    run = RunDirectory(tmp_path)
    assert read_curves(run) == {}
    folder = tmp_path / "csv" / "version_0"
    folder.mkdir(parents=True)
    (folder / "metrics.csv").write_text("step,a\nten,0.5\n")
    with pytest.raises(MtlError, match="logged values can't be read"):
        read_curves(run)
