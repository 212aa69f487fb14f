"""Quantiles: their definition in numpy, their order, and what they learn where the distribution is known."""

import numpy as np
import pytest
import torch
from scipy import stats

from mtl_lightning.batch import Target
from mtl_lightning.heads.distribution import DistributionHead
from mtl_lightning.heads.members import MemberHeads
from mtl_lightning.losses.pinball import PinballLoss
from mtl_lightning.metrics.regression.coverage import Coverage
from mtl_lightning.metrics.regression.crps import CRPS
from mtl_lightning.schema import Task

SPEND = Task(name="spend", kind="value", label="spend", mean=20.0, scale=8.0)
LEVELS = np.array([0.1, 0.3, 0.5, 0.7, 0.9])


def known(label):
    return Target(label=label[:, None], mask=torch.ones(len(label), dtype=torch.bool))


@pytest.fixture
def _double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("_double")
def test_quantiles_and_loss_are_their_definition():
    torch.manual_seed(0)
    head = DistributionHead(SPEND, 4, {}, hidden=[], quantiles=5)
    h, label = torch.randn(7, 4), 40 * torch.rand(7)
    output = head(h, {}, {})
    v = h.numpy() @ head.tower.output.weight.detach().numpy().T + head.tower.output.bias.detach().numpy()
    loss, expected = 0.0, np.empty((7, 5))
    for row in range(7):
        step = np.log1p(np.exp(v[row]))
        away = [-step[1] - step[2], -step[2], 0.0, step[3], step[3] + step[4]]
        for k in range(5):
            quantile = v[row, 0] + away[k]
            error = (label[row].item() - 20) / 8 - quantile
            loss += 2 * (LEVELS[k] * error if error > 0 else (LEVELS[k] - 1) * error) / (7 * 5)
            expected[row, k] = max(20 + 8 * quantile, 0)
    np.testing.assert_allclose(head.details(output, {})["quantiles"].detach(), expected, rtol=1e-9)
    np.testing.assert_allclose(head.predict(output, {}).detach(), expected.mean(1), rtol=1e-9)
    assert PinballLoss(SPEND)(output, known(label), {}).item() == pytest.approx(loss, rel=1e-9)


@pytest.mark.parametrize("transform", ["none", "log1p"])
def test_quantiles_never_cross(transform):
    head = DistributionHead(SPEND, 8, {}, transform=transform)
    quantiles = head.details(head(50 * torch.randn(200, 8), {}, {}), {})["quantiles"]
    assert (quantiles.diff(dim=1) >= 0).all()
    assert (quantiles >= 0).all()


def test_a_level_lies_between_its_neighbours():
    for level, expected in ((0.5, 20.0), (0.0, 20 - 8 * 1.28155), (0.2, 20 - 8 * (1.28155 + 0.5244) / 2)):
        head = DistributionHead(SPEND, 4, {}, hidden=[], quantiles=5, level=level)
        assert head.predict(head(torch.zeros(1, 4), {}, {}), {}).item() == pytest.approx(expected, abs=1e-3)


def test_crps_of_normal_quantiles_is_the_closed_form():
    levels = (np.arange(2000) + 0.5) / 2000
    quantiles = torch.tensor(stats.norm.ppf(levels)) * 3 + 1
    label = torch.tensor([-4.0, 1.0, 2.5])
    target = known(label)
    target.details = {"quantiles": quantiles.expand(3, -1), "levels": torch.tensor(levels).expand(3, -1)}
    metric = CRPS(Task(name="dwell", kind="regression", label="dwell"))
    metric.update(torch.ones(3), target)
    z = (label.numpy() - 1) / 3
    closed = 3 * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi))
    assert metric.compute().item() == pytest.approx(closed.mean(), rel=1e-3)


def test_it_learns_the_quantiles_of_a_known_distribution():
    """Gamma values whose shape and mean depend on the row, and a third of zeros in one of two groups."""
    generator = np.random.default_rng(0)
    group = generator.integers(0, 2, 3000)
    positive = generator.random(3000) > group / 3
    label = torch.tensor(positive * generator.gamma(np.where(group, 1.0, 4.0), np.where(group, 20.0, 3.0)))
    h = torch.nn.functional.one_hot(torch.tensor(group), 2).float()
    task = Task(name="spend", kind="value", label="spend", mean=label.mean().item(), scale=label.std().item())
    torch.manual_seed(0)
    head, loss, target = DistributionHead(task, 2, {}, hidden=[]), PinballLoss(task), known(label.float())
    optimizer = torch.optim.Adam(head.parameters(), lr=0.2)
    rate = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, total_iters=150)
    for _ in range(150):
        optimizer.zero_grad()
        loss(head(h, {}, {}), target, {}).backward()
        optimizer.step()
        rate.step()
    both = head.details(head(torch.eye(2), {}, {}), {})["quantiles"].detach().numpy()
    levels = head.levels.numpy()
    np.testing.assert_allclose(both[0], stats.gamma.ppf(levels, 4, scale=3), rtol=0.12)
    truth = stats.gamma.ppf(np.clip((levels - 1 / 3) / (2 / 3), 0, None), 1, scale=20)
    np.testing.assert_allclose(both[1], truth, rtol=0.12, atol=0.7)
    target.details = {name: value.detach() for name, value in head.details(head(h, {}, {}), {}).items()}
    for level in (0.5, 0.8):
        metric = Coverage(task, level=level)
        metric.update(label[group == 0], part(target, group == 0))
        assert metric.compute().item() == pytest.approx(level, abs=0.03)
    assert head.predict(head(h, {}, {}), {}).mean().item() == pytest.approx(label.mean().item(), rel=0.03)


def part(target, rows):
    rows = torch.tensor(rows)
    details = {name: value[rows] for name, value in target.details.items()}
    return Target(label=target.label[rows], mask=target.mask[rows], details=details)


def test_an_ensemble_has_the_mean_quantiles():
    torch.manual_seed(0)
    heads = [DistributionHead(SPEND, 4, {}) for _ in range(2)]
    ensemble, h = MemberHeads(heads), torch.randn(3, 8)
    parts = zip(heads, h.chunk(2, 1), strict=True)
    mean = sum(head.details(head(part, {}, {}), {})["quantiles"] for head, part in parts) / 2
    torch.testing.assert_close(ensemble.details(ensemble(h, {}, {}), {})["quantiles"], mean)
