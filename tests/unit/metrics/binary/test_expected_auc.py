"""Expected AUC agrees with the mean over all outcomes, and is bounded by the oracle."""

import pytest
import sklearn.metrics as reference
import torch
from metric_batches import make_metric, skewed_log, value_of

from mtl_lightning.errors import MtlError
from mtl_lightning.interfaces import Task


@pytest.mark.parametrize("exact", [False, True])
def test_expected_auc_is_the_mean_over_labels(exact):
    p = torch.tensor([0.9, 0.5, 0.2, 0.05], dtype=torch.float64)
    score = torch.tensor([0.4, 0.6, 0.3, 0.3])
    won = pairs = 0.0
    for labels in range(16):  # every outcome, with its chance
        y = torch.tensor([(labels >> i) & 1 for i in range(4)], dtype=torch.float64)
        chance = torch.where(y == 1, p, 1 - p).prod().item()
        count = (y.sum() * (1 - y).sum()).item()
        pairs += chance * count
        won += chance * count * (reference.roc_auc_score(y, score) if count else 0)
    got = value_of(make_metric("expected_auc", exact=exact), score, torch.zeros(4), raw={"p": p})
    assert got == pytest.approx(won / pairs, abs=1e-9)


def test_expected_auc_has_no_label_noise_and_the_oracle_bounds_it():
    scores, y, p, *_ = skewed_log(rows=200_000)
    expected = value_of(make_metric("expected_auc"), scores, y, raw={"p": p})
    best = value_of(make_metric("oracle_auc"), scores, y, raw={"p": p})
    assert expected == value_of(make_metric("expected_auc"), scores, 1 - y, raw={"p": p})
    assert expected == pytest.approx(reference.roc_auc_score(y, scores), abs=0.01)
    assert best == pytest.approx(reference.roc_auc_score(y, p), abs=0.01)
    assert best == value_of(make_metric("expected_auc"), p, y, raw={"p": p})
    assert expected < best - 0.01


def test_expected_auc_in_the_entire_space():
    scores, y, p, *_ = skewed_log()
    mask = torch.arange(len(y)) < 100
    known = value_of(make_metric("expected_auc"), scores, y, mask, raw={"p": p})
    assert known == value_of(make_metric("expected_auc"), scores[:100], y[:100], raw={"p": p[:100]})
    assert value_of(make_metric("expected_auc", everywhere=True), scores, y, mask, raw={"p": p}) == value_of(
        make_metric("expected_auc"), scores, y, raw={"p": p}
    )


def test_expected_auc_needs_an_oracle():
    with pytest.raises(MtlError, match="no oracle"):
        make_metric("expected_auc", Task(name="click", kind="binary", label="click"))
