"""Loss-based weighters have the gradients of TorchJD's scalarizations, in float64, over several steps."""

import pytest
import torch
from torchjd import scalarization as torchjd

from mtl_lightning.plugins import registry
from mtl_lightning.training.step import Step

NAMES = ("click", "conversion", "dwell")
LOSSES = torch.tensor(
    [[0.5, 0.05, 3.0], [0.45, 0.06, 2.0], [0.41, 0.04, 2.5], [0.4, 0.05, 1.5], [0.3, 0.03, 1.4], [0.2, 0.02, 1.0]]
).double()


def build(name, **options):
    return registry().resolve("weighter", name)(NAMES, **options).double()


def slopes(weighter, values, index):
    """Derivatives of the objective by each loss."""
    z = values.clone().requires_grad_()
    step = Step(list(z), z, tasks=NAMES, index=index, seed=0)
    (result,) = torch.autograd.grad(weighter(step), z)
    return result


def expected(peer, values):
    values = values.clone().requires_grad_()
    (result,) = torch.autograd.grad(peer(values), values)
    return result


@pytest.mark.parametrize(
    ("name", "kind", "ours", "theirs"),
    [("uncertainty", torchjd.UW, "log_variance", "log_var"), ("imtl_l", torchjd.IMTLL, "log_scale", "log_scale")],
)
def test_learned_scales(name, kind, ours, theirs):
    weighter, peer = build(name), kind(3).double()
    learned = torch.tensor([0.3, -2.0, 1.0], dtype=torch.float64)
    getattr(weighter, ours).data, getattr(peer, theirs).data = learned.clone(), learned.clone()
    torch.testing.assert_close(slopes(weighter, LOSSES[0], 0), expected(peer, LOSSES[0]), rtol=1e-12, atol=1e-12)
    z = LOSSES[0].clone().requires_grad_()
    weighter(Step(list(z), z, tasks=NAMES, index=0, seed=0)).backward()
    peer(LOSSES[0]).backward()
    torch.testing.assert_close(getattr(weighter, ours).grad, getattr(peer, theirs).grad, rtol=1e-12, atol=1e-12)


def test_gls():
    for values in LOSSES:
        torch.testing.assert_close(slopes(build("gls"), values, 0), expected(torchjd.GeometricMean(), values))


def test_stch_of_log_losses_relative_to_the_nadir():
    weighter = build("stch", mu=0.4, warmup=2)
    for index, values in enumerate(LOSSES[:2]):
        slopes(weighter, values, index)
    nadir = LOSSES[:2].mean(0)
    peer = torchjd.STCH(0.4, weights=torch.ones(3, dtype=torch.float64))
    for index, values in enumerate(LOSSES[2:], start=2):
        theirs = expected(lambda losses: 3 * peer((losses / nadir).log()), values)
        torch.testing.assert_close(slopes(weighter, values, index), theirs)


def test_dwa_with_windows_for_epochs():
    weighter, peer = build("dwa", window=2, temperature=1.5), torchjd.DWA(temperature=1.5)
    for index, values in enumerate(LOSSES):
        torch.testing.assert_close(slopes(weighter, values, index), expected(peer, values))
        if index % 2:
            peer.step()


def test_famo_over_updates():
    weighter, peer = build("famo", every=1, learning_rate=0.1, decay=0.01), torchjd.FAMO(3, lr=0.1, weight_decay=0.01)
    peer = peer.double()
    for index in range(len(LOSSES) - 1):
        torch.testing.assert_close(
            slopes(weighter, LOSSES[index], index), expected(peer, LOSSES[index]), rtol=1e-6, atol=1e-6
        )
        assert weighter.needs_losses_after_step
        weighter.after_step(LOSSES[index + 1])
        peer.update(LOSSES[index + 1])
