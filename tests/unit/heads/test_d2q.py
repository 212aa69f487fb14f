"""Watch-time quantiles per duration group: tables, their fit, and the interpolation."""

import torch

from mtl_lightning.batch import Target
from mtl_lightning.heads.d2q import D2QHead
from mtl_lightning.heads.interpolation import interpolate
from mtl_lightning.plugins import registry
from mtl_lightning.schema import Task


def test_d2q_maps_labels_to_quantiles_of_their_group_and_back():
    task = Task(name="watch", kind="regression", label="s", mean=40.0)
    head = D2QHead(task, 8, {}, hidden=[], duration="length", edges=[30.0], quantiles=4)
    with torch.no_grad():
        knots = torch.tensor([[4.0, 8.0, 12.0, 16.0], [40.0, 80.0, 120.0, 160.0]]) / 40
        head.steps.view(3, -1)[:2] = torch.diff(knots, prepend=torch.zeros(2, 1)).expm1().log()
    raw = {"length": torch.tensor([10.0, 30.0, 500.0])}
    output = head(torch.zeros(3, 8), {}, raw)
    torch.testing.assert_close(
        output.link(torch.tensor([[8.0], [80.0], [100.0]])), torch.tensor([[0.375], [0.375], [0.5]])
    )
    output.extra["quantile"] = torch.full((3, 1), 0.375)
    torch.testing.assert_close(head.predict(output, raw), torch.tensor([8.0, 80.0, 80.0]))


def test_d2q_tables_learn_the_quantiles_of_each_group():
    generator = torch.Generator().manual_seed(0)
    length = torch.where(torch.rand(4000, generator=generator) < 0.5, 10.0, 100.0)
    label = length * torch.rand(4000, generator=generator)
    head = D2QHead(Task(name="w", kind="regression", label="s", mean=27.5), 8, {}, duration="length", edges=[50.0])
    loss = registry().resolve("loss", "d2q")(Task(name="w", kind="regression", label="s"))
    target = Target(label=label.unsqueeze(1), mask=torch.ones(4000, dtype=torch.bool))
    optimizer = torch.optim.Adam([head.steps], lr=0.05)
    raw = {"length": length}
    for _ in range(300):
        optimizer.zero_grad()
        loss(head(torch.zeros(4000, 8), {}, raw), target, {}).backward()
        optimizer.step()
    table = head(torch.zeros(4000, 8), {}, raw).extra["table"]
    for size in (10.0, 100.0):
        result = table[(length == size).nonzero()[0, 0]]
        assert (result / size - head.levels).abs().max() < 0.1


def test_interpolation_is_flat_outside_and_inverts_itself():
    knots = torch.tensor([[0.0, 2.0, 3.0, 7.0]], dtype=torch.float64)
    values = torch.tensor([[0.0, 0.1, 0.5, 0.9]], dtype=torch.float64)
    x = torch.tensor([[0.0, 0.5, 2.5, 6.0, 7.0]], dtype=torch.float64)
    torch.testing.assert_close(interpolate(interpolate(x, knots, values), values, knots), x)
    assert interpolate(torch.tensor([[-5.0, 50.0]], dtype=torch.float64), knots, values).tolist() == [[0.0, 0.9]]


def test_rows_without_a_duration_have_a_table_of_their_own():
    head = D2QHead(Task(name="watch", kind="regression", label="s", mean=10.0), 4, {}, duration="length", edges=[5, 20])
    with torch.no_grad():
        head.steps.view(4, -1).copy_(torch.arange(4.0).unsqueeze(1))
    tables = head.table(torch.zeros(4, 4), {"length": torch.tensor([1.0, 10.0, 99.0, torch.nan])})
    assert torch.equal(tables[:, 0].argsort(), torch.arange(4))
    assert len(tables[:, 0].unique()) == 4
