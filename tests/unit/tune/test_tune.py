"""The command ``tune``: spaces, the front, and real studies that are shared, killed and continued."""

import json
import signal
import time

import pytest
from commands import start_command
from hypothesis import given
from hypothesis import strategies as st

from mtl_lightning.cli.tune import _write
from mtl_lightning.errors import MtlError
from mtl_lightning.tune.outcome import pareto_front
from mtl_lightning.tune.page import page
from mtl_lightning.tune.plan import read_plan
from mtl_lightning.tune.space import read_dimension, read_space
from mtl_lightning.tune.study import open_study

SMALL = ("recipe=agreement", "source.rows=3000", "trainer.max_epochs=2", "data.batch_size=512", "out=study")
SPACE = ("space.optimizer.lr=log(1e-3,1e-2)", "space.encoder.width=[2,4]")


def tune(folder, *arguments):
    process = start_command(folder, "tune", *arguments)
    printed, _ = process.communicate(timeout=250)
    return process.returncode, printed


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("log(0, 1)", "reaches 0"),
        ("log(2, 1)", "is empty"),
        ("uniform(0, inf)", "is not finite"),
        ("int(1.5, 2)", "invalid literal"),
        ("normal(0, 1)", "neither a range nor a list"),
        ("[]", "an empty list"),
        (3, "neither a range nor a list"),
    ],
)
def test_wrong_ranges_are_named(spec, message):
    with pytest.raises(MtlError, match=message):
        read_dimension("optimizer.lr", spec)


def test_a_file_may_be_nested_and_the_command_line_is_laid_over_it(tmp_path):
    file = tmp_path / "space.yaml"
    file.write_text("optimizer:\n  lr: log(1e-4, 1e-2)\nencoder.width: [8, 16]\nweighter.weights.*: uniform(0, 1)\n")
    space = read_space(str(file), {"encoder.width": "null", "optimizer.lr": "uniform(0.1, 0.2)"}, ["a", "b"])
    assert {item.key: str(item) for item in space} == {
        "optimizer.lr": "uniform(0.1, 0.2)",
        "weighter.weights.a": "uniform(0, 1)",
        "weighter.weights.b": "uniform(0, 1)",
    }


def test_the_shipped_space_fits_a_recipe_and_weighs_its_tasks():
    plan = read_plan(["recipe=ads"])
    plan.check()
    assert {f"weighter.weights.{task}" for task in ("click", "conversion", "dwell")} < {d.key for d in plan.space}
    assert plan.pairs({"weighter.weights.click": 2.0, "weighter": "constant"})[0] == "weighter=constant"


def test_what_is_fixed_is_not_searched():
    fixed = read_plan(["recipe=ads", "optimizer.lr=0.003"])
    assert "optimizer.lr" in {item.key for item in read_plan(["recipe=ads"]).space}
    assert "optimizer.lr" not in {item.key for item in fixed.space}
    assert "optimizer.lr=0.003" in fixed.overrides
    with pytest.raises(MtlError, match=r"optimizer\.lr is both fixed and searched"):
        read_plan(["recipe=ads", "optimizer.lr=0.003", "space.optimizer.lr=log(1e-4,1e-2)"])
    with pytest.raises(MtlError, match=r"space\.run\.dir: can't be searched"):
        read_plan(["recipe=ads", "space.run.dir=[a,b]"])


def test_another_content_of_the_recipe_is_another_study(tmp_path):
    recipe = tmp_path / "own.yaml"
    recipe.write_text("extends: ads\noptimizer: {lr: 0.001}\n")
    first = read_plan([f"recipe={recipe}", "space.encoder.width=[2,4]"])
    assert read_plan([f"recipe={recipe}", "space.encoder.width=[2,4]", "trials=7"]).settings == first.settings
    recipe.write_text("extends: ads\noptimizer: {lr: 0.1}\n")
    assert read_plan([f"recipe={recipe}", "space.encoder.width=[2,4]"]).settings != first.settings


def test_a_setting_that_the_recipe_has_not_is_said_before_anything_runs():
    with pytest.raises(MtlError, match=r"encoder\.widht=8"):
        read_plan(["recipe=ads", "space.encoder.widht=[8]"]).check()


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12))
def test_the_front_is_what_nothing_beats(points):
    front = pareto_front(dict(enumerate(points)), (True, False))
    for number, (x, y) in enumerate(points):
        beaten = any(a >= x and b <= y and (a, b) != (x, y) for a, b in points)
        assert (number in front) != beaten


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_processes_share_a_study_and_its_best_recipe_runs(tmp_path):
    both = [start_command(tmp_path, "tune", *SMALL, *SPACE, "trials=4") for _ in range(2)]
    printed = [process.communicate(timeout=280)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], printed
    assert all("trial " in text for text in printed)  # both worked
    result = json.loads((tmp_path / "study" / "result.json").read_text())
    assert [item["number"] for item in result["trials"]] == [0, 1, 2, 3]
    assert {item["state"] for item in result["trials"]} <= {"complete", "pruned"}
    assert len({item["settings"][0] for item in result["trials"]}) == 4
    assert result["best"] is not None
    for trial in result["trials"]:
        record = json.loads((tmp_path / trial["directory"] / "metrics.json").read_text())
        assert record["test"] is None
        assert len(record["validations"]) == trial["epochs"]
    drawn = page(result)
    assert drawn.count("<svg") == 3
    assert drawn.count("<circle") == 3 * sum(item["state"] == "complete" for item in result["trials"])

    fit = start_command(tmp_path, "fit", "recipe=study/best.yaml", "run.dir=best")
    printed, _ = fit.communicate(timeout=250)
    assert fit.returncode == 0, printed
    record = json.loads((tmp_path / "best" / "metrics.json").read_text())
    best = result["trials"][result["best"]]
    score = max(entry["metrics"]["validation/score"] for entry in record["validations"])
    assert score == pytest.approx(best["score"], abs=1e-6)
    assert record["test"]["evaluations"] == 1

    code, printed = tune(tmp_path, *SMALL, *SPACE[:1], "trials=5")
    assert code == 2
    assert "another space" in printed


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_study_goes_on_with_the_trial_that_was_running(tmp_path):
    arguments = (*SMALL[:2], "trainer.max_epochs=6", *SMALL[3:], *SPACE, "trials=2", "prune=false", "run.patience=null")
    first = start_command(tmp_path, "tune", *arguments)
    record = tmp_path / "study" / "trials" / "0000" / "metrics.json"
    deadline = time.monotonic() + 200
    while not record.is_file() and time.monotonic() < deadline:
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    code, printed = tune(tmp_path, *arguments)
    assert code == 0, printed
    result = json.loads((tmp_path / "study" / "result.json").read_text())
    assert [trial["state"] for trial in result["trials"]] == ["complete", "complete"]
    assert [trial["epochs"] for trial in result["trials"]] == [6, 6]


def test_a_password_is_not_printed(tmp_path):
    for url in ("mysql://u:secret@localhost/x", "mysql://u@localhost/x?password=secret&charset=utf8"):
        plan = read_plan(["recipe=ads", f"storage={url}", f"out={tmp_path / 'study'}"])
        with pytest.raises(MtlError) as caught:
            open_study(plan, {"click": True})
        assert "secret" not in str(caught.value)
        assert "mysql://u" in str(caught.value)


def test_recipes_of_trials_that_left_the_front_go(tmp_path):
    plan = read_plan(["recipe=agreement", "space.optimizer.lr=log(1e-3,1e-2)", f"out={tmp_path}"])
    tasks = {task: {"metric": "auc", "higher": True} for task in plan.tasks}
    trial = {"state": "complete", "score": 0.5, "settings": [], "params": {"optimizer.lr": 0.002}, "epochs": 1}
    trials = [{**trial, "number": n, "tasks": dict.fromkeys(plan.tasks, 0.5), "directory": "x"} for n in range(2)]
    result = {"recipe": "agreement", "study": "s", "objective": "score", "tasks": tasks, "trials": trials, "best": None}
    _write(plan, {**result, "front": [0]})
    assert [path.name for path in tmp_path.glob("front*")] == ["front0000.yaml"]
    _write(plan, {**result, "front": [1]})
    assert [path.name for path in tmp_path.glob("front*")] == ["front0001.yaml"]


def test_an_output_that_is_a_file_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MtlError, match="can't be written"):
        open_study(read_plan(["recipe=ads", f"out={tmp_path / 'file'}"]), {"click": True})
