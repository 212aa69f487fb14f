"""Metrics agree with scikit-learn, on random and on edge inputs; defaults of all task kinds."""

import math
import pickle

import numpy as np
import pytest
import sklearn.metrics as reference
import torch
from metric_batches import BINARY, CLASSES, SCALE, make_metric, metric_class, skewed_log, value_of

from mtl_lightning.metrics import default_metrics
from mtl_lightning.plugins.builtin import METRICS
from mtl_lightning.schema import TASK_KINDS

REFERENCES = {
    "auc": lambda y, p, w: reference.roc_auc_score(y, p, sample_weight=w),
    "pr_auc": lambda y, p, w: reference.average_precision_score(y, p, sample_weight=w),
    "log_loss": lambda y, p, w: reference.log_loss(y, p.astype(np.float64), sample_weight=w),
    "accuracy": lambda y, p, w: reference.accuracy_score(y, p >= 0.3, sample_weight=w),
    "precision": lambda y, p, w: reference.precision_score(y, p >= 0.3, sample_weight=w),
    "recall": lambda y, p, w: reference.recall_score(y, p >= 0.3, sample_weight=w),
    "f1": lambda y, p, w: reference.f1_score(y, p >= 0.3, sample_weight=w),
}
OPTIONS = {name: {"threshold": 0.3} for name in ("accuracy", "precision", "recall", "f1")}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", REFERENCES)
def test_binary_metrics_agree_with_scikit_learn(name, weighted):
    p, y, _, w, _ = skewed_log()
    mask = torch.arange(len(y)) % 3 != 0
    w = w if weighted else None
    expected = REFERENCES[name](y[mask].numpy(), p[mask].numpy(), None if w is None else w[mask].numpy())
    broken = torch.where(mask, p, torch.nan)  # what an unknown row predicts plays no part
    got = value_of(make_metric(name, **OPTIONS.get(name, {})), broken, y, mask, w, parts=7)
    # sklearn sums float32 weights in float32.
    assert got == pytest.approx(expected, abs=1e-4 if "auc" in name else 1e-6)


EFFECTS = {"auuc", "pehe", "qini", "uplift_at_k"}
"""Metrics of effects, whose rows have a treatment: see uplift/test_curves.py."""


@pytest.mark.filterwarnings("ignore:The ``compute`` method:UserWarning")
@pytest.mark.parametrize("name", sorted(set(METRICS) - {"expected_auc", "oracle_auc"} - EFFECTS))
def test_no_known_row_is_not_defined(name):
    cls = metric_class(name)
    task = next(t for t in (BINARY, SCALE, CLASSES) if t.kind in cls.kinds)
    prediction = torch.full((3, 4), 0.25) if task is CLASSES else torch.full((3,), 0.5)
    metric = cls(task)
    assert math.isnan(metric.compute())
    metric.reset()
    assert math.isnan(
        value_of(metric, prediction, torch.zeros(3), torch.zeros(3, dtype=torch.bool), group=torch.arange(3))
    )


@pytest.mark.parametrize("name", ["log_loss", "normalized_entropy", "calibration", "accuracy", "f1", "ece", "gauc"])
def test_a_nan_prediction_shows(name):
    prediction = torch.tensor([0.2, math.nan, 0.4])
    assert math.isnan(value_of(make_metric(name), prediction, [0.0, 1, 1], group=torch.zeros(3, dtype=torch.long)))


@pytest.mark.parametrize("name", sorted(set(METRICS) - EFFECTS))
def test_states_survive_reset_and_half_precision_modules(name):
    cls = metric_class(name)
    task = next(t for t in (BINARY, SCALE, CLASSES) if t.kind in cls.kinds)
    p, y, oracle, _, group = skewed_log(rows=600, rate=0.3)
    if task is CLASSES:
        p, y = torch.stack([p, 1 - p, p / 2, p / 3], 1).softmax(1), torch.arange(600) % 4
    metric = pickle.loads(pickle.dumps(cls(task)))
    first = value_of(metric, p, y, group=group, raw={"p": oracle}, parts=2)
    assert math.isfinite(first)
    metric.reset()
    assert value_of(torch.nn.ModuleList([metric]).bfloat16()[0], p, y, group=group, raw={"p": oracle}) == pytest.approx(
        first, abs=1e-12
    )


def test_every_task_kind_has_defaults_whose_first_is_better_when_higher():
    for name, kind in TASK_KINDS.items():
        names = (*kind.default_metrics, *kind.oracle_metrics, *kind.detailed_metrics, *kind.group_metrics)
        assert all(kind.served_by(metric_class(metric).kinds) for metric in names), name
        assert metric_class(kind.default_metrics[0]).higher_is_better is True
    assert default_metrics(BINARY) == (*TASK_KINDS["binary"].default_metrics, "expected_auc", "oracle_auc")
