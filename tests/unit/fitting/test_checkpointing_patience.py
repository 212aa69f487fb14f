"""A run of a shipped recipe that doesn't get better stops by itself, and says why."""

import json

from commands import run_command

SMALL = ("recipe=ads", "source.rows=1500", "encoder.width=4", "architecture=shared_bottom", "trainer.max_epochs=9")
STILL = ("weighter=sum", "optimizer.lr=1e-30", "optimizer.table_lr=1e-30")


def fit(folder, *arguments):
    done = run_command(folder, "fit", *SMALL, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return " ".join(done.stdout.split())


def test_training_ends_when_the_score_stands_still(tmp_path):
    printed = fit(tmp_path, *STILL, "run.dir=run")
    record = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert len(record["validations"]) == 6  # the first is the best
    assert record["test"]["evaluations"] == 1
    assert "stopped after 6 epochs: no better score in 5 validations in a row (run.patience)" in printed
    printed = fit(tmp_path, *STILL, "run.patience=null", "run.dir=all")
    assert len(json.loads((tmp_path / "all" / "metrics.json").read_text())["validations"]) == 9
    assert "stopped after" not in printed
