"""Metrics agree with scikit-learn or torchmetrics, on random and on edge inputs."""

import math
import pickle
import pkgutil

import numpy as np
import pytest
import sklearn.metrics as reference
import torch
import torchmetrics
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_lightning.errors import MtlError
from mtl_lightning.interfaces import Target, Task
from mtl_lightning.metrics import default_metrics
from mtl_lightning.metrics.score import overall_score
from mtl_lightning.plugins.builtin import METRICS
from mtl_lightning.schema import TASK_KINDS

BINARY = Task(name="click", kind="binary", label="click", oracle="p")
SCALE = Task(name="dwell", kind="regression", label="dwell")
CLASSES = Task(name="topic", kind="multiclass", label="topic", classes=4)
LABELS = Task(name="actions", kind="multilabel", label="actions", classes=3)


def resolve(name):
    return pkgutil.resolve_name(METRICS[name])


def make(name, task=BINARY, **options):
    return resolve(name)(task, **options)


def target(label, mask=None, weight=None, group=None, raw=None):
    label = torch.as_tensor(label)
    label = label[:, None] if label.ndim == 1 else label
    mask = torch.ones(len(label), dtype=torch.bool) if mask is None else torch.as_tensor(mask)
    return Target(label=label.float(), mask=mask, weight=weight, group=group, raw=raw or {})


def value(metric, prediction, *args, parts=1, **kwargs):
    """The metric's value after the batch was added in parts."""
    whole = target(*args, **kwargs)
    for rows in torch.arange(len(whole.mask)).tensor_split(parts):
        metric.update(
            torch.as_tensor(prediction)[rows],
            Target(
                label=whole.label[rows],
                mask=whole.mask[rows],
                weight=None if whole.weight is None else whole.weight[rows],
                group=None if whole.group is None else whole.group[rows],
                raw={name: column[rows] for name, column in whole.raw.items()},
            ),
        )
    return metric.compute().item()


def log(rows=4000, seed=0, rate=0.05):
    """A skewed log: predictions, labels, true probabilities, weights and users."""
    random = torch.Generator().manual_seed(seed)
    logit = torch.randn(rows, generator=random, dtype=torch.float64) + math.log(rate / (1 - rate))
    p = torch.sigmoid(logit)
    label = (torch.rand(rows, generator=random) < p).float()
    noisy = torch.sigmoid(logit + 0.5 * torch.randn(rows, generator=random)).float()
    weight = torch.rand(rows, generator=random) + 0.1
    user = torch.randint(0, rows // 12, (rows,), generator=random) * 1_000_003 - 5
    return noisy, label, p, weight, user


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
REGRESSION = {
    "mae": lambda y, p, w: reference.mean_absolute_error(y, p, sample_weight=w),
    "rmse": lambda y, p, w: reference.root_mean_squared_error(y, p, sample_weight=w),
    "r2": lambda y, p, w: reference.r2_score(y, p, sample_weight=w),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", REFERENCES)
def test_binary_metrics_agree_with_scikit_learn(name, weighted):
    p, y, _, w, _ = log()
    mask = torch.arange(len(y)) % 3 != 0
    w = w if weighted else None
    expected = REFERENCES[name](y[mask].numpy(), p[mask].numpy(), None if w is None else w[mask].numpy())
    broken = torch.where(mask, p, torch.nan)  # what an unknown row predicts plays no part
    got = value(make(name, **OPTIONS.get(name, {})), broken, y, mask, w, parts=7)
    # sklearn sums float32 weights in float32.
    assert got == pytest.approx(expected, abs=1e-4 if "auc" in name else 1e-6)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", REGRESSION)
def test_regression_metrics_agree_with_scikit_learn(name, weighted):
    random = torch.Generator().manual_seed(1)
    y = torch.randn(999, generator=random).exp()
    p = y + torch.randn(999, generator=random)
    mask = torch.rand(999, generator=random) < 0.7
    w = torch.rand(999, generator=random).double() if weighted else None
    expected = REGRESSION[name](y[mask].double(), p[mask].double(), None if w is None else w[mask])
    assert value(make(name, SCALE), torch.where(mask, p, torch.inf), y, mask, w, parts=5) == pytest.approx(
        expected, abs=1e-9
    )


@pytest.mark.parametrize("name", ["auc", "pr_auc"])
@pytest.mark.parametrize("weighted", [False, True])
def test_exact_mode_agrees_to_nine_digits(name, weighted):
    p, y, _, w, _ = log(seed=3)
    p = (p * 50).round() / 50  # many ties
    w = w.double() if weighted else None
    expected = REFERENCES[name](y.numpy(), p.numpy(), None if w is None else w.numpy())
    assert value(make(name, exact=True), p, y, None, w, parts=3) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 1e-30, 1e-9, 0.02, 0.5, 0.50001, 1 - 1e-6, 1.0]), st.booleans()), min_size=2
    )
)
def test_exact_auc_on_ties_and_extremes(rows):
    p, y = (torch.tensor(column, dtype=torch.float64) for column in zip(*rows, strict=True))
    got = value(make("auc", exact=True), p, y)
    if y.min() == y.max():
        assert math.isnan(got)
    else:
        assert got == pytest.approx(reference.roc_auc_score(y.numpy(), p.numpy()), abs=1e-12)


@pytest.mark.parametrize("exact", [False, True])
def test_scores_that_say_nothing_give_one_half(exact):
    assert value(make("auc", exact=exact), torch.full((6,), 0.3), [0.0, 1, 1, 0, 0, 1]) == 0.5


def test_histogram_orders_what_float32_can_tell_apart_near_zero():
    p = torch.tensor([1e-10, 2e-10, 1e-7, 1e-4])
    assert value(make("auc"), p, [0.0, 1, 0, 1]) == 0.75


def test_histogram_auc_within_a_ten_thousandth_on_rare_events():
    p, y, *_ = log(rows=300_000, rate=0.01)
    assert value(make("auc"), p, y) == pytest.approx(reference.roc_auc_score(y.numpy(), p.numpy()), abs=1e-5)


@pytest.mark.filterwarnings("ignore:The ``compute`` method:UserWarning")
@pytest.mark.parametrize("name", sorted(set(METRICS) - {"expected_auc", "oracle_auc"}))
def test_no_known_row_is_not_defined(name):
    cls = resolve(name)
    task = next(t for t in (BINARY, SCALE, CLASSES) if t.kind in cls.kinds)
    prediction = torch.full((3, 4), 0.25) if task is CLASSES else torch.full((3,), 0.5)
    metric = cls(task)
    assert math.isnan(metric.compute())
    metric.reset()
    assert math.isnan(
        value(metric, prediction, torch.zeros(3), torch.zeros(3, dtype=torch.bool), group=torch.arange(3))
    )


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("name", ["auc", "pr_auc"])
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_one_class_is_not_defined(name, label, exact):
    assert math.isnan(value(make(name, exact=exact), torch.rand(5), torch.full((5,), label)))


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("bad", [math.nan, 1.5, -0.1])
def test_what_is_no_probability_is_not_ranked(bad, exact):
    assert math.isnan(value(make("auc", exact=exact), torch.tensor([0.2, bad, 0.4]), [0.0, 1, 1]))


@pytest.mark.parametrize("name", ["log_loss", "normalized_entropy", "calibration", "accuracy", "f1", "ece", "gauc"])
def test_a_nan_prediction_shows(name):
    prediction = torch.tensor([0.2, math.nan, 0.4])
    assert math.isnan(value(make(name), prediction, [0.0, 1, 1], group=torch.zeros(3, dtype=torch.long)))


def test_log_loss_of_certain_predictions_is_finite():
    p, y = torch.tensor([0.0, 1.0, 0.0]), torch.tensor([0.0, 0.0, 1.0])
    assert value(make("log_loss"), p, y) == pytest.approx(reference.log_loss(y.numpy(), p.numpy()), rel=1e-6)


def test_normalized_entropy_of_the_base_rate_is_one():
    y = torch.tensor([1.0, 0, 0, 0])
    assert value(make("normalized_entropy"), torch.full((4,), 0.25), y) == pytest.approx(1)
    assert value(make("normalized_entropy"), torch.tensor([0.7, 0.1, 0.1, 0.1]), y) < 1
    assert math.isnan(value(make("normalized_entropy"), torch.full((4,), 0.25), torch.zeros(4)))


def test_r2_of_labels_far_from_zero():
    y = torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=torch.float64)
    p = y + torch.tensor([0.1, -0.2, 0.3, 0.0])
    metric = make("r2", SCALE)
    for offset in (1_600_000_000.0,):
        near = Target(label=(y + offset)[:, None], mask=torch.ones(4, dtype=torch.bool))
        metric.update(p + offset, near)
    assert metric.compute().item() == pytest.approx(reference.r2_score(y, p), abs=1e-6)


def test_r2_of_a_constant_label_is_not_defined():
    assert math.isnan(value(make("r2", SCALE), torch.rand(4), torch.ones(4)))


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
    got = value(make("expected_auc", exact=exact), score, torch.zeros(4), raw={"p": p})
    assert got == pytest.approx(won / pairs, abs=1e-9)


def test_expected_auc_has_no_label_noise_and_the_oracle_bounds_it():
    scores, y, p, *_ = log(rows=200_000)
    expected = value(make("expected_auc"), scores, y, raw={"p": p})
    best = value(make("oracle_auc"), scores, y, raw={"p": p})
    assert expected == value(make("expected_auc"), scores, 1 - y, raw={"p": p})
    assert expected == pytest.approx(reference.roc_auc_score(y, scores), abs=0.01)
    assert best == pytest.approx(reference.roc_auc_score(y, p), abs=0.01)
    assert best == value(make("expected_auc"), p, y, raw={"p": p})
    assert expected < best - 0.01


def test_expected_auc_in_the_entire_space():
    scores, y, p, *_ = log()
    mask = torch.arange(len(y)) < 100
    known = value(make("expected_auc"), scores, y, mask, raw={"p": p})
    assert known == value(make("expected_auc"), scores[:100], y[:100], raw={"p": p[:100]})
    assert value(make("expected_auc", everywhere=True), scores, y, mask, raw={"p": p}) == value(
        make("expected_auc"), scores, y, raw={"p": p}
    )


def test_expected_auc_needs_an_oracle():
    with pytest.raises(MtlError, match="no oracle"):
        make("expected_auc", Task(name="click", kind="binary", label="click"))


def test_multilabel_metrics_average_over_labels():
    random = torch.Generator().manual_seed(5)
    p, y = torch.rand(400, 3, generator=random), torch.randint(0, 2, (400, 3), generator=random)
    y[:, 2] = 0  # one label with one class only is left out
    expected = np.mean([reference.roc_auc_score(y[:, i], p[:, i]) for i in range(2)])
    assert value(make("auc", LABELS), p, y, parts=2) == pytest.approx(expected, abs=1e-4)
    assert value(make("auc", LABELS, exact=True), p, y, parts=2) == pytest.approx(expected, abs=1e-9)
    losses = [reference.log_loss(y[:, i], p[:, i].double(), labels=[0, 1]) for i in range(3)]
    assert value(make("log_loss", LABELS), p, y, parts=2) == pytest.approx(np.mean(losses), abs=1e-6)


def test_multiclass_metrics_agree_with_scikit_learn():
    random = torch.Generator().manual_seed(6)
    p = torch.rand(500, 4, generator=random).double().softmax(1)
    y = torch.randint(0, 3, (500,), generator=random)  # class 3 is predicted but never true
    assert value(make("accuracy", CLASSES), p, y) == reference.accuracy_score(y, p.argmax(1))
    expected = reference.f1_score(y, p.argmax(1), average="macro")
    assert value(make("macro_f1", CLASSES), p, y, parts=4) == pytest.approx(expected)
    expected = reference.log_loss(y, p.double(), labels=range(4))
    assert value(make("multiclass_log_loss", CLASSES), p, y) == pytest.approx(expected, abs=1e-6)


def test_ece_agrees_with_torchmetrics_and_with_sorted_groups():
    p, y, *_ = log(rows=3000, rate=0.3)
    expected = torchmetrics.functional.classification.binary_calibration_error(p, y.int(), n_bins=10).item()
    assert value(make("ece", bins=10, groups="width"), p, y, parts=3) == pytest.approx(expected, abs=1e-6)
    order = p.argsort()
    groups = [(p[part].sum() - y[part].sum()).abs() for part in order.tensor_split(10)]
    expected = sum(groups).item() / len(p)
    metric = make("ece", bins=10)
    assert value(metric, p, y, parts=3) == pytest.approx(expected, abs=2e-3)
    weight, predicted, observed = metric.reliability()
    assert weight.sum() == len(p)
    assert (predicted.diff() > 0).all()
    assert (weight * observed).sum().item() == pytest.approx(y.sum().item())


@pytest.mark.parametrize("users", ["rows", "equal"])
def test_gauc_agrees_with_one_auc_per_user(users):
    p, y, _, w, group = log(rate=0.3)
    p = (p * 20).round() / 20
    areas, shares = [], []
    for user in group.unique():
        mine = group == user
        if y[mine].min() < y[mine].max():
            areas.append(reference.roc_auc_score(y[mine], p[mine], sample_weight=w[mine].double()))
            shares.append(w[mine].double().sum().item() if users == "rows" else 1)
    got = value(make("gauc", users=users), p, y, None, w, group, parts=5)
    assert got == pytest.approx(np.average(areas, weights=shares), abs=1e-9)


def test_gauc_leaves_out_users_without_both_classes():
    y, group = torch.tensor([1.0, 0, 1, 1, 0]), torch.tensor([1, 1, 2, 2, 3])
    assert value(make("gauc"), torch.tensor([0.9, 0.1, 0.1, 0.2, 0.9]), y, group=group) == 1
    assert math.isnan(value(make("gauc"), torch.rand(3), y[2:], group=group[2:]))


@pytest.mark.parametrize("k", [1, 3, None])
def test_ndcg_agrees_with_scikit_learn(k):
    p, _, _, _, group = log(rows=2000)
    p = (p * 20).round() / 20
    y = torch.randint(0, 3, (2000,), generator=torch.Generator().manual_seed(2)).float()
    per_user = []
    for user in group.unique():
        mine = group == user
        if y[mine].max() > 0 and mine.sum() > 1:
            per_user.append(reference.ndcg_score(y[mine][None], p[mine][None], k=k))
        elif y[mine].max() > 0:
            per_user.append(1.0)
    assert value(make("ndcg", k=k), p, y, group=group, parts=3) == pytest.approx(np.mean(per_user), abs=1e-9)


def test_recall_at_k_agrees_with_torchmetrics():
    p, y, _, _, group = log(rows=2000, rate=0.2)
    group = (group + 5) // 1_000_003
    expected = torchmetrics.retrieval.RetrievalRecall(empty_target_action="skip", top_k=3)
    assert value(make("recall_at_k", k=3), p, y, group=group, parts=3) == pytest.approx(
        expected(p, y.bool(), group).item(), abs=1e-6
    )


def test_recall_at_k_shares_a_tie_over_the_border():
    assert value(
        make("recall_at_k", k=1), torch.tensor([0.5, 0.5, 0.1]), [1.0, 0, 0], group=torch.zeros(3, dtype=torch.long)
    ) == pytest.approx(0.5)


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
    got = value(make("xauc", SCALE), p, y, None, w)
    assert math.isnan(got) if pairs == 0 else got == pytest.approx(won / pairs, abs=1e-12)


def test_xauc_of_two_labels_is_the_auc():
    p, y, *_ = log()
    assert value(make("xauc", SCALE), p, y) == pytest.approx(reference.roc_auc_score(y, p), abs=1e-12)


@pytest.mark.parametrize("name", ["gauc", "ndcg", "recall_at_k"])
def test_grouped_metrics_say_what_is_missing(name):
    with pytest.raises(MtlError, match=r"click: .*data\.group"):
        make(name).update(torch.rand(2), target([0.0, 1.0]))


def test_summed_metrics_keep_constant_memory():
    small, large = make("auc"), make("auc")
    value(small, *log(rows=24)[:2])
    value(large, *log(rows=100_000)[:2], parts=50)
    held = [sum(state.numel() * state.itemsize for state in m.metric_state.values()) for m in (small, large)]
    assert held[0] == held[1] < 1.1 * 2**20


@pytest.mark.parametrize("name", sorted(METRICS))
def test_states_survive_reset_and_half_precision_modules(name):
    cls = resolve(name)
    task = next(t for t in (BINARY, SCALE, CLASSES) if t.kind in cls.kinds)
    p, y, oracle, _, group = log(rows=600, rate=0.3)
    if task is CLASSES:
        p, y = torch.stack([p, 1 - p, p / 2, p / 3], 1).softmax(1), torch.arange(600) % 4
    metric = pickle.loads(pickle.dumps(cls(task)))
    first = value(metric, p, y, group=group, raw={"p": oracle}, parts=2)
    assert math.isfinite(first)
    metric.reset()
    assert value(torch.nn.ModuleList([metric]).bfloat16()[0], p, y, group=group, raw={"p": oracle}) == pytest.approx(
        first, abs=1e-12
    )


def test_every_task_kind_has_defaults_whose_first_is_better_when_higher():
    for name, kind in TASK_KINDS.items():
        names = (*kind.default_metrics, *kind.oracle_metrics, *kind.detailed_metrics, *kind.group_metrics)
        assert all(kind.served_by(resolve(metric).kinds) for metric in names), name
        assert resolve(kind.default_metrics[0]).higher_is_better is True
    assert default_metrics(BINARY) == (*TASK_KINDS["binary"].default_metrics, "expected_auc", "oracle_auc")


def test_score_leaves_out_what_is_not_defined():
    values = {"click": 0.8, "buy": math.nan, "dwell": 0.25, "ignored": 99.0}
    weights = {"click": 1.0, "buy": 5.0, "dwell": 3.0, "ignored": 0.0}
    assert overall_score(values, weights) == pytest.approx((0.8 + 3 * 0.25) / 4)
    assert overall_score(values, weights, {"dwell"}) == pytest.approx((0.8 - 3 * 0.25) / 4)
    assert math.isnan(overall_score({"buy": math.nan}, {"buy": 1.0}))
    assert math.isnan(overall_score({"buy": 1.0}, {"buy": 0.0}))
