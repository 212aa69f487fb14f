"""Gain of the average of seeds: its value, its interval, and its sentence."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mtl_lightning.compare.bootstrap import sample
from mtl_lightning.compare.ensemble import ensemble_gain, ensemble_sentence

ROWS = 3000
KINDS = {"click": "binary", "dwell": "regression"}


def runs(count: int, noise: float) -> list[dict[str, np.ndarray]]:
    """Predictions with errors of their own, which an average reduces."""
    label = np.random.default_rng(0).integers(0, 2, ROWS).astype(float)
    result = []
    for seed in range(count):
        error = np.random.default_rng([seed, 1]).normal(size=ROWS)
        result.append({
            "prediction/click": 1 / (1 + np.exp(-(label - 0.5 + noise * error))),
            "prediction/dwell": 3 * label + noise * error,
            "label/click": label[:, None],
            "label/dwell": 3 * label[:, None],
            "known/click": label >= 0,
            "known/dwell": label >= 0,
        })  # fmt: skip
    return result


def test_the_gain_is_of_the_average_over_a_single_run() -> None:
    rows = runs(3, 1.0)
    gain = ensemble_gain([(run, sample(run, KINDS, 100)) for run in rows], KINDS, 0.95)
    log_odds = np.mean([np.log(run["prediction/click"] / (1 - run["prediction/click"])) for run in rows], axis=0)
    label = rows[0]["label/click"][:, 0]
    single = np.mean([roc_auc_score(label, run["prediction/click"]) for run in rows])
    assert gain["click"].mean == pytest.approx(roc_auc_score(label, log_odds) - single, abs=1e-6)
    errors = [run["prediction/dwell"] - 3 * label for run in rows]
    fall = np.mean([np.sqrt(np.mean(error**2)) for error in errors]) - np.sqrt(np.mean(np.mean(errors, axis=0) ** 2))
    assert gain["dwell"].mean == pytest.approx(fall, abs=1e-6)
    for difference in gain.values():
        assert 0 < difference.low < difference.mean < difference.high


def test_equal_runs_gain_nothing() -> None:
    rows = runs(1, 1.0) * 3
    for difference in ensemble_gain([(run, sample(run, KINDS, 20)) for run in rows], KINDS, 0.95).values():
        assert difference.mean == pytest.approx(0, abs=1e-6)
        assert difference.low <= 1e-6
        assert difference.high >= -1e-6


def test_the_sentence_has_gain_interval_and_cost() -> None:
    tasks = {"click": {"metric": "auc"}, "buy": {"metric": "auc"}}
    ends = {"click": {"mean": 0.01, "low": -0.002, "high": 0.022}, "buy": dict.fromkeys(("mean", "low", "high"))}
    result = {"tasks": tasks, "ensemble": {"seeds": 3, "parameters": 30, "tasks": ends}}
    assert ensemble_sentence(result) == (
        "Average of its 3 seeds against one of them, positive is better: click auc +0.0100 (-0.0020 to +0.0220), "
        "buy auc undefined. It has 3 times the parameters and the arithmetic of a prediction."
    )
    assert ensemble_sentence({**result, "ensemble": None}) == ""
