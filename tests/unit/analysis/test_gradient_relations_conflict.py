"""Two tasks are said to conflict only where enough samples leave no doubt about the sign of their mean cosine."""

import numpy as np
import pytest
import torch
from scipy import stats

from mtl_lightning.analysis.gradient_relations import LEAST, GradientRelations, RelationsCallback
from mtl_lightning.analysis.intervals import half_width
from mtl_lightning.report.training.relations import relations_table


def relations_of(cosines):
    relations = GradientRelations(("like", "hide"))
    for cosine in cosines:
        relations.add(torch.tensor([[4.0, 2 * cosine], [2 * cosine, 1.0]], dtype=torch.float64))
    return relations


def pair_of(cosines):
    return relations_of(cosines).summary()["pairs"][0]


def noise(count, mean, spread=0.1, seed=0):
    return mean + spread * np.random.default_rng(seed).standard_normal(count)


def autoregression(count, correlation, seed):
    """A first-order autoregression with mean 0 and variance 1."""
    random = np.random.default_rng(seed)
    values = [random.standard_normal()]
    for _ in range(count - 1):
        values.append(correlation * values[-1] + (1 - correlation**2) ** 0.5 * random.standard_normal())
    return np.array(values)


def half_width_of(values):
    return half_width(len(values), values.mean(), (values**2).sum(), (values[1:] * values[:-1]).sum())


def test_of_samples_without_memory_the_interval_is_students():
    values = np.array([0.1, -0.1, 0.2, -0.2, 0.15, -0.3, 0.05, -0.05])  # neighbours are anticorrelated
    expected = stats.t.ppf(0.975, 7) * stats.sem(values)
    assert half_width_of(values) == pytest.approx(expected, rel=1e-3)
    low, high = pair_of(values)["interval"]
    assert (low, high) == pytest.approx((values.mean() - expected, values.mean() + expected), rel=1e-3)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.8])
def test_the_interval_holds_the_mean_also_where_samples_resemble_their_neighbours(correlation):
    series = [autoregression(100, correlation, seed) for seed in range(300)]
    covered = np.mean([abs(values.mean()) <= half_width_of(values) for values in series])
    assert covered > 0.9
    if correlation:
        assert np.mean([abs(v.mean()) <= stats.t.ppf(0.975, 99) * stats.sem(v) for v in series]) < 0.85


def test_a_clear_conflict_is_reported_after_enough_samples():
    assert pair_of(noise(LEAST, -0.3))["conflict"] is True
    assert pair_of(noise(LEAST - 1, -0.3))["conflict"] is None


def test_agreement_is_no_conflict():
    assert pair_of(noise(LEAST, 0.3))["conflict"] is False


@pytest.mark.parametrize("seed", range(5))
def test_noise_around_zero_is_neither(seed):
    cosines = noise(200, 0.0, seed=seed)
    pair = pair_of(cosines - cosines.mean() - 0.001)
    assert 0.3 < pair["conflicting"] < 0.7
    assert pair["conflict"] is None


def test_samples_that_drift_together_are_not_as_many_as_they_seem():
    """A slow wave whose mean is slightly negative: taken as independent, its interval would be below zero."""
    cosines = 0.3 * np.sin(np.linspace(0, 6 * np.pi, 200)) - 0.05
    assert -0.05 + stats.t.ppf(0.975, 199) * stats.sem(cosines) < 0
    assert pair_of(cosines)["conflict"] is None


def test_equal_samples_have_an_interval_of_no_width():
    pair = pair_of([-0.5] * 30)
    assert pair["interval"] == pytest.approx([-0.5, -0.5])
    assert pair["conflict"] is True


def test_steps_without_a_gradient_of_one_task_do_not_count():
    relations = relations_of(noise(15, -0.3))
    for _ in range(20):
        relations.add(torch.diag(torch.tensor([1.0, 0.0])))
    (pair,) = relations.summary()["pairs"]
    assert (pair["steps"], pair["conflict"]) == (15, None)
    assert pair["interval"] == pytest.approx(pair_of(noise(15, -0.3))["interval"])


def test_sums_of_a_checkpoint_without_squares_give_a_mean_and_no_interval():
    callback = RelationsCallback()
    callback.relations = relations_of(noise(30, -0.3))
    state = callback.state_dict()
    for name in ("squares", "products", "previous", "measured"):
        del state[name]
    other = RelationsCallback()
    other.load_state_dict(state)
    other.relations.add(torch.eye(2))
    (pair,) = other.relations.summary()["pairs"]
    assert (pair["steps"], pair["interval"], pair["conflict"]) == (31, None, None)


@pytest.mark.parametrize(
    ("cosines", "expected"),
    [
        (noise(40, -0.3, 0.05), "yes"),
        (noise(40, 0.3, 0.05), "no"),
        (noise(40, 0.0) - noise(40, 0.0).mean(), "unclear"),
        (noise(10, -0.3), "few"),
    ],
)
def test_the_terminal_says_which(cosines, expected):
    _, table, *notes = relations_table(relations_of(cosines).summary()).renderables
    cells = {column.header: next(iter(column.cells)) for column in table.columns}
    assert cells["conflict"] == expected
    assert "±." in cells["cosine"]
    assert any("fewer than 20" in note.plain for note in notes) == (expected == "few")
