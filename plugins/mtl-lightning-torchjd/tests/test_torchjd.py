"""Every weighter keeps the contract of weighters, and gives TorchJD's own numbers."""

import pytest
import torch
from torchjd import aggregation, scalarization

from mtl_lightning.config import compose, validate
from mtl_lightning.errors import ConfigError
from mtl_lightning.interfaces import MtlError
from mtl_lightning.plugins import registry
from mtl_lightning.testing import WeighterContract
from mtl_lightning.training.step import Step
from mtl_lightning_torchjd.plugin import WEIGHTERS

NAMES = ("click", "conversion", "dwell")
MANY = {"torchjd_krum", "torchjd_trimmed_mean"}
"""These need three tasks at least."""
BY_ORDER = {"torchjd_cosmos", "torchjd_pbi", "torchjd_pcgrad", "torchjd_gradvac", "torchjd_random", "torchjd_krum"}
"""Random choices per task; of two gradients that are equally near to each other, krum takes the first."""
POSITIONAL = {"torchjd_pcd"}
"""The first task is the primary one, unless it is named."""


def build(name, tasks=NAMES, **options):
    return registry().resolve("weighter", f"mtl-lightning-torchjd/{name}")(tasks, **options)


def one_task_is_too_few(self):
    with pytest.raises(MtlError):
        self.build(NAMES[:1])


for name in WEIGHTERS:
    settings = {"component": registry().resolve("weighter", name), "permutable": name not in BY_ORDER}
    if name in MANY:
        settings["test_one_task_alone_keeps_the_direction_of_its_gradient"] = one_task_is_too_few
    if name in POSITIONAL:
        settings["options"] = {"primary": "click"}
    case = type(f"Test_{name}", (WeighterContract,), settings)
    globals()[case.__name__] = case


def step_of(jacobian, index=0, tasks=NAMES):
    z = torch.zeros(jacobian.shape[1:], dtype=jacobian.dtype, requires_grad=True)
    losses = [(z * row).sum() + 1.0 for row in jacobian]
    return Step(losses, z, tasks=tasks, index=index, seed=0)


def draw(seed):
    return torch.randn(3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


AGGREGATORS = {
    "torchjd_aligned_mtl": aggregation.AlignedMTL(),
    "torchjd_cagrad": aggregation.CAGrad(c=0.4),
    "torchjd_config": aggregation.ConFIG(),
    "torchjd_dual_proj": aggregation.DualProj(),
    "torchjd_imtl_g": aggregation.IMTLG(),
    "torchjd_krum": aggregation.Krum(0),
    "torchjd_mean": aggregation.Mean(),
    "torchjd_mgda": aggregation.MGDA(),
    "torchjd_pcd": aggregation.PCD(),
    "torchjd_trimmed_mean": aggregation.TrimmedMean(1),
    "torchjd_upgrad": aggregation.UPGrad(),
}


@pytest.mark.parametrize("name", AGGREGATORS)
def test_the_gradient_at_z_is_torchjds_aggregation_of_the_gradients(name):
    jacobian = draw(1)
    jacobian = jacobian / jacobian.flatten(1).square().sum(1).mean().sqrt()  # the adapter's scale
    step = step_of(jacobian)
    build(name)(step).backward()
    expected = AGGREGATORS[name](jacobian.flatten(1)).view(4, 5)
    torch.testing.assert_close(step.z.grad, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", sorted(set(WEIGHTERS) - {"torchjd_fairgrad", "torchjd_graddrop"}))
def test_the_scale_of_small_gradients_does_not_matter(name):
    large, small = step_of(draw(2)), step_of(1e-5 * draw(2))
    build(name)(large).backward()
    build(name)(small).backward()
    torch.testing.assert_close(small.z.grad, 1e-5 * large.z.grad, rtol=1e-4, atol=1e-8)


def test_weights_of_scalarizations_are_derivatives_by_the_losses():
    losses = torch.tensor([0.3, 1.7, 0.9], dtype=torch.float64, requires_grad=True)
    for name, peer in (("torchjd_cosmos", scalarization.COSMOS), ("torchjd_pbi", scalarization.PBI)):
        weighter, index = build(name, alpha=0.5), 3
        weighter(step_of(draw(1), index))
        expected = torch.autograd.grad(
            peer({"torchjd_cosmos": 1.0, "torchjd_pbi": 5.0}[name], weighter.drawn)(losses), losses
        )
        torch.testing.assert_close(weighter.weights(losses.detach()), expected[0], rtol=1e-12, atol=1e-12)
    core = registry().resolve("weighter", "mtl-lightning/cosmos")(NAMES, alpha=0.5)
    other = build("torchjd_cosmos", alpha=0.5)
    for weighter in (core, other):
        weighter(step_of(draw(1), 4))
    torch.testing.assert_close(core.last, other.last, rtol=1e-9, atol=1e-9)


def test_gradvac_over_steps():
    weighter, peer = build("torchjd_gradvac"), aggregation.GradVacWeighting(beta=0.5)
    for index in range(5):
        flat = draw(index).flatten(1)
        gramian = flat @ flat.T / flat.square().sum(1).mean()
        weighter.seed = index
        torch.manual_seed(index)
        torch.testing.assert_close(weighter.weights(gramian), peer(gramian))


def test_cr_mogm_over_steps():
    weighter = build("torchjd_cr_mogm", alpha=0.8)
    peer = aggregation.CRMOGMWeighting(aggregation.UPGradWeighting(), alpha=0.8)
    for index in range(5):
        flat = draw(index).flatten(1)
        gramian = flat @ flat.T / flat.square().sum(1).mean()
        torch.testing.assert_close(weighter.weights(gramian), peer(gramian))


@pytest.mark.parametrize("name", ["torchjd_config", "torchjd_imtl_g", "torchjd_krum", "torchjd_mgda", "torchjd_pcgrad"])
def test_cr_mogm_without_memory_is_the_weighter_that_it_averages(name):
    gramian = torch.tensor([[1.0, -0.5, 0.2], [-0.5, 2.0, 0.1], [0.2, 0.1, 1.5]], dtype=torch.float64)
    expected = build(name).weights(gramian)
    torch.testing.assert_close(build("torchjd_cr_mogm", weighting=name, alpha=0.0).weights(gramian), expected)


@pytest.mark.parametrize("name", ["torchjd_config", "torchjd_mgda", "torchjd_upgrad"])
def test_a_task_without_labels_leaves_cr_mogm_as_it_was(name):
    two, three = build("torchjd_cr_mogm", NAMES[:2], weighting=name), build("torchjd_cr_mogm", weighting=name)
    for index in range(4):
        jacobian = draw(index)
        expected = step_of(jacobian[:2].clone(), index, NAMES[:2])
        jacobian[2] = 0
        step = step_of(jacobian, index)
        two(expected).backward()
        three(step).backward()
        torch.testing.assert_close(step.z.grad, expected.z.grad)
    assert three.started.tolist() == [True, True, False]
    weights = three.average.clone()
    three(step_of(draw(9), 9))
    assert three.started.all()
    before = three.average[2].clone()
    three(step_of(jacobian, 10))
    assert three.average[2] == before != weights[2]


def test_bounds_of_options_are_told_with_their_place():
    for option, reason in (
        ("fairgrad.alpha=0", "alpha: is 0.0, and must be above 0"),
        ("graddrop.leak=1.5", "leak: is 1.5, and must be at least 0 and at most 1"),
        ("cr_mogm.alpha=-1", "alpha: is -1.0, and must be at least 0 and at most 1"),
        ("pcd.beta=1", "beta: is 1.0, and must be at least 0 and below 1"),
    ):
        name, _, value = option.partition(".")
        recipe = compose("ads", [f"weighter=torchjd_{name}", f"weighter.{value}", "source.rows=100"])
        with pytest.raises(ConfigError, match=f"weighter.{reason}"):
            validate(recipe.plain)


def test_options_that_torchjd_refuses_are_errors_for_the_user():
    with pytest.raises(MtlError, match="epsilon"):
        build("torchjd_mgda", epsilon=-1.0)
    with pytest.raises(MtlError, match="not a weighter of TorchJD"):
        build("torchjd_cr_mogm", weighting="torchjd_gradvac")
    with pytest.raises(MtlError, match="no task"):
        build("torchjd_pcd", primary="clik")
