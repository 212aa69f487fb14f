"""Weights equal TorchJD's on random Gramians, in float64."""

import pytest
import torch
from torchjd import aggregation as torchjd
from torchjd import scalarization

from mtl_lightning.plugins import registry

SIZES = [(tasks, width) for tasks in (2, 3, 5, 8, 12, 20) for width in (tasks, tasks + 1, 4 * tasks, 50)]
EXACT = {
    "aligned_mtl": [({}, torchjd.AlignedMTLWeighting())]
    + [({"scale": scale}, torchjd.AlignedMTLWeighting(scale_mode=scale)) for scale in ("median", "rmse")],
    "fairgrad": [({"alpha": alpha}, torchjd.FairGradWeighting(alpha=alpha)) for alpha in (0.5, 1.0, 2.0)],
    "imtl_g": [({}, torchjd.IMTLGWeighting())],
    "upgrad": [({}, torchjd.UPGradWeighting())],
}


def build(name, count, **options):
    return registry().resolve("weighter", name)(tuple(f"task{i}" for i in range(count)), **options)


def random_gramian(count, width, seed):
    jacobian = torch.randn(count, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return jacobian @ jacobian.T


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize(("count", "width"), SIZES)
def test_same_weights(name, count, width):
    for seed in range(3):
        gramian = random_gramian(count, width, seed)
        if torch.linalg.cond(gramian) > 1e7:
            continue
        for options, peer in EXACT[name]:
            torch.testing.assert_close(
                build(name, count, **options).weights(gramian), peer(gramian), rtol=1e-5, atol=1e-5
            )


@pytest.mark.parametrize("count", [2, 3, 8])
def test_pcgrad_with_the_same_orders(count):
    for seed in range(5):
        gramian = random_gramian(count, 4, seed)
        weighter = build("pcgrad", count)
        generator = torch.Generator().manual_seed(seed)
        weighter.order = torch.stack([torch.randperm(count, generator=generator) for _ in range(count)])
        torch.manual_seed(seed)
        torch.testing.assert_close(weighter.weights(gramian), torchjd.PCGradWeighting()(gramian), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_gradvac_with_the_same_orders_over_steps(count):
    weighter, peer = build("gradvac", count, beta=0.5), torchjd.GradVacWeighting(beta=0.5)
    for seed in range(6):
        gramian = random_gramian(count, 6, seed)
        generator = torch.Generator().manual_seed(seed)
        weighter.order = torch.stack([torch.randperm(count - 1, generator=generator) for _ in range(count)])
        torch.manual_seed(seed)
        torch.testing.assert_close(weighter.weights(gramian), peer(gramian), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("count", "width"), SIZES[:12])
def test_mgda_is_no_longer_than_their_frank_wolfe_and_equal_once_that_has_converged(count, width):
    gramian = random_gramian(count, width, 0)
    ours = build("mgda", count, eps=1e-13).weights(gramian)
    theirs = torchjd.MGDAWeighting(epsilon=1e-9, max_iters=3000)(gramian)
    square = lambda weights: weights @ gramian @ weights  # noqa: E731
    assert square(ours) <= square(theirs) * (1 + 1e-9) + 1e-12
    assert square(theirs) - square(ours) < 1e-3 * gramian.diagonal().mean()
    # A bound on the distance to the optimum from their duality gap: Frank-Wolfe converges slowly, not elsewhere.
    gap = square(theirs) - (gramian @ theirs).min()
    least = torch.linalg.eigvalsh(gramian)[0]
    assert (ours - theirs).square().sum() * least <= gap + 1e-9


@pytest.mark.parametrize("c", [0.2, 0.4, 0.9])
@pytest.mark.parametrize(("count", "width"), SIZES[1::4])
def test_cagrad_reaches_a_value_no_worse_and_the_weights_within_their_solver_tolerance(count, width, c):
    gramian = random_gramian(count, width, 1)
    mean = torch.full((count,), 1 / count, dtype=torch.float64)
    ours, theirs = build("cagrad", count, c=c).weights(gramian), torchjd.CAGradWeighting(c=c)(gramian)

    def value(weights):  # the worst improvement of a task for an update in the ball, relative to the mean gradient
        combination = (weights - mean) / (weights - mean).sum()
        norm = c * (mean @ gramian @ mean).sqrt()
        return combination @ gramian @ mean + norm * (combination @ gramian @ combination).sqrt()

    assert value(ours) <= value(theirs) + 1e-12 * gramian.trace()
    torch.testing.assert_close(value(ours), value(theirs), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("warmup", [1, 3])
def test_excess_mtl_over_steps(warmup):
    weighter = build("excess_mtl", 3, learning_rate=0.7, warmup=warmup)
    peer = torchjd.ExcessMTLWeighting(robust_step_size=0.7, n_warmup_steps=warmup)
    generator = torch.Generator().manual_seed(0)
    track = torch.zeros(3, 5, dtype=torch.float64)
    for _ in range(8):
        jacobian = torch.randn(3, 5, dtype=torch.float64, generator=generator)
        track += jacobian**2
        risks = torch.diag((jacobian**2 / track.sqrt()).sum(1))
        torch.testing.assert_close(weighter.weights(risks), peer(jacobian), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("penalty", [0.0, 0.5, 8.0])
def test_cosmos_weights_are_the_gradient_of_their_scalarization(penalty):
    weighter = build("cosmos", 3, penalty=penalty)
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        weighter.drawn = weighter.choose_preference(generator)
        losses = torch.rand(3, dtype=torch.float64, generator=generator).requires_grad_()
        scalarization.COSMOS(penalty, weighter.drawn)(losses).backward()
        torch.testing.assert_close(weighter.weights(losses.detach()), losses.grad, rtol=1e-9, atol=1e-9)


def paired_products(seed):
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, 3, 5, dtype=torch.float64, generator=generator) + 1
    return first @ second.T


def test_modo_over_steps_on_products_of_two_batches():
    weighter, peer = build("modo", 3, gamma=0.2, rho=0.3), torchjd.MoDoWeighting(gamma=0.2, rho=0.3)
    for seed in range(6):
        products = paired_products(seed)
        torch.testing.assert_close(weighter.weights(products), peer(products), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("preference", [None, {"task0": 0.0, "task1": 3.0}])
def test_sdmgrad_over_steps_on_products_of_two_batches(preference):
    options = {"pull": 0.4, "learning_rate": 0.3, "iterations": 7}
    weighter = build("sdmgrad", 3, preference=preference, **options)
    shares = torch.tensor([0.0, 0.75, 0.25] if preference else [1 / 3] * 3, dtype=torch.float64)
    peer = torchjd.SDMGradWeighting(lr=0.3, n_iter=7, lambda_=0.4, pref_vector=shares)
    for seed in range(6):
        products = paired_products(seed)
        # Theirs divides by the squared mean of the diagonal's roots, ours before, by norms.
        products = products / products.diagonal().clamp(min=0).sqrt().mean() ** 2
        torch.testing.assert_close(weighter.weights(products), peer(products), rtol=1e-5, atol=1e-7)


def test_graddrop_with_the_same_draws():
    weighter = build("graddrop", 3, leak=0.25)
    jacobian = torch.randn(3, 1, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    weighter.drawn = torch.rand(40, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    torch.manual_seed(7)
    peer = torchjd.GradDrop(leak=torch.full((3,), 0.25, dtype=torch.float64))
    torch.testing.assert_close(weighter.combine(jacobian)[0], peer(jacobian[:, 0]))


def test_peers_defect_small_gradients_keep_their_conflicts():
    """Gradients of a mean over a batch are small; TorchJD then takes the Gramian for zero, and nothing is resolved."""
    gramian = 1e-6 * torch.tensor([[1.0, -0.9], [-0.9, 1.0]], dtype=torch.float64)
    for name in ("upgrad", "cagrad"):
        weighter = build(name, 2)
        torch.testing.assert_close(weighter.weights(gramian), weighter.weights(1e6 * gramian), rtol=1e-9, atol=1e-12)
    ours = build("upgrad", 2).weights(gramian)
    assert (gramian @ ours).min() >= -1e-10
    peer = torchjd.UPGradWeighting()(gramian)
    torch.testing.assert_close(peer, torch.full((2,), 0.5, dtype=torch.float64))  # the mean: nothing was projected
    assert torchjd.CAGradWeighting(c=0.4)(gramian).abs().max() == 0  # no update at all
