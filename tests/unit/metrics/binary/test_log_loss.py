"""Log-loss of extreme predictions."""

import pytest
import sklearn.metrics as reference
import torch
from metric_batches import make_metric, value_of


def test_log_loss_of_certain_predictions_is_finite():
    p, y = torch.tensor([0.0, 1.0, 0.0]), torch.tensor([0.0, 0.0, 1.0])
    assert value_of(make_metric("log_loss"), p, y) == pytest.approx(reference.log_loss(y.numpy(), p.numpy()), rel=1e-6)
