"""Results that are gathered from cells: what is selected, what confirms it, and what is missing."""

import json

import numpy as np
import pytest

from mtl_lightning.compare.page import page
from mtl_lightning.compare.plan import cells, confirming, read_grid
from mtl_lightning.compare.results import gather, select
from mtl_lightning.errors import MtlError

KINDS = {"click": "binary"}
ROWS = 4000


def finish(grid, cell, score, quality):
    """Leave what a finished run leaves: the higher its quality, the higher its AUC."""
    path = cell.path(grid.out)
    path.mkdir(parents=True)
    (path / "config.yaml").write_text("")
    (path / "resources.json").write_text(json.dumps({"parameters": {"all": 10}}))
    metrics = {
        "validations": [{"step": 1, "metrics": {"validation/score": score}}],
        "test": {"evaluations": 1, "metrics": {}},
    }
    (path / "metrics.json").write_text(json.dumps(metrics))
    label = np.random.default_rng(0).integers(0, 2, ROWS)
    noise = np.random.default_rng([cell.seed, len(cell.configuration)]).normal(size=ROWS)
    arrays = {"prediction/click": quality * label + noise, "label/click": label[:, None], "known/click": label >= 0}
    np.savez(path / "test.npz", **arrays)


@pytest.fixture
def grid(tmp_path):
    return read_grid(["recipe=ads", "architecture=mmoe,ple", "weighter=sum", "constants=0", f"out={tmp_path}"])


QUALITY = {"single_task": 1.0, "mmoe-sum": 1.3, "ple-sum": 1.3}
SCORES = {"single_task": 0.9, "mmoe-sum": 0.7, "ple-sum": 0.6}


def test_nothing_is_selected_until_single_task_models_and_a_rival_have_all_seeds(grid):
    every = cells(grid, list(KINDS))
    assert select(grid, every) is None
    for cell in every:
        finish(grid, cell, SCORES[cell.configuration], QUALITY[cell.configuration])
        known = cell.seed == 2 and cell.configuration != "single_task"
        assert select(grid, every) == ("mmoe-sum" if known else None)
    assert gather(grid, every, KINDS)["missing"] == [item.name for item in confirming(grid, every, "mmoe-sum")]


def test_confirming_runs_count_for_the_verdict_but_not_for_the_selection(grid):
    every = cells(grid, list(KINDS))
    for cell in every:
        finish(grid, cell, SCORES[cell.configuration], QUALITY[cell.configuration])
    before = gather(grid, every, KINDS)
    more = confirming(grid, every, "mmoe-sum")
    assert [(cell.configuration, cell.seed) for cell in more] == [
        ("single_task", 3), ("mmoe-sum", 3), ("single_task", 4), ("mmoe-sum", 4),
    ]  # fmt: skip
    for cell in more:
        finish(grid, cell, 0.1, 2.5 if cell.configuration == "mmoe-sum" else 1.0)  # bad on validation, good on test
    after = gather(grid, every, KINDS)
    assert after["selected"] == before["selected"] == "mmoe-sum"
    assert after["missing"] == []
    result = {configuration["name"]: configuration for configuration in after["configurations"]}
    assert {name: item["seeds"] for name, item in result.items()} == {"single_task": 5, "mmoe-sum": 5, "ple-sum": 3}
    assert result["mmoe-sum"]["validation_score"]["mean"] == pytest.approx(0.7)
    old = next(configuration for configuration in before["configurations"] if configuration["name"] == "mmoe-sum")
    assert result["mmoe-sum"]["tasks"]["click"]["mean"] > old["tasks"]["click"]["mean"] + 0.02
    assert result["single_task"]["tasks"]["click"]["difference"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert after["verdict"]["tasks"] == {"click": "gain"}
    assert (after["ensemble"]["seeds"], after["ensemble"]["parameters"]) == (5, 50)
    assert after["ensemble"]["tasks"]["click"]["low"] <= after["ensemble"]["tasks"]["click"]["mean"]


def test_runs_whose_score_is_not_defined_are_not_selected(grid):
    every = cells(grid, list(KINDS))
    for cell in every:
        score = None if cell.configuration == "mmoe-sum" and cell.seed == 1 else SCORES[cell.configuration]
        finish(grid, cell, score, QUALITY[cell.configuration])
    assert select(grid, every) == "ple-sum"
    result = {
        configuration["name"]: configuration["validation_score"]
        for configuration in gather(grid, every, KINDS)["configurations"]
    }
    assert result["mmoe-sum"] == {"mean": None, "sd": None}
    assert result["ple-sum"] == {"mean": pytest.approx(0.6), "sd": pytest.approx(0.0)}


def test_a_configuration_without_all_its_seeds_is_shown_and_not_selected(grid):
    every = cells(grid, list(KINDS))
    for cell in every:
        if cell.name != "mmoe-sum-seed1":
            finish(grid, cell, SCORES[cell.configuration], QUALITY[cell.configuration])
    result = gather(grid, every, KINDS)
    assert result["selected"] == "ple-sum"
    assert {configuration["name"]: configuration["seeds"] for configuration in result["configurations"]}[
        "mmoe-sum"
    ] == 2
    assert result["missing"][0] == "mmoe-sum-seed1"
    assert result["tasks"]["click"]["rows"] == ROWS
    assert 0 < result["tasks"]["click"]["positive"] < ROWS


def test_what_has_finished_is_gathered_however_little_it_is(grid):
    every = cells(grid, list(KINDS))
    for count in range(len(every)):
        result = gather(grid, every, KINDS)
        assert (result["verdict"] is None) == (count < 8)
        drawn = page(result)
        assert "<svg" in drawn
        assert drawn.count("<circle") >= sum(
            configuration["paired_seeds"] > 0 for configuration in result["configurations"][1:]
        )
        finish(grid, every[count], SCORES[every[count].configuration], QUALITY[every[count].configuration])


def test_runs_on_other_rows_are_not_compared(grid):
    every = cells(grid, list(KINDS))
    for cell in every:
        finish(grid, cell, SCORES[cell.configuration], QUALITY[cell.configuration])
    path = every[-1].path(grid.out) / "test.npz"
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(path, **{name: values[:-1] for name, values in arrays.items()})
    with pytest.raises(MtlError, match=f"single_task-seed0 and {every[-1].name} were tested on different rows"):
        gather(grid, every, KINDS)


def test_a_test_split_without_positives_gives_no_verdict_on_the_task(grid):
    every = cells(grid, list(KINDS))
    for cell in every:
        finish(grid, cell, SCORES[cell.configuration], QUALITY[cell.configuration])
        path = cell.path(grid.out) / "test.npz"
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        np.savez(path, **{**arrays, "label/click": np.zeros((ROWS, 1), dtype=np.int64)})
    result = gather(grid, every, KINDS)
    json.dumps(result, allow_nan=False)
    assert result["verdict"]["tasks"] == {"click": "no evidence"}
    assert "auc is undefined on the test rows" in result["verdict"]["sentences"][0]
    assert [configuration["delta_m"] for configuration in result["configurations"]] == [None] * 3
    assert "undefined against single-task models" in page(result)
