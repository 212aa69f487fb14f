"""Multiclass metrics agree with scikit-learn."""

import pytest
import sklearn.metrics as reference
import torch
from metric_batches import CLASSES, make_metric, value_of


def test_multiclass_metrics_agree_with_scikit_learn():
    random = torch.Generator().manual_seed(6)
    p = torch.rand(500, 4, generator=random).double().softmax(1)
    y = torch.randint(0, 3, (500,), generator=random)  # class 3 is predicted but never true
    assert value_of(make_metric("accuracy", CLASSES), p, y) == reference.accuracy_score(y, p.argmax(1))
    expected = reference.f1_score(y, p.argmax(1), average="macro")
    assert value_of(make_metric("macro_f1", CLASSES), p, y, parts=4) == pytest.approx(expected)
    expected = reference.log_loss(y, p.double(), labels=range(4))
    assert value_of(make_metric("multiclass_log_loss", CLASSES), p, y) == pytest.approx(expected, abs=1e-6)
