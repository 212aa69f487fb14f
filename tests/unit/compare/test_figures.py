"""Plots of a comparison as files: of every format, equal for equal results, with the numbers of the result."""

import re
import sys

import pytest

from mtl_lightning.compare.figures import figures, write_figures
from mtl_lightning.compare.plan import PLOTS, read_grid
from mtl_lightning.errors import MtlError

UNKNOWN = {"mean": None, "low": None, "high": None}


def configuration(name, click, dwell, low, high, **more):
    ends = {"mean": (low + high) / 2, "low": low, "high": high}
    return {
        "name": name, "tuned": False, "delta_m": ends["mean"], "delta_m_interval": [low, high],
        "tasks": {"click": {"mean": click, "difference": ends}, "dwell": {"mean": dwell, "difference": UNKNOWN}},
        "learning": [[1, 0.5, None], [2, 0.6, 0.01]], **more,
    }  # fmt: skip


RESULT = {
    "tasks": {"click": {"metric": "auc"}, "dwell": {"metric": "rmse"}},
    "configurations": [
        configuration("single_task", 0.70, 9.0, 0.0, 0.0),
        configuration("mmoe-<sum> & $x_1$", 0.72, 9.5, 0.01, 0.03),
        configuration("ple-famo", 0.71, 8.0, -0.03, -0.01),
    ],
    "ranks": {
        "mean": {"ple-famo": 1.2, "mmoe-<sum> & $x_1$": 2.0, "single_task": 2.8},
        "blocks": 6,
        "alike": [["ple-famo", "mmoe-<sum> & $x_1$"]],
    },
}


def test_each_format_is_written_and_equal_results_give_equal_files(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        paths = write_figures(RESULT, folder, PLOTS)
        assert [path.name for path in paths] == [
            f"{name}.{kind}" for name in ("advantage", "learning_curves", "front1", "ranks") for kind in PLOTS
        ]
    starts = {"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG"}
    for path in first.iterdir():
        content = path.read_bytes()
        assert content.startswith(starts[path.suffix[1:]])
        assert content == (second / path.name).read_bytes(), path.name


def test_plots_show_the_numbers_of_the_result():
    drawn = dict(figures(RESULT))
    advantage, _ = drawn["advantage"].axes[0], drawn["advantage"].axes[1]
    intervals = [list(line.get_xdata()) for line in advantage.lines if len(line.get_xdata()) == 2][1:]
    assert intervals == [[0.01, 0.03], [-0.03, -0.01]]
    assert [label.get_text() for label in advantage.get_yticklabels()] == ["mmoe-<sum> & $x_1$", "ple-famo"]
    (curves,) = drawn["learning_curves"].axes
    assert [list(line.get_ydata()) for line in curves.lines] == [[0.5, 0.6]] * 3
    (front,) = drawn["front1"].axes
    assert front.lines[-1].get_xydata().tolist() == [[0.71, 8.0], [0.72, 9.5]]  # a smaller error is better
    (ranks,) = drawn["ranks"].axes
    assert list(ranks.lines[-1].get_xdata()) == [1.2, 2.0]
    texts = " ".join(text.get_text() for text in ranks.texts)
    assert re.findall(r"\d\.\d\d", texts) == ["1.20", "2.00", "2.80"]


def test_plots_without_values_are_left_out():
    empty = {"tasks": {"click": {"metric": "auc"}}, "configurations": [], "ranks": {"blocks": 0}}
    assert list(figures(empty)) == []


def test_a_missing_library_and_an_unknown_format_are_errors(monkeypatch, tmp_path):
    with pytest.raises(MtlError, match="plots: no format is called 'jpeg'"):
        read_grid(["recipe=ads", "plots=svg,jpeg"])
    assert read_grid(["recipe=ads", "plots=[svg, png]"]).plots == ("svg", "png")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MtlError, match="matplotlib is not installed") as error:
        write_figures(RESULT, tmp_path, ["svg"])
    assert "mtl-lightning[plots]" in error.value.hint
