"""Loss of the next event: causality, pairs that count, draws, and its place in the objective."""

import copy
from dataclasses import replace

import pytest
import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

from mtl_lightning.batch import Batch
from mtl_lightning.build import build_module
from mtl_lightning.encoders.next_action import NextAction, draw_ids
from mtl_lightning.errors import MtlError
from mtl_lightning.loggers.csv import CSVLog
from mtl_lightning.plugins import registry
from mtl_lightning.schema import Field, Schema
from mtl_lightning.testing import example_batch, example_schema
from mtl_lightning.training.step import global_counts

NAMES = ("hstu", "transformer")
SCHEMA = example_schema(kinds=("categorical", "sequence", "history"))


def build(name, copies=1, schema=SCHEMA, **options):
    torch.manual_seed(0)
    options = {"width": 4, "init_scale": 1.0, "next_action": 0.5, **options}
    return registry().resolve("encoder", name)(schema, copies, **options)


def tokens_of(encoder, batch, monkeypatch):
    """Tokens of the steps that the loss reads, per sequence or history."""
    tokens = {}
    monkeypatch.setattr(encoder, "predict_next", lambda field, *rest: tokens.update({field.name: rest[1].detach()}))
    encoder.train()(batch)
    return tokens


@pytest.mark.parametrize("name", NAMES)
def test_a_token_depends_neither_on_later_events_nor_on_the_item_at_hand(name, monkeypatch):
    encoder, batch = build(name), example_batch(SCHEMA, 12)
    history, sequence = (SCHEMA.of_kind(kind)[0] for kind in ("history", "sequence"))
    steps = batch.steps[history.name]
    ids = steps.ids.clone()
    row, cut = int(steps.length.argmax()), 2
    assert steps.length[row] > cut
    ids[row, cut] = 1 + ids[row, cut] % (history.steps[0].size - 1)
    listed = batch.sequences[sequence.name].clone()
    listed[:, cut:] = torch.where(listed[:, cut:] > 0, 1 + listed[:, cut:] % (sequence.size - 1), 0)
    later = replace(
        batch,
        ids=torch.where(batch.ids > 0, 1, 0),
        steps={**batch.steps, history.name: replace(steps, ids=ids)},
        sequences={**batch.sequences, sequence.name: listed},
    )
    before, after = tokens_of(encoder, batch, monkeypatch), tokens_of(encoder, later, monkeypatch)
    torch.testing.assert_close(after[history.name][row, :cut], before[history.name][row, :cut])
    full = batch.sequences[sequence.name][:, :cut].all(1)
    assert full.any()
    torch.testing.assert_close(after[sequence.name][full, :cut], before[sequence.name][full, :cut])
    assert not torch.allclose(after[history.name][row, cut], before[history.name][row, cut])


def test_loss_is_the_mean_over_pairs_that_count():
    torch.manual_seed(0)
    loss, width = NextAction(4).double(), 4
    table = torch.randn(9, width, dtype=torch.float64)
    ids = torch.tensor([[2, 5, 1, 7, 3, 0], [4, 0, 0, 0, 0, 0], [3, 3, 8, 2, 6, 4]])
    known = torch.tensor([[True] * 5 + [False], [True] + [False] * 5, [True, True, False, True, True, True]])
    tokens, drawn = torch.randn(3, 6, width, dtype=torch.float64), torch.tensor([2, 6, 7, 7])
    values = loss(tokens, ids, known, table[ids[:, 1:]], drawn, table[drawn])
    for row, pairs in enumerate([[(0, 5), (2, 7), (3, 3)], [], [(0, 3), (3, 6), (4, 4)]]):
        terms = []
        for place, code in pairs:
            s = loss.outer.weight @ tokens[row, place] + loss.outer.bias
            score = lambda i: torch.exp(s @ table[i] / s.norm() / table[i].norm() / 0.05)  # noqa: B023, E731
            others = sum(score(i) for i in drawn.tolist() if i != code)
            terms.append(-torch.log(score(code) / (score(code) + others)))
        expected = sum(terms) / len(terms) if terms else torch.zeros((), dtype=torch.float64)
        torch.testing.assert_close(values[row], expected, rtol=1e-9, atol=1e-9)


def test_draws_are_uniform_and_differ_from_step_to_step():
    draws = torch.stack([draw_ids(32, 52, torch.tensor(step)) for step in range(500)])
    assert draws.min() == 2
    assert draws.max() == 51
    counts = torch.bincount(draws.flatten(), minlength=52)[2:].double()
    expected = draws.numel() / 50
    assert ((counts - expected).square() / expected).sum() < 86  # 0.1 % of χ² with 49 degrees of freedom
    assert len(draws.unique(dim=0)) == 500
    assert draw_ids(64, 66, torch.tensor(3)).tolist() == list(range(2, 66))


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_encoder_draws_what_the_interrupted_one_would(name):
    encoder, batch = build(name, next_negatives=3).train(), example_batch(SCHEMA, 12)
    encoder(batch)
    resumed = build(name, next_negatives=3).train()
    resumed.load_state_dict(encoder.state_dict())
    values = [part(batch) and part.auxiliary["next_action"].values for part in (encoder, resumed)]
    assert torch.equal(*values)
    encoder(batch)
    assert not torch.equal(encoder.auxiliary["next_action"].values, values[0])


@pytest.mark.parametrize("name", NAMES)
def test_without_a_weight_nothing_is_added(name):
    encoder = build(name, next_action=0.0).train()
    encoder(example_batch(SCHEMA, 12))
    assert not encoder.auxiliary
    assert not [key for key in encoder.state_dict() if "draws" in key or "following" in key]


def test_a_schema_without_histories_is_refused():
    with pytest.raises(MtlError, match="next_action: needs a sequence or a history"):
        build("hstu", schema=example_schema(kinds=("categorical",)))


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_of_succession_is_learned(name):
    item = Field(name="item", kind="categorical", size=22, table="item")
    schema = Schema((item, Field(name="seen", kind="sequence", size=22, table="item", length=6)), ())
    encoder = build(name, schema=schema, width=16, init_scale=0.05).train()
    optimizer = torch.optim.Adam([p for p in encoder.parameters() if p is not encoder.table.weight], 0.02)
    tables = torch.optim.SparseAdam([encoder.table.weight], 0.02)
    for step in range(60):
        start = torch.randint(0, 20, (64, 1), generator=torch.Generator().manual_seed(step))
        seen = (start * 7 ** torch.arange(6) + 3 * torch.arange(6)) % 20 + 2  # the next id follows from the last two
        rows = torch.zeros(64, 0)
        encoder(
            Batch(schema=schema, ids=start + 2, dense=rows, labels=rows, mask=rows.bool(), sequences={"seen": seen})
        )
        loss = encoder.auxiliary["next_action"].values.mean()
        optimizer.zero_grad(), tables.zero_grad()
        loss.backward()
        optimizer.step(), tables.step()
    assert loss < 1.0, "an even guess has ln 20 = 3.0"


def test_the_objective_gets_the_weighted_mean_and_the_weighter_does_not_see_it():
    schema = example_schema(kinds=("categorical", "sequence", "history"))
    batch = example_batch(schema, 12)
    module = build_module(schema, encoder={"name": "hstu", "width": 4, "next_action": 0.5}, weighter="pcgrad").train()
    plain = copy.deepcopy(module)
    losses, seen = {}, []
    for part in (module, plain):
        part.observers.append(lambda step: seen.append(step.losses.detach()))
    losses["with"] = module.training_step(batch, 0)
    auxiliary = plain.network.objectives(batch, global_counts(batch)).auxiliary
    assert set(auxiliary) == {"next_action"}
    assert auxiliary["next_action"][1] == 0.5
    assert not plain.network.encoder.auxiliary, "copies cannot hold a graph"
    plain.network.encoder.get_buffer("draws").zero_()
    plain.network.encoder.next_action = 0.0
    losses["without"] = plain.training_step(batch, 0)
    assert torch.equal(seen[0], seen[1])
    torch.testing.assert_close(losses["with"], losses["without"] + 0.5 * auxiliary["next_action"][0])


def test_its_curve_is_logged(tmp_path):
    schema = example_schema(kinds=("categorical", "sequence", "history"))
    module = build_module(schema, encoder={"name": "hstu", "width": 4, "next_action": 0.5})
    records = []

    class Log(CSVLog):
        def log_metrics(self, metrics, step=None):
            records.append(dict(metrics))

    trainer = Trainer(
        max_steps=2, accelerator="cpu", logger=Log(tmp_path), log_every_n_steps=1, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, DataLoader([example_batch(schema, 12, seed=i) for i in range(2)], batch_size=None))
    curve = [record["train/auxiliary/next_action"] for record in records if "train/auxiliary/next_action" in record]
    assert len(curve) == 2
    assert all(value > 0 for value in curve)
