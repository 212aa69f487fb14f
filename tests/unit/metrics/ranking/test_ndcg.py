"""NDCG agrees with scikit-learn."""

import numpy as np
import pytest
import sklearn.metrics as reference
import torch
from metric_batches import make_metric, skewed_log, value_of


@pytest.mark.parametrize("k", [1, 3, None])
def test_ndcg_agrees_with_scikit_learn(k):
    p, _, _, _, group = skewed_log(rows=2000)
    p = (p * 20).round() / 20
    y = torch.randint(0, 3, (2000,), generator=torch.Generator().manual_seed(2)).float()
    per_user = []
    for user in group.unique():
        mine = group == user
        if y[mine].max() > 0 and mine.sum() > 1:
            per_user.append(reference.ndcg_score(y[mine][None], p[mine][None], k=k))
        elif y[mine].max() > 0:
            per_user.append(1.0)
    assert value_of(make_metric("ndcg", k=k), p, y, group=group, parts=3) == pytest.approx(np.mean(per_user), abs=1e-9)
