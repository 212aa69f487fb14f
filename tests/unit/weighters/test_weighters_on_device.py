"""Every weighter on a stand-in for a device: no waiting, and the same steps as on a CPU."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mtl_lightning.batch import Batch
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.sources.simulator import Simulator
from mtl_lightning.plugins import registry
from mtl_lightning.training.products import inner_products
from mtl_lightning.weighters.bases.enumeration import minimize_each, minimize_on_simplex
from mtl_lightning.weighters.bases.negative import LEFT_OUT, NegativeLosses
from mtl_lightning.weighters.bases.quadratic import minimize
from tests.support import device_steps
from tests.support.remote_device import Remote, RemoteDevice

ONE_READ = {
    "aligned_mtl": "torch's eigenvalues check an error on the host",
    "imtl_g": "torch's pseudo-inverse is made of eigenvalues",
    "cagrad": "its search solves 60 programmes one after the other, about 900 launches",
    "nash_mtl": "Newton's method with a line search takes 30 iterations, about 800 launches",
    "fairgrad": "it is solved as nash_mtl is",
}
"""Weighters for which the host waits once, with the reason: on the device they would take longer than the wait."""

DRAWN = {"cosmos", "graddrop", "gradvac", "pcgrad", "rlw"}
"""Weighters that draw random numbers on the host, equal on every device, and send them."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataModule:
    module = DataModule(Simulator(rows=1000), batch_size=32, cache_dir=str(tmp_path_factory.mktemp("cache")))
    module.prepare()
    return module


@pytest.fixture(scope="module")
def batches(data: DataModule) -> list[Batch]:
    """The fourth has a number that is not finite, the fifth no label of a task, the sixth no label at all."""
    taken = [batch for _, batch in zip(range(9), data.train_dataloader(), strict=False)]
    taken[3] = replace(taken[3], dense=torch.full_like(taken[3].dense, math.nan))
    mask = taken[4].mask.clone()
    mask[:, 0] = False
    taken[4] = replace(taken[4], mask=mask)
    taken[5] = replace(taken[5], mask=torch.zeros_like(mask))
    return taken


@pytest.mark.parametrize("name", sorted(registry().names("weighter")))
def test_a_step_does_not_wait_and_is_that_of_a_cpu(name: str, data: DataModule, batches: list[Batch]) -> None:
    far = device_steps.build(data.schema, on_device=True, weighter=name, architecture="shared_bottom")
    near = device_steps.build(data.schema, on_device=False, weighter=name, architecture="shared_bottom")
    traffic = device_steps.train(far, batches, clip=1.0)
    device_steps.train(near, batches, clip=1.0)
    assert sum(traffic.reads.values()) == (name in ONE_READ), traffic.reads
    expected = 1 + (name in ONE_READ or name in DRAWN) + (name == "cosmos")  # the batch, and what the model reads
    assert sum(traffic.copies.values()) == expected, traffic.copies
    with RemoteDevice():
        weights = far.weighter.report()
    assert weights == pytest.approx(near.weighter.report(), rel=1e-4, abs=1e-6)
    for (key, value), expected in zip(far.state_dict().items(), near.state_dict().values(), strict=True):
        if isinstance(expected, Tensor):
            actual = value.values if isinstance(value, Remote) else value
            torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-6, msg=f"{name}: {key}")
    assert far.skipped == near.skipped == 1


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_enumeration_finds_the_minimum_of_the_active_set_method(count: int) -> None:
    """Also with weights that must be zero, and with gradients that are nearly equal or opposite."""
    generator = torch.Generator().manual_seed(count)
    for spread in (1.0, 1e-3):
        for _ in range(10):
            common = torch.randn(1, 4, generator=generator, dtype=torch.float64)
            rows = common + spread * torch.randn(count, 4, generator=generator, dtype=torch.float64)
            rows *= torch.where(torch.rand(count, 1, generator=generator) < 0.3, -1.0, 1.0)
            hessian = rows @ rows.T
            hessian = hessian / hessian.trace() + 1e-8 * torch.eye(count, dtype=torch.float64)
            linear = torch.randn(count, 2, generator=generator, dtype=torch.float64)
            allowed = torch.rand(count, generator=generator) < 0.7
            allowed[0] = True
            part = hessian[allowed][:, allowed]

            def objective(weights: Tensor, c: Tensor, hessian: Tensor = hessian) -> float:
                return float(0.5 * weights @ hessian @ weights + c @ weights)

            def padded(weights: Tensor, allowed: Tensor = allowed) -> Tensor:
                return torch.zeros(len(allowed), dtype=torch.float64).masked_scatter(allowed, weights)

            weights = minimize_on_simplex(hessian, linear[:, 0], allowed)
            expected = padded(minimize(part, linear[allowed, 0], total=1.0))
            assert weights.sum().item() == pytest.approx(1, abs=1e-9)
            assert objective(weights, linear[:, 0]) <= objective(expected, linear[:, 0]) + 1e-12
            assert not weights[~allowed].any()
            both = minimize_each(hessian + 1e-3 * torch.eye(count), linear, allowed)
            for c, column in zip(linear.T, both.T, strict=True):
                expected = padded(minimize(part + 1e-3 * torch.eye(len(part)), c[allowed]))
                torch.testing.assert_close(column, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("scale", [1.0, 1e25, 1e-25])
@pytest.mark.parametrize("precision", ["highest", "medium"])
def test_inner_products_are_exact_at_any_scale_on_both_kinds_of_devices(scale: float, precision: str) -> None:
    """Slices are summed in float64: one sum in float32 over so many values has an error of 1e-4."""
    rows = scale * (0.5 + torch.rand(3, 1_000_003, generator=torch.Generator().manual_seed(0)))
    expected = rows.double() @ rows.double().T
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        near = inner_products(rows)
        with RemoteDevice() as traffic:
            far = inner_products(Remote(rows))
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision(before)
    assert isinstance(far, Remote)
    assert not traffic.reads
    assert not traffic.copies
    torch.testing.assert_close(far.values, expected, rtol=2e-6, atol=0)
    if scale >= 1:  # on a CPU, squares of tiny values become zero, as they have always done
        torch.testing.assert_close(near, expected, rtol=2e-6, atol=0)


def test_negative_losses_of_a_device_are_reported_later() -> None:
    check = NegativeLosses("gls", ("a", "b"), LEFT_OUT)
    with RemoteDevice() as traffic:
        for step in range(19):
            check.check(Remote(torch.tensor([1.0, -1.0 if step == 3 else 1.0])))
        assert not traffic.reads
        with pytest.warns(UserWarning, match="the loss of b is negative"):
            check.check(Remote(torch.ones(2)))


def test_the_stand_in_refuses_what_a_device_refuses() -> None:
    """Without this, the counts above would show nothing."""
    with RemoteDevice() as traffic:
        far = Remote(torch.ones(3))
        with pytest.raises(RuntimeError, match="is on the host"):
            far + torch.ones(3)
        assert not traffic.reads
        assert float(far.sum()) == 3.0
        far.cpu()
        far[far > 0]
        assert far.tolist() == [1.0, 1.0, 1.0]
        assert sum(traffic.reads.values()) == 4
        torch.ones(3).to(far.device)
        assert sum(traffic.copies.values()) == 1
        assert sum(traffic.reads.values()) == 5
