"""AdaTT's residual weights start at one over a group's number of experts, and are learned for one expert too."""

import pytest
import torch

from mtl_lightning.architectures.adatt import AdaTT
from mtl_lightning.architectures.example import example


@pytest.mark.parametrize("own_experts", [1, 2])
def test_residual_weights_are_learned(own_experts):
    schema, encoder, batch = example(tasks=2)
    architecture = AdaTT(schema, encoder, own_experts=own_experts, shared_experts=1, hidden=[8])
    expected = [own_experts, own_experts, 1, own_experts, own_experts]  # the shared group fuses at the first level only
    assert [len(weights) for weights in architecture.residuals] == expected
    for weights in architecture.residuals:
        assert weights.tolist() == pytest.approx([1 / len(weights)] * len(weights))
    sum(h.square().sum() for h in architecture(encoder(batch)).values()).backward()
    assert all(torch.count_nonzero(weights.grad) for weights in architecture.residuals)
