"""Losses against numbers worked by hand and against other implementations."""

import math

import pytest
import torch
from loss_cases import make_loss, make_target
from torch.nn import functional

from mtl_lightning.batch import Output, Target
from mtl_lightning.errors import MtlError

LOG2 = math.log(2)


def test_bce_is_exact_at_extreme_logits():
    logit = torch.tensor([[60.0], [-60.0]], dtype=torch.float64)
    assert make_loss("bce")(Output(logit), make_target([1, 0]), {}).item() == pytest.approx(math.exp(-60), rel=1e-9)
    assert make_loss("bce")(Output(logit), make_target([0, 1]), {}).item() == pytest.approx(60)


def test_positive_weight():
    goal = make_target([1, 0])
    assert make_loss("bce", positive_weight=3.0)(Output(torch.zeros(2, 1)), goal, {}).item() == pytest.approx(2 * LOG2)


def test_focal_without_focus_is_bce_and_focuses_by_the_paper():
    logit = torch.tensor([[1.0], [-2.0], [0.3]], dtype=torch.float64)
    goal = make_target([1, 0, 1])
    assert make_loss("focal", gamma=0.0)(Output(logit), goal, {}) == pytest.approx(
        make_loss("bce")(Output(logit), goal, {}).item()
    )
    p = torch.where(goal.label > 0, logit.sigmoid(), 1 - logit.sigmoid())
    alpha = torch.where(goal.label > 0, 0.25, 0.75)
    expected = (-alpha * (1 - p) ** 2 * p.log()).mean().item()
    assert make_loss("focal", gamma=2.0, alpha=0.25)(Output(logit), goal, {}).item() == pytest.approx(expected)


def test_numbers_of_regression_losses():
    output, goal = Output(torch.tensor([[1.0], [0.0]], dtype=torch.float64)), make_target([3, 0.5])
    assert make_loss("mse", "regression")(output, goal, {}).item() == pytest.approx((4 + 0.25) / 2)
    assert make_loss("mae", "regression")(output, goal, {}).item() == pytest.approx((2 + 0.5) / 2)
    assert make_loss("huber", "regression", delta=1.0)(output, goal, {}).item() == pytest.approx((1.5 + 0.125) / 2)
    expected = (math.log(math.cosh(2)) + math.log(math.cosh(0.5))) / 2
    assert make_loss("log_cosh", "regression")(output, goal, {}).item() == pytest.approx(expected)
    far = Output(torch.tensor([[1e4], [0.0]], dtype=torch.float64))
    assert math.isfinite(make_loss("log_cosh", "regression")(far, goal, {}).item())


def test_losses_work_in_the_heads_space():
    output = Output(torch.tensor([[0.5]], dtype=torch.float64), link=lambda label: (label - 10) / 4)
    assert make_loss("mse", "regression")(output, make_target([14.0]), {}).item() == pytest.approx(0.25)


def test_likelihoods_agree_with_torch_distributions():
    logit = torch.tensor([[0.3], [-1.0]], dtype=torch.float64)
    expected = -torch.distributions.Poisson(logit.exp()).log_prob(torch.tensor([[4.0], [0.0]])).mean()
    torch.testing.assert_close(make_loss("poisson", "count")(Output(logit), make_target([4, 0]), {}), expected)
    logit = torch.tensor([[0.4, 1.0, 0.2], [0.4, 1.0, 0.2]], dtype=torch.float64)
    sigma = functional.softplus(logit[0, 2]) + 1e-3
    density = torch.distributions.LogNormal(logit[0, 1], sigma).log_prob(torch.tensor(2.5))
    expected = (-(functional.logsigmoid(logit[0, 0]) + density) - functional.logsigmoid(-logit[1, 0])) / 2
    torch.testing.assert_close(make_loss("ziln", "value")(Output(logit), make_target([2.5, 0]), {}), expected)


def test_weighted_logistic_has_its_optimum_at_the_mean():
    logit = torch.tensor([math.log(3.0)], dtype=torch.float64, requires_grad=True)
    make_loss("weighted_logistic", "regression")(Output(logit.expand(3, 1)), make_target([1, 3, 5]), {}).backward()
    assert logit.grad.item() == pytest.approx(0, abs=1e-12)


def test_coral_counts_exceeded_classes():
    logit = torch.tensor([[2.0, -1.0]], dtype=torch.float64)
    expected = (functional.softplus(torch.tensor(-2.0)) + functional.softplus(torch.tensor(-1.0))) / 2
    assert make_loss("coral", "ordinal")(Output(logit), make_target([1]), {}).item() == pytest.approx(expected.item())


def test_cread_restores_and_orders():
    extra = {"edges": torch.tensor([0.0, 1.0, 3.0]), "restored": torch.tensor([[2.0]], dtype=torch.float64)}
    output = Output(torch.logit(torch.tensor([[0.5, 0.75, 0.25]], dtype=torch.float64)), extra=extra)
    plain = make_loss("cread", "regression", restoration=0.0, ordering=0.0)(output, make_target([2.0]), {}).item()
    assert plain == pytest.approx((LOG2 - 2 * math.log(0.75)) / 3)
    ordered = make_loss("cread", "regression", restoration=0.0, ordering=1.0)(output, make_target([2.0]), {}).item()
    assert ordered - plain == pytest.approx(0.25)
    restored = make_loss("cread", "regression", restoration=1.0, ordering=0.0)(output, make_target([9.0]), {}).item()
    longest = -(math.log(0.5) + math.log(0.75) + math.log(0.25)) / 3
    assert restored == pytest.approx(longest + 0.5 / 9)  # the label counts as 3: ½ (1/3)²


def test_tpm_is_the_cross_entropy_of_the_way_plus_moments():
    leaf = torch.tensor([[0.1, 0.2, 0.3, 0.4]], dtype=torch.float64)
    values = torch.tensor([1.0, 3.0, 5.0, 10.0], dtype=torch.float64)
    extra = {"leaf": leaf.log(), "edges": torch.tensor([2.0, 4.0, 8.0], dtype=torch.float64), "values": values}
    output = Output(torch.zeros(1, 3, dtype=torch.float64), extra=extra)
    parts = {"regression": 0.0, "variance": 0.0}
    way = make_loss("tpm", "regression", **parts)(output, make_target([6.0]), {}).item()
    assert way == pytest.approx(-math.log(0.3))
    mean = 0.1 + 0.6 + 1.5 + 4.0
    error = make_loss("tpm", "regression", **parts | {"regression": 2.0})(output, make_target([6.0]), {}).item()
    assert error - way == pytest.approx(2 * ((mean - 6) / 10) ** 2)
    variance = 0.1 + 0.2 * 9 + 0.3 * 25 + 0.4 * 100 - mean**2
    spread = make_loss("tpm", "regression", **parts | {"variance": 1.0})(output, make_target([6.0]), {}).item()
    assert spread - way == pytest.approx(variance / 100)


def test_pairwise_compares_within_groups_only():
    logit = torch.tensor([[2.0], [0.0], [1.0], [5.0]], dtype=torch.float64)
    goal = make_target([1, 0, 0, 1], group=torch.tensor([1, 1, 1, 2]))
    value = make_loss("pairwise", bce=0.0)(Output(logit), goal, {}).item()
    two, single = math.log1p(math.exp(-2)), math.log1p(math.exp(-1))
    assert value == pytest.approx(((two + single) / 2 + two + single + 0) / 4)


def test_listwise_is_a_softmax_within_the_group():
    logit = torch.tensor([[2.0], [0.0], [1.0], [5.0]], dtype=torch.float64)
    goal = make_target([1, 0, 0, 1], group=torch.tensor([1, 1, 1, 2]))
    value = make_loss("listwise", bce=0.0)(Output(logit), goal, {}).item()
    assert value == pytest.approx((math.log(math.exp(2) + 1 + math.e) - 2) / 4)


def test_jrc_ranks_by_the_energy_of_the_own_class_and_calibrates_the_difference():
    energies = torch.tensor([[0.5, 2.0], [1.0, 0.0], [3.0, 1.0]], dtype=torch.float64)
    output = Output(energies[:, 1:] - energies[:, :1], extra={"energies": energies})
    goal = make_target([1, 0, 0], group=torch.tensor([4, 4, 9]))
    ranking = make_loss("jrc", calibration=0.0)(output, goal, {}).item()
    assert ranking == pytest.approx((math.log1p(math.exp(-2.0)) + math.log1p(math.exp(-0.5)) + 0) / 3)
    both = make_loss("jrc", calibration=0.25)(output, goal, {}).item()
    plain = make_loss("bce")(output, goal, {}).item()
    assert both == pytest.approx(0.25 * plain + 0.75 * ranking)


@pytest.mark.parametrize("name", ["pairwise", "listwise"])
def test_ranking_asks_for_a_group(name):
    with pytest.raises(MtlError, match="group"):
        make_loss(name)(Output(torch.zeros(1, 1)), make_target([1]), {})


def entire(method, clicks, labels, mask=None, **extra):
    p = 0.25
    parent = (Output(torch.full((len(clicks), 1), math.log(p / (1 - p)), dtype=torch.float64)), make_target(clicks))
    zero = torch.zeros(len(clicks), 1, dtype=torch.float64)
    output = Output(zero, extra={"conditional": zero, "imputation": zero, "counterfactual": zero, **extra})
    return output, make_target(labels, mask), {"click": parent}


def test_escm2_by_hand():
    output, goal, parents = entire("ipw", [1, 0], [1, 0])
    ipw = make_loss("escm2", parents=("click",), method="ipw", weight=1.0)(output, goal, parents)
    assert ipw.item() == pytest.approx(LOG2 + (4 * LOG2 + 0) / 2)
    # dr: ê = log 2 everywhere, so the correction and the imputation's error vanish
    doubly = make_loss("escm2", parents=("click",), method="dr", weight=1.0)(output, goal, parents)
    assert doubly.item() == pytest.approx(2 * LOG2)


def test_dcmt_by_hand():
    output, goal, parents = entire("dcmt", [1, 0], [1, 0])
    value = make_loss("dcmt", parents=("click",), weight=1.0, constraint=0.5)(output, goal, parents)
    assert value.item() == pytest.approx(LOG2 + (4 * LOG2 + LOG2 / 0.75) / 2)  # r + r* = 1 already


@pytest.mark.parametrize("name", ["escm2", "dcmt"])
def test_conditional_labels_give_the_same_loss_as_joint_ones(name):
    draw = {"conditional": torch.tensor([[1.0], [-2.0], [0.5]], dtype=torch.float64)}
    joint = entire(name, [1, 0, 1], [1, 0, 0], **draw)
    conditional = entire(name, [1, 0, 1], [1, 0, 0], mask=[True, False, True], **draw)
    loss = make_loss(name, parents=("click",))
    torch.testing.assert_close(loss(*joint), loss(*conditional))


@pytest.mark.parametrize(("name", "options"), [("escm2", {"method": "ipw"}), ("escm2", {"method": "dr"}), ("dcmt", {})])
def test_rows_weigh_in_the_entire_space_what_they_weigh_for_the_child(name, options):
    """A weight of two is the row twice; the other rows, whose label is unknown, weigh as for the parent."""
    draw = torch.tensor([[1.0], [-2.0], [0.5], [0.5]], dtype=torch.float64)
    loss = make_loss(name, parents=("click",), **options)
    twice = entire(name, [1, 0, 1, 1], [1, 0, 0, 0], conditional=draw, imputation=draw, counterfactual=draw)
    single = draw[:3]
    once = entire(name, [1, 0, 1], [1, 0, 0], conditional=single, imputation=single, counterfactual=single)
    weight = torch.tensor([1.0, 1.0, 2.0], dtype=torch.float64)
    once[1].weight = weight
    expected = loss(*twice)
    torch.testing.assert_close(loss(*once) * 3, expected * 4)  # without weights of its own the parent has three rows
    once[2]["click"][1].weight = weight
    torch.testing.assert_close(loss(*once), expected)
    once[1].weight = torch.tensor([1.0, 9.0, 2.0], dtype=torch.float64)
    once[1].mask[1] = False
    torch.testing.assert_close(loss(*once), expected)


@pytest.mark.parametrize(("name", "options"), [("escm2", {"method": "ipw"}), ("escm2", {"method": "dr"}), ("dcmt", {})])
def test_a_click_whose_sale_is_not_known_counts_nothing(name, options):
    draw = torch.tensor([[1.0], [-2.0], [3.0]], dtype=torch.float64, requires_grad=True)
    extra = dict.fromkeys(("conditional", "imputation", "counterfactual"), draw)
    loss = make_loss(name, parents=("click",), **options)
    with_it = loss(*entire(name, [1, 0, 1], [1, 0, 0], [True, True, False], **extra))
    extra = dict.fromkeys(extra, draw[:2])
    without = loss(*entire(name, [1, 0], [1, 0], **extra))
    torch.testing.assert_close(with_it * 3, without * 2)
    with_it.backward()
    assert draw.grad[2].item() == 0


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("logit", [-200.0, -100.0, 100.0, 200.0])
def test_focal_has_a_finite_gradient_where_a_row_is_surely_right_or_wrong(gamma, logit):
    at = torch.tensor([[logit]], requires_grad=True)
    make_loss("focal", gamma=gamma)(Output(at), make_target([1.0]), {}).backward()
    assert torch.isfinite(at.grad).all()
    assert at.grad.item() == (-1.0 if logit < 0 else pytest.approx(0, abs=1e-9))


def test_the_propensity_is_clipped_and_has_no_gradient():
    logit = torch.tensor([[-20.0]], dtype=torch.float64, requires_grad=True)
    zero = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
    output = Output(zero, extra={"conditional": zero, "imputation": zero})
    loss = make_loss("escm2", parents=("click",), method="ipw", weight=1.0, clip=0.1)
    value = loss(output, make_target([1]), {"click": (Output(logit), make_target([1]))})
    assert value.item() == pytest.approx(LOG2 + 10 * LOG2)
    value.backward()
    assert logit.grad is None


def test_ipw_is_unbiased_over_all_impressions():
    """With true propensities the weighted click-space loss has the mean of the loss over every impression."""
    generator = torch.Generator().manual_seed(0)
    rows = 200_000
    x = torch.randn(rows, generator=generator, dtype=torch.float64)
    propensity = (x - 1).sigmoid()
    clicks = (torch.rand(rows, generator=generator) < propensity).double()
    sale = (torch.rand(rows, generator=generator) < (x / 2).sigmoid()).double()  # would it sell, clicked or not
    conditional = (1 - 1.5 * x).unsqueeze(1)
    known = torch.ones(rows, dtype=torch.bool)
    parent = (Output(torch.logit(propensity).unsqueeze(1)), Target(label=clicks.unsqueeze(1), mask=known))
    goal = Target(label=(clicks * sale).unsqueeze(1), mask=known)
    output = Output(
        torch.zeros(rows, 1, dtype=torch.float64), extra={"conditional": conditional, "imputation": conditional}
    )
    loss = make_loss("escm2", parents=("click",), method="ipw", weight=1.0, clip=0.01)
    value = loss(output, goal, {"click": parent}).item() - LOG2
    everywhere = functional.binary_cross_entropy_with_logits(conditional[:, 0], sale).item()
    clicked = clicks.bool()
    naive = functional.binary_cross_entropy_with_logits(conditional[clicked, 0], sale[clicked]).item()
    assert abs(value - everywhere) < 0.2 * abs(naive - everywhere)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_bce_mixes_labels_with_one_half(smoothing, weight):
    logit = torch.tensor([[1.2], [-0.7], [0.1]], dtype=torch.float64)
    expected = 0.0
    for x, y in zip(logit[:, 0].tolist(), (1.0, 0.0, 0.3), strict=True):
        p, soft = 1 / (1 + math.exp(-x)), (1 - smoothing) * y + smoothing / 2
        expected -= (weight * soft * math.log(p) + (1 - soft) * math.log(1 - p)) / 3
    loss = make_loss("bce", "soft_binary", positive_weight=weight, smoothing=smoothing)
    assert loss(Output(logit), make_target([1, 0, 0.3]), {}).item() == pytest.approx(expected, rel=1e-12)


def test_smoothed_bce_is_least_at_the_smoothed_rate():
    target = make_target([1.0] * 3 + [0.0] * 7)
    logit = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    loss = make_loss("bce", smoothing=0.2)(Output(logit.expand(10)[:, None]), target, {})
    at_rate = torch.logit(torch.tensor([0.8 * 0.3 + 0.1], dtype=torch.float64)).requires_grad_()
    best = make_loss("bce", smoothing=0.2)(Output(at_rate.expand(10)[:, None]), target, {})
    assert torch.autograd.grad(best, at_rate)[0].abs().item() < 1e-12
    assert best < loss


def test_smoothing_leaves_unknown_labels_out():
    logit, goal = torch.tensor([[0.5], [2.0]], dtype=torch.float64), make_target([1, 0])
    alone = make_loss("bce", smoothing=0.2)(Output(logit[:1]), make_target([1]), {})
    goal.mask[1] = False
    assert make_loss("bce", smoothing=0.2)(Output(logit), goal, {}).item() == alone.item()
