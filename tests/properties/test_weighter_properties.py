"""Contract of every weighter, and claims of its paper: properties over random, degenerate and extreme gradients."""

import pytest
import torch

from mtl_lightning.plugins import registry
from mtl_lightning.training.step import Step
from mtl_lightning.weighters.bases.gramian import GramianWeighter

ALL = sorted(registry().names("weighter"))
NAMES = ("click", "conversion", "dwell")


def resolve(name):
    return registry().resolve("weighter", name)


GRAMIAN = [name for name in ALL if issubclass(resolve(name), GramianWeighter)]
RANDOM_ORDER = {"pcgrad", "gradvac"}
NON_CONFLICTING = ["mgda", "upgrad", "nash_mtl", "fairgrad"]
SCALE_FREE = [
    "cagrad",
    "upgrad",
    "mgda",
    "imtl_g",
    "aligned_mtl",
    "pcgrad",
    "gradvac",
    "nash_mtl",
    "fairgrad",
    "pareto",
]
"""The combined gradient of these keeps its direction when all losses are multiplied by one number."""
TASK_SCALE_FREE = ["nash_mtl", "db_mtl"]
"""The direction of these doesn't change when one task's loss is multiplied."""


def step_of(jacobian, values, index=0, seed=0):
    """A step whose gradients at z are ``jacobian`` [T, B, D] and whose losses are ``values`` [T]."""
    z = torch.zeros(jacobian.shape[1:], dtype=jacobian.dtype, requires_grad=True)
    losses = (z * jacobian).sum((1, 2)) + torch.as_tensor(values, dtype=jacobian.dtype)
    return Step(losses, z, tasks=NAMES[: len(jacobian)], index=index, seed=seed)


def gradient(weighter, jacobian, values=(0.5, 0.1, 2.0), **step_options):
    """The combined gradient at z; the gradients of the weighter's parameters are cleared."""
    step = step_of(jacobian, values[: len(jacobian)], **step_options)
    weighter(step).backward()
    weighter.zero_grad()
    return step.z.grad


def draw_nothing(step):
    """In place of ``begin`` where a test sets the draw itself."""


def draw(seed, tasks=3, rows=4, width=5, dtype=torch.float64):
    return torch.randn(tasks, rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "case", ["random", "zero", "one zero", "huge", "tiny", "parallel", "opposite", "disparate", "no labels", "negative"]
)
def test_finite_and_of_the_losses_dtype(name, dtype, case):
    jacobian, values = draw(1, dtype=dtype), (0.5, 0.1, 2.0)
    if case == "zero":
        jacobian = jacobian * 0
    elif case == "one zero":
        jacobian[1] = 0
    elif case == "huge":
        jacobian = jacobian * 1e15
    elif case == "tiny":
        jacobian = jacobian * 1e-18
    elif case == "parallel":
        jacobian = jacobian[:1] * torch.tensor([1.0, 2.0, 0.3], dtype=dtype)[:, None, None]
    elif case == "opposite":
        jacobian = jacobian[:1] * torch.tensor([1.0, -1.0, -0.3], dtype=dtype)[:, None, None]
    elif case == "disparate":
        jacobian = jacobian * torch.tensor([1e-6, 1.0, 1e6], dtype=dtype)[:, None, None]
    elif case == "no labels":
        jacobian[1:], values = 0, (0.5, 0.0, 0.0)
    elif case == "negative":
        values = (-0.5, 0.1, -2.0)
    weighter = resolve(name)(NAMES)
    for index in range(4):
        result = gradient(weighter, jacobian, values, index=index)
        assert result.dtype == dtype
        assert torch.isfinite(result).all()
        if weighter.needs_losses_after_step:
            weighter.after_step(torch.tensor(values) * 0.9)
    assert all(torch.isfinite(torch.tensor(weight)) for weight in weighter.report().values())
    assert all(torch.isfinite(value).all() for value in weighter.state_dict().values())


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("bad", ["value", "gradient"])
def test_a_step_that_is_not_finite_spoils_no_state(name, bad):
    weighter = resolve(name)(NAMES)
    gradient(weighter, draw(1))
    jacobian, values = draw(2), (0.5, 0.1, 2.0)
    if bad == "value":
        values = (0.5, float("nan"), 2.0)
    elif issubclass(resolve(name), GramianWeighter):
        jacobian[0, 0, 0] = float("inf")
    step = step_of(jacobian, values, index=1)
    weighter(step)  # the trainer sees the gradients' norm and skips the update
    weighter.zero_grad()
    if weighter.needs_losses_after_step:
        weighter.after_step(torch.tensor([0.5, float("nan"), 2.0]))
    assert torch.isfinite(gradient(weighter, draw(3), index=2)).all()
    assert all(torch.isfinite(value).all() for value in weighter.state_dict().values())


@pytest.mark.parametrize("name", ALL)
def test_state_survives_a_checkpoint(name):
    """A weighter that is rebuilt from its state in the middle continues as if nothing had happened."""
    torch.manual_seed(0)
    single = resolve(name)(NAMES)
    for index in range(5):
        gradient(single, draw(index), index=index)
        if single.needs_losses_after_step:
            single.after_step(torch.tensor([0.4, 0.09, 2.0]))
    other = resolve(name)(NAMES)
    other.load_state_dict(single.state_dict(), strict=True)
    for index in range(5, 9):
        expected = gradient(single, draw(index), index=index)
        assert torch.equal(gradient(other, draw(index), index=index), expected)
        for weighter in (single, other):
            if weighter.needs_losses_after_step:
                weighter.after_step(torch.tensor([0.3, 0.08, 2.1]))
    assert single.report() == other.report()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("order", [(2, 0, 1), (1, 0, 2)])
def test_permutation_equivariant(name, order):
    """Names, not positions, decide: other task order, same gradient; methods that draw have their draw moved."""
    options = {"target": "click"} if name == "metabalance" else {}
    torch.manual_seed(0)
    single = resolve(name)(NAMES, **options)
    other = resolve(name)(tuple(NAMES[i] for i in order), **options)
    if name == "attention":
        other.load_state_dict(single.state_dict())
        other.identity.data = single.identity.data[list(order)]
    values = (0.5, 0.1, 2.0)
    for index in range(3):
        jacobian = draw(index)
        if name in RANDOM_ORDER:
            single.begin = other.begin = draw_nothing
            if name == "pcgrad":  # the moved task meets the others in the order in which its original does
                inverse = torch.tensor([order.index(i) for i in range(3)])
                other.order = inverse[single.order[list(order)]]
            else:
                whole = [[j for j in range(3) if j != i] for i in range(3)]
                moved = [[order.index(j) for j in whole[order[i]]] for i in range(3)]
                other.order = torch.tensor(
                    [[position - (position > i) for position in row] for i, row in enumerate(moved)]
                )
        if name in ("cosmos", "rlw"):
            single.begin = other.begin = draw_nothing
            single.drawn = torch.tensor([0.3, 0.2, 0.5], dtype=torch.float64)
            other.drawn = single.drawn[list(order)]
        expected = gradient(single, jacobian, values, index=index)
        result = gradient(other, jacobian[list(order)], tuple(values[i] for i in order), index=index)
        torch.testing.assert_close(result, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", NON_CONFLICTING)
@pytest.mark.parametrize("tasks", [2, 3, 6])
def test_no_task_gets_worse(name, tasks):
    for seed in range(20):
        jacobian = draw(seed, tasks, 2, 3).flatten(1)
        jacobian = jacobian + 0.1 * jacobian.mean(0)
        gramian = jacobian @ jacobian.T
        weighter = resolve(name)(tuple("abcdef"[:tasks]), **({"ridge": 1e-9} if name == "upgrad" else {}))
        inner = gramian @ weighter.weights(gramian)
        assert inner.min() >= -1e-6 * inner.abs().max()


def test_pcgrad_resolves_the_conflict_of_two_tasks():
    for seed in range(20):
        jacobian = draw(seed, 2, 2, 3).flatten(1)
        gramian = jacobian @ jacobian.T
        assert (gramian @ resolve("pcgrad")(("a", "b")).weights(gramian)).min() >= -1e-9


@pytest.mark.parametrize("name", ["mgda", "upgrad", "aligned_mtl", "pcgrad", "nash_mtl", "fairgrad"])
def test_stationary_where_a_convex_combination_of_gradients_vanishes(name):
    """g and −g: no direction helps both, and the combined gradient is zero."""
    g = draw(0, 1)
    jacobian = torch.cat([g, -g])
    result = gradient(resolve(name)(NAMES[:2]), jacobian)
    assert result.norm() <= 1e-3 * g.norm()


@pytest.mark.parametrize("name", ["sum", "pcgrad"])
def test_the_sum_where_nothing_conflicts(name):
    jacobian = draw(0).abs()
    torch.testing.assert_close(gradient(resolve(name)(NAMES), jacobian), jacobian.sum(0))


@pytest.mark.parametrize("name", ["upgrad", "cagrad"])
def test_near_the_mean_where_nothing_conflicts(name):
    jacobian = draw(0).abs()
    options = {"c": 0.0} if name == "cagrad" else {}
    torch.testing.assert_close(
        gradient(resolve(name)(NAMES, **options), jacobian), jacobian.mean(0), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("name", SCALE_FREE)
@pytest.mark.parametrize("factor", [1e-4, 600.0])
def test_direction_free_of_the_common_scale(name, factor):
    jacobian = draw(3)
    single = gradient(resolve(name)(NAMES), jacobian)
    other = gradient(resolve(name)(NAMES), factor * jacobian)
    torch.testing.assert_close(other / other.norm(), single / single.norm(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", TASK_SCALE_FREE)
def test_direction_free_of_each_tasks_scale(name):
    factors = torch.tensor([1.0, 600.0, 1e-3], dtype=torch.float64)
    values = torch.tensor([0.5, 0.1, 2.0], dtype=torch.float64)
    single = gradient(resolve(name)(NAMES), draw(3), tuple(values.tolist()))
    other = gradient(resolve(name)(NAMES), factors[:, None, None] * draw(3), tuple((factors * values).tolist()))
    torch.testing.assert_close(other / other.norm(), single / single.norm(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", GRAMIAN)
def test_between_computations_the_weights_are_kept_and_no_jacobian_is_taken(name):
    weighter = resolve(name)(NAMES, every=3)
    gradient(weighter, draw(0), index=0)
    remaining = weighter.kept.clone()
    for index in (1, 2):
        step = step_of(draw(index), (0.5, 0.1, 2.0), index=index)
        weighter(step).backward()
        assert "jacobian" not in vars(step)
        assert torch.equal(weighter.kept, remaining)
        torch.testing.assert_close(step.z.grad, torch.einsum("t,tbd->bd", remaining, draw(index)))
    step = step_of(draw(3), (0.5, 0.1, 2.0), index=3)
    weighter(step)
    assert "jacobian" in vars(step)


@pytest.mark.parametrize("name", GRAMIAN)
def test_scope_decides_what_towers_see(name):
    """A tower above z gets the plain gradient with ``encoder``, the weighted one with ``model``; z the same in both.

    With db_mtl the plain gradient is the logarithm's.
    """
    jacobian, seen = draw(4), {}
    for scope in ("encoder", "model"):
        weighter = resolve(name)(NAMES, scope=scope)
        z = torch.zeros(jacobian.shape[1:], dtype=torch.float64, requires_grad=True)
        towers = torch.ones(3, dtype=torch.float64, requires_grad=True)
        losses = towers * ((z * jacobian).sum((1, 2)) + torch.tensor([0.5, 0.1, 2.0], dtype=torch.float64))
        weighter(Step(losses, z, tasks=NAMES, index=0, seed=0)).backward()
        seen[scope] = (z.grad, towers.grad, weighter.kept.clone())
    torch.testing.assert_close(seen["encoder"][0], seen["model"][0])
    plain = [1.0, 1.0, 1.0] if name == "db_mtl" else [0.5, 0.1, 2.0]
    torch.testing.assert_close(seen["encoder"][1], torch.tensor(plain, dtype=torch.float64))
    torch.testing.assert_close(seen["model"][1], seen["model"][2] * torch.tensor([0.5, 0.1, 2.0], dtype=torch.float64))


@pytest.mark.parametrize("name", sorted({*ALL} - {"sum", "constant", "graddrop"}))
def test_one_task_alone_works(name):
    weighter = resolve(name)(NAMES[:1])
    result = gradient(weighter, draw(0, 1), (0.5,))
    direction = draw(0, 1)[0]
    torch.testing.assert_close(result / result.norm(), direction / direction.norm())


@pytest.mark.parametrize("name", ["cosmos", "rlw", "pcgrad", "gradvac", "graddrop"])
def test_draws_depend_on_seed_and_step_alone(name):
    torch.manual_seed(1)
    single = gradient(resolve(name)(NAMES), draw(0), index=5, seed=3)
    torch.manual_seed(2)
    assert torch.equal(gradient(resolve(name)(NAMES), draw(0), index=5, seed=3), single)
    others = [gradient(resolve(name)(NAMES), draw(0), index=index, seed=3) for index in range(6, 14)]
    assert any(not torch.equal(other, single) for other in others)


@pytest.mark.parametrize(
    "name", ["mgda", "nash_mtl", "fairgrad", "imtl_g", "cagrad", "aligned_mtl", "upgrad", "pareto"]
)
def test_a_task_without_labels_does_not_stop_the_others(name):
    """Its gradient is zero, and the smallest combination of gradients would be that alone."""
    jacobian = draw(5)
    jacobian[1] = 0
    with_it = gradient(resolve(name)(NAMES), jacobian, (0.5, 0.0, 2.0))
    without = gradient(resolve(name)((NAMES[0], NAMES[2])), jacobian[[0, 2]], (0.5, 2.0))
    assert with_it.norm() > 0
    torch.testing.assert_close(with_it / with_it.norm(), without / without.norm(), rtol=1e-6, atol=1e-7)
