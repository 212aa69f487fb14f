"""Weighters one by one: values worked by hand, learning of their state, options that are wrong."""

import math
import warnings

import pytest
import torch

from mtl_lightning.errors import MtlError
from mtl_lightning.plugins import registry
from mtl_lightning.training.step import Step

NAMES = ("click", "conversion")


def build(name, tasks=NAMES, **options):
    return registry().resolve("weighter", name)(tasks, **options)


def step_of(jacobian, values, index=0, seed=0):
    z = torch.zeros(jacobian.shape[1:], dtype=jacobian.dtype, requires_grad=True)
    losses = (z * jacobian).sum((1, 2)) + torch.as_tensor(values, dtype=jacobian.dtype)
    return Step(losses, z, tasks=NAMES[: len(jacobian)], index=index, seed=seed)


def values(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def diagonal(*numbers):
    return torch.diag(values(*numbers))


def expect(weights, *numbers):
    torch.testing.assert_close(weights, values(*numbers), rtol=1e-9, atol=1e-9)


# learned weights


@pytest.mark.parametrize(
    ("name", "parameter", "numerator"), [("uncertainty", "log_variance", 0.5), ("imtl_l", "log_scale", 1.0)]
)
def test_learned_scales_reach_the_optimum_also_for_small_losses(name, parameter, numerator):
    """A clamp of the log-variance at zero would leave every loss below 0.5 with one and the same weight."""
    weighter = build(name)
    optimizer = torch.optim.Adam(weighter.parameters(), lr=0.02)
    for _ in range(2000):
        optimizer.zero_grad()
        weighter(step_of(torch.zeros(2, 1, 1), (0.05, 3.0))).backward()
        optimizer.step()
    assert weighter.report()["click"] == pytest.approx(numerator / 0.05, rel=1e-3)
    assert weighter.report()["conversion"] == pytest.approx(numerator / 3.0, rel=1e-3)
    assert dict(weighter.named_parameters()).keys() == {parameter}


@pytest.mark.parametrize(("name", "parameter"), [("uncertainty", "log_variance"), ("imtl_l", "log_scale")])
def test_learned_scales_stay_where_a_task_has_no_label(name, parameter):
    weighter = build(name)
    with torch.no_grad():
        getattr(weighter, parameter).fill_(0.3)
    weighter(step_of(torch.zeros(2, 1, 1), (0.05, 0.0))).backward()
    gradient = getattr(weighter, parameter).grad
    assert gradient[1].item() == 0
    assert gradient[0].item() != 0


def test_famo_keeps_what_it_knows_of_a_task_without_labels():
    weighter = build("famo", learning_rate=0.1)
    weighter.weights(values(1.0, 1.0))
    weighter.after_step(values(0.5, 0.9))
    before = {
        name: remaining[1].clone() for name, remaining in weighter.state_dict().items() if remaining.shape == (2,)
    }
    weighter.weights(values(1.0, 0.0))
    weighter.after_step(values(0.5, 0.0))
    for name in ("logits", "first_moment", "second_moment", "updates"):
        assert weighter.state_dict()[name][1] == before[name], name


@pytest.mark.parametrize("name", ["moco", "modo", "sdmgrad", "mgda", "cagrad"])
def test_a_task_that_never_had_a_label_takes_no_weight_from_the_others(name):
    torch.manual_seed(0)
    three, two = build(name, (*NAMES, "return"), every=1), build(name)
    for index in range(20):
        jacobian = torch.randn(2, 4, 3, dtype=torch.float64)
        two(step_of(jacobian, (1.0, 1.0), index))
        z = torch.zeros(4, 3, dtype=torch.float64, requires_grad=True)
        losses = torch.cat([(z * jacobian).sum((1, 2)) + 1, (z * 0).sum().unsqueeze(0)])
        three(Step(losses, z, tasks=three.tasks, index=index, seed=0))
    if name in ("moco", "modo", "sdmgrad"):  # they begin with equal weights of three tasks, of which two are left
        torch.testing.assert_close(three.kept[:2].sum(), two.kept.sum())
        torch.testing.assert_close(three.kept[:2], two.kept, rtol=0, atol=0.02)
    else:
        torch.testing.assert_close(three.kept[:2], two.kept)


def test_pareto_has_floors_for_any_number_of_tasks():
    tasks = tuple(f"t{i}" for i in range(30))
    weighter = build("pareto", tasks)
    result = weighter.weights(torch.diag(torch.arange(1, 31, dtype=torch.float64)))
    assert result.sum().item() == pytest.approx(1)
    assert result.min().item() >= 0.5 / 30 - 1e-12
    expect(build("pareto", (*NAMES, "a"), floors={"click": 0.1, "conversion": 0.2, "a": 0.7}).floors, 0.1, 0.2, 0.7)
    with pytest.raises(MtlError, match="sum to at most 1"):
        build("pareto", floor=0.6)


def test_attention_learns_to_even_out_the_losses_and_its_weights_sum_to_the_number_of_tasks():
    torch.manual_seed(0)
    weighter = build("attention")
    optimizer = torch.optim.Adam(weighter.parameters(), lr=0.02)
    for index in range(300):
        optimizer.zero_grad()
        weighter(step_of(torch.zeros(2, 1, 1), (0.1, 1.0), index)).backward()
        optimizer.step()
    report = weighter.report()
    assert sum(report.values()) == pytest.approx(2.0)
    assert report["click"] / report["conversion"] == pytest.approx(10.0, rel=0.05)


def test_attention_objective_gives_the_model_the_reported_weights():
    torch.manual_seed(1)
    weighter = build("attention")
    torch.nn.init.normal_(weighter.score.weight)
    jacobian = torch.ones(2, 1, 2) * torch.tensor([1.0, 10.0])[:, None, None]
    step = step_of(jacobian, (0.1, 1.0))
    weighter(step).backward()
    weights = torch.tensor(list(weighter.report().values()), dtype=torch.float32)
    torch.testing.assert_close(step.z.grad, torch.einsum("t,tbd->bd", weights, jacobian))
    assert weighter.query.weight.grad.abs().sum() > 0


# loss-based


def test_famo_weights_and_update_by_hand():
    weighter = build("famo", learning_rate=0.1, decay=0.0, eps=0.0)
    expect(weighter.weights(values(0.5, 2.0)), 0.8, 0.2)  # (½/0.5, ½/2) normalised
    weighter.after_step(values(0.25, 2.0))
    # softmax' · (log 2, 0) = (¼, −¼)·log 2; the first step of Adam is the learning rate against the sign
    torch.testing.assert_close(weighter.logits, values(-0.1, 0.1), rtol=1e-6, atol=1e-6)
    share = 1 / (1 + math.exp(0.2))
    first, second = share / 0.5, (1 - share) / 2.0
    torch.testing.assert_close(
        weighter.weights(values(0.5, 2.0)), values(first, second) / (first + second), rtol=1e-6, atol=1e-6
    )


def test_famo_evens_out_the_rates_at_which_losses_fall():
    """Losses with gradients of very different size, descended with FAMO's weights, end at one relative loss."""
    weighter = build("famo", learning_rate=0.05)
    place = torch.tensor([1.0, 1.0])
    scales = torch.tensor([1.0, 0.02])

    def losses(place):
        return scales * (place**2 + 0.1 * (place.sum() - 1) ** 2)

    ratios = []
    for _ in range(300):
        before = losses(place)
        weights = weighter.weights(before.double()).float()
        place = place - 0.002 * (weights @ torch.func.jacrev(losses)(place))
        weighter.after_step(losses(place).double())
        ratios.append(losses(place) / scales)
    assert ratios[-1].max() / ratios[-1].min() < 1.2


def test_tasks_without_labels_take_no_part_in_methods_that_divide_by_losses():
    for name in ("famo", "gls", "stch"):
        weights = build(name, ("a", "b", "c")).weights(values(0.5, 0.0, 2.0))
        alone = build(name, ("a", "c")).weights(values(0.5, 2.0))
        assert weights[1] == 0
        torch.testing.assert_close(weights[[0, 2]] / weights.sum(), alone / alone.sum())


def test_gls_descends_the_geometric_mean():
    weighter = build("gls")
    jacobian = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]], dtype=torch.float64)
    step = step_of(jacobian, (0.2, 5.0))
    weighter(step).backward()
    losses = values(0.2, 5.0).requires_grad_()
    losses.prod().sqrt().backward()
    torch.testing.assert_close(step.z.grad[0], losses.grad)


def test_stch_descends_the_smooth_maximum():
    weighter = build("stch", mu=0.3, warmup=2)
    expect(weighter.weights(values(1.0, 4.0)), 1.0, 0.25)
    expect(weighter.weights(values(3.0, 4.0)), 1 / 3, 0.25)
    losses = values(1.5, 1.0).requires_grad_()
    objective = 2 * 0.3 * torch.logsumexp((losses / values(2.0, 4.0)).log() / 0.3, 0)
    objective.backward()
    torch.testing.assert_close(weighter.weights(values(1.5, 1.0)), losses.grad)


def test_dwa_compares_windows_of_steps_and_skips_steps_without_labels():
    weighter = build("dwa", window=2, temperature=1.0)
    for pair in ((4.0, 1.0), (2.0, 0.0), (1.5, 1.0), (1.5, 0.5)):
        expect(weighter.weights(values(*pair)), 1.0, 1.0)
    rates = values(1.5 / 3.0, 0.75 / 1.0)  # averages 3 → 1.5 and 1 (of one step) → 0.75
    torch.testing.assert_close(weighter.weights(values(1.0, 1.0)), 2 * rates.softmax(0))


def test_rlw_weights_sum_to_the_number_of_tasks_and_have_mean_one():
    weighter = build("rlw")
    drawn = []
    for index in range(2000):
        weighter(step_of(torch.zeros(2, 1, 1), (1.0, 1.0), index))
        drawn.append(weighter.last.clone())
    torch.testing.assert_close(torch.stack(drawn).sum(1), torch.full((2000,), 2.0, dtype=torch.float64))
    assert abs(torch.stack(drawn).mean(0)[0] - 1) < 0.05


@pytest.mark.parametrize("losses", [(0.7, 0.2), (1.0, 1.0), (0.02, 5.0)])
def test_cosmos_weights_are_the_derivatives_of_the_papers_objective(losses):
    weighter = build("cosmos", alpha=0.7, penalty=3.0)
    for index in range(5):
        weighter.begin(step_of(torch.zeros(2, 1, 1), losses, index))
        r, own = weighter.drawn, values(*losses).requires_grad_()
        objective = r @ own - 3.0 * (r @ own) / (r.square().sum().sqrt() * own.square().sum().sqrt())
        expect(weighter.weights(own.detach()), *torch.autograd.grad(objective, own)[0].tolist())


def test_cosmos_leaves_tasks_without_labels_out_of_the_cosine():
    weighter = build("cosmos", ("a", "b", "c"), penalty=2.0)
    weighter.drawn = values(0.5, 0.2, 0.3)
    other = build("cosmos", penalty=2.0)
    other.drawn = values(0.5, 0.3)
    expect(weighter.weights(values(0.4, 0.0, 0.9))[[0, 2]], *other.weights(values(0.4, 0.9)).tolist())
    expect(weighter.weights(values(0.0, 0.0, 0.0)), 0.5, 0.2, 0.3)


def test_cosmos_preferences_have_the_moments_of_their_dirichlet_distribution():
    weighter = build("cosmos", ("a", "b", "c"), alpha=0.5)
    drawn = torch.stack([weighter.choose_preference(torch.Generator().manual_seed(seed)) for seed in range(4000)])
    torch.testing.assert_close(drawn.sum(1), torch.ones(4000, dtype=torch.float64))
    assert drawn.mean(0).sub(1 / 3).abs().max() < 0.02
    assert abs(drawn.var(0).mean() - (1 / 3 * 2 / 3) / (1.5 + 1)) < 0.006


# at the seam


def test_gradnorm_update_by_hand_with_a_target_for_each_task():
    weighter = build("gradnorm", ("a", "b", "c"), alpha=1.0, learning_rate=0.1)
    gramian = diagonal(1.0, 1.0, 1.0)
    weighter.current = values(1.0, 2.0, 4.0)
    weighter.weights(gramian)  # the first step sets L(0); all on target
    expect(weighter.task_weights, 1.0, 1.0, 1.0)
    weighter.current = values(1.0, 1.0, 1.0)  # ratios 1, ½, ¼; mean 7/12; targets 12/7, 6/7, 3/7 times the mean norm 1
    expect(weighter.weights(gramian), 1.0, 1.0, 1.0)
    expect(weighter.task_weights, *(3 * x / 2.9 for x in (1.1, 0.9, 0.9)))


def test_gradnorm_settles_where_norms_meet_their_targets():
    weighter = build("gradnorm", alpha=0.0, learning_rate=0.005)
    weighter.current = values(1.0, 1.0)
    for _ in range(1500):
        weighter.weights(diagonal(1.0, 100.0))
    ratio = weighter.task_weights[0] / weighter.task_weights[1]
    assert ratio == pytest.approx(10.0, rel=0.15)


def test_gradnorm_takes_the_first_loss_with_labels_for_its_start():
    weighter = build("gradnorm")
    for pair in ((2.0, 0.0), (1.0, 0.3), (0.5, 0.1)):
        weighter.current = values(*pair)
        weighter.weights(diagonal(1.0, 1.0))
    expect(weighter.initial, 2.0, 0.3)


def test_pcgrad_by_hand():
    gramian = torch.tensor([[1.0, -0.5], [-0.5, 4.0]], dtype=torch.float64)
    expect(build("pcgrad").weights(gramian), 1 + 0.5, 1 + 0.5 / 4)


def test_mgda_by_hand():
    # Two tasks: w_1 = (g_2·g_2 − g_1·g_2) / |g_1 − g_2|², clipped to [0, 1].
    gramian = torch.tensor([[1.0, -0.5], [-0.5, 4.0]], dtype=torch.float64)
    expect(build("mgda", eps=0.0).weights(gramian), 4.5 / 6, 1.5 / 6)
    expect(build("mgda", eps=0.0).weights(torch.tensor([[1.0, 2.0], [2.0, 5.0]], dtype=torch.float64)), 1.0, 0.0)


def test_pareto_keeps_its_floors():
    gramian = torch.tensor([[1.0, 2.0], [2.0, 5.0]], dtype=torch.float64)
    expect(build("pareto", floor=0.0, eps=0.0).weights(gramian), 1.0, 0.0)
    expect(build("pareto", floors={"conversion": 0.3}, eps=0.0).weights(gramian), 0.7, 0.3)
    expect(build("pareto", floor=0.5).weights(gramian), 0.5, 0.5)


def test_cagrad_by_hand():
    # Orthogonal gradients of norms 1 and 2: g_0·g_w = ¼·(2 w_1 + 8 w_2) is least for the smaller gradient.
    gramian = diagonal(1.0, 4.0)
    mean = values(0.5, 0.5)
    grid = torch.linspace(0, 1, 100001, dtype=torch.float64)
    candidates = torch.stack([grid, 1 - grid], 1)
    norm = 0.4 * (mean @ gramian @ mean).sqrt()
    value = candidates @ gramian @ mean + norm * ((candidates @ gramian) * candidates).sum(1).sqrt()
    best = candidates[value.argmin()]
    expected = mean + norm / (best @ gramian @ best).sqrt() * best
    torch.testing.assert_close(build("cagrad", c=0.4).weights(gramian), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "options", "power"), [("nash_mtl", {}, 1.0), ("fairgrad", {"alpha": 2.0}, 0.5)])
@pytest.mark.parametrize("spread", [1.0, 1e3])
def test_bargaining_solves_its_equation(name, options, power, spread):
    jacobian = torch.randn(6, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    jacobian = jacobian * torch.logspace(0, math.log10(spread), 6, dtype=torch.float64)[:, None]
    gramian = jacobian @ jacobian.T
    weights = build(name, tuple("abcdef"), **options).weights(gramian)
    scale = torch.linalg.norm(gramian) if name == "nash_mtl" else 1.0
    torch.testing.assert_close(gramian @ weights / scale, weights**-power, rtol=1e-7, atol=0)
    assert (weights > 0).all()


def test_nash_mtl_weights_stay_of_order_one_for_losses_of_six_hundred():
    jacobian = torch.randn(2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    small, large = build("nash_mtl"), build("nash_mtl")
    small(step_of(jacobian, (1.0, 1.0)))
    large(step_of(600 * jacobian, (600.0, 600.0)))
    assert large.report() == pytest.approx(small.report())
    assert sum(large.report().values()) == pytest.approx(2.0)


def test_imtl_g_gives_equal_projections():
    jacobian = torch.randn(4, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    gramian = jacobian @ jacobian.T
    projections = gramian @ build("imtl_g", tuple("abcd")).weights(gramian) / gramian.diagonal().sqrt()
    torch.testing.assert_close(projections, projections.mean().expand(4))


def test_gradvac_by_hand():
    """Target cosine ½, cosine 0, unit norms: w = (½·1 − 0) / √¾ for each of the two tasks."""
    weighter = build("gradvac", beta=0.1)
    weighter.targets.copy_(torch.tensor([[0.0, 0.5], [0.5, 0.0]]))
    expect(weighter.weights(diagonal(1.0, 1.0)), *(1 + 0.5 / 0.75**0.5 for _ in range(2)))
    expect(weighter.targets.flatten(), 0.0, 0.45, 0.45, 0.0)


@pytest.mark.parametrize(
    ("strategy", "expected"), [("both", (1.0, 0.475, 1.7)), ("reduce", (1.0, 0.475, 1.0)), ("enlarge", (1.0, 1.0, 1.7))]
)
def test_metabalance_by_hand(strategy, expected):
    weighter = build("metabalance", ("a", "b", "c"), strategy=strategy)
    expect(weighter.weights(diagonal(1.0, 16.0, 0.25)), *expected)
    weighter.weights(diagonal(4.0, 16.0, 0.25))
    expect(weighter.norms, 1.1, 4.0, 0.5)


def test_db_mtl_gives_log_losses_gradients_of_equal_norm():
    weighter = build("db_mtl", beta=0.0)
    jacobian = torch.tensor([[[3.0, 4.0]], [[0.0, 0.1]]], dtype=torch.float64)
    weighter(step_of(jacobian, (2.0, 0.01)))
    scaled = weighter.kept * torch.tensor([5.0, 0.1], dtype=torch.float64)  # w·|g|
    torch.testing.assert_close(scaled, values(10.0, 10.0))  # the larger of 5/2 and 0.1/0.01


def test_moco_converges_to_the_weights_of_mgda_of_the_mean_gradient_under_noise():
    """Of a batch's own Gramian, about diag(31, 28), MGDA makes equal weights; of the mean gradients 0.2 and 0.8."""
    clean = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    weighter = build("moco", beta=0.01, gamma=0.02, rho=0.0)
    for index in range(3000):
        noise = 3 * torch.randn(2, 1, 3, generator=generator, dtype=torch.float64)
        weighter(step_of(clean[:, None] + noise, (1.0, 1.0), index))
    torch.testing.assert_close(weighter.task_weights, values(0.2, 0.8), rtol=0, atol=0.1)


def noisy(weighter, steps, noise):
    """Weights of each step for mean gradients (2, 0, 0) and (0, 1, 0) under the noise of a batch."""
    clean = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    generator, seen = torch.Generator().manual_seed(0), []
    for index in range(steps):
        draw = noise * torch.randn(2, 1, 3, generator=generator, dtype=torch.float64)
        weighter(step_of(clean[:, None] + draw, (1.0, 1.0), index))
        seen.append(weighter.kept.clone())
    return torch.stack(seen)


def test_modo_has_the_weights_of_mgda_of_the_mean_gradient_under_noise():
    """A batch's own Gramian is about diag(7, 4): MGDA then has 0.36 and 0.64; the mean gradients need 0.2 and 0.8."""
    seen = noisy(build("modo", gamma=0.02, rho=0.0), 3000, 1.0)
    torch.testing.assert_close(seen[500:].mean(0), values(0.2, 0.8), rtol=0, atol=0.05)


def test_paired_products_are_those_of_two_batches_by_hand():
    weighter = build("modo", gamma=0.1, rho=0.0)
    first = torch.tensor([[[3.0, 0.0]], [[0.0, 1.0]]], dtype=torch.float64)
    second = torch.tensor([[[1.0, 0.0]], [[1.0, 1.0]]], dtype=torch.float64)
    weighter(step_of(first, (1.0, 1.0), 0))
    expect(weighter.kept, 0.5 - 0.1 * (0.9 - 0.1) / 2, 0.5 + 0.1 * (0.9 - 0.1) / 2)  # diag(9, 1) over the mean 5, by ½
    before = weighter.kept.clone()
    weighter(step_of(second, (1.0, 1.0), 1))
    products = torch.tensor([[3.0, 0.0], [3.0, 1.0]], dtype=torch.float64) / ((3 + 2**0.5) / 2)
    slope = products @ before
    expect(weighter.kept, *(before - 0.1 * (slope - slope.mean())).tolist())


def test_a_task_without_labels_is_compared_by_its_last_gradient():
    weighter = build("modo", gamma=0.1, rho=0.0)
    first = torch.tensor([[[3.0, 0.0]], [[0.0, 1.0]]], dtype=torch.float64)
    weighter(step_of(first, (1.0, 1.0), 0))
    absent = first.clone()
    absent[1] = 0
    weighter(step_of(absent, (1.0, 0.0), 1))
    expect(weighter.track.flatten(), 3.0, 0.0, 0.0, 1.0)


def test_sdmgrad_in_one_plain_step_without_pull_is_modo():
    single = build("sdmgrad", pull=0.0, learning_rate=0.05, momentum=0.0, iterations=1)
    torch.testing.assert_close(noisy(single, 20, 1.0), noisy(build("modo", gamma=0.05, rho=0.0), 20, 1.0))


def test_sdmgrad_is_mgda_without_pull_and_the_wanted_direction_with_much():
    gramian = diagonal(1.0, 3.0)
    expect(build("sdmgrad", pull=0.0, learning_rate=0.2, iterations=500).weights(gramian), 0.75, 0.25)
    wanted = build("sdmgrad", pull=1e9, preference={"click": 3.0}).weights(gramian)
    torch.testing.assert_close(wanted, values(0.75, 0.25))


def test_db_mtl_averages_norms_with_a_falling_decay():
    weighter = build("db_mtl", beta=0.8, sigma=0.5)
    for norm in (1.0, 3.0):
        weighter.current = values(1.0, 1.0)
        weighter.weights(diagonal(norm**2, 4.0))
    decay = 0.8 / 2**0.5
    expect(weighter.norms, 3 + decay * (1 - 3), 2.0)


def test_moco_tracks_gradients_and_steps_by_hand():
    weighter = build("moco", beta=0.5, gamma=0.1, rho=0.2)
    weighter(step_of(torch.tensor([[[2.0, 0.0]], [[0.0, 4.0]]], dtype=torch.float64), (1.0, 1.0)))
    expect(weighter.track.flatten(), 1.0, 0.0, 0.0, 2.0)
    slope = values(0.4, 1.6) * 0.5 + 0.2 * 0.5  # diag(1, 4) over its mean 2.5
    expect(weighter.kept, *(0.5 - 0.1 * (slope - slope.mean())).tolist())


def test_graddrop_passes_the_sum_on_average():
    jacobian = torch.tensor([[[3.0]], [[-1.0]]], dtype=torch.float64).expand(2, 1, 4000)
    weighter = build("graddrop")
    step = step_of(jacobian, (1.0, 1.0))
    weighter(step).backward()
    passed = step.z.grad.flatten()
    assert set(passed.unique().tolist()) == {3.0, -1.0}
    assert passed.mean() == pytest.approx(0.75 * 3 - 0.25, abs=0.1)


@pytest.mark.parametrize("name", ["gls", "stch", "famo", "db_mtl", "uncertainty", "imtl_l"])
def test_a_negative_loss_is_told_where_the_method_wants_positive_ones(name):
    """A log-likelihood of a value can be negative: the task would be left out, or take all, without a word."""
    jacobian = torch.ones(2, 1, 2, dtype=torch.float64)
    with pytest.warns(
        UserWarning, match=f"weighter {name} needs positive losses, and the loss of conversion is negative"
    ):
        build(name)(step_of(jacobian, (0.5, -0.2)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build(name)(step_of(jacobian, (0.5, 0.2)))
        build(name)(step_of(jacobian, (0.5, 0.0)))
        build(name)(step_of(jacobian, (0.5, float("nan"))))


# options


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("constant", {"weights": {"clik": 2.0}}, "no task 'clik'"),
        ("constant", {"weights": {"click": -1.0}}, "negative"),
        ("pareto", {"floors": {"clik": 0.1}}, "no task 'clik'"),
        ("pareto", {"floor": 0.6}, "sum to at most 1"),
        ("metabalance", {"target": "clik"}, "no task 'clik'"),
        ("sdmgrad", {"preference": {"clik": 1.0}}, "no task 'clik'"),
        ("sdmgrad", {"preference": {"click": -1.0}}, "at least 0"),
    ],
)
def test_wrong_options_are_named(name, options, message):
    with pytest.raises(MtlError, match=message):
        build(name, **options)


def test_constant_hint_names_the_task_that_was_meant():
    with pytest.raises(MtlError, match="did you mean 'click'"):
        build("constant", weights={"clik": 2.0})


@pytest.mark.parametrize("name", sorted(registry().names("weighter")))
def test_options_do_not_leak_into_parameters_with_decay(name):
    """Only methods that learn their weights have parameters; the optimizer gives those no weight decay."""
    learns = {"uncertainty", "imtl_l", "attention"}
    assert bool(list(build(name).parameters())) == (name in learns)
