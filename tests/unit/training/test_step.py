"""Step: values, Jacobian, Gramian, the seam and the generator, in one process (tests/ddp has the others)."""

import pytest
import torch

from mtl_lightning.batch import Batch, Target
from mtl_lightning.interfaces import Step as StepProtocol
from mtl_lightning.schema import Schema, Task
from mtl_lightning.training.products import SLICE
from mtl_lightning.training.step import Step, global_counts


@pytest.fixture
def graph():
    torch.manual_seed(0)
    x = torch.randn(6, 4, dtype=torch.float64)
    trunk = torch.nn.Linear(4, 3).double()
    heads = [torch.nn.Linear(3, 1).double() for _ in range(3)]
    z = trunk(x)
    losses = torch.stack([head(z).square().mean() for head in heads])
    return trunk, heads, z, losses


def make(losses, z, index=0, seed=0):
    return Step(losses, z, tasks=("a", "b", "c"), index=index, seed=seed)


def test_jacobian_is_the_gradient_of_each_loss(graph):
    _, heads, z, losses = graph
    step = make(losses, z)
    for t, head in enumerate(heads):
        expected = 2 * head(z) * head.weight / len(z)
        torch.testing.assert_close(step.jacobian[t], expected.detach())
    flat = step.jacobian.flatten(1)
    torch.testing.assert_close(step.gramian, flat @ flat.T)


def test_a_loss_that_does_not_reach_z_has_a_zero_row(graph):
    _, _, z, losses = graph
    lonely = torch.zeros((), dtype=z.dtype, requires_grad=True) * 1.0
    step = Step(torch.stack([losses[0], lonely]), z, tasks=("a", "b"), index=0, seed=0)
    assert step.jacobian[1].abs().sum() == 0
    assert step.jacobian[0].abs().sum() > 0


@pytest.mark.parametrize("width", [SLICE - 1, 2 * SLICE + 3])
def test_products_of_wide_gradients_are_taken_in_blocks(width):
    torch.manual_seed(0)
    seam, toward = torch.zeros(1, width, requires_grad=True), torch.randn(3, width)
    step = make([(seam * row).sum() for row in toward], seam)
    torch.testing.assert_close(step.gramian, toward.double() @ toward.T.double(), rtol=1e-5, atol=1e-2)


def test_seam_gives_z_the_asked_gradient_and_heads_the_sum(graph):
    trunk, heads, z, losses = graph
    wanted = torch.randn_like(z)
    plain = torch.autograd.grad(losses.sum(), [p for head in heads for p in head.parameters()], retain_graph=True)
    objective = make(losses, z).seam(wanted)
    assert objective.item() == pytest.approx(losses.sum().item(), abs=1e-12)
    below = torch.autograd.grad(z, list(trunk.parameters()), grad_outputs=wanted, retain_graph=True)
    objective.backward()
    for parameter, gradient in zip(trunk.parameters(), below, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
    for parameter, gradient in zip([p for head in heads for p in head.parameters()], plain, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_generator_depends_on_seed_and_index_only(graph):
    _, _, z, losses = graph
    draw = lambda **kw: torch.rand(4, generator=make(losses, z, **kw).generator).tolist()  # noqa: E731
    assert draw(index=3, seed=1) == draw(index=3, seed=1)
    assert draw(index=3, seed=1) != draw(index=4, seed=1)
    assert draw(index=3, seed=1) != draw(index=3, seed=2)


def test_step_keeps_its_protocol(graph):
    _, _, z, losses = graph
    assert isinstance(make(losses, z), StepProtocol)


def batch(mask, weight=None):
    schema = Schema((), (Task(name="a", kind="binary", label="a"), Task(name="b", kind="binary", label="b")))
    rows = len(mask)
    empty = torch.zeros(rows, 0)
    return Batch(schema=schema, ids=empty.long(), dense=empty, labels=torch.zeros(rows, 2), mask=mask, weight=weight)


def test_counts_are_known_weight_and_rows():
    mask = torch.tensor([[True, False], [True, True], [False, True]])
    assert global_counts(batch(mask)).tolist() == [2.0, 2.0, 3.0]
    weight = torch.tensor([[0.5, 9.0], [2.0, 1.0], [9.0, 3.0]])
    assert global_counts(batch(mask, weight)).tolist() == [2.5, 4.0, 3.0]


def test_target_mean_over_known_rows_ignores_the_rest_even_if_infinite():
    values = torch.tensor([1.0, float("inf"), 3.0, float("nan")], requires_grad=True)
    target = Target(label=torch.zeros(4, 1), mask=torch.tensor([True, False, True, False]))
    mean = target.mean(values)
    mean.backward()
    assert mean.item() == 2.0
    assert values.grad.tolist() == [0.5, 0.0, 0.5, 0.0]


def test_target_mean_without_known_rows_is_a_connected_zero():
    values = torch.ones(2, requires_grad=True)
    for count in (None, torch.tensor(0.0, dtype=torch.float64)):
        mean = Target(label=torch.zeros(2, 1), mask=torch.zeros(2, dtype=torch.bool), count=count).mean(values)
        mean.backward()
        assert mean.item() == 0.0
    assert values.grad.tolist() == [0.0, 0.0]


def test_weighted_mean():
    target = Target(
        label=torch.zeros(3, 1), mask=torch.tensor([True, True, False]), weight=torch.tensor([1.0, 3.0, 7.0])
    )
    assert target.mean(torch.tensor([2.0, 6.0, 100.0])).item() == 5.0
