"""Expected calibration error agrees with torchmetrics and with sorted groups."""

import pytest
import torchmetrics
from metric_batches import make_metric, skewed_log, value_of


def test_ece_agrees_with_torchmetrics_and_with_sorted_groups():
    p, y, *_ = skewed_log(rows=3000, rate=0.3)
    expected = torchmetrics.functional.classification.binary_calibration_error(p, y.int(), n_bins=10).item()
    assert value_of(make_metric("ece", bins=10, groups="width"), p, y, parts=3) == pytest.approx(expected, abs=1e-6)
    order = p.argsort()
    groups = [(p[part].sum() - y[part].sum()).abs() for part in order.tensor_split(10)]
    expected = sum(groups).item() / len(p)
    metric = make_metric("ece", bins=10)
    assert value_of(metric, p, y, parts=3) == pytest.approx(expected, abs=2e-3)
    weight, predicted, observed = metric.reliability()
    assert weight.sum() == len(p)
    assert (predicted.diff() > 0).all()
    assert (weight * observed).sum().item() == pytest.approx(y.sum().item())
