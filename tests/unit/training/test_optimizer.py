"""The composite optimizer: state, schedules, sparse rows, clipping; each table optimizer against its dense formula."""

import copy
import io

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn

from mtl_lightning.build import build_module
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.errors import MtlError
from mtl_lightning.training.optimizer import (
    CompositeOptimizer,
    OptimizerConfig,
    build_optimizer,
    build_scheduler,
    clip_gradients,
    gradient_norm,
)
from mtl_lightning.training.rows import RADIX, coalesce, distinct
from mtl_lightning.training.tables import TABLE_OPTIMIZERS, LazyAdam, RowwiseAdagrad


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.table = nn.Embedding(50, 4, sparse=True)
        self.linear = nn.Linear(4, 1)
        self.double()

    def loss(self, step):
        generator = torch.Generator().manual_seed(step)
        ids = torch.randint(0, 50, (16, 3), generator=generator)
        return (self.linear(self.table(ids).mean(1)) - 1.0).square().mean()


def train(model, optimizer, scheduler, steps):
    for step in steps:
        optimizer.zero_grad()
        optimizer.step(lambda step=step: _backward(model, step))
        if scheduler is not None:
            scheduler.step()


def _backward(model, step):
    loss = model.loss(step)
    loss.backward()
    return loss


def make(config):
    model = Model()
    optimizer = build_optimizer(config, model.linear.parameters(), [], [model.table.weight])
    return model, optimizer, build_scheduler(config, optimizer, lambda: 20)


@pytest.mark.parametrize("tables", sorted(TABLE_OPTIMIZERS))
@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "adagrad"])
def test_resume_with_a_scheduler_is_bitwise_exact(name, tables):
    config = OptimizerConfig(name=name, tables=tables, schedule="cosine", warmup_steps=3, table_lr=0.1, momentum=0.9)
    model, optimizer, scheduler = make(config)
    train(model, optimizer, scheduler, range(20))

    first, optimizer_a, scheduler_a = make(config)
    train(first, optimizer_a, scheduler_a, range(8))
    buffer = io.BytesIO()
    torch.save([first.state_dict(), optimizer_a.state_dict(), scheduler_a.state_dict()], buffer)
    buffer.seek(0)
    weights, state, schedule = torch.load(buffer, weights_only=True)
    second, optimizer_b, scheduler_b = make(config)
    second.load_state_dict(weights)
    optimizer_b.load_state_dict(state)
    scheduler_b.load_state_dict(schedule)
    train(second, optimizer_b, scheduler_b, range(8, 20))
    for (key, value), other in zip(model.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(value, other), key


def test_a_scheduler_moves_the_rates_that_are_read_also_after_a_reload():
    _, optimizer, scheduler = make(OptimizerConfig(schedule="linear", lr=0.1, table_lr=1.0))
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    optimizer.step()
    for _ in range(10):
        scheduler.step()
    assert [inner.param_groups[0]["lr"] for inner in optimizer.optimizers] == pytest.approx([0.05, 0.5])


def test_warm_up_alone_asks_for_no_length():
    _, optimizer, _ = make(OptimizerConfig())
    scheduler = build_scheduler(OptimizerConfig(lr=0.1, warmup_steps=2), optimizer, lambda: int(float("inf")))
    rates = []
    for _ in range(4):
        rates.append(optimizer.optimizers[0].param_groups[0]["lr"] / 1e-3)
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([0.5, 1.0, 1.0, 1.0])


def test_a_schedule_without_an_end_is_refused_when_training_starts():
    data = DataModule.from_frame(
        {"x": [0.0, 1.0] * 20, "click": [0, 1] * 20}, features={"x": "numeric"}, tasks={"click": "binary"}, batch_size=8
    )
    data.prepare()
    module = build_module(data.schema, optimizer={"schedule": "cosine"})
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    with pytest.raises(MtlError, match="needs a last step"):
        Trainer(max_epochs=-1, **quiet).fit(module, datamodule=data)
    assert module.batches == 0


def test_the_closure_runs_once():
    model, optimizer, _ = make(OptimizerConfig())
    calls = []
    optimizer.step(lambda: calls.append(1) or _backward(model, 0))
    assert calls == [1]


def test_only_matrices_decay_and_the_weighter_never():
    weighter = nn.Parameter(torch.ones(3, 3))
    linear = nn.Linear(2, 2)
    optimizer = build_optimizer(OptimizerConfig(weight_decay=0.5), linear.parameters(), [weighter], [])
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decay == {id(linear.weight): 0.5, id(linear.bias): 0.0, id(weighter): 0.0}


def test_untouched_rows_never_move():
    for factory in TABLE_OPTIMIZERS.values():
        table = nn.Embedding(10, 3, sparse=True)
        before = table.weight.detach().clone()
        optimizer = factory([table.weight], 0.1, (0.9, 0.999), 1e-8)
        for _ in range(3):
            optimizer.zero_grad()
            table(torch.tensor([2, 5, 2])).square().sum().backward()
            optimizer.step()
        moved = (table.weight != before).any(1)
        assert moved.nonzero().flatten().tolist() == [2, 5]


@pytest.mark.parametrize("tables", sorted(TABLE_OPTIMIZERS))
def test_a_row_decays_as_under_an_l2_penalty_in_the_loss_and_others_stay(tables):
    generator = torch.Generator().manual_seed(3)
    start = torch.randn(10, 3, dtype=torch.float64, generator=generator)
    ids, strength = torch.tensor([2, 5, 2]), 0.3

    def trained(decay, penalty):
        table = nn.Embedding.from_pretrained(start.clone(), freeze=False, sparse=True)
        config = OptimizerConfig(tables=tables, table_lr=0.1, table_weight_decay=decay)
        optimizer = build_optimizer(config, [], [], [table.weight])
        for _ in range(4):
            optimizer.zero_grad()
            loss = (table(ids) - 1).square().sum() + penalty / 2 * table(ids.unique()).square().sum()
            optimizer.step(lambda loss=loss: loss.backward())
        return table.weight.detach()

    decayed = trained(strength, 0.0)
    torch.testing.assert_close(decayed, trained(0.0, strength))
    assert (decayed != start).any(1).nonzero().flatten().tolist() == [2, 5]
    assert not torch.allclose(decayed, trained(0.0, 0.0))


def test_the_decay_of_rows_survives_a_copy():
    _, optimizer, _ = make(OptimizerConfig(table_weight_decay=0.25))
    assert copy.deepcopy(optimizer).row_decay == 0.25


def test_rowwise_adagrad_by_hand():
    weight = nn.Parameter(torch.zeros(2, 2, dtype=torch.float64))
    optimizer = RowwiseAdagrad([weight], lr=0.5, eps=0.0)
    for _ in range(2):
        weight.grad = torch.sparse_coo_tensor([[1]], torch.tensor([[3.0, 4.0]], dtype=torch.float64), (2, 2))
        optimizer.step()
    # Accumulator: (9 + 16) / 2 = 12.5, then 25.
    expected = -0.5 * torch.tensor([3.0, 4.0], dtype=torch.float64) * (12.5**-0.5 + 25.0**-0.5)
    torch.testing.assert_close(weight[1].detach(), expected)
    assert weight[0].tolist() == [0.0, 0.0]


def test_lazy_adam_equals_adam_when_every_row_is_in_every_batch():
    torch.manual_seed(0)
    start = torch.randn(4, 3, dtype=torch.float64)
    lazy, dense = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizers = LazyAdam([lazy], lr=0.1), torch.optim.Adam([dense], lr=0.1)
    for _ in range(10):
        gradient = torch.randn(4, 3, dtype=torch.float64)
        lazy.grad, dense.grad = gradient.to_sparse(1), gradient.clone()
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(lazy, dense)


def test_repeated_rows_are_summed_before_the_step():
    single, two = (nn.Parameter(torch.zeros(3, 1)) for _ in range(2))
    single.grad = torch.sparse_coo_tensor([[1, 1]], torch.tensor([[1.0], [2.0]]), (3, 1))
    two.grad = torch.sparse_coo_tensor([[1]], torch.tensor([[3.0]]), (3, 1))
    for weight in (single, two):
        RowwiseAdagrad([weight], lr=0.1).step()
    assert torch.equal(single, two)


@pytest.mark.parametrize("size", [7, 1_000_000, 2**40])
@pytest.mark.parametrize("count", [1, 2, 1000, RADIX // 8 + 1, RADIX - 1, RADIX, RADIX + 5])
def test_distinct_keys_are_those_of_unique(count, size):
    keys = torch.randint(0, size, (count,), generator=torch.Generator().manual_seed(count))
    rows, order, starts = distinct(keys, size)
    expected, counts = keys.unique(return_counts=True)
    assert torch.equal(rows, expected)
    assert torch.equal(order, keys.argsort(stable=True))
    assert torch.equal(starts, counts.cumsum(0) - counts)


@pytest.mark.parametrize("count", [0, 1, 50, 5000])
def test_coalescing_is_that_of_torch(count):
    generator = torch.Generator().manual_seed(count)
    indices = torch.randint(0, 300, (1, count), generator=generator)
    values = torch.randn(count, 4, dtype=torch.float64, generator=generator)
    gradient = torch.sparse_coo_tensor(indices, values, (300, 4), check_invariants=True)
    result, expected = coalesce(gradient), gradient.coalesce()
    assert result.is_coalesced()
    assert torch.equal(result.indices(), expected.indices())
    torch.testing.assert_close(result.values(), expected.values(), rtol=1e-13, atol=1e-13)


def test_clipping_counts_dense_and_sparse_gradients_together():
    dense = torch.tensor([3.0, 0.0])
    sparse = torch.sparse_coo_tensor([[1]], torch.tensor([[0.0, 4.0]]), (5, 2)).coalesce()
    norm = gradient_norm([dense, sparse])
    assert norm.item() == pytest.approx(5.0)
    clip_gradients([dense, sparse], norm, 1.0, "norm")
    assert dense.tolist() == pytest.approx([0.6, 0.0])
    assert sparse.to_dense()[1].tolist() == pytest.approx([0.0, 0.8])
    clip_gradients([dense, sparse], norm, 0.7, "value")
    assert sparse.to_dense()[1].tolist() == pytest.approx([0.0, 0.7])


def test_a_small_gradient_is_not_scaled_up():
    gradient = torch.tensor([0.3])
    clip_gradients([gradient], gradient_norm([gradient]), 1.0, "norm")
    assert gradient.item() == pytest.approx(0.3)


def test_composite_copies_with_its_groups_linked():
    model, optimizer, _ = make(OptimizerConfig())
    _, twin = copy.deepcopy((model, optimizer))
    assert isinstance(twin, CompositeOptimizer)
    twin.param_groups[0]["lr"] = 7.0
    assert twin.optimizers[0].param_groups[0]["lr"] == 7.0
