"""Metrics within groups need groups."""

import pytest
import torch
from metric_batches import make_metric, make_target

from mtl_lightning.errors import MtlError


@pytest.mark.parametrize("name", ["gauc", "ndcg", "recall_at_k"])
def test_grouped_metrics_say_what_is_missing(name):
    with pytest.raises(MtlError, match=r"click: .*data\.group"):
        make_metric(name).update(torch.rand(2), make_target([0.0, 1.0]))
