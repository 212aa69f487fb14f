"""The tree of intervals: its probabilities, its start and what it learns."""

import math

import pytest
import torch

from mtl_lightning.batch import Target
from mtl_lightning.errors import MtlError
from mtl_lightning.heads.tpm import TPMHead
from mtl_lightning.losses.tpm import TPMLoss
from mtl_lightning.schema import Task

WATCH = Task(name="watch", kind="regression", label="s", mean=20.0)


def test_leaves_are_products_of_the_turns_on_their_way():
    head = TPMHead(WATCH, 4, {}, hidden=[], depth=2)
    with torch.no_grad():
        head.tower.output.weight.zero_()
        head.tower.output.bias.copy_(torch.logit(torch.tensor([0.7, 0.2, 0.6])))  # root, earlier half, later half
    output = head(torch.zeros(1, 4), {}, {})
    expected = torch.tensor([[0.3 * 0.8, 0.3 * 0.2, 0.7 * 0.4, 0.7 * 0.6]])
    torch.testing.assert_close(output.extra["leaf"].exp(), expected)
    torch.testing.assert_close(head.predict(output, {}), expected @ head.values)


@pytest.mark.parametrize("edges", [[], [3.0, 10.0, 60.0]])
def test_it_starts_at_the_mean_of_the_labels(edges):
    head = TPMHead(WATCH, 4, {}, edges=edges, depth=3)
    with torch.no_grad():
        head.tower.output.weight.zero_()
    assert head.predict(head(torch.zeros(1, 4), {}, {}), {}).item() == pytest.approx(20.0, rel=1e-4)


def test_a_leaf_stands_for_the_mean_of_its_interval():
    head = TPMHead(WATCH, 4, {}, edges=[3.0, 10.0, 60.0])
    times = torch.distributions.Exponential(1 / 20).sample((400_000,))
    leaf = torch.bucketize(times, head.edges)
    means = [times[leaf == index].mean().item() for index in range(4)]
    assert head.values.tolist() == pytest.approx(means, rel=0.02)


def test_it_learns_two_modes_of_a_time():
    torch.manual_seed(0)
    head, loss = TPMHead(WATCH, 2, {}, hidden=[]), TPMLoss(WATCH)
    h = torch.eye(2).repeat_interleave(500, 0)
    label = torch.where(h[:, :1] > 0, 4.0, 70.0) * (1 + 0.1 * torch.randn(1000, 1))
    optimizer = torch.optim.Adam(head.parameters(), lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        loss(head(h, {}, {}), Target(label=label, mask=torch.ones(1000, dtype=torch.bool)), {}).backward()
        optimizer.step()
    short, long = head.predict(head(torch.eye(2), {}, {}), {}).tolist()
    assert 2 < short < 7
    assert 55 < long < 90


@pytest.mark.parametrize("edges", [[1.0, 2.0], [3.0, 2.0, 5.0], [0.0, 1.0, 2.0]])
def test_edges_that_make_no_tree_are_refused(edges):
    with pytest.raises(MtlError, match="edges"):
        TPMHead(WATCH, 4, {}, edges=edges)


def test_far_edges_stay_finite():
    head = TPMHead(Task(name="watch", kind="regression", label="s", mean=1e-3), 4, {}, edges=[1.0, 2.0, 1e6])
    output = head(torch.zeros(1, 4), {}, {})
    assert math.isfinite(head.predict(output, {}).item())
    assert output.extra["leaf"].isfinite().all()
