"""Recall at k agrees with torchmetrics."""

import pytest
import torch
import torchmetrics
from metric_batches import make_metric, skewed_log, value_of


def test_recall_at_k_agrees_with_torchmetrics():
    p, y, _, _, group = skewed_log(rows=2000, rate=0.2)
    group = (group + 5) // 1_000_003
    expected = torchmetrics.retrieval.RetrievalRecall(empty_target_action="skip", top_k=3)
    assert value_of(make_metric("recall_at_k", k=3), p, y, group=group, parts=3) == pytest.approx(
        expected(p, y.bool(), group).item(), abs=1e-6
    )


def test_recall_at_k_shares_a_tie_over_the_border():
    assert value_of(
        make_metric("recall_at_k", k=1),
        torch.tensor([0.5, 0.5, 0.1]),
        [1.0, 0, 0],
        group=torch.zeros(3, dtype=torch.long),
    ) == pytest.approx(0.5)
