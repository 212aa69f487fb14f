"""Findings and figures about histories."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.quality import histories
from mtl_lightning.data.quality.histories import SUSPICIOUS
from mtl_lightning.data.quality.inspection import inspect_log
from mtl_lightning.report.quality.page import quality_page
from mtl_lightning.report.quality.tables import quality_tables


def log(seed: int, rows: int = 1200) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "user": rng.integers(0, 60, rows),
        "item": rng.integers(0, 50, rows),
        "time": rng.permutation(rows) * 10,
        "click": rng.integers(0, 2, rows),
        "price": rng.exponential(3, rows),
    }


def inspect(rows: Any, folder: Path, **options: Any) -> dict[str, Any]:
    history = {"kind": "history", "by": "user", "time": "time", "of": "item", "length": 8, "gap": True, **options}
    split = {"by": "time", "column": "time", "validation": 0.1, "test": 0.1}
    features = {"item": "categorical", "seen": history}
    tasks = {"click": "binary"}
    return inspect_log(DataModule.from_frame(rows, features=features, tasks=tasks, split=split, cache_dir=folder))


def named(report: dict[str, Any], prefix: str) -> dict[str, str]:
    return {finding["name"]: finding["reason"] for finding in report["findings"] if finding["name"].startswith(prefix)}


@pytest.mark.parametrize("chunk", [7, 4096])
def test_lengths_and_ages_are_the_ones_of_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(histories, "CHUNK", chunk)
    rows = log(0)
    report = inspect(rows, tmp_path)
    order = np.argsort(rows["time"])
    counts, ages = [], []
    for place in order[: report["rows"]["train"]]:
        times = rows["time"][(rows["user"] == rows["user"][place]) & (rows["time"] < rows["time"][place])]
        counts.append(min(len(times), 8))
        ages += [rows["time"][place] - times.max()] if len(times) else []
    facts = report["histories"]["seen"]["train"]
    assert facts["rows"] == len(counts)
    assert facts["empty"] == pytest.approx(np.mean(np.array(counts) == 0))
    assert (facts["median"], facts["most"]) == (np.median(counts), 8)
    assert facts["high"] == np.quantile(counts, 0.9)
    assert facts["full"] == pytest.approx(np.mean(np.array(counts) == 8))
    assert facts["age"] == np.median(ages)
    report["roles"] = {}
    assert named(report, "history:") == named(report, "empty:") == {}
    assert "age of the latest event" in quality_page(report, "a log", (0.1, 0.25))
    assert any(
        "median length" in [column.header for column in getattr(part, "columns", ())] for part in quality_tables(report)
    )


def test_a_history_without_gaps_has_no_age(tmp_path: Path) -> None:
    assert inspect(log(1), tmp_path, gap=False)["histories"]["seen"]["train"]["age"] is None


def test_a_row_that_was_logged_before_gives_its_label_away(tmp_path: Path) -> None:
    rows = log(2)
    clicked = rows["click"] == 1  # a click writes its impression once more, a moment earlier
    again = {name: np.concatenate([values, values[clicked]]) for name, values in rows.items()}
    again["time"][len(rows["user"]) :] -= 1
    again["click"][len(rows["user"]) :] = 0
    result = named(inspect(again, tmp_path), "history:seen:click")
    # The earlier copies, which are never clicks, have no copy before them.
    assert "its own 'item' is in it alone predicts 'click' with AUC" in result["history:seen:click"]


def test_a_number_of_the_latest_event_that_follows_the_label_is_found(tmp_path: Path) -> None:
    rows = log(3)
    order = np.lexsort((rows["time"], rows["user"]))
    rows["price"][order[:-1]] = rows["click"][order[1:]]  # the price of an event is the next row's label
    result = named(inspect(rows, tmp_path, **{"with": [{"price": "none"}]}), "history:")
    assert "the latest 'price' alone predicts 'click'" in result["history:seen:click"]
    assert float(result["history:seen:click"].split("AUC ")[1][:5]) > SUSPICIOUS


def test_histories_that_are_mostly_empty_are_reported(tmp_path: Path) -> None:
    rows = {**log(4), "user": np.arange(1200)}
    report = inspect(rows, tmp_path)
    assert "100.0% of the histories 'seen' are empty" in named(report, "empty:")["empty:seen"]
    assert report["histories"]["seen"]["train"]["age"] is None


def test_sequences_with_weights_are_no_histories(tmp_path: Path) -> None:
    rows = {**log(0), "tags": ["a:0.5,b:2"] * 1200}
    features = {"item": "categorical", "tags": {"kind": "sequence", "weight_separator": ":"}}
    data = DataModule.from_frame(
        rows, features=features, tasks={"click": "binary"}, split={"by": "time", "column": "time"}, cache_dir=tmp_path
    )
    report = inspect_log(data)
    assert report["histories"] == {}
    assert named(report, "history:") == {}
