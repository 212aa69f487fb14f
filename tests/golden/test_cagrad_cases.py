"""CAGrad on matrices of low rank, gradients that sum to zero and scales from 0 to 1e15, in float32, next to TorchJD."""

import pytest
import torch
from torchjd import aggregation as torchjd

from mtl_lightning.weighters.cagrad import CAGrad

RADII = [0.5, 1.0, 2.0]
SHAPES = [(1, 1, 1), (4, 3, 1), (4, 3, 2), (4, 3, 3), (9, 11, 5), (9, 11, 9)]
"""Tasks, columns and rank."""
SCALES = [0.0, 1e-10, 1.0, 1e3, 1e5, 1e10, 1e15]


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def typical(seed, tasks, columns, rank):
    return draw(seed, tasks, rank) @ draw(seed + 1000, rank, columns)


def summing_to_zero(seed, tasks, columns, rank):
    """Gradients of which a combination with positive weights vanishes: no direction helps all tasks."""
    jacobian = typical(seed, tasks, columns, rank)
    weights = draw(seed + 2000, tasks).abs() + 0.1
    return jacobian - weights[:, None] @ (weights @ jacobian)[None] / weights.square().sum()


def plain_sum_zero(seed, tasks, columns, rank):
    jacobian = typical(seed, tasks, columns, rank)
    return jacobian - jacobian.mean(0)


def update(jacobian, c):
    """The float32 gradients, our weights, and the update as training would compute it."""
    jacobian = jacobian.float()
    gramian = (jacobian @ jacobian.T).double()
    if not torch.isfinite(gramian).all():
        gramian = jacobian.double() @ jacobian.double().T
    weights = CAGrad(tuple(f"task{i}" for i in range(len(jacobian))), c=c).weights(gramian)
    return jacobian, weights, weights.float() @ jacobian


@pytest.mark.parametrize("c", RADII)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("make", [typical, summing_to_zero, plain_sum_zero])
def test_weights_are_finite_and_the_update_is_in_the_ball(make, shape, c):
    for seed in range(2):
        for scale in SCALES:
            jacobian, weights, moved = update(scale * make(seed, *shape), c)
            assert torch.isfinite(weights).all()
            mean = jacobian.mean(0).double()
            # float32 inner products leave 3e-4 of a length uncertain
            slack = 2e-3 * jacobian.double().norm()
            assert (moved.double() - mean).norm() <= c * mean.norm() + slack


@pytest.mark.parametrize("c", [1.0, 2.0])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("make", [typical, summing_to_zero])
def test_no_task_gets_worse_where_the_ball_holds_zero(make, shape, c):
    for seed in range(2):
        jacobian, _, moved = update(make(seed, *shape), c)
        assert (jacobian @ moved).min() >= -2e-3 * jacobian.norm() ** 2


@pytest.mark.parametrize("c", RADII)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_worst_task_gains_what_it_gains_with_torchjd(shape, c):
    for seed in range(2):
        jacobian, weights, _ = update(typical(seed, *shape), c)
        exact = jacobian.double() @ jacobian.double().T
        theirs = torchjd.CAGradWeighting(c=c)(exact)
        if not theirs.any() and c < 1:
            continue  # no direction helps all: theirs leaves the ball
        ours, peer = (float((exact @ item).min() / exact.trace()) for item in (weights, theirs))
        assert ours == pytest.approx(peer, abs=1e-3)


def test_four_tasks_in_three_columns_give_weights_in_every_draw():
    """The root of a product that rounding made negative is not a real number: such draws ended in a TypeError."""
    for seed in range(40):
        _, weights, _ = update(draw(seed, 4, 3), 2.0)
        assert torch.isfinite(weights).all()


def test_opposed_gradients_leave_no_update():
    _, _, moved = update(torch.tensor([[1.0, 2.0], [-1.0, -2.0]]), 1.0)
    assert moved.norm() == 0


def test_without_a_mean_gradient_the_weights_are_those_of_the_mean():
    _, weights, _ = update(torch.tensor([[1.0, 0.0], [-0.5, 0.75], [-0.5, -0.75]]), 0.5)
    assert weights.tolist() == pytest.approx([1 / 3] * 3)
