"""XAUC agrees with counting every pair, and with AUC for two labels."""

import math

import pytest
import sklearn.metrics as reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_batches import SCALE, make_metric, skewed_log, value_of


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(1, 3)), min_size=1, max_size=40))
def test_xauc_counts_every_pair(rows):
    y, p, w = (torch.tensor(column, dtype=torch.float64) for column in zip(*rows, strict=True))
    won = pairs = 0.0
    for i in range(len(y)):
        for j in range(len(y)):
            if y[i] > y[j]:
                pair = (w[i] * w[j]).item()
                pairs += pair
                won += pair * (1.0 if p[i] > p[j] else 0.5 if p[i] == p[j] else 0.0)
    got = value_of(make_metric("xauc", SCALE), p, y, None, w)
    assert math.isnan(got) if pairs == 0 else got == pytest.approx(won / pairs, abs=1e-12)


def test_xauc_of_two_labels_is_the_auc():
    p, y, *_ = skewed_log()
    assert value_of(make_metric("xauc", SCALE), p, y) == pytest.approx(reference.roc_auc_score(y, p), abs=1e-12)
