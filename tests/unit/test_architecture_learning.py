"""Planted structures that architectures must learn."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from mtl_lightning.architectures.adatt import AdaTT
from mtl_lightning.architectures.cgc import CGC
from mtl_lightning.architectures.cross_stitch import CrossStitch
from mtl_lightning.architectures.dselect_k import DSelectK
from mtl_lightning.architectures.example import example
from mtl_lightning.architectures.late_fusion import LateFusion
from mtl_lightning.architectures.mmoe import MMoE
from mtl_lightning.architectures.ple import PLE
from mtl_lightning.architectures.shared_bottom import SharedBottom


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


@pytest.mark.parametrize("kind", [AdaTT, CrossStitch, DSelectK, LateFusion, MMoE, PLE])
def test_a_planted_structure_is_learned(kind):
    schema, encoder, _ = example(2)
    encoder.requires_grad_(False)
    _, _, batch = example(2, rows=256)
    x = (batch.ids.float() - 3) / 2
    batch = replace(batch, labels=torch.stack([x[:, 0] + x[:, 1], x[:, 0] - x[:, 2]], dim=1))
    with torch.no_grad():
        encoder.table.weight.normal_(generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    assert train(kind(schema, encoder, hidden=[16]), encoder, [batch], steps=150) < 0.1 * batch.labels.var().item()
