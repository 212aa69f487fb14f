"""Studies in a database: shared by processes, killed and continued, pruned, with a front over tasks; wrong URLs."""

import json
import signal
import sqlite3
import time

import pytest
from commands import start_command

from mtl_lightning.errors import MtlError
from mtl_lightning.tune.plan import read_plan
from mtl_lightning.tune.study import open_study

SMALL = ("recipe=agreement", "source.rows=2000", "data.batch_size=512", "out=study")
SPACE = ("space.optimizer.lr=log(1e-3,1e-2)", "space.weighter.weights.*=log(0.1,10)", "weighter=constant")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense://x", "Can't load plugin"),
        ("sqlite:////nowhere/at/all.db", "unable to open"),
        ("nourl", "Could not parse"),
        ("mysql://me:secret@localhost/db", "install|connect"),
    ],
)
def test_a_wrong_storage_is_named_and_its_password_is_not(url, words, tmp_path):
    plan = read_plan(["recipe=agreement", *SPACE, f"storage={url}", f"out={tmp_path}"])
    with pytest.raises(MtlError, match=words) as raised:
        open_study(plan, {"like": True})
    assert str(raised.value).startswith("storage=")
    assert "secret" not in str(raised.value)


def test_a_wrong_storage_ends_the_command_with_2(tmp_path):
    process = start_command(tmp_path, "tune", *SMALL, *SPACE, "storage=nourl", "trials=1")
    printed, _ = process.communicate(timeout=100)
    assert process.returncode == 2, printed
    assert "Traceback" not in printed


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_processes_share_a_database_and_one_is_killed(tmp_path):
    shared = "storage=sqlite:///study.db"
    arguments = ("tune", *SMALL, *SPACE, shared, "objective=tasks", "trials=4", "trainer.max_epochs=3")
    both = [start_command(tmp_path, *arguments) for _ in range(2)]
    deadline = time.monotonic() + 250
    trials = tmp_path / "study" / "trials"
    while not any(trials.glob("*/metrics.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    both[0].send_signal(signal.SIGKILL)
    both[0].communicate()
    printed, _ = both[1].communicate(timeout=280)
    assert both[1].returncode == 0, printed
    again = start_command(tmp_path, *arguments)
    printed, _ = again.communicate(timeout=200)
    assert again.returncode == 0, printed

    result = json.loads((tmp_path / "study" / "result.json").read_text())
    assert [trial["state"] for trial in result["trials"]] == ["complete"] * 4
    with sqlite3.connect(tmp_path / "study.db") as database:
        assert database.execute("select count(*) from trials").fetchone() == (4,)
    points = {trial["number"]: list(trial["tasks"].values()) for trial in result["trials"]}
    for number, own in points.items():
        beaten = any(all(b >= a for a, b in zip(own, other, strict=True)) and other != own for other in points.values())
        assert (number in result["front"]) != beaten
    assert result["best"] in result["front"]
    drawn = (tmp_path / "study" / "report.html").read_text()
    assert drawn.count("<svg") == 3
    assert drawn.count("<circle") == 3 * 4
    assert "<script" not in drawn
    for number in result["front"]:
        chosen = result["trials"][number]["settings"]
        text = (tmp_path / "study" / f"front{number:04d}.yaml").read_text()
        assert all(pair.partition("=")[2] in text for pair in chosen)
    fit = start_command(tmp_path, "fit", "recipe=study/best.yaml", "run.dir=best")
    printed, _ = fit.communicate(timeout=200)
    assert fit.returncode == 0, printed
    record = json.loads((tmp_path / "best" / "metrics.json").read_text())
    best = max(record["validations"], key=lambda entry: entry["metrics"]["validation/score"])["metrics"]
    for task, value in result["trials"][result["best"]]["tasks"].items():
        assert best[f"validation/{task}/auc"] == pytest.approx(value, abs=1e-6)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_trial_that_falls_behind_is_stopped(tmp_path, monkeypatch):
    import optuna

    monkeypatch.chdir(tmp_path)
    arguments = [
        *SMALL,
        SPACE[0],
        "storage=sqlite:///study.db",
        "trials=6",
        "trainer.max_epochs=60",
        "run.patience=null",
    ]
    plan = read_plan(arguments)
    study = open_study(plan, dict.fromkeys(plan.tasks, True))
    for lr in (0.002, 0.003, 0.004, 0.005, 0.006):  # five trials that are better than any can be
        study.add_trial(
            optuna.trial.create_trial(
                params={"optimizer.lr": lr},
                distributions={"optimizer.lr": optuna.distributions.FloatDistribution(1e-3, 1e-2, log=True)},
                value=0.999,
                intermediate_values=dict.fromkeys(range(1, 61), 0.999),
            )
        )
    process = start_command(tmp_path, "tune", *arguments)
    printed, _ = process.communicate(timeout=250)
    assert process.returncode == 0, printed
    last = json.loads((tmp_path / "study" / "result.json").read_text())["trials"][5]
    assert last["state"] == "pruned"
    assert 1 <= last["epochs"] < 60
    assert "trial 5 pruned" in printed
