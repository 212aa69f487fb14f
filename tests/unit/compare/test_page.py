"""A comparison's page shows how far probabilities can be trusted, and what each part costs."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from mtl_lightning.compare.bootstrap import sample
from mtl_lightning.compare.page import page
from mtl_lightning.compare.plan import Cell
from mtl_lightning.compare.reliability import log_losses
from mtl_lightning.compare.results import Run, _configuration
from mtl_lightning.compare.statistics import Rows
from mtl_lightning.compare.tables import result_tables

RESOURCES = {
    "parameters": {"tables": 100, "encoder": 5, "architecture": 20, "heads": 7, "losses": 0, "weighter": 0},
    "step_ms": 9.0,
    "parts_ms": {"data": 1.25, "forward": 2.0, "weighter": 0.5, "backward": 3.0, "optimizer": 2.25},
    "samples_per_second": 1000.0,
    "peak_memory_mb": 300.0,
    "flops": 8_000_000,
    "flops_rows": 4,
    "bytes": {"model": 3 * 2**20, "tables": 2**20, "optimizer_state": 2**20, "store": 5 * 2**20},
}

SCALING = {1: np.array([1.0, 0.0]), 0.5: np.array([1.5, -1.0])}
"""Platt scaling of the powers of the true probabilities that the tests use."""


def result(bend):
    """A result of two configurations whose probabilities are the true ones to a power."""
    configurations, kinds = [], {"click": "binary", "dwell": "regression"}
    for name in ("single_task", "mmoe-sum"):
        runs = []
        for seed in range(2):
            random = np.random.default_rng(seed)
            p, dwell = random.random(3000), random.random(3000)
            rows = {
                "prediction/click": (p**bend).astype(np.float32), "label/click": (random.random(3000) < p)[:, None],
                "known/click": random.random(3000) < 0.9, "scaling/click": SCALING[bend],
                "prediction/dwell": dwell, "label/dwell": dwell[:, None], "known/dwell": np.ones(3000, dtype=bool),
            }  # fmt: skip
            runs.append(Run(Cell(name, seed, ()), 0.7, RESOURCES if seed else {}, rows, sample(rows, kinds, 5)))
        configurations.append(_configuration(runs, (), kinds, 0.95, tuned=False, seeds=[0, 1]))
    known = {"rows": 2700, "positive": None}
    tasks = {
        "click": {"kind": "binary", "metric": "auc", **known},
        "dwell": {"kind": "regression", "metric": "rmse", **known},
    }
    return {
        "recipe": "<ads>", "overrides": [], "seeds": [0, 1], "tasks": tasks, "confidence": 0.95, "verdict": None,
        "configurations": configurations, "tuned": None, "missing": [], "selected": "mmoe-sum",
    }  # fmt: skip


def test_reliability_shows_who_promises_too_much():
    straight, bent = (result(bend)["configurations"][1]["tasks"]["click"]["reliability"] for bend in (1, 0.5))
    assert straight["ece"] < 0.02 < 0.1 < bent["ece"]
    assert all(observed < predicted for observed, predicted in zip(bent["observed"], bent["predicted"], strict=True))
    assert 14 <= len(bent["weight"]) <= 15


def test_scaling_mends_the_log_loss_of_who_promises_too_much():
    straight, bent = (result(bend)["configurations"][1]["tasks"]["click"]["log_loss"] for bend in (1, 0.5))
    assert straight["calibrated"] == pytest.approx(straight["plain"], abs=0.01)
    assert straight["plain"] < bent["calibrated"] < bent["plain"] - 0.02
    assert "Platt scaling" in page(result(1))


def test_runs_without_scaling_have_no_calibrated_log_loss():
    rows = Rows(np.array([0.0, 1.0]), np.ones(2))
    losses = log_losses("binary", [(rows, np.array([0.5, 0.5]), None)])
    assert losses == {"plain": pytest.approx(np.log(2)), "calibrated": None}


def test_numbers_of_many_tasks_are_whole_on_a_narrow_terminal():
    actual = result(1)
    for number in range(5):
        actual["tasks"][f"task_{number}"] = actual["tasks"]["click"]
        for configuration in actual["configurations"]:
            configuration["tasks"][f"task_{number}"] = configuration["tasks"]["click"]
    console = Console(width=80, file=io.StringIO())
    console.print(result_tables({**actual, "verdict": None}))
    text = console.file.getvalue()
    assert "…" not in text
    for configuration in actual["configurations"]:
        for values in configuration["tasks"].values():
            assert f"{values['mean']:.4f}" in text
    assert all(f"task_{number}" in text for number in range(5))


def test_the_page_has_both_sections_and_no_script():
    actual = result(1)
    json.dumps(actual, allow_nan=False)
    drawn = page(actual)
    assert actual["configurations"][1]["tasks"]["dwell"]["reliability"] is None
    assert actual["configurations"][1]["tasks"]["dwell"]["log_loss"] is None
    assert drawn.count("<polyline") == 2  # the selected configuration and the single-task models
    for words in ("Reliability", "mmoe-sum, ECE 0.0", "MFLOP per row", "optimizer state", "1.25", "&lt;ads&gt;"):
        assert words in drawn
    assert "<script" not in drawn
    assert actual["configurations"][0]["parts"]["mflops"] == 2.0
    assert actual["configurations"][0]["parts"]["bytes"]["model"] == 3.0


def test_a_model_that_broke_has_no_curve():
    actual = result(1)
    for configuration in actual["configurations"]:
        configuration["tasks"]["click"]["reliability"] = None
        configuration["parts"] = None
    drawn = page(actual)
    assert "Reliability" not in drawn
    assert "MFLOP" not in drawn
