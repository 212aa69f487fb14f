"""The statistics of a comparison: against scikit-learn, by coverage, and with planted gains and losses."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from mtl_lightning.compare.bootstrap import sample
from mtl_lightning.compare.statistics import (
    Difference,
    Rows,
    difference,
    draws,
    interval,
    metric_of,
    student_quantile,
)
from mtl_lightning.compare.verdict import GAIN, LOSS, NO_EVIDENCE, judge, judge_task

SEEDS = 3


def planted(seed, quality, rows=4000, users=400):
    """Labels, and predictions of one model per seed: higher quality, higher AUC."""
    random = np.random.default_rng(seed)
    truth = random.normal(size=rows)
    label = (random.random(rows) < 1 / (1 + np.exp(-truth))).astype(float)
    group = random.integers(0, users, rows)
    models = {name: [truth * share + random.normal(size=rows) for _ in range(SEEDS)] for name, share in quality.items()}
    return Rows(label, np.ones(rows), group), models


def judged(differences, parameters=None, seeds=SEEDS, metric="auc"):
    metrics = dict.fromkeys(differences, metric)
    return judge("mmoe-sum", "single_task", differences, parameters or {}, metrics=metrics, seeds=seeds)


@given(st.integers(0, 1000))
def test_auc_is_that_of_scikit_learn(seed):
    random = np.random.default_rng(seed)
    label = np.r_[0.0, 1.0, random.integers(0, 2, 40)]
    score = random.integers(0, 8, 42) / 8  # many ties
    weight = random.integers(1, 4, 42).astype(float)
    expected = roc_auc_score(label, score, sample_weight=weight)
    assert metric_of("binary", label, score)(weight) == pytest.approx(expected, abs=1e-12)


def test_weights_are_repetitions():
    random = np.random.default_rng(0)
    label, prediction = random.normal(size=30), random.normal(size=30)
    counts = random.poisson(1.0, 30)
    repeated = metric_of("regression", np.repeat(label, counts), np.repeat(prediction, counts))
    assert metric_of("regression", label, prediction)(counts.astype(float)) == pytest.approx(
        repeated(np.ones(counts.sum()))
    )


def test_multilabel_is_the_mean_over_labels_and_multiclass_counts_hits():
    label = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    assert metric_of("multilabel", label, label)(np.ones(3)) == 1.0
    hits = metric_of("multiclass", np.array([0.0, 1.0]), np.array([[0.9, 0.1], [0.8, 0.2]]))
    assert hits(np.ones(2)) == 0.5


def test_a_metric_without_both_classes_is_not_defined():
    rows = Rows(np.ones(10), np.ones(10))
    result = difference("binary", rows, [np.arange(10.0)], [np.ones(10)])
    assert all(math.isnan(value) for value in (result.mean, result.low, result.high))
    assert judge_task(result) == NO_EVIDENCE


def test_users_are_drawn_whole():
    group = np.repeat([7, 3, 9], 5)
    for weight in draws(Rows(np.zeros(15), np.ones(15), group), 20):
        assert all(len(set(weight[group == user])) == 1 for user in (3, 7, 9))


@pytest.mark.parametrize(("level", "freedom", "value"), [(0.95, 1, 12.706), (0.99, 4, 4.604), (0.95, 30, 2.042)])
def test_student_quantiles_are_those_of_the_tables(level, freedom, value):
    assert student_quantile(level, freedom) == pytest.approx(value, abs=2e-3)


def test_planted_gain_and_loss_are_named():
    result = {}
    for task, (together, alone) in {"agrees": (1.0, 0.7), "opposed": (0.7, 1.0), "same": (1.0, 1.0)}.items():
        rows, models = planted(11, {"together": together, "alone": alone})
        result[task] = difference("binary", rows, models["together"], models["alone"], level=1 - 0.05 / 3)
    verdict = judged(result, {"mmoe-sum": 1, "single_task": 2})
    assert verdict.tasks == {"agrees": GAIN, "opposed": LOSS, "same": NO_EVIDENCE}
    assert verdict.use == "mmoe-sum for agrees, same; single_task for opposed"
    assert any("opposed suffers negative transfer" in sentence for sentence in verdict.sentences)


def test_without_a_difference_the_verdict_is_no_evidence_in_19_of_20():
    right = 0
    for seed in range(40):
        result = {}
        for task in ("a", "b"):
            rows, models = planted(seed + 100 * (task == "b"), {"together": 1.0, "alone": 1.0}, rows=800)
            result[task] = difference(
                "binary", rows, models["together"], models["alone"], level=1 - 0.05 / 2, count=100
            )
        right += all(judge_task(item) == NO_EVIDENCE for item in result.values())
    assert right >= 38


# Standard deviations of what rows do to all seeds, of what they do to each, and of the seeds themselves.
WORLDS = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (1, 0, 2), (1, 1, 1), (0, 1, 1), (1, 2, 2), (3, 1, 2)]


def simulated(random, sizes, seeds, effect=0.0, count=200):
    """Values per seed with a known mean, and what a bootstrap of their rows would draw."""
    rows, own, seed = sizes
    per_seed = effect + rows * random.normal() + np.hypot(own, seed) * random.normal(size=seeds)
    return per_seed, per_seed + rows * random.normal(size=(count, 1)) + own * random.normal(size=(count, seeds))


@pytest.mark.parametrize("sizes", WORLDS)
@pytest.mark.parametrize("seeds", [3, 5])
def test_intervals_miss_the_truth_as_often_as_they_say(sizes, seeds):
    random = np.random.default_rng([*sizes, seeds])
    missed = 0
    for _ in range(600):
        result = interval(*simulated(random, sizes, seeds, effect=0.7), level=0.95)
        missed += not result.low <= 0.7 <= result.high
    assert missed <= 48  # 30 is nominal, with a standard deviation of 5


@pytest.mark.parametrize("rows", [0.0, 0.1, 0.17, 0.3, 0.55, 1.0])
@pytest.mark.parametrize(("tasks", "seeds"), [(3, 2), (3, 3), (6, 3), (3, 5), (10, 5)])
def test_intervals_for_several_tasks_at_once_hold_where_few_seeds_vary_most(rows, tasks, seeds):
    random = np.random.default_rng([int(100 * rows), tasks, seeds])
    level, count = 1 - 0.05 / tasks, 3000
    missed = 0
    for _ in range(count):
        result = interval(*simulated(random, (rows, 0.0, 1.0), seeds, count=60), level=level)
        missed += not result.low <= 0 <= result.high
    nominal = count * (1 - level)
    assert missed <= nominal + 3 * math.sqrt(nominal)


def test_what_the_bootstrap_knows_of_single_seeds_is_not_counted_twice():
    random = np.random.default_rng(0)
    sizes, seeds = (1.0, 1.5, 0.0), 200
    per_seed, samples = simulated(random, sizes, seeds, count=2000)
    once = 2 * 1.96 * math.sqrt(1 + 1.5**2 / seeds)
    result = interval(per_seed, samples, level=0.95)
    assert result.high - result.low == pytest.approx(once, rel=0.05)
    few = [interval(*simulated(random, (0.2, 1.5, 0.0), 3), level=0.95) for _ in range(200)]
    assert all(item.high - item.low > 1.8 * 1.96 * math.sqrt(0.2**2 + 1.5**2 / 3) for item in few)


def test_errors_count_the_other_way():
    random = np.random.default_rng(0)
    label = random.normal(size=500)
    near = [label + 0.1 * random.normal(size=500) for _ in range(SEEDS)]
    far = [label + 0.3 * random.normal(size=500) for _ in range(SEEDS)]
    result = difference("regression", Rows(label, np.ones(500)), near, far)
    assert result.low > 0
    assert result.mean == pytest.approx(0.2, abs=0.03)


@given(st.floats(-0.1, 0.1), st.floats(1e-4, 0.1))
def test_a_judgement_turns_with_its_sign(mean, reach):
    turned = {GAIN: LOSS, LOSS: GAIN, NO_EVIDENCE: NO_EVIDENCE}
    there = judge_task(Difference(mean, mean - reach, mean + reach))
    assert judge_task(Difference(-mean, -mean - reach, -mean + reach)) == turned[there]


def test_the_smaller_model_is_used_when_nothing_differs():
    even = {"click": Difference(0.0, -0.1, 0.1)}
    assert judged(even, {"mmoe-sum": 10, "single_task": 20}).use == "mmoe-sum"
    assert judged(even, {"mmoe-sum": 20, "single_task": 10}).use == "single_task"
    assert judged({"click": Difference(-0.1, -0.2, -0.01)}).use == "single_task"


def test_sentences_say_better_and_worse_whatever_the_sign_of_the_metric():
    result = {"a": Difference(0.5, 0.1, 0.9), "b": Difference(-0.5, -0.9, -0.1), "c": Difference(-0.5, -0.9, 0.1)}
    assert judged(result, metric="rmse").sentences[:3] == (
        "a gains from training together: rmse better by 0.5000 (0.1000 to 0.9000).",
        "b suffers negative transfer: rmse worse by 0.5000 (0.1000 to 0.9000).",
        "c: no evidence either way: rmse worse by 0.5000 (0.9000 worse to 0.1000 better).",
    )


def test_one_seed_concludes_nothing():
    result = {"a": Difference(0.5, 0.4, 0.6), "b": Difference(-0.5, -0.6, -0.4)}
    verdict = judged(result, {"mmoe-sum": 1, "single_task": 2}, seeds=1)
    assert set(verdict.tasks.values()) == {NO_EVIDENCE}
    assert verdict.sentences[0] == "a: auc better by 0.5000, which may be chance."
    assert verdict.sentences[2].startswith("One seed cannot distinguish transfer from chance: use more")
    assert set(judged(result, seeds=2).tasks.values()) == {GAIN, LOSS}


def test_tasks_that_are_not_defined_are_said_to_be_so():
    nothing = Difference(math.nan, math.nan, math.nan)
    verdict = judged({"a": nothing, "b": nothing}, {"mmoe-sum": 1, "single_task": 2})
    assert "auc is undefined on the test rows" in verdict.sentences[0]
    assert verdict.sentences[2].startswith("No conclusion is possible")
    assert judged({"a": nothing, "b": Difference(0.2, 0.1, 0.3)}).use == "mmoe-sum"


def test_uplift_is_compared_by_qini_on_rows_with_a_treatment():
    random = np.random.default_rng(0)
    treatment, score, weight = random.integers(0, 2, 60) * 1.0, random.random(60), random.random(60)
    label = (random.random(60) < 0.3 + 0.4 * treatment * score) * 1.0
    some = treatment.copy()
    some[::7] = math.nan
    known = ~np.isnan(some)
    expected = metric_of("uplift", label[known], score[known], treatment[known])(weight[known])
    assert metric_of("uplift", label, score, some)(weight) == pytest.approx(expected)
    rows = Rows(label, np.ones(60), details=(treatment,))
    best = label * (2 * treatment - 1)
    assert difference("uplift", rows, [best], [-best], count=20).mean > 1
    # A sample of one arm alone has no value.
    assert math.isnan(metric_of("uplift", label, score, treatment)(treatment))
    arrays = {"known/t": known, "label/t": label[:, None], "prediction/t": score, "treatment/t": treatment}
    assert sample(arrays, {"t": "uplift"}, count=3).value["t"] == pytest.approx(
        metric_of("uplift", label[known], score[known], treatment[known])(np.ones(known.sum()))
    )


@pytest.mark.parametrize("kind", ["binary", "multilabel", "multiclass", "regression"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_prediction_that_is_no_number_is_never_a_good_one(kind, bad):
    label = np.array([0.0, 1.0, 1.0, 0.0])
    prediction = np.array([[0.9, 0.1], [0.1, 0.9], [0.2, 0.8], [0.8, 0.2]])
    labels = {"multilabel": np.stack([1 - label, label], 1)}.get(kind, label)
    prediction = prediction[:, 1] if kind in ("binary", "regression") else prediction
    assert math.isfinite(metric_of(kind, labels, prediction)(np.ones(4)))
    prediction[2, ...] = bad
    assert math.isnan(metric_of(kind, labels, prediction)(np.ones(4)))
    assert math.isnan(metric_of(kind, labels[:0], prediction[:0])(np.ones(0)))
