"""AUC and PR-AUC, from histograms and exactly, agree with scikit-learn."""

import math

import numpy as np
import pytest
import sklearn.metrics as reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_batches import LABELS, make_metric, skewed_log, value_of

REFERENCES = {"auc": reference.roc_auc_score, "pr_auc": reference.average_precision_score}


@pytest.mark.parametrize("name", ["auc", "pr_auc"])
@pytest.mark.parametrize("weighted", [False, True])
def test_exact_mode_agrees_to_nine_digits(name, weighted):
    p, y, _, w, _ = skewed_log(seed=3)
    p = (p * 50).round() / 50  # many ties
    w = w.double() if weighted else None
    expected = REFERENCES[name](y.numpy(), p.numpy(), sample_weight=None if w is None else w.numpy())
    assert value_of(make_metric(name, exact=True), p, y, None, w, parts=3) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 1e-30, 1e-9, 0.02, 0.5, 0.50001, 1 - 1e-6, 1.0]), st.booleans()), min_size=2
    )
)
def test_exact_auc_on_ties_and_extremes(rows):
    p, y = (torch.tensor(column, dtype=torch.float64) for column in zip(*rows, strict=True))
    got = value_of(make_metric("auc", exact=True), p, y)
    if y.min() == y.max():
        assert math.isnan(got)
    else:
        assert got == pytest.approx(reference.roc_auc_score(y.numpy(), p.numpy()), abs=1e-12)


@pytest.mark.parametrize("exact", [False, True])
def test_scores_that_say_nothing_give_one_half(exact):
    assert value_of(make_metric("auc", exact=exact), torch.full((6,), 0.3), [0.0, 1, 1, 0, 0, 1]) == 0.5


def test_histogram_orders_what_float32_can_tell_apart_near_zero():
    p = torch.tensor([1e-10, 2e-10, 1e-7, 1e-4])
    assert value_of(make_metric("auc"), p, [0.0, 1, 0, 1]) == 0.75


def test_histogram_auc_within_a_ten_thousandth_on_rare_events():
    p, y, *_ = skewed_log(rows=300_000, rate=0.01)
    assert value_of(make_metric("auc"), p, y) == pytest.approx(reference.roc_auc_score(y.numpy(), p.numpy()), abs=1e-5)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("name", ["auc", "pr_auc"])
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_one_class_is_not_defined(name, label, exact):
    assert math.isnan(value_of(make_metric(name, exact=exact), torch.rand(5), torch.full((5,), label)))


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("bad", [math.nan, 1.5, -0.1])
def test_what_is_no_probability_is_not_ranked(bad, exact):
    assert math.isnan(value_of(make_metric("auc", exact=exact), torch.tensor([0.2, bad, 0.4]), [0.0, 1, 1]))


def test_multilabel_metrics_average_over_labels():
    random = torch.Generator().manual_seed(5)
    p, y = torch.rand(400, 3, generator=random), torch.randint(0, 2, (400, 3), generator=random)
    y[:, 2] = 0  # one label with one class only is left out
    expected = np.mean([reference.roc_auc_score(y[:, i], p[:, i]) for i in range(2)])
    assert value_of(make_metric("auc", LABELS), p, y, parts=2) == pytest.approx(expected, abs=1e-4)
    assert value_of(make_metric("auc", LABELS, exact=True), p, y, parts=2) == pytest.approx(expected, abs=1e-9)
    losses = [reference.log_loss(y[:, i], p[:, i].double(), labels=[0, 1]) for i in range(3)]
    assert value_of(make_metric("log_loss", LABELS), p, y, parts=2) == pytest.approx(np.mean(losses), abs=1e-6)


def test_summed_metrics_keep_constant_memory():
    small, large = make_metric("auc"), make_metric("auc")
    value_of(small, *skewed_log(rows=24)[:2])
    value_of(large, *skewed_log(rows=100_000)[:2], parts=50)
    held = [sum(state.numel() * state.itemsize for state in m.metric_state.values()) for m in (small, large)]
    assert held[0] == held[1] < 1.1 * 2**20
