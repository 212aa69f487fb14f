"""DB-MTL agrees with a transcription of the paper's algorithm 1 and descends log-losses in every parameter."""

import pytest
import torch
from torch import nn

from mtl_lightning.training.parameter_step import ParameterStep
from mtl_lightning.training.step import Step
from mtl_lightning.weighters.db_mtl import DBMTL

NAMES = ("click", "conversion", "dwell")


class Model(nn.Module):
    """A shared layer, a shared expert above z, and a tower per task."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.trunk, self.expert = nn.Linear(6, 5), nn.Linear(5, 4)
        self.towers = nn.ModuleList(nn.Linear(4, 1) for _ in NAMES)
        self.double()

    def losses(self, x, y, scales):
        """z and the tasks' losses, of which each depends on its own tower."""
        z = torch.tanh(self.trunk(x))
        h = torch.tanh(self.expert(z))
        return z, [
            scale * (tower(h)[:, 0] - target).square().mean()
            for tower, target, scale in zip(self.towers, y, scales, strict=True)
        ]


def batch(seed):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    return draw(16, 6), draw(3, 16)


def gradients(objective, parameters):
    return torch.autograd.grad(objective, parameters, retain_graph=True)


def paper(model, shared, own, x, y, scales):
    """Algorithm 1 with β = 0: α Σ g_t / |g_t| for what is shared, ∇ log L_t for what belongs to task t."""
    _, losses = model.losses(x, y, scales)
    logs = [loss.log() for loss in losses]
    rows = [torch.cat([part.flatten() for part in gradients(log, shared)]) for log in logs]
    longest = max(row.norm() for row in rows)
    update = longest * sum(row / row.norm() for row in rows)
    parts = update.split([parameter.numel() for parameter in shared])
    return [part.view_as(parameter) for part, parameter in zip(parts, shared, strict=True)] + [
        part for log, parameters in zip(logs, own, strict=True) for part in gradients(log, parameters)
    ]


@pytest.mark.parametrize("scales", [(1.0, 1.0, 1.0), (1.0, 10.0, 0.1), (1e-4, 1.0, 600.0)])
def test_updates_of_every_parameter_are_those_of_algorithm_1(scales):
    model = Model()
    shared = [*model.trunk.parameters(), *model.expert.parameters()]
    own = [list(tower.parameters()) for tower in model.towers]
    weighter = DBMTL(NAMES, beta=0.0, gradients_at="parameters")
    for index in range(6):
        x, y = batch(index)
        expected = paper(model, shared, own, x, y, scales)
        _, losses = model.losses(x, y, scales)
        model.zero_grad()
        weighter(ParameterStep(losses, shared, tasks=NAMES, index=index, seed=0)).backward()
        parameters = [*shared, *(parameter for item in own for parameter in item)]
        for parameter, gradient in zip(parameters, expected, strict=True):
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-9, atol=1e-12)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, expected, strict=True):
                parameter -= 0.05 * gradient


def step_gradients(scales, **options):
    """Gradients of trunk, expert and towers of one step at the seam, by name."""
    model = Model()
    z, losses = model.losses(*batch(0), scales)
    DBMTL(NAMES, **options)(Step(losses, z, tasks=NAMES, index=0, seed=0)).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("scope", ["encoder", "model"])
def test_no_parameter_sees_the_scale_of_a_loss(scope):
    single, other = step_gradients((1.0, 1.0, 1.0), scope=scope), step_gradients((1.0, 10.0, 0.1), scope=scope)
    for name, gradient in single.items():
        torch.testing.assert_close(other[name], gradient, rtol=1e-9, atol=1e-12)


def test_scope_encoder_gives_towers_and_experts_the_plain_sum_of_log_losses():
    model, result = Model(), step_gradients((1.0, 10.0, 0.1))
    _, losses = model.losses(*batch(0), (1.0, 10.0, 0.1))
    above = [(name, value) for name, value in model.named_parameters() if not name.startswith("trunk")]
    for (name, _), expected in zip(
        above, gradients(sum(loss.log() for loss in losses), [v for _, v in above]), strict=True
    ):
        torch.testing.assert_close(result[name], expected, rtol=1e-9, atol=1e-12)


def test_scope_model_multiplies_the_log_loss_of_a_tower_by_the_factor_of_its_task():
    plain, scaled = step_gradients((1.0, 10.0, 0.1)), step_gradients((1.0, 10.0, 0.1), scope="model")
    model = Model()
    z, losses = model.losses(*batch(0), (1.0, 10.0, 0.1))
    norms = torch.stack([gradients(loss.log(), [z])[0].norm() for loss in losses])
    for t in range(3):
        name = f"towers.{t}.weight"
        torch.testing.assert_close(scaled[name], plain[name] * norms.max() / norms[t], rtol=1e-9, atol=1e-12)


def test_a_loss_that_is_not_positive_takes_no_part_above_z_either():
    model = Model()
    z, losses = model.losses(*batch(0), (1.0, 1.0, 1.0))
    losses[1] = losses[1] - losses[1].detach() - 0.5
    DBMTL(NAMES)(Step(losses, z, tasks=NAMES, index=0, seed=0)).backward()
    assert model.towers[1].weight.grad.abs().sum() == 0
    assert model.towers[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("value", [1e-30, 1e-12])
def test_a_vanishing_loss_gives_finite_float32_gradients(value):
    z = torch.ones(2, 3, requires_grad=True)
    towers = torch.ones(3, requires_grad=True)
    losses = [towers[0] * z.sum() * value, towers[1] * z.sum(), towers[2] * z[0].sum()]
    DBMTL(NAMES)(Step(losses, z, tasks=NAMES, index=0, seed=0)).backward()
    assert torch.isfinite(z.grad).all()
    assert torch.isfinite(towers.grad).all()
