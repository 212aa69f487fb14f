"""Late events: the likelihood row by row, times that are missing, and the final rate of a log that ended early."""

import math

import numpy as np
import pytest
import torch

from mtl_lightning.batch import Output, Target
from mtl_lightning.errors import MtlError
from mtl_lightning.heads.delay_windows import DelayWindowsHead
from mtl_lightning.heads.delayed_feedback import DelayedFeedbackHead
from mtl_lightning.heads.esdfm import ESDFMHead
from mtl_lightning.losses.delay_windows import DelayWindowsLoss
from mtl_lightning.losses.delayed_feedback import DelayedFeedbackLoss
from mtl_lightning.losses.esdfm import ESDFMLoss
from mtl_lightning.schema import Task

SALE = Task(name="sale", kind="binary", label="sale")


def column(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


def test_the_loss_is_the_likelihood_of_event_and_delay():
    a, b = [0.3, -1.2, 0.8, -0.4], [-0.5, 0.7, 0.2, 1.1]
    delay, elapsed = [0.6, math.nan, math.nan, 2.5], [5.0, 1.5, 0.4, 3.0]
    label = [1, 0, 1, 1]
    expected = 0.0
    for i in range(4):
        p, rate = 1 / (1 + math.exp(-a[i])), math.exp(b[i])
        if not label[i]:
            likelihood = 1 - p + p * math.exp(-rate * elapsed[i])
        elif math.isnan(delay[i]):
            likelihood = p * (1 - math.exp(-rate * elapsed[i]))
        else:
            likelihood = p * rate * math.exp(-rate * delay[i])
        expected -= math.log(likelihood) / 4
    extra = {"hazard": column(*b), "delay": column(*delay), "elapsed": column(*elapsed)}
    target = Target(label=column(*label), mask=torch.ones(4, dtype=torch.bool))
    value = DelayedFeedbackLoss(SALE)(Output(column(*a), extra=extra), target, {})
    assert value.item() == pytest.approx(expected, rel=1e-9)


def test_a_negative_of_long_ago_counts_as_one_that_never_happens():
    loss, known = DelayedFeedbackLoss(SALE), torch.ones(1, dtype=torch.bool)
    for elapsed in (math.nan, 1e9):
        extra = {"hazard": column(-1.0), "delay": column(math.nan), "elapsed": column(elapsed)}
        value = loss(Output(column(0.3), extra=extra), Target(label=column(0.0), mask=known), {})
        assert value.item() == pytest.approx(math.log1p(math.exp(0.3)), rel=1e-9)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_extreme_times_and_hazards_have_finite_gradients(label):
    for hazard in (-15.0, 15.0):
        for delay, elapsed in ((0.0, 0.0), (1e6, 1e6), (math.nan, 0.0), (math.nan, math.nan)):
            logit, rate = column(2.0).float().requires_grad_(), column(hazard).float().requires_grad_()
            extra = {"hazard": rate, "delay": column(delay).float(), "elapsed": column(elapsed).float()}
            target = Target(label=column(label).float(), mask=torch.ones(1, dtype=torch.bool))
            value = DelayedFeedbackLoss(SALE)(Output(logit, extra=extra), target, {})
            value.backward()
            assert value.isfinite()
            assert logit.grad.isfinite().all()
            assert rate.grad.isfinite().all()


def test_a_missing_column_is_named():
    head = DelayedFeedbackHead(SALE, 4, {})
    output = head(torch.zeros(1, 4), {}, {"elapsed": torch.ones(1)})
    with pytest.raises(MtlError, match=r"heads\.sale\.delay"):
        DelayedFeedbackLoss(SALE)(output, Target(label=torch.zeros(1, 1), mask=torch.ones(1, dtype=torch.bool)), {})


def fit_two_groups(head, loss, days, rows, iterations=60):
    """Fit rates of 0.5 and 0.2 with mean delays of 2 and 10 days in a log; return the naive rates as well."""
    random = np.random.default_rng(0)
    group = random.integers(0, 2, rows)
    elapsed = random.uniform(0, days, rows)
    delay = random.exponential(np.array([2.0, 10.0])[group])
    happened = (random.random(rows) < np.array([0.5, 0.2])[group]) & (delay < elapsed)
    times = {"delay": torch.tensor(np.where(happened, delay, np.nan)), "elapsed": torch.tensor(elapsed)}
    h = torch.nn.functional.one_hot(torch.tensor(group), 2).float()
    target = Target(label=torch.tensor(happened)[:, None].float(), mask=torch.ones(rows, dtype=torch.bool))
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=iterations, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        value = loss(head(h, {}, times), target, {})
        value.backward()
        return value

    optimizer.step(closure)
    return [happened[group == g].mean() for g in (0, 1)]


def test_it_finds_the_final_rates_of_a_log_that_ended_early():
    torch.manual_seed(0)
    head = DelayedFeedbackHead(SALE, 2, {}, hidden=[], unit=1.0)
    naive = fit_two_groups(head, DelayedFeedbackLoss(SALE), 10, 5_000)
    output = head(torch.eye(2), {}, {})
    assert head.predict(output, {}).tolist() == pytest.approx([0.5, 0.2], abs=0.05)
    assert output.extra["hazard"].exp()[:, 0].tolist() == pytest.approx([0.5, 0.1], abs=0.05)
    assert naive[0] < 0.42
    assert naive[1] < 0.09


def test_windows_find_the_rates_up_to_the_last_one():
    torch.manual_seed(0)
    head = DelayWindowsHead(SALE, 2, {}, hidden=[], unit=1.0, windows=[1.0, 3.0, 8.0])
    naive = fit_two_groups(head, DelayWindowsLoss(SALE), 10, 20_000)
    truth = [0.5 * (1 - math.exp(-4)), 0.2 * (1 - math.exp(-0.8))]
    assert head.predict(head(torch.eye(2), {}, {}), {}).tolist() == pytest.approx(truth, abs=0.02)
    assert naive[0] < truth[0] - 0.07
    assert naive[1] < truth[1] - 0.03


def test_weights_find_the_final_rates_of_a_long_log():
    torch.manual_seed(0)
    head = ESDFMHead(SALE, 2, {}, hidden=[], unit=1.0)
    fit_two_groups(head, ESDFMLoss(SALE, wait=1.0, mature=60.0), 500, 20_000)
    output = head(torch.eye(2), {}, {})
    assert head.predict(output, {}).tolist() == pytest.approx([0.5, 0.2], abs=0.02)
    late = [0.5 * math.exp(-0.5), 0.2 * math.exp(-0.1)]
    assert output.extra["late"].sigmoid()[:, 0].tolist() == pytest.approx(late, abs=0.02)
    never = [0.5 / (0.5 + late[0]), 0.8 / (0.8 + late[1])]
    assert output.extra["never"].sigmoid()[:, 0].tolist() == pytest.approx(never, abs=0.02)


LATE = {"label": [1, 1, 1, 0, 0, 1, 0], "delay": [0.6, 2.5, 1.0, math.nan, math.nan, math.nan, math.nan]}
ELAPSED = [5.0, 3.5, 0.4, 1.5, 6.0, 2.0, math.nan]


def sigmoid(a):
    return 1 / (1 + math.exp(-a))


def late_rows(logit, **extra):
    times = {"delay": column(*LATE["delay"]), "elapsed": column(*ELAPSED)}
    target = Target(label=column(*LATE["label"]), mask=torch.ones(7, dtype=torch.bool))
    return Output(logit, extra=times | extra), target


def test_windows_cost_their_cross_entropies_once_they_are_over():
    ends, logit = [1.0, 3.0], torch.randn(7, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = 0.0
    for i in range(7):
        for k in range(2):
            age = math.inf if math.isnan(ELAPSED[i]) else ELAPSED[i]
            if age < ends[k]:
                continue
            d = 0.0 if math.isnan(LATE["delay"][i]) else LATE["delay"][i]
            inside = bool(LATE["label"][i]) and (0.0 <= d <= 1.0, 1.0 < d <= 3.0)[k]
            p = sigmoid(logit[i, k].item())
            expected -= math.log(p if inside else 1 - p) / 7
    value = DelayWindowsLoss(SALE)(*late_rows(logit, windows=torch.tensor(ends)), {})
    assert value.item() == pytest.approx(expected, rel=1e-9)


def test_weights_of_early_labels_are_those_of_the_paper():
    draws = torch.randn(3, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).tolist()
    stream, learned = 0.0, 0.0
    for y, d, age, a, b, c in zip(LATE["label"], LATE["delay"], ELAPSED, *draws, strict=True):
        age = math.inf if math.isnan(age) else age
        p, late, never = sigmoid(a), sigmoid(b), sigmoid(c)
        delayed = y and d > 1.0
        events = ([1] if y and not delayed else [0, 1] if delayed else [0]) if age >= 1.0 else []
        for event in events:
            weight = (1 + late) if event else (1 + late) * never
            stream -= weight * math.log(p if event else 1 - p)
        if age >= 3.0:
            learned -= math.log(late if delayed else 1 - late)
            if not y or delayed:
                learned -= math.log(1 - never if delayed else never)
    towers = [column(*values).requires_grad_() for values in draws]
    output, target = late_rows(towers[0], late=towers[1], never=towers[2])
    value = ESDFMLoss(SALE, wait=1.0, mature=3.0)(output, target, {})
    assert value.item() == pytest.approx((stream + learned) / 7, rel=1e-9)
    value.backward()
    assert towers[1].grad[3] == 0  # too young to teach, and weights take no gradient


@pytest.mark.parametrize(("build", "named"), [
    (lambda: DelayWindowsHead(SALE, 2, {}, windows=[3.0, 1.0]), r"heads\.sale\.windows"),
    (lambda: DelayWindowsHead(SALE, 2, {}, windows=[]), r"heads\.sale\.windows"),
    (lambda: ESDFMLoss(SALE, wait=2.0, mature=1.0), r"losses\.sale\.mature"),
])  # fmt: skip
def test_times_out_of_order_are_refused(build, named):
    with pytest.raises(MtlError, match=named):
        build()
