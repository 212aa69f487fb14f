"""Late events: the likelihood row by row, times that are missing, and the final rate of a log that ended early."""

import math

import numpy as np
import pytest
import torch

from mtl_lightning.batch import Output, Target
from mtl_lightning.errors import MtlError
from mtl_lightning.heads.delayed_feedback import DelayedFeedbackHead
from mtl_lightning.losses.delayed_feedback import DelayedFeedbackLoss
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


def test_it_finds_the_final_rates_of_a_log_that_ended_early():
    """Two groups with rates of 0.5 and 0.2 and mean delays of 2 and 10 days, in a log of ten days."""
    random = np.random.default_rng(0)
    group = random.integers(0, 2, 5_000)
    elapsed = random.uniform(0, 10, 5_000)
    delay = random.exponential(np.array([2.0, 10.0])[group])
    happened = (random.random(5_000) < np.array([0.5, 0.2])[group]) & (delay < elapsed)
    times = {"delay": torch.tensor(np.where(happened, delay, np.nan)), "elapsed": torch.tensor(elapsed)}
    h = torch.nn.functional.one_hot(torch.tensor(group), 2).float()
    torch.manual_seed(0)
    head, loss = DelayedFeedbackHead(SALE, 2, {}, hidden=[], unit=1.0), DelayedFeedbackLoss(SALE)
    target = Target(label=torch.tensor(happened)[:, None].float(), mask=torch.ones(5_000, dtype=torch.bool))
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        value = loss(head(h, {}, times), target, {})
        value.backward()
        return value

    optimizer.step(closure)
    output = head(torch.eye(2), {}, {})
    assert head.predict(output, {}).tolist() == pytest.approx([0.5, 0.2], abs=0.05)
    assert output.extra["hazard"].exp()[:, 0].tolist() == pytest.approx([0.5, 0.1], abs=0.05)
    naive = [happened[group == g].mean() for g in (0, 1)]
    assert naive[0] < 0.42
    assert naive[1] < 0.09
