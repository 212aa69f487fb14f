"""R² of labels far from zero and of constant labels."""

import math

import pytest
import sklearn.metrics as reference
import torch
from metric_batches import SCALE, make_metric, value_of

from mtl_lightning.interfaces import Target


def test_r2_of_labels_far_from_zero():
    y = torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=torch.float64)
    p = y + torch.tensor([0.1, -0.2, 0.3, 0.0])
    metric = make_metric("r2", SCALE)
    for offset in (1_600_000_000.0,):
        near = Target(label=(y + offset)[:, None], mask=torch.ones(4, dtype=torch.bool))
        metric.update(p + offset, near)
    assert metric.compute().item() == pytest.approx(reference.r2_score(y, p), abs=1e-6)


def test_r2_of_a_constant_label_is_not_defined():
    assert math.isnan(value_of(make_metric("r2", SCALE), torch.rand(4), torch.ones(4)))
