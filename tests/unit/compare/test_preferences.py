"""Fronts of models that read preferences, next to configurations trained for one trade-off."""

import json

import numpy as np
import pytest

from mtl_lightning.compare.bootstrap import sample
from mtl_lightning.compare.figures import figures, write_figures
from mtl_lightning.compare.page import page
from mtl_lightning.compare.plan import cells, read_grid
from mtl_lightning.compare.preferences import DRAWS, preference_groups
from mtl_lightning.compare.results import gather

KINDS = {"click": "binary", "buy": "binary"}
ROWS, SHARES = 900, [0.0, 0.5, 1.0]


def finish(grid, cell, rows):
    """Leave what a finished run leaves; with cosmos the first task's predictions get better with its preference."""
    path = cell.path(grid.out)
    path.mkdir(parents=True)
    (path / "config.yaml").write_text("")
    (path / "resources.json").write_text("{}")
    metrics = {"validations": [{"step": 1, "metrics": {"validation/score": 0.5 + 0.1 * cell.tried}}]}
    (path / "metrics.json").write_text(json.dumps({**metrics, "test": {"evaluations": 1, "metrics": {}}}))
    random, noise = np.random.default_rng(0), np.random.default_rng([cell.seed, len(cell.configuration)])
    arrays, label = {"front/rows": rows}, random.integers(0, 2, ROWS)
    for task, shares in zip(KINDS, (SHARES, SHARES[::-1]), strict=True):
        arrays |= {f"label/{task}": label[:, None], f"known/{task}": random.random(ROWS) < 0.8}
        points = [share * label + noise.normal(size=ROWS) for share in shares]
        arrays[f"prediction/{task}"] = points[1]
        arrays |= {f"front/preference/{task}": shares, f"front/prediction/{task}": np.stack(points)[:, rows]}
    if "cosmos" not in cell.configuration:
        arrays = {name: values for name, values in arrays.items() if "front" not in name}
    np.savez(path / "test.npz", **arrays)


@pytest.fixture(scope="module", params=[ROWS, 400], ids=["all rows", "a sample"])
def compared(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    pairs = ["recipe=ads", "architecture=mmoe", "weighter=cosmos", "seeds=2", "constants=2", "confirm=0"]
    grid = read_grid([*pairs, f"out={folder}"])
    rows = np.sort(np.random.default_rng(1).permutation(ROWS)[: request.param])
    every = cells(grid, list(KINDS))
    for cell in every:
        finish(grid, cell, rows)
    return grid, rows, gather(grid, every, KINDS)


def test_points_have_the_metrics_of_their_predictions_on_the_same_rows(compared):
    grid, rows, result = compared
    preferences = result["preferences"]
    assert (preferences["rows"], preferences["of"]) == (len(rows), ROWS)
    (front,) = preferences["fronts"]
    assert [point["preference"] for point in front["points"]] == [{"click": x, "buy": 1 - x} for x in SHARES]
    for point, share in zip(front["points"], SHARES, strict=True):
        expected = []
        for seed in (0, 1):
            arrays = dict(np.load(grid.out / "cells" / f"mmoe-cosmos-seed{seed}" / "test.npz"))
            own = {name: values[rows] for name, values in arrays.items() if "front" not in name}
            own["prediction/click"] = arrays["front/prediction/click"][SHARES.index(share)]
            expected.append(sample(own, KINDS, DRAWS).value["click"])
        ends = point["tasks"]["click"]
        assert ends["mean"] == pytest.approx(np.mean(expected))
        assert ends["low"] < ends["mean"] < ends["high"]
    click = [point["tasks"]["click"]["mean"] for point in front["points"]]
    buy = [point["tasks"]["buy"]["mean"] for point in front["points"]]
    assert click == sorted(click)
    assert buy == sorted(buy, reverse=True)


def test_all_constant_weights_are_next_to_the_front_but_only_the_tuned_ones_in_the_comparison(compared):
    _, rows, result = compared
    assert [item["name"] for item in result["configurations"]] == ["single_task", "mmoe-cosmos", result["tuned"]]
    others = {other["configuration"]: other for other in result["preferences"]["others"]}
    assert set(others) == {"single_task", "mmoe-constant1", "mmoe-constant2"}
    assert any(setting.startswith("weighter.weights.click=") for setting in others["mmoe-constant1"]["settings"])
    tuned = next(item for item in result["configurations"] if item["tuned"])["tasks"]["click"]["mean"]
    assert (others[result["tuned"]]["tasks"]["click"]["mean"] == pytest.approx(tuned)) == (len(rows) == ROWS)


def test_page_and_figures_draw_the_points(compared, tmp_path):
    *_, result = compared
    html = page(result)
    section = html[html.index("Trade-offs along preferences") : html.index("<h2>Cost")]
    assert section.count("<circle") == 3 + 3
    assert "mmoe-constant2</text>" in section
    assert "<title>click 0.5, buy 0.5</title>" in section
    assert f"same {result['preferences']['rows']:,} of 900 test rows" in section
    (axes,) = dict(figures(result))["preferences1"].axes
    front = preference_groups(result, ("click", "buy"))["mmoe-cosmos"]
    joined = next(line for line in axes.lines if line.get_label() == "mmoe-cosmos")
    assert joined.get_xydata().tolist() == [[spot.x[0], spot.y[0]] for spot in front.joined]
    assert len(front.joined) == 3
    bars = [list(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2]
    assert [front.spots[0].x[1], front.spots[0].x[2]] in bars
    assert {text.get_text() for text in axes.texts} == {"single_task", "mmoe-constant1", "mmoe-constant2"}
    assert tmp_path / "preferences1.svg" in write_figures(result, tmp_path, ["svg"])


def test_without_preferences_there_is_no_section(compared):
    *_, result = compared
    assert "Trade-offs" not in page({**result, "preferences": None})
    assert "preferences1" not in dict(figures({**result, "preferences": None}))
