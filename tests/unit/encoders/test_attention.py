"""Attention to the steps of a request, once per request: the same as with the steps repeated for each row."""

import pytest
import torch

from mtl_lightning.encoders.attention import AttentionBlock, Seats


@pytest.mark.parametrize("sizes", [[1], [3, 3, 3], [1, 0, 4, 2], [5, 1, 1, 1, 1, 1, 1]])
def test_steps_are_read_once_per_request(sizes: list[int]) -> None:
    torch.manual_seed(len(sizes))
    block = AttentionBlock(8, 2).double()
    requests, rows = len(sizes), sum(sizes)
    index = torch.arange(requests).repeat_interleave(torch.tensor(sizes))[torch.randperm(rows)]
    steps, token = torch.randn(requests, 6, 8).double(), torch.randn(rows, 1, 8).double()
    known = torch.rand(requests, 6) < 0.6
    known[0] = False  # nothing but the row itself
    seats = Seats.of(index, requests)
    assert seats is not None
    results = []
    for once in (True, False):
        x, first = steps.clone().requires_grad_(), token.clone().requires_grad_()
        _, key, value = block.project(x)
        own = block.project(first)
        if once:
            read = block.attend_once(first, own, key, value, known, seats)
        else:
            keys, values = (
                torch.cat([mine, part[index]], dim=2) for mine, part in zip(own[1:], (key, value), strict=True)
            )
            mask = torch.cat([torch.ones(rows, 1, dtype=torch.bool), known[index]], dim=1)
            read = block.attend(first, own[0], keys, values, mask)
        gradients = torch.autograd.grad(read.square().sum(), [x, first, *block.parameters()])
        results.append((read.detach(), *gradients))
    for value, expected in zip(*results, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-10)


def test_one_long_request_among_short_ones_gets_no_seats() -> None:
    assert Seats.of(torch.tensor([0] * 30 + list(range(1, 20))), 20) is None
