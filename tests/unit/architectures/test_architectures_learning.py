"""Planted structures that architectures must learn."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from mtl_lightning.architectures.cgc import CGC
from mtl_lightning.architectures.example import example
from mtl_lightning.architectures.shared_bottom import SharedBottom
from mtl_lightning.plugins import registry
from mtl_lightning.plugins.builtin import ARCHITECTURES


def train(architecture, encoder, batches, steps=300, lr=0.01):
    heads = torch.nn.ModuleList(torch.nn.Linear(width, 1) for width in architecture.widths.values())
    optimizer = torch.optim.Adam([*architecture.parameters(), *heads.parameters()], lr=lr)
    for step in range(steps):
        batch = batches[step % len(batches)]
        h = architecture(encoder(batch))
        loss = sum(
            functional.mse_loss(head(value)[:, 0], batch.labels[:, i])
            for i, (head, value) in enumerate(zip(heads, h.values(), strict=True))
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def test_own_experts_beat_a_narrow_shared_bottom_on_tasks_that_conflict():
    """Two tasks that use different products of the inputs: a trunk of four units can't serve both."""
    schema, encoder, _ = example(2)
    encoder.requires_grad_(False)
    batches = []
    for seed in range(4):
        _, _, batch = example(2, rows=256)
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(1, 6, batch.ids.shape, generator=generator)
        x = (ids.float() - 3) / 2
        labels = torch.stack([x[:, 0] * x[:, 1], -x[:, 0] * x[:, 2]], dim=1)
        batches.append(replace(batch, ids=ids, labels=labels))
    with torch.no_grad():
        encoder.table.weight.normal_(generator=torch.Generator().manual_seed(0))
    losses = {}
    for kind, options in ((SharedBottom, {"hidden": [4]}), (CGC, {"hidden": [8], "own_experts": 1})):
        torch.manual_seed(0)
        losses[kind] = train(kind(schema, encoder, **options), encoder, batches)
    assert losses[CGC] < 0.7 * losses[SharedBottom]


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_a_planted_structure_is_learned(name):
    kind = registry().resolve("architecture", name)
    schema, encoder, _ = example(2, copies=kind.table_copies(2))
    encoder.requires_grad_(False)
    _, _, batch = example(2, rows=256)
    x = (batch.ids.float() - 3) / 2
    batch = replace(batch, labels=torch.stack([x[:, 0] + x[:, 1], x[:, 0] - x[:, 2]], dim=1))
    with torch.no_grad():
        encoder.table.weight.normal_(generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    assert train(kind(schema, encoder), encoder, [batch], steps=150) < 0.1 * batch.labels.var().item()


@pytest.mark.parametrize("name", ["shared_bottom", "mmoe", "ple"])
def test_sharing_beats_single_task_where_tasks_agree_and_one_has_few_labels(name):
    """The second task is the first with 32 labels instead of 1024: what the first knows must reach it."""
    errors = {}
    for item in (name, "single_task"):
        schema, encoder, _ = example(2)
        encoder.requires_grad_(False)
        with torch.no_grad():
            encoder.table.weight.normal_(generator=torch.Generator().manual_seed(0))
        learned, unseen = (agreeing(seed, 1024) for seed in (1, 2))
        learned.mask[32:, 1] = False
        torch.manual_seed(0)
        architecture = registry().resolve("architecture", item)(schema, encoder, hidden=[32])
        heads = torch.nn.ModuleList(torch.nn.Linear(width, 1) for width in architecture.widths.values())
        optimizer = torch.optim.Adam([*architecture.parameters(), *heads.parameters()], lr=0.01)
        for _ in range(300):
            optimizer.zero_grad()
            (errors_of(architecture, heads, encoder, learned) * learned.mask).sum(0).div(
                learned.mask.sum(0)
            ).sum().backward()
            optimizer.step()
        with torch.no_grad():
            errors[item] = errors_of(architecture, heads, encoder, unseen).mean(0)[1].item()
    assert errors[name] < 0.85 * errors["single_task"]


def agreeing(seed, rows):
    """Rows whose two labels are one function of the ids and the price, with a little noise of their own."""
    generator = torch.Generator().manual_seed(seed)
    _, _, batch = example(2, rows=rows)
    ids = torch.randint(0, 6, batch.ids.shape, generator=generator)
    price = torch.randn(rows, 1, generator=generator)
    x = (ids.float() - 2.5) / 2
    signal = x[:, 0] * x[:, 1] + x[:, 2] * price[:, 0]
    labels = signal.unsqueeze(1) + 0.1 * torch.randn(rows, 2, generator=generator)
    return replace(batch, ids=ids, dense=price, labels=labels)


def errors_of(architecture, heads, encoder, batch):
    """Squared errors, [B, T]."""
    h = architecture(encoder(batch))
    outputs = [head(value)[:, 0] for head, value in zip(heads, h.values(), strict=True)]
    return (torch.stack(outputs, dim=1) - batch.labels).square()
