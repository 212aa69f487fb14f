"""Encoders on histories, against their equations written as loops over rows and events."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from mtl_lightning.batch import Batch
from mtl_lightning.build import build_network
from mtl_lightning.encoders.din import DINEncoder
from mtl_lightning.encoders.embedding import EmbeddingEncoder
from mtl_lightning.encoders.steps import StepBuckets, buckets
from mtl_lightning.encoders.transformer import TransformerEncoder
from mtl_lightning.schema import Schema
from mtl_lightning.testing import example_batch, example_schema

SCHEMA = example_schema(kinds=["categorical", "sequence", "history"])
CLICKS, VISITS = SCHEMA.field("clicks"), SCHEMA.field("visits")


def rows_of(encoder: EmbeddingEncoder, schema: Schema) -> dict[str, int]:
    """Row of id 0 of each vocabulary in the fused table."""
    (places,) = encoder.table_places(schema)
    return {table: starts[0] for table, starts in places.items()}


def event(encoder: EmbeddingEncoder, batch: Batch, row: int, place: int) -> torch.Tensor:
    """Parts of one click: two ids, a price and a gap, looked up one after the other."""
    steps, starts, weight = batch.steps["clicks"], rows_of(encoder, batch.schema), encoder.table.weight
    total = torch.zeros(encoder.embedding_width)
    for column, field in enumerate(CLICKS.steps_of_kind("categorical")):
        code = int(steps.ids[row, place, column])
        total = total + (weight[starts[field.table] + code] if code else 0.0)
    prices, gaps = encoder.step_buckets[0][0].weights
    edges = CLICKS.steps_of_kind("numeric")[0].edges
    total = total + prices[sum(float(steps.numbers[row, place, 0]) >= edge for edge in edges)]
    gap = float(steps.gap[row, place])
    return total + gaps[0 if gap < 1 else 1 + math.floor(math.log2(gap))]


def events(encoder: EmbeddingEncoder, batch: Batch, row: int) -> list[torch.Tensor]:
    return [event(encoder, batch, row, place) for place in range(int(batch.steps["clicks"].length[row]))]


@pytest.fixture
def batch() -> Batch:
    return example_batch(SCHEMA, rows=18, seed=3)


def test_buckets_of_gaps_double_in_width():
    edges = 2.0 ** torch.arange(63)
    gaps = torch.tensor([0.0, 0.9, 1.0, 1.9, 2.0, 3.0, 4.0, 1023.0, 1024.0, 1e18])
    assert buckets(gaps, edges).tolist() == [0, 0, 1, 1, 2, 2, 3, 10, 11, 60]


def test_a_history_without_numbers_and_gaps_adds_nothing():
    created = StepBuckets(VISITS, 4, 1.0)
    assert list(created.parameters()) == []
    assert created(example_batch(SCHEMA, rows=5).steps["visits"]).abs().sum() == 0


@pytest.mark.parametrize("pooling", ["mean", "sqrt"])
def test_a_history_is_pooled_over_the_sums_of_its_events(batch, pooling):
    encoder = EmbeddingEncoder(SCHEMA, 1, width=4, pooling=pooling, init_scale=1.0).eval()
    result = encoder(batch).field("clicks")
    for row in range(len(batch)):
        steps = events(encoder, batch, row)
        want = sum(steps, torch.zeros(4))
        want = want / (len(steps) if pooling == "mean" else math.sqrt(len(steps))) if steps else want
        torch.testing.assert_close(result[row], want, rtol=1e-5, atol=1e-6)


def test_din_weighs_events_by_the_sum_of_the_fields_at_hand(batch):
    encoder = DINEncoder(SCHEMA, 1, width=4, init_scale=1.0).eval()
    assert encoder.targets["clicks"] == ("item",)  # ``shop`` has a table of its own
    assert "visits" not in encoder.targets
    result = encoder(batch).field("clicks")
    attention = encoder.attention[encoder.numbers["clicks"]]
    start = rows_of(encoder, SCHEMA)["item"]
    for row in range(len(batch)):
        code = int(batch.id("item")[row])
        target = encoder.table.weight[start + code] if code else torch.zeros(4)
        want = torch.zeros(4)
        for step in events(encoder, batch, row):
            want = want + attention(torch.cat([step, target, step - target, step * target])[None])[0] * step
        torch.testing.assert_close(result[row], want, rtol=1e-4, atol=1e-5)


def test_din_adds_up_the_fields_at_hand_of_several_ids():
    shop = replace(SCHEMA.field("user"), name="shop", size=12, table="clicks.shop")
    schema = Schema((*SCHEMA.fields, shop), SCHEMA.tasks)
    encoder = DINEncoder(schema, 1, width=4, init_scale=1.0).eval()
    assert encoder.targets["clicks"] == ("item", "shop")
    batch = example_batch(schema, rows=12)
    moved = replace(batch, ids=batch.ids.clone())
    moved.ids[:, schema.id_columns["shop"]] = 5
    long = batch.steps["clicks"].length > 0
    assert not torch.equal(encoder(batch).field("clicks")[long], encoder(moved).field("clicks")[long])


def test_the_transformer_reads_events_in_their_order_counted_back_from_the_latest(batch):
    encoder = TransformerEncoder(SCHEMA, 1, width=4, attention_heads=1, init_scale=1.0).eval()
    result = encoder(batch).field("clicks")
    number = encoder.numbers["clicks"]
    places, block = encoder.places[number], encoder.blocks[number][0]
    start = rows_of(encoder, SCHEMA)["item"]
    for row in range(len(batch)):
        code = int(batch.id("item")[row])
        target = encoder.table.weight[start + code] if code else torch.zeros(4)
        steps = events(encoder, batch, row)
        tokens = [target + places[0], *(step + places[len(steps) - i] for i, step in enumerate(steps))]
        want = block(torch.stack(tokens)[None], None)[0, 0]
        torch.testing.assert_close(result[row], want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("encoder", [EmbeddingEncoder, DINEncoder, TransformerEncoder])
def test_events_left_out_in_training_are_as_if_they_were_not_there(batch, encoder):
    torch.manual_seed(0)
    created = encoder(SCHEMA, 1, width=4, step_dropout=0.5).train()
    torch.manual_seed(1)
    z = created(batch).z
    torch.manual_seed(1)
    known = created.known(created.drop_steps(batch))["clicks"]
    assert 0.3 < known.sum() / batch.steps["clicks"].known.sum() < 0.7
    changed = batch.steps["clicks"]
    ids = torch.where(known[:, :, None], changed.ids, 1)
    torch.manual_seed(1)
    again = created(replace(batch, steps={**batch.steps, "clicks": replace(changed, ids=ids)})).z
    assert torch.equal(z, again)


def test_a_network_learns_whether_the_item_was_clicked_before():
    """The label is whether the item at hand is among the clicks, which needs them to share a table."""
    torch.manual_seed(0)
    schema = Schema((SCHEMA.field("item"), replace(VISITS, steps=CLICKS.steps[:1])), SCHEMA.tasks[:1])
    batch = example_batch(schema, rows=600, seed=1)
    steps = batch.steps["visits"]
    copied = (torch.arange(600) % 2 == 0) & (steps.length > 0)
    batch.ids[:, 0] = torch.where(copied, steps.ids[:, 0, 0], batch.ids[:, 0])
    label = ((steps.ids[:, :, 0] == batch.ids[:, :1]) & steps.known & (batch.ids[:, :1] > 1)).any(1)
    batch = replace(batch, labels=label[:, None].float(), mask=torch.ones(600, 1, dtype=torch.bool))
    network = build_network(schema, encoder={"name": "din", "width": 8})
    optimizer = torch.optim.Adam(list(network.parameters()), lr=0.02)
    table = network.encoder.table
    network.encoder.table = nn.Embedding.from_pretrained(table.weight.detach(), freeze=True)
    for _ in range(80):
        optimizer.zero_grad()
        losses, _ = network.losses(batch)
        losses[0].backward()
        optimizer.step()
    with torch.no_grad():
        predicted = network.eval()(batch)["click"]
    assert ((predicted > 0.5) == label).float().mean() > 0.9
