"""Tables in bfloat16: rounding at random, float32 states, resumption, export, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import nn

from mtl_lightning.build import build_data, build_network, module_from_config
from mtl_lightning.config import compose, validate
from mtl_lightning.errors import MtlError
from mtl_lightning.plugins import registry
from mtl_lightning.testing import example_batch, example_schema
from mtl_lightning.training.optimizer import OptimizerConfig, build_optimizer
from mtl_lightning.training.tables import round_at_random

QUIET = dict.fromkeys(("logger", "enable_checkpointing", "enable_model_summary", "enable_progress_bar"), False)
OPTIONS = {"accelerator": "cpu", "num_sanity_val_steps": 0, "limit_val_batches": 0, "max_epochs": 2, **QUIET}
SMALL = ("source.rows=1000", "data.batch_size=128", "weighter=sum", "architecture=shared_bottom")


def build(folder: Path, *pairs: str) -> tuple[Any, Any]:
    settings = [*SMALL, f"data.cache_dir={folder / 'cache'}", "encoder.table_dtype=bfloat16", *pairs]
    config = validate(compose("ads", settings).plain)
    data = build_data(config)
    data.prepare()
    torch.manual_seed(0)
    return module_from_config(config, data.schema), data


def test_rounding_is_to_a_neighbour_and_right_on_average() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(200, generator=generator) * torch.logspace(-6, 2, 200)
    drawn = torch.stack([round_at_random(values, generator).float() for _ in range(4000)])
    gap = values.abs() / 128
    assert ((drawn - values).abs() < gap + 1e-30).all()
    assert ((drawn.mean(0) - values).abs() < 0.06 * gap).all()
    assert torch.equal(round_at_random(drawn[0], generator).float(), drawn[0])


@pytest.mark.parametrize("tables", ["rowwise_adagrad", "lazy_adam"])
def test_updates_too_small_to_be_stored_add_up(tables: Any) -> None:
    ends = {}
    for dtype in (torch.float32, torch.bfloat16):
        table = nn.Parameter(torch.ones(400, 8, dtype=dtype))
        config = OptimizerConfig(tables=tables, table_lr=1e-4, table_weight_decay=0.0)
        optimizer = build_optimizer(config, [], [], [table])
        for _ in range(100):
            table.grad = torch.ones_like(table).to_sparse(1)
            optimizer.step()
        ends[dtype] = table.detach().float().mean().item()
    assert ends[torch.float32] < 0.9985
    assert ends[torch.bfloat16] == pytest.approx(ends[torch.float32], abs=2e-4)


@pytest.mark.parametrize("tables", ["rowwise_adagrad", "lazy_adam"])
def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path, tables: str) -> None:
    class Save(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
            if trainer.global_step == 9:
                trainer.save_checkpoint(tmp_path / "9.ckpt")

    module, data = build(tmp_path, f"optimizer.tables={tables}")
    Trainer(callbacks=[Save()], **OPTIONS).fit(module, data)
    resumed, again = build(tmp_path, f"optimizer.tables={tables}")
    trainer = Trainer(**OPTIONS)
    trainer.fit(resumed, again, ckpt_path=tmp_path / "9.ckpt", weights_only=True)
    table = resumed.network.encoder.table.weight
    assert table.dtype == torch.bfloat16
    assert torch.equal(table, module.network.encoder.table.weight)
    states = [inner.state[table] for inner in trainer.optimizers[0].optimizers if table in inner.state]
    assert {value.dtype for state in states for value in state.values()} <= {torch.float32, torch.int64}
    for name, value in module.state_dict().items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, resumed.state_dict()[name]), name


@pytest.mark.parametrize("name", sorted(registry().names("encoder")))
def test_every_encoder_computes_in_float32(name: str) -> None:
    kinds = ("categorical", "numeric", "sequence", "history")
    schema = example_schema(kinds=kinds)
    encoder = {"name": name, "table_dtype": "bfloat16"}
    network = build_network(schema, encoder=encoder).train()
    losses, (z, *_) = network.losses(example_batch(schema, 6))
    assert z.dtype == torch.float32
    torch.stack(losses).sum().backward()
    (table,) = network.encoder.table_parameters()
    assert table.dtype == table.grad.dtype == torch.bfloat16


def test_other_optimizers_are_refused() -> None:
    table = nn.Parameter(torch.ones(3, 2, dtype=torch.bfloat16))
    with pytest.raises(MtlError, match="sgd cannot update tables in bfloat16"):
        build_optimizer(OptimizerConfig(tables="sgd"), [], [], [table])
