"""Metrics on bootstrap samples that runs and tasks share, and Δm with its interval."""

import math

import numpy as np
import pytest

from mtl_lightning.compare.bootstrap import Sampled, advantage, delta_m, sample
from mtl_lightning.compare.statistics import Rows, difference

KINDS = {"click": "binary", "dwell": "regression"}


def arrays(seed, quality, rows=3000, users=300):
    """Files of a run: the labels of all seeds are the same, clicks of a half of the rows and dwell of all."""
    fixed, own = np.random.default_rng(0), np.random.default_rng(seed + 1)
    truth = fixed.normal(size=rows)
    return {
        "label/click": (fixed.random(rows) < 1 / (1 + np.exp(-truth)))[:, None],
        "known/click": fixed.random(rows) < 0.5,
        "label/dwell": (truth + fixed.normal(size=rows))[:, None],
        "known/dwell": np.ones(rows, dtype=bool),
        "group": fixed.integers(0, users, rows) * 1_000_003,
        "prediction/click": quality * truth + own.normal(size=rows),
        "prediction/dwell": truth + own.normal(size=rows) / (1 + quality),
    }


def runs(quality, seeds=3, count=300):
    return [sample(arrays(1000 * round(quality * 10) + seed, quality), KINDS, count) for seed in range(seeds)]


@pytest.mark.parametrize("task", KINDS)
def test_a_task_known_everywhere_has_the_difference_of_its_own_bootstrap(task):
    together, alone = [arrays(seed, 1.0) for seed in range(3)], [arrays(9 + seed, 0.5) for seed in range(3)]
    known = together[0][f"known/{task}"]
    rows = Rows(together[0][f"label/{task}"][known, 0].astype(float), np.ones(known.sum()), together[0]["group"][known])
    predicted = [[item[f"prediction/{task}"][known] for item in side] for side in (together, alone)]
    alike = difference(KINDS[task], rows, *predicted)
    sides = [[sample(item, KINDS) for item in side] for side in (together, alone)]
    result = advantage(task, KINDS[task], *sides, 0.95)
    assert result.mean == pytest.approx(alike.mean, abs=1e-12)
    # Of dwell the draws are the same ones; of clicks, which a half of the rows know, others.
    assert result.high - result.low == pytest.approx(alike.high - alike.low, rel=1e-9 if task == "dwell" else 0.2)


def test_samples_of_tasks_are_of_the_same_users():
    both = arrays(0, 1.0)
    copied = {**both, **{key.replace("click", "again"): value for key, value in both.items() if "click" in key}}
    result = sample(copied, {"click": "binary", "again": "binary"}, 20)
    assert result.samples["click"].tolist() == result.samples["again"].tolist()
    assert len(set(result.samples["click"])) == 20


def test_delta_m_is_the_mean_of_relative_changes_and_its_interval_holds_it():
    models, others = runs(1.0), runs(0.5)
    result = delta_m(KINDS, models, others, 0.95)
    clicks, dwells = (
        [np.mean([item.value[task] for item in side]) for side in (models, others)] for task in ("click", "dwell")
    )
    expected = 50 * ((clicks[0] - clicks[1]) / clicks[1] + (dwells[1] - dwells[0]) / dwells[1])
    assert result.mean == pytest.approx(expected)
    assert 0 < result.low < result.mean < result.high
    turned = delta_m(KINDS, others, models, 0.95)
    assert turned.high < 0


def test_delta_m_of_a_task_is_its_difference_in_percent():
    models, others = runs(1.0), runs(0.5)
    single = {"dwell": "regression"}
    result, plain = delta_m(single, models, others, 0.95), advantage("dwell", "regression", models, others, 0.95)
    base = np.mean([other.value["dwell"] for other in others])
    assert result.mean == pytest.approx(100 * plain.mean / base)
    assert result.high - result.low == pytest.approx(100 * (plain.high - plain.low) / base, rel=0.2)


def test_delta_m_of_equal_models_is_zero_and_undefined_tasks_are_left_out():
    def one(**values):
        return Sampled(values, {task: np.full(9, value) for task, value in values.items()})

    kinds = {"click": "binary", "dwell": "regression"}
    assert delta_m(kinds, [one(click=0.7, dwell=math.nan)], [one(click=0.7, dwell=3.0)], 0.95).mean == 0
    assert delta_m(kinds, [one(click=0.7, dwell=3.0)], [one(click=0.7, dwell=math.nan)], 0.95).mean == 0
    assert math.isnan(delta_m({"dwell": "regression"}, [one(dwell=math.nan)], [one(dwell=3.0)], 0.95).mean)
    effect = {**kinds, "effect": "uplift"}
    better, worse = one(click=0.77, dwell=3.0, effect=0.2), one(click=0.7, dwell=3.0, effect=1e-9)
    assert delta_m(effect, [better], [worse], 0.95).mean == pytest.approx(5)  # no change relative to a Qini of nearly 0
    perfect = delta_m(kinds, [one(click=0.77, dwell=1.0)], [one(click=0.7, dwell=0.0)], 0.95)
    assert perfect.mean == pytest.approx(10)
