"""Regression metrics agree with scikit-learn."""

import pytest
import sklearn.metrics as reference
import torch
from metric_batches import SCALE, make_metric, value_of

REGRESSION = {
    "mae": lambda y, p, w: reference.mean_absolute_error(y, p, sample_weight=w),
    "rmse": lambda y, p, w: reference.root_mean_squared_error(y, p, sample_weight=w),
    "r2": lambda y, p, w: reference.r2_score(y, p, sample_weight=w),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", REGRESSION)
def test_regression_metrics_agree_with_scikit_learn(name, weighted):
    random = torch.Generator().manual_seed(1)
    y = torch.randn(999, generator=random).exp()
    p = y + torch.randn(999, generator=random)
    mask = torch.rand(999, generator=random) < 0.7
    w = torch.rand(999, generator=random).double() if weighted else None
    expected = REGRESSION[name](y[mask].double(), p[mask].double(), None if w is None else w[mask])
    assert value_of(make_metric(name, SCALE), torch.where(mask, p, torch.inf), y, mask, w, parts=5) == pytest.approx(
        expected, abs=1e-9
    )
