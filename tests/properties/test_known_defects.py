"""Defects that libraries of the field have had: tasks that swap, leak, pool or share tables by accident."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from mtl_lightning.batch import Batch
from mtl_lightning.build import build_metrics, build_module, build_network
from mtl_lightning.metrics.suite import MetricSuite
from mtl_lightning.plugins import registry
from mtl_lightning.schema import Field, Schema, Task
from mtl_lightning.weighters.bases.gramian import GramianWeighter

FIELDS = (
    Field(name="user", kind="categorical", size=5000, table="user"),
    Field(name="item", kind="categorical", size=40, table="item"),
    Field(name="price", kind="numeric"),
)
CLICK = Task(name="click", kind="binary", label="click")
SALE = Task(name="sale", kind="binary", label="sale", parents=("click",))
DWELL = Task(name="dwell", kind="regression", label="dwell", mean=30.0, scale=20.0)
FUNNEL = Schema(FIELDS, (CLICK, SALE))
MIXED = Schema(FIELDS, (CLICK, DWELL))


def draw(schema, rows=256, seed=0):
    """Users and items whose product makes a click; sales among clicks; seconds."""
    generator = torch.Generator().manual_seed(seed)
    user, item = (torch.randint(2, size, (rows,), generator=generator) for size in (200, 40))
    click = ((user % 2) == (item % 2)).float()
    sale = click * (torch.rand(rows, generator=generator) < 0.5)
    columns = {"click": click, "sale": sale, "dwell": 10 + 40 * click}
    return Batch(
        schema=schema,
        ids=torch.stack([user, item], dim=1),
        dense=torch.randn(rows, 1, generator=generator),
        labels=torch.stack([columns[task.name] for task in schema.tasks], dim=1),
        mask=torch.ones(rows, len(schema.tasks), dtype=torch.bool),
    )


def parts(network, task):
    return list(network.heads[task].parameters())


def reached(loss, parameters):
    result = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return any(gradient is not None and bool(gradient.abs().sum() > 0) for gradient in result)


def test_both_losses_of_a_funnel_train_and_the_joint_probability_is_predicted():
    """ESMM elsewhere: two task types train one loss without a word, or no joint probability is computed."""
    network = build_network(FUNNEL, heads={"sale": "esmm"})
    batch = draw(FUNNEL)
    (click, sale), _ = network.losses(batch)
    assert reached(click, parts(network, "click"))
    assert not reached(click, parts(network, "sale"))
    assert reached(sale, parts(network, "sale"))
    assert reached(sale, parts(network, "click"))  # through the product
    outputs, _ = network.outputs(batch)
    conditional = outputs["sale"].extra["conditional"][:, 0].sigmoid()
    predicted = network(batch)
    torch.testing.assert_close(predicted["sale"], predicted["click"] * conditional)


@pytest.mark.parametrize("seed", [0, 1])
def test_each_task_has_its_own_auc_in_any_order_of_tasks(seed):
    """One AUC over the rows of both tasks is high for random predictions at two base rates; by position tasks swap."""
    random = np.random.default_rng(seed)
    rates, rows = {"click": 0.5, "sale": 0.05}, 4000
    labels = {task: (random.random(rows) < rate).astype(float) for task, rate in rates.items()}
    predicted = {task: rate + 0.01 * random.random(rows) for task, rate in rates.items()}
    pooled = roc_auc_score(np.concatenate(list(labels.values())), np.concatenate(list(predicted.values())))
    assert pooled > 0.75
    for names in (("click", "sale"), ("sale", "click")):
        schema = Schema(FIELDS, tuple(Task(name=name, kind="binary", label=name) for name in names))
        batch = replace(draw(schema, rows), labels=torch.tensor(np.stack([labels[name] for name in names], axis=1)))
        suite = MetricSuite(schema, build_metrics(schema))
        suite.update(
            {name: torch.tensor(predicted[name]) for name in ("sale", "click")}, build_network(schema).targets(batch)
        )
        result = suite.compute()
        for name in names:
            assert result[f"{name}/auc"] == pytest.approx(roc_auc_score(labels[name], predicted[name]), abs=0.002)
            assert result[f"{name}/auc"] == pytest.approx(0.5, abs=0.06)


def test_a_sample_weight_of_one_task_is_not_the_others():
    network, batch = build_network(MIXED), draw(MIXED)
    (click, dwell), _ = network.losses(batch)
    batch.weight = torch.ones(len(batch), 2)
    batch.weight[:100, 0] = 7.0
    (weighted, same), _ = network.losses(batch)
    torch.testing.assert_close(same, dwell)
    assert abs(weighted.item() - click.item()) > 1e-6


def test_two_models_of_one_schema_share_nothing():
    single, other = build_network(FUNNEL), build_network(FUNNEL)
    assert not {value.data_ptr() for value in single.parameters()} & {value.data_ptr() for value in other.parameters()}
    before = [value.clone() for value in other.parameters()]
    with torch.no_grad():
        for value in single.parameters():
            value.add_(1)
    assert all(torch.equal(value, remaining) for value, remaining in zip(other.parameters(), before, strict=True))


@pytest.mark.parametrize("architecture", ["shared_bottom", "mmoe", "ple", "star"])
def test_a_last_batch_of_one_row_trains_as_it_does_among_others(architecture):
    torch.manual_seed(0)
    network = build_network(FUNNEL, architecture=architecture, heads={"sale": "esmm"}).train()
    batch = draw(FUNNEL, rows=8)
    alone, _ = network.losses(batch.map(lambda tensor: tensor[3:4]))
    batch.mask[:] = False
    batch.mask[3] = True
    torch.testing.assert_close(torch.stack(alone), torch.stack(network.losses(batch)[0]))


def loss_after(steps, **options):
    """The click's loss of a model that trains on one batch with the shipped optimizer."""
    torch.manual_seed(0)
    module = build_module(FUNNEL, heads={"sale": "esmm"}, encoder={"name": "embedding", **options})
    optimizer = module.configure_optimizers()
    batch = draw(FUNNEL, rows=1024)
    for _ in range(steps):
        optimizer.zero_grad()
        values, _ = module.network.losses(batch)
        sum(values).backward()
        optimizer.step()
    return values[0].item()


@pytest.mark.parametrize("init_scale", [0.05, 1e-4])
def test_training_leaves_its_start_with_the_shipped_optimizer(init_scale):
    """With one Adam for all, embeddings of N(0, 1e-4) have vanishing products, and for an epoch nothing moves."""
    assert loss_after(120, init_scale=init_scale) < 0.3


GRAMIAN = [
    name
    for name in sorted(registry().names("weighter"))
    if issubclass(registry().resolve("weighter", name), GramianWeighter)
]


@pytest.mark.parametrize("where", ["seam", "parameters"])
@pytest.mark.parametrize("name", GRAMIAN)
def test_no_weighter_holds_gradients_of_a_whole_table_per_task(name, where):
    """Elsewhere the Jacobian is [tasks × all shared parameters], tables included."""
    module = build_module(FUNNEL, weighter={"name": name, "gradients_at": where}, encoder={"name": "embedding"})
    rows = 16
    module.training_step(draw(FUNNEL, rows=rows), 0).backward()
    (table,) = module.network.encoder.table_parameters()
    assert table.grad.is_sparse
    assert table.grad.coalesce().values().shape[0] <= 2 * rows
    held = [buffer.numel() for buffer in module.weighter.buffers()]
    assert max(held) < table.numel()
