"""Every registered metric is its definition, on random and on edge inputs, whole and merged from parts.

A metric without a line in ``REFERENCES`` fails: add the value worked out another way (scikit-learn where it has it,
else the definition written out).
"""

import math
import warnings
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
import sklearn.metrics as sk
import torch

from mtl_lightning.batch import Target
from mtl_lightning.plugins import registry
from mtl_lightning.schema import Task

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
CLASSES = 4
ORACLES = ("p", *(f"p.t.{label}" for label in range(CLASSES)))
"""Columns of a task's true probabilities: of a binary one, and per label of one with several."""


@dataclass
class Rows:
    """Rows that count: known, and with a weight."""

    p: np.ndarray
    y: np.ndarray
    w: np.ndarray
    group: np.ndarray
    oracle: np.ndarray
    treatment: np.ndarray


def per_label(measure):
    def mean(rows):
        p = rows.p.reshape(rows.y.shape)
        values = [measure(rows.y[:, k], p[:, k], rows.w) for k in range(p.shape[1])]
        defined = [value for value in values if not math.isnan(value)]
        return np.mean(defined) if defined else math.nan

    return mean


def both_classes(measure):
    return lambda y, p, w: measure(y, p, sample_weight=w) if len(np.unique(y)) == 2 else math.nan


def hard(y):
    return np.isin(y, (0, 1)).all()


def auc(y, p, w):
    """Of labels between 0 and 1 the area that labels drawn with these chances have, in expectation of both sums."""
    return both_classes(sk.roc_auc_score)(y, p, w) if hard(y) else pairs_won(y, p, w)


def decision(measure):
    def value(rows):
        if not len(rows.y):
            return math.nan
        return measure(rows.y[:, 0], rows.p >= 0.5, sample_weight=rows.w, zero_division=np.nan)

    return value


def accuracy(rows):
    called = rows.p.argmax(1) if rows.p.ndim > 1 else rows.p >= 0.5
    return sk.accuracy_score(rows.y[:, 0], called, sample_weight=rows.w) if len(rows.y) else math.nan


def macro_f1(rows):
    return (
        sk.f1_score(rows.y[:, 0], rows.p.argmax(1), average="macro", sample_weight=rows.w) if len(rows.y) else math.nan
    )


def log_loss(rows):
    if not len(rows.y):
        return math.nan
    eps = np.finfo(rows.p.dtype).eps
    p = np.clip(rows.p.reshape(rows.y.shape).astype(np.float64), eps, 1 - eps)
    if not hard(rows.y):
        return np.average(-(rows.y * np.log(p) + (1 - rows.y) * np.log(1 - p))[:, 0], weights=rows.w)
    losses = [sk.log_loss(rows.y[:, k], p[:, k], sample_weight=rows.w, labels=[0, 1]) for k in range(rows.y.shape[1])]
    return np.mean(losses)


def normalized_entropy(rows):
    if not len(rows.y) or set(np.unique(rows.y)) in ({0}, {1}):
        return math.nan
    rate = np.average(rows.y[:, 0], weights=rows.w)
    return log_loss(rows) / -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate))


def multiclass_log_loss(rows):
    if not len(rows.y):
        return math.nan
    eps = np.finfo(rows.p.dtype).eps
    given = rows.p[np.arange(len(rows.y)), rows.y[:, 0].astype(int)].astype(np.float64)
    return np.average(-np.log(np.clip(given, eps, 1 - eps)), weights=rows.w)


def calibration(rows):
    observed = (rows.w * rows.y[:, 0]).sum()
    return (rows.w * rows.p).sum() / observed if observed else math.nan


def ece(rows, bins=15):
    """Rows of equal prediction stay together, in the group that the middle of their weight falls into."""
    if not len(rows.y):
        return math.nan
    total, before, gap = rows.w.sum(), 0.0, np.zeros(bins)
    for level in np.unique(rows.p):
        mine = rows.p == level
        weight = rows.w[mine].sum()
        gap[min(int((before + weight / 2) / total * bins), bins - 1)] += (rows.w * (rows.p - rows.y[:, 0]))[mine].sum()
        before += weight
    return np.abs(gap).sum() / total


def pairs_won(chance, score, weight):
    """Σ p_i (1 - p_j) [score_i > score_j] / Σ p_i (1 - p_j) over i ≠ j, ties counting one half."""
    pairs = np.outer(weight * chance, weight * (1 - chance))
    np.fill_diagonal(pairs, 0)
    won = np.sign(score[:, None] - score[None, :]) / 2 + 0.5
    return (pairs * won).sum() / pairs.sum() if pairs.sum() else math.nan


def xauc(rows):
    larger = rows.y > rows.y.T
    pairs = np.outer(rows.w, rows.w) * larger
    won = np.sign(rows.p[:, None] - rows.p[None, :]) / 2 + 0.5
    return (pairs * won).sum() / pairs.sum() if pairs.sum() else math.nan


def in_groups(measure, share):
    """Mean over groups; ``measure`` of a group's labels, scores and weights, NaN where it doesn't count."""

    def value(rows):
        result = []
        for user in np.unique(rows.group):
            mine = rows.group == user
            result.append((measure(rows.y[mine, 0], rows.p[mine], rows.w[mine]), share(rows.w[mine]) if share else 1))
        result = [item for item in result if not math.isnan(item[0])]
        values, shares = zip(*result, strict=True) if result else ((math.nan,), (1,))
        return np.average(values, weights=shares)

    return value


def ndcg(y, p, _):
    if not y.max() > 0:
        return math.nan
    return sk.ndcg_score(y[None], p[None], k=10) if len(y) > 1 else 1.0


def recall_at_10(y, p, _):
    """The share of positives among the first ten, in the mean over the orders of equal scores."""
    if not y.sum():
        return math.nan
    left, result = 10, 0.0
    for level in np.unique(p)[::-1]:
        tied = y[p == level]
        inside = min(left, len(tied))
        result, left = result + tied.mean() * inside, left - inside
    return result / y.sum()


def error(measure):
    return lambda rows: measure(rows.y[:, 0], rows.p, sample_weight=rows.w) if len(rows.y) else math.nan


def curve(rows, score, gain):
    """Points of a curve, a row after the other; rows of equal score are one step."""
    points, arms = [(0.0, 0.0)], np.zeros((2, 2))
    for level in np.unique(score)[::-1]:
        for t in (0, 1):
            mine = (score == level) & (rows.treatment == t)
            arms[t] += (rows.w * rows.y[:, 0])[mine].sum(), rows.w[mine].sum()
        points.append((arms[:, 1].sum(), gain(*arms)))
    return np.array(points).T


def share(positive, count):
    return positive / count if count else 0.0


def qini_gain(control, treated):
    return treated[0] - control[0] * share(treated[1], control[1])


def uplift_gain(control, treated):
    return (share(*treated) - share(*control)) * (control[1] + treated[1])


def one_arm(rows):
    return len(np.unique(rows.treatment)) < 2


def qini(rows):
    if one_arm(rows):
        return math.nan
    areas = []
    for score in (rows.p, rows.y[:, 0] * (2 * rows.treatment - 1)):
        x, y = curve(rows, score, qini_gain)
        areas.append(np.trapezoid(y - x * y[-1] / x[-1], x))
    return areas[0] / areas[1] if abs(areas[1]) > 1e-6 * rows.w.sum() ** 2 else math.nan


def auuc(rows):
    if one_arm(rows):
        return math.nan
    x, y = curve(rows, rows.p, uplift_gain)
    return np.trapezoid(y, x) / x[-1] ** 2


def uplift_at_k(rows, k=0.3):
    if one_arm(rows):
        return math.nan
    rates = []
    for t in (0, 1):
        mine = rows.treatment == t
        p, y, w = rows.p[mine], rows.y[mine, 0], rows.w[mine]
        left, won = k * w.sum(), 0.0
        for level in np.unique(p)[::-1]:
            tied = p == level
            inside = min(left, w[tied].sum())
            left, won = left - inside, won + inside * np.average(y[tied], weights=w[tied])
        rates.append(won / (k * w.sum()))
    return rates[1] - rates[0]


REFERENCES = {
    "accuracy": accuracy,
    "auc": per_label(auc),
    "auuc": auuc,
    "calibration": calibration,
    "coverage": lambda rows: np.average(rows.p == rows.y[:, 0], weights=rows.w) if len(rows.y) else math.nan,
    "crps": error(sk.mean_absolute_error),  # of a point
    "ece": ece,
    "expected_auc": lambda rows: per_label(pairs_won)(replace(rows, y=rows.oracle)),
    "f1": decision(sk.f1_score),
    "gauc": in_groups(both_classes(sk.roc_auc_score), np.sum),
    "log_loss": log_loss,
    "macro_f1": macro_f1,
    "mae": error(sk.mean_absolute_error),
    "multiclass_log_loss": multiclass_log_loss,
    "ndcg": in_groups(ndcg, share=None),
    "normalized_entropy": normalized_entropy,
    "oracle_auc": lambda rows: per_label(pairs_won)(replace(rows, **dict.fromkeys(("p", "y"), rows.oracle))),
    "pehe": lambda rows: error(sk.root_mean_squared_error)(replace(rows, y=rows.oracle)),
    "pr_auc": per_label(both_classes(sk.average_precision_score)),
    "precision": decision(sk.precision_score),
    "qini": qini,
    "r2": lambda rows: error(sk.r2_score)(rows) if len(np.unique(rows.y)) > 1 else math.nan,
    "recall": decision(sk.recall_score),
    "recall_at_k": in_groups(recall_at_10, share=None),
    "rmse": error(sk.root_mean_squared_error),
    "uplift_at_k": uplift_at_k,
    "xauc": xauc,
}


def test_every_registered_metric_has_a_reference():
    assert set(registry().names("metric")) == set(REFERENCES)


def example(kind, rows=150, seed=0):
    """Predictions with ties and labels that go with them; some labels are unknown."""
    random = torch.Generator().manual_seed(seed)
    score = torch.randint(1, 40, (rows, CLASSES), generator=random) / 40
    noise = torch.rand(rows, CLASSES, generator=random)
    if kind == "multiclass":
        prediction = (4 * score).softmax(1)
        label = (score + noise).argmax(1, keepdim=True)
    elif kind == "multilabel":
        prediction, label = score, noise < score
    elif kind == "binary":
        prediction, label = score[:, 0], (noise < score)[:, :1]
    elif kind == "uplift":
        prediction, label = 2 * score[:, 0] - 1, noise[:, :1] < 0.3
    elif kind == "soft_binary":
        prediction, label = score[:, 0], (score + noise)[:, :1] / 2
    else:
        prediction = score[:, 0] * 9
        label = (
            (9 * score[:, :1] * noise[:, :1] * 2).round() if kind != "regression" else 9 * score[:, :1] * noise[:, :1]
        )
    target = Target(
        label=label.float(),
        mask=torch.rand(rows, generator=random) < 0.8,
        group=torch.randint(-3, 14, (rows,), generator=random) * 1_000_003,
        raw={name: torch.randint(0, 51, (rows,), generator=random) / 50.0 for name in ORACLES},
        details={"treatment": torch.randint(0, 2, (rows,), generator=random).double()},
    )
    return prediction, target


def cut(prediction, target, rows):
    return prediction[rows], Target(
        label=target.label[rows],
        mask=target.mask[rows],
        weight=None if target.weight is None else target.weight[rows],
        group=target.group[rows],
        raw={name: column[rows] for name, column in target.raw.items()},
        details={name: column[rows] for name, column in target.details.items()},
    )


def weighted(p, t):
    t.weight = torch.rand(len(p), generator=torch.Generator().manual_seed(1)) + 0.1
    return p, t


def zero_weights(p, t):
    t.weight = (torch.arange(len(p)) % 3).float()
    p[torch.arange(len(p)) % 3 == 0] = math.nan  # rows of weight 0 may say anything
    return p, t


def huge_weights(p, t):
    t.weight = (1e12 * (1 + torch.arange(len(p)) % 5)).float()
    return p, t


def same_label(value):
    def change(p, t):
        t.label = torch.full_like(t.label, value)
        t.weight = torch.rand(len(p), generator=torch.Generator().manual_seed(2)) + 0.1
        t.raw = {name: torch.full_like(column, value) for name, column in t.raw.items()}
        return p, t

    return change


def masked(p, t):
    t.mask = torch.zeros_like(t.mask)
    return p, t


def what_is_unknown_may_be_anything(p, t):
    t.weight = torch.where(t.mask, 0.7, math.nan)
    t.raw = {name: torch.where(t.mask, column, math.nan) for name, column in t.raw.items()}
    p[~t.mask] = math.nan
    return p, t


def constant(p, t):
    return torch.full_like(p, 0.25), t


def certain(p, t):
    """Predictions of exactly 0 and 1."""
    return (torch.nn.functional.one_hot(p.argmax(1), CLASSES).to(p.dtype) if p.shape[1:] and p.shape[1] == CLASSES
            else (p > 0.4).to(p.dtype)), t  # fmt: skip


def extreme_logits(p, t):
    logit = torch.where(torch.arange(p.numel()).reshape(p.shape) % 3 == 0, 1e4, 4 * p)
    logit = torch.where(torch.arange(p.numel()).reshape(p.shape) % 5 == 0, -1e4, logit)
    logit = logit.double()  # so that equal logits are equal in float32
    return (logit.softmax(1) if len(t.label[0]) < p.ndim else logit.sigmoid()).float(), t


def rare(p, t):
    """Rare events, all predicted to be."""
    t.label = t.label * (torch.arange(len(p)) % 40 == 0)[:, None]
    return p / 1000 if p.ndim == 1 else p, t


def equal_scores_in_a_group(p, t):
    t.group = torch.arange(len(p)) // 13
    p = p.clone()
    p[: len(p) // 2] = p[0]
    return p, t


def one_group(p, t):
    t.group = torch.full_like(t.group, 7)
    return p, t


CASES = {
    "random": lambda p, t: (p, t),
    "double": lambda p, t: (p.double(), t),
    "half": lambda p, t: (p.bfloat16(), t),
    "weighted": weighted,
    "zero weights": zero_weights,
    "huge weights": huge_weights,
    "all 0": same_label(0.0),
    "all 1": same_label(1.0),
    "no rows": lambda p, t: cut(p, t, slice(0, 0)),
    "one row": lambda p, t: cut(*weighted(p, t), t.mask.nonzero()[:1, 0]),
    "two rows": lambda p, t: cut(*weighted(p, t), t.mask.nonzero()[:2, 0]),
    "all masked": masked,
    "unknown": what_is_unknown_may_be_anything,
    "constant": constant,
    "certain": certain,
    "extreme logits": extreme_logits,
    "rare": rare,
    "ties in groups": equal_scores_in_a_group,
    "one group": one_group,
}


def task_of(kind):
    return Task(name="t", kind=kind, label="t", classes=CLASSES, oracle="p")


def counted(prediction, target):
    """The rows that count, for the references: float64, but for float32 predictions, which are clipped otherwise."""
    weight = torch.ones(len(target.mask)) if target.weight is None else target.weight
    remaining = target.mask & (weight > 0)
    p = prediction if prediction.dtype == torch.float64 else prediction.float()
    oracles = ORACLES[1:] if target.label.shape[1] > 1 else ORACLES[:1]
    oracle = torch.stack([target.raw[name] for name in oracles], 1).double()
    columns = (p, target.label.double(), weight.double(), target.group, oracle, target.details["treatment"])
    return Rows(*(column[remaining].numpy() for column in columns))


def merged(name, kind, prediction, target, parts):
    """The value from so many parts of uneven size, some without a row, merged as processes are."""
    resolved = registry().resolve("metric", name)
    rows = torch.arange(len(target.mask))
    borders = sorted({0, len(rows)} | {len(rows) * i * i // (parts * parts) for i in range(1, parts)})
    pieces = [rows[a:b] for a, b in pairwise(borders)] or [rows]
    pieces = [pieces[0], *[rows[:0]] * (parts > 2), *pieces[1:]]
    metrics = [resolved(task_of(kind)) for _ in pieces]
    for metric, piece in zip(metrics, pieces, strict=True):
        for batch in piece.split(50):
            metric.update(*cut(prediction, target, batch))
    for other in metrics[1:]:
        metrics[0].merge_state(other)
    return metrics[0].compute().item()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", registry().names("metric"))
def test_a_metric_is_its_definition_whole_and_merged(name, case):
    for kind in sorted(registry().resolve("metric", name).kinds):
        prediction, target = CASES[case](*example(kind))
        rows = counted(prediction, target)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = float(REFERENCES[name](rows))
        for parts in (1, 2, 7):
            result = merged(name, kind, prediction, target, parts)
            assert result == pytest.approx(expected, rel=1e-9, abs=1e-9, nan_ok=True), (kind, parts)


@pytest.mark.parametrize("name", registry().names("metric"))
def test_a_nan_prediction_of_a_known_row_shows(name):
    for kind in sorted(registry().resolve("metric", name).kinds):
        prediction, target = example(kind)
        before = merged(name, kind, prediction, target, 1)
        prediction[target.mask.nonzero()[5, 0], ...] = math.nan
        after = merged(name, kind, prediction, target, 2)
        assert math.isnan(after) or (name == "oracle_auc" and after == pytest.approx(before))  # which looks at none


@pytest.mark.parametrize("bad", [1.0001, -1.0, math.inf])
@pytest.mark.parametrize(
    "name", ["auc", "ece", "log_loss", "multiclass_log_loss", "normalized_entropy", "pr_auc", "expected_auc"]
)
def test_what_is_no_probability_shows(name, bad):
    for kind in sorted(registry().resolve("metric", name).kinds):
        prediction, target = example(kind)
        prediction[target.mask.nonzero()[5, 0], ...] = bad
        assert math.isnan(merged(name, kind, prediction, target, 1))


def test_one_label_with_broken_predictions_is_not_left_out():
    prediction, target = example("multilabel")
    prediction[:, 1] = math.nan
    for name in ("auc", "pr_auc", "log_loss"):
        assert math.isnan(merged(name, "multilabel", prediction, target, 1))
        if name != "log_loss":
            exact = registry().resolve("metric", name)(task_of("multilabel"), exact=True)
            exact.update(prediction, target)
            assert exact.compute().isnan()


def test_what_is_below_zero_is_no_gain():
    prediction, target = example("regression")
    target.label -= 3
    cut_off = replace(target, label=target.label.clamp_min(0))
    result = merged("ndcg", "regression", prediction, target, 2)
    assert result == merged("ndcg", "regression", prediction, cut_off, 2) <= 1


def test_equal_labels_vary_by_no_rounding():
    weight = torch.rand(999, generator=torch.Generator().manual_seed(3))
    target = Target(label=torch.full((999, 1), 0.1), mask=torch.ones(999, dtype=torch.bool), weight=weight)
    for name in ("r2", "xauc"):
        metric = registry().resolve("metric", name)(task_of("regression"))
        for rows in torch.arange(999).split(100):
            metric.update(torch.rand(len(rows)), Target(target.label[rows], target.mask[rows], weight[rows]))
        assert metric.compute().isnan(), name
    single = Target(
        torch.zeros(1, 1), torch.ones(1, dtype=torch.bool), torch.tensor([0.7]), raw={"p": torch.tensor([0.9])}
    )
    for exact in (False, True):
        metric = registry().resolve("metric", "expected_auc")(task_of("binary"), exact=exact)
        metric.update(torch.tensor([0.3]), single)
        assert metric.compute().isnan()
