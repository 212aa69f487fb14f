"""Normalised entropy relative to the base rate."""

import math

import pytest
import torch
from metric_batches import make_metric, value_of


def test_normalized_entropy_of_the_base_rate_is_one():
    y = torch.tensor([1.0, 0, 0, 0])
    assert value_of(make_metric("normalized_entropy"), torch.full((4,), 0.25), y) == pytest.approx(1)
    assert value_of(make_metric("normalized_entropy"), torch.tensor([0.7, 0.1, 0.1, 0.1]), y) < 1
    assert math.isnan(value_of(make_metric("normalized_entropy"), torch.full((4,), 0.25), torch.zeros(4)))
