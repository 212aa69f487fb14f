"""Every weighter gives finite weights for dependent, opposed, vanishing and extreme gradients, in float32 as well."""

import pytest
import torch

from mtl_lightning.plugins import registry
from mtl_lightning.training.step import Step

NAMES = ("click", "conversion", "dwell", "share")
VALUES = (0.5, 0.1, 2.0, 0.01)
OPTIONS = {
    "aligned_mtl": [{"scale": scale} for scale in ("min", "median", "rmse")],
    "cagrad": [{"c": c} for c in (0.0, 0.4, 1.0, 2.0, 5.0)],
    "fairgrad": [{"alpha": alpha} for alpha in (0.5, 1.0, 5.0)],
    "mgda": [{}, {"eps": 0.0}],
    "pareto": [{}, {"eps": 0.0, "floor": 0.0}],
    "upgrad": [{}, {"ridge": 0.0}],
}
CASES = [(name, options) for name in sorted(registry().names("weighter")) for options in OPTIONS.get(name, [{}])]


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def hostile(seed):
    """Gradients of four tasks at 2 × 3 entries of z, by what is wrong with them."""
    g, single = draw(seed, 4, 6), draw(seed + 100, 1, 6)
    for rank in (1, 2, 3):
        yield f"rank {rank}", draw(seed, 4, rank) @ draw(seed + 100, rank, 6)
    yield "sums to zero", g - g.mean(0)
    yield "one is minus the sum of the others", torch.cat([g[:3], -g[:3].sum(0, keepdim=True)])
    yield "two opposed, two parallel", single * torch.tensor([[1.0], [-1.0], [0.3], [0.3]])
    yield "opposed in pairs", single * torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])
    yield "equal", single.repeat(4, 1)
    yield "nearly equal", single + 1e-9 * g
    yield "integers", draw(seed, 4, 6).round()
    yield "one zero", g * torch.tensor([[0.0], [1.0], [1.0], [1.0]])
    yield "all but one zero", g * torch.tensor([[0.0], [0.0], [0.0], [1.0]])
    yield "zero", 0 * g
    yield "lengths of 1e-8 to 1e8", g * torch.tensor([[1e-8], [1.0], [1e3], [1e8]])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
@pytest.mark.filterwarnings("ignore:weighter")
def test_weights_and_gradients_are_finite(name, options, dtype):
    for seed in range(1):
        for what, gradients in hostile(seed):
            for scale in (1.0, 1e-18, 1e15) if dtype == torch.float32 else (1.0,):
                weighter = registry().resolve("weighter", name)(NAMES, **options)
                jacobian = (scale * gradients).to(dtype).view(4, 2, 3)
                for index in range(2):
                    z = torch.zeros(2, 3, dtype=dtype, requires_grad=True)
                    losses = (z * jacobian).sum((1, 2)) + torch.tensor(VALUES, dtype=dtype)
                    weighter(Step(losses, z, tasks=NAMES, index=index, seed=seed)).backward()
                    assert torch.isfinite(z.grad).all(), (what, scale)
                assert all(torch.isfinite(torch.tensor(weight)) for weight in weighter.report().values()), what
                assert all(torch.isfinite(value).all() for value in weighter.state_dict().values()), what
