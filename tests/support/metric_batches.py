"""Batches for tests of metrics: tasks, targets, a skewed log, and the value of a metric over a batch in parts."""

import math
import pkgutil

import torch

from mtl_lightning.interfaces import Target, Task
from mtl_lightning.plugins.builtin import METRICS

BINARY = Task(name="click", kind="binary", label="click", oracle="p")
SCALE = Task(name="dwell", kind="regression", label="dwell")
CLASSES = Task(name="topic", kind="multiclass", label="topic", classes=4)
LABELS = Task(name="actions", kind="multilabel", label="actions", classes=3)


def metric_class(name):
    """Class of a registered metric."""
    return pkgutil.resolve_name(METRICS[name])


def make_metric(name, task=BINARY, **options):
    """A registered metric of a task."""
    return metric_class(name)(task, **options)


def make_target(label, mask=None, weight=None, group=None, raw=None):
    """A target with labels [B] or [B, K]; all labels are known by default."""
    label = torch.as_tensor(label)
    label = label[:, None] if label.ndim == 1 else label
    mask = torch.ones(len(label), dtype=torch.bool) if mask is None else torch.as_tensor(mask)
    return Target(label=label.float(), mask=mask, weight=weight, group=group, raw=raw or {})


def value_of(metric, prediction, *args, parts=1, **kwargs):
    """Value of a metric after adding a batch in parts; further arguments go to :func:`make_target`."""
    target = make_target(*args, **kwargs)
    for rows in torch.arange(len(target.mask)).tensor_split(parts):
        metric.update(
            torch.as_tensor(prediction)[rows],
            Target(
                label=target.label[rows],
                mask=target.mask[rows],
                weight=None if target.weight is None else target.weight[rows],
                group=None if target.group is None else target.group[rows],
                raw={name: column[rows] for name, column in target.raw.items()},
            ),
        )
    return metric.compute().item()


def skewed_log(rows=4000, seed=0, rate=0.05):
    """Predictions, labels, true probabilities, weights and users of a log with rare positives."""
    random = torch.Generator().manual_seed(seed)
    logit = torch.randn(rows, generator=random, dtype=torch.float64) + math.log(rate / (1 - rate))
    p = torch.sigmoid(logit)
    label = (torch.rand(rows, generator=random) < p).float()
    noisy = torch.sigmoid(logit + 0.5 * torch.randn(rows, generator=random)).float()
    weight = torch.rand(rows, generator=random) + 0.1
    user = torch.randint(0, rows // 12, (rows,), generator=random) * 1_000_003 - 5
    return noisy, label, p, weight, user
