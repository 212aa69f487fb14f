"""Orders by predicted effect: values of scikit-uplift 0.5.1, weights as repeated rows, and rows that do not count."""

import math

import numpy as np
import pytest
import torch

from mtl_lightning.batch import Target
from mtl_lightning.errors import MtlError
from mtl_lightning.metrics.uplift.auuc import AUUC
from mtl_lightning.metrics.uplift.pehe import PEHE
from mtl_lightning.metrics.uplift.qini import Qini
from mtl_lightning.metrics.uplift.uplift_at_k import UpliftAtK
from mtl_lightning.schema import Task

SALE = Task(name="sale", kind="uplift", label="sale")
i = np.arange(40)
SCORE, TREATMENT = np.sin(i * 1.7), (i * 7 % 5 < 2).astype(float)
ROUNDED = np.round(SCORE, 1)
LABEL = (i * 11 % 13 + 3 * TREATMENT * (ROUNDED > 0) > 8).astype(float)


def value(metric, score, label=LABEL, treatment=TREATMENT, weight=None):
    label, score = torch.tensor(label)[:, None], torch.tensor(score)
    target = Target(
        label=label,
        mask=torch.ones(len(label), dtype=torch.bool),
        weight=None if weight is None else torch.tensor(weight),
        details={"treatment": torch.tensor(treatment)},
    )
    metric.update(score, target)
    return metric.compute().item()


@pytest.mark.parametrize(
    ("metric", "options", "score", "expected"),
    [
        (Qini, {}, SCORE, 0.1375862406946976),  # qini_auc_score
        (Qini, {}, ROUNDED, 0.15154958962204348),
        (AUUC, {}, SCORE, 0.1117881956699944),  # auc(*uplift_curve(…)) / n²
        (AUUC, {}, ROUNDED, 0.11612544130759592),
        (UpliftAtK, {"k": 0.5}, SCORE, 0.375),  # uplift_at_k with strategy="by_group"
        (UpliftAtK, {"k": 0.25}, SCORE, 0.0),
    ],
)
def test_values_of_scikit_uplift(metric, options, score, expected):
    assert value(metric(SALE, **options), score) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("metric", [Qini, AUUC, UpliftAtK])
def test_a_weight_is_a_number_of_rows(metric):
    weight = i % 3 + 1
    several = [np.repeat(column, weight) for column in (ROUNDED, LABEL, TREATMENT)]
    assert value(metric(SALE), ROUNDED, weight=weight * 1.0) == pytest.approx(value(metric(SALE), *several), rel=1e-12)


@pytest.mark.parametrize("metric", [Qini, AUUC, UpliftAtK])
def test_rows_without_a_treatment_do_not_count_and_other_numbers_show(metric):
    some = TREATMENT.copy()
    some[::4] = math.nan
    known = ~np.isnan(some)
    expected = value(metric(SALE), SCORE[known], LABEL[known], some[known])
    assert value(metric(SALE), SCORE, treatment=some) == pytest.approx(expected, rel=1e-12)
    assert math.isnan(value(metric(SALE), SCORE, treatment=2 * TREATMENT))
    for arm in (0.0, 1.0):
        assert math.isnan(value(metric(SALE), SCORE, treatment=np.full(40, arm)))


def test_a_random_order_has_a_qini_of_0_and_half_of_the_effect():
    effect = LABEL[TREATMENT == 1].mean() - LABEL[TREATMENT == 0].mean()
    assert value(Qini(SALE), np.zeros(40)) == pytest.approx(0, abs=1e-12)
    assert value(AUUC(SALE), np.zeros(40)) == pytest.approx(effect / 2)
    assert value(UpliftAtK(SALE), np.zeros(40)) == pytest.approx(effect)


def test_metrics_name_what_they_lack():
    target = Target(label=torch.zeros(2, 1), mask=torch.ones(2, dtype=torch.bool))
    with pytest.raises(MtlError, match=r"metrics\.sale: the head gives no treatment"):
        Qini(SALE).update(torch.zeros(2), target)
    with pytest.raises(MtlError, match=r"tasks\.sale: no oracle column"):
        PEHE(SALE)
