"""Batched layers against loops over plain ones."""

import pytest
import torch
from torch import nn

from mtl_lightning.errors import MtlError
from mtl_lightning.layers import MLP, Gates
from mtl_lightning.layers import padding as aligned
from mtl_lightning.layers.batched import BatchedLinear
from mtl_lightning.layers.mlp import Experts, mixture, mixtures


def copy_expert(experts, index):
    """The expert ``index`` as a plain MLP."""
    sizes = [layer.out_width for layer in experts.layers if isinstance(layer, BatchedLinear)]
    normed = any(type(layer).__name__ == "BatchedNorm" for layer in experts.layers)
    mlp = MLP(experts.layers[0].in_width, sizes, norm="layer" if normed else "none").double()
    with torch.no_grad():
        for plain, batched in zip(mlp.layers, experts.layers, strict=True):
            if isinstance(plain, nn.Linear):
                plain.weight.copy_(batched.weight[index])
                plain.bias.copy_(batched.bias.view(experts.count, -1)[index])
            elif isinstance(plain, nn.LayerNorm):
                plain.weight.copy_(batched.weight.view(experts.count, -1)[index])
                plain.bias.copy_(batched.bias.view(experts.count, -1)[index])
    return mlp


@pytest.mark.parametrize("norm", ["none", "layer"])
@pytest.mark.parametrize("shared", [True, False])
def test_experts_equal_a_loop_with_gradients(norm, shared):
    torch.manual_seed(0)
    experts = Experts(3, 5, [7, 4], norm=norm).double()
    with torch.no_grad():
        for parameter in experts.parameters():
            parameter.normal_()
    x = torch.randn(6, 5, dtype=torch.float64) if shared else torch.randn(3, 6, 5, dtype=torch.float64)
    batched_x, loop_x = x.clone().requires_grad_(), x.clone().requires_grad_()
    outputs = experts(batched_x)
    loop = torch.stack([copy_expert(experts, e)(loop_x if shared else loop_x[e]) for e in range(3)], dim=1)
    torch.testing.assert_close(outputs, loop, rtol=1e-12, atol=1e-12)
    outputs.square().sum().backward()
    loop.square().sum().backward()
    torch.testing.assert_close(batched_x.grad, loop_x.grad, rtol=1e-11, atol=1e-11)


def test_maps_start_as_linear_layers_do():
    torch.manual_seed(0)
    weight = BatchedLinear(50, 16, 16).weight
    reference = torch.cat([nn.Linear(16, 16).weight.flatten() for _ in range(50)])
    assert weight.std().item() == pytest.approx(reference.std().item(), rel=0.05)
    assert weight.abs().max() <= 0.25


@pytest.mark.parametrize(
    ("activation", "variance"), [("relu", 2 / 16), ("tanh", (5 / 3) ** 2 / 16), ("identity", 1 / 16)]
)
def test_hidden_layers_start_by_the_activation_that_follows(activation, variance):
    torch.manual_seed(0)
    for network in (MLP(16, [800], activation=activation), Experts(50, 16, [16], activation=activation)):
        weight, bias = network.layers[0].weight, network.layers[0].bias
        assert weight.var().item() == pytest.approx(variance, rel=0.05)
        assert weight.abs().max() <= (3 * variance) ** 0.5
        assert not bias.any()


def test_a_deep_network_keeps_the_size_of_a_signal():
    """He et al. (2015), equation 10: with relu, outputs have the mean square of inputs, layer after layer."""
    torch.manual_seed(0)
    x = torch.randn(200, 256)
    for network in (MLP(256, [256] * 10), Experts(3, 256, [256] * 10)):
        assert 0.4 < network(x).square().mean().item() < 2.5


def test_only_matrices_have_more_than_one_dimension():
    """The optimizer decays parameters by their number of dimensions; biases and norms must have one."""
    for name, parameter in Experts(3, 5, [7, 4], norm="layer").named_parameters():
        assert (parameter.ndim > 1) == (name.endswith("weight") and parameter.numel() > 40), name


def test_gates_and_mixture():
    torch.manual_seed(0)
    gates = Gates(4, 3, 5).double()(torch.randn(6, 4, dtype=torch.float64))
    torch.testing.assert_close(gates.sum(-1), torch.ones(6, 3, dtype=torch.float64))
    experts = torch.randn(6, 5, 2, dtype=torch.float64)
    torch.testing.assert_close(mixture(gates[:, 1], experts), torch.einsum("be,beh->bh", gates[:, 1], experts))


def mixing(tasks=3, dtype=torch.float64):
    torch.manual_seed(0)
    weights, experts = torch.rand(4, tasks, 5, dtype=dtype), torch.randn(4, 5, 2, dtype=dtype)
    return weights.requires_grad_(), experts.requires_grad_()


@pytest.mark.parametrize("tasks", [(0,), (2,), (0, 2), (0, 1, 2)])
def test_mixtures_give_the_gradients_of_a_batched_product(tasks):
    leaves = mixing()
    toward = [torch.randn(4, 2, dtype=torch.float64) for _ in tasks]
    result, expected = mixtures(*leaves), torch.bmm(*leaves).unbind(1)
    for by in (leaves, leaves[:1], leaves[1:]):
        pairs = (
            torch.autograd.grad([out[i] for i in tasks], by, toward, retain_graph=True) for out in (result, expected)
        )
        torch.testing.assert_close(*pairs)
    assert torch.autograd.gradgradcheck(lambda *inputs: [mixtures(*inputs)[i] for i in tasks], leaves)


@pytest.mark.parametrize("tasks", [(1,), (0, 1), (0, 1, 2)])
def test_mixtures_in_half_precision(tasks):
    weights, experts = mixing(dtype=torch.float32)
    values = experts.bfloat16()  # as a layer before would give them
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result, expected = mixtures(weights, values), torch.bmm(weights, values).unbind(1)
    for i in tasks:
        assert result[i].dtype == torch.bfloat16
    toward = [torch.randn(4, 2).bfloat16() for _ in tasks]
    pairs = (
        torch.autograd.grad([out[i] for i in tasks], (weights, experts), toward, retain_graph=True)
        for out in (result, expected)
    )
    torch.testing.assert_close(*pairs, rtol=2**-7, atol=2**-7)


def test_mixtures_are_batched_over_tasks_by_vmap():
    weights, experts = mixing()
    outputs = torch.stack(mixtures(weights, experts))
    basis = torch.eye(3, dtype=torch.float64)[:, :, None, None].expand(-1, -1, 4, 2)
    (rows,) = torch.autograd.grad(outputs, experts, basis, retain_graph=True, is_grads_batched=True)
    singly = [torch.autograd.grad(outputs[i].sum(), experts, retain_graph=True)[0] for i in range(3)]
    torch.testing.assert_close(rows, torch.stack(singly))


def test_an_mlp_without_layers_is_the_identity():
    x = torch.randn(3, 4)
    assert MLP(4, []).width == 4
    assert torch.equal(MLP(4, [])(x), x)


def test_wrong_sizes_and_names():
    with pytest.raises(MtlError, match="one expert"):
        Experts(0, 4, [8])
    with pytest.raises(MtlError, match="swoosh"):
        MLP(4, [8], activation="swoosh")


@pytest.mark.parametrize("width", [1, 7, 8, 13])
def test_a_filled_up_product_is_the_plain_one(monkeypatch, width):
    monkeypatch.setattr(aligned, "LEAST", 0)
    leaves = [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((5, width), (3, width), (3,))]
    result, expected = aligned.linear(*leaves), nn.functional.linear(*leaves)
    torch.testing.assert_close(result, expected)
    toward = torch.randn_like(result)
    pairs = zip(torch.autograd.grad(result, leaves, toward), torch.autograd.grad(expected, leaves, toward), strict=True)
    for gradient, plain in pairs:
        torch.testing.assert_close(gradient, plain)
