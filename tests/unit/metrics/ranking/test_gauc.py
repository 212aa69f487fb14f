"""GAUC agrees with one AUC per user."""

import math

import numpy as np
import pytest
import sklearn.metrics as reference
import torch
from metric_batches import make_metric, skewed_log, value_of


@pytest.mark.parametrize("users", ["rows", "equal"])
def test_gauc_agrees_with_one_auc_per_user(users):
    p, y, _, w, group = skewed_log(rate=0.3)
    p = (p * 20).round() / 20
    areas, shares = [], []
    for user in group.unique():
        mine = group == user
        if y[mine].min() < y[mine].max():
            areas.append(reference.roc_auc_score(y[mine], p[mine], sample_weight=w[mine].double()))
            shares.append(w[mine].double().sum().item() if users == "rows" else 1)
    got = value_of(make_metric("gauc", users=users), p, y, None, w, group, parts=5)
    assert got == pytest.approx(np.average(areas, weights=shares), abs=1e-9)


def test_gauc_leaves_out_users_without_both_classes():
    y, group = torch.tensor([1.0, 0, 1, 1, 0]), torch.tensor([1, 1, 2, 2, 3])
    assert value_of(make_metric("gauc"), torch.tensor([0.9, 0.1, 0.1, 0.2, 0.9]), y, group=group) == 1
    assert math.isnan(value_of(make_metric("gauc"), torch.rand(3), y[2:], group=group[2:]))
