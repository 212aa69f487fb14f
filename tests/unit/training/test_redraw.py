"""Tables that are drawn anew at each epoch: values, optimizer state, resumption, and encoders without it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from mtl_lightning.build import build_data, module_from_config
from mtl_lightning.config import compose, validate
from mtl_lightning.encoders.embedding import EmbeddingEncoder
from mtl_lightning.errors import MtlError
from mtl_lightning.interfaces import Encoder
from mtl_lightning.runs.resumption import check_saved_module
from mtl_lightning.training.module import MultiTaskModule
from mtl_lightning.training.redraw import redraw_tables

QUIET = dict.fromkeys(("logger", "enable_checkpointing", "enable_model_summary", "enable_progress_bar"), False)
OPTIONS = {"accelerator": "cpu", "num_sanity_val_steps": 0, "limit_val_batches": 0, **QUIET}
SMALL = ("source.rows=1500", "data.batch_size=128", "weighter=sum", "architecture=shared_bottom")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def build(cache: Path, *pairs: str) -> tuple[Any, Any]:
    settings = [*SMALL, f"data.cache_dir={cache}", "optimizer.redraw_tables=true", *pairs]
    config = validate(compose("ads", settings).plain)
    data = build_data(config)
    data.prepare()
    torch.manual_seed(0)
    return module_from_config(config, data.schema), data


class Trace(Callback):
    """Table and trunk at the first step of each epoch, and a checkpoint after some of the steps."""

    def __init__(self, folder: Path | None = None, steps: tuple[int, ...] = ()) -> None:
        self.folder, self.steps = folder, steps
        self.tables: list[torch.Tensor] = []
        self.states: list[float] = []

    def on_before_zero_grad(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        if len(self.tables) == trainer.current_epoch:
            table = pl_module.network.encoder.table.weight
            self.tables.append(table.detach().clone())
            states = [inner.state[table] for inner in optimizer.optimizers if table in inner.state]
            self.states.append(sum(float(value.sum()) for state in states for value in state.values()))

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        if trainer.global_step in self.steps:
            trainer.save_checkpoint(self.folder / f"{trainer.global_step}.ckpt")


@pytest.mark.parametrize("tables", ["rowwise_adagrad", "adagrad", "lazy_adam", "sgd"])
def test_each_epoch_but_the_first_starts_with_tables_of_its_own(cache: Path, tables: str) -> None:
    module, data = build(cache, f"optimizer.tables={tables}")
    start = module.network.encoder.table.weight.detach().clone()
    trace = Trace()
    Trainer(callbacks=[trace], max_epochs=3, **OPTIONS).fit(module, data)
    assert torch.equal(trace.tables[0], start)
    for epoch in (1, 2):
        redraw_tables(module.network.encoder, [], seed=module.seed, epoch=epoch)
        assert torch.equal(trace.tables[epoch], module.network.encoder.table.weight)
    assert not torch.equal(trace.tables[1], trace.tables[2])
    assert trace.states == [0, 0, 0]
    assert trace.tables[2][1:].std().item() == pytest.approx(module.network.encoder.init_scale, rel=0.05)


def test_a_resumed_run_draws_what_the_uninterrupted_one_drew(cache: Path, tmp_path: Path) -> None:
    module, data = build(cache)
    steps = len(data.train_dataloader())
    places = (steps // 2, steps, steps + 2, 2 * steps)  # within an epoch, and at its end
    Trainer(callbacks=[Trace(tmp_path, places)], max_epochs=3, **OPTIONS).fit(module, data)
    for place in places:
        saved = torch.load(tmp_path / f"{place}.ckpt", weights_only=True)
        check_saved_module(saved)
        saved["mtl_lightning"]["tables_drawn_in"] = -1
        with pytest.raises(MtlError, match="tables_drawn_in"):
            check_saved_module(saved)
        resumed, again = build(cache)
        trainer = Trainer(max_epochs=3, **OPTIONS)
        trainer.fit(resumed, again, ckpt_path=tmp_path / f"{place}.ckpt", weights_only=True)
        for name, value in module.state_dict().items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(value, resumed.state_dict()[name]), (place, name)


def test_without_the_option_tables_are_kept(cache: Path) -> None:
    module, data = build(cache, "optimizer.redraw_tables=false", "optimizer.table_lr=1e-30")
    start = module.network.encoder.table.weight.detach().clone()
    trace = Trace()
    Trainer(callbacks=[trace], max_epochs=2, **OPTIONS).fit(module, data)
    torch.testing.assert_close(trace.tables[1], start)


def test_an_encoder_that_cannot_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, _ = build(cache)
    monkeypatch.setattr(EmbeddingEncoder, "draw_tables", Encoder.draw_tables)
    with pytest.raises(MtlError, match="redraw_tables: EmbeddingEncoder cannot draw"):
        MultiTaskModule(module.network, module.weighter, optimizer=module.optimizer_config)
