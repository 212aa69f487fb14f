"""Sparse steps on a device: the same weights as on a CPU, and a step that is not finite changes nothing."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from mtl_lightning.build import build_module
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.sources.simulator import Simulator
from mtl_lightning.errors import MtlError
from mtl_lightning.training import late, rows, skipped
from mtl_lightning.training.module import MultiTaskModule
from mtl_lightning.training.optimizer import OptimizerConfig

QUIET = dict.fromkeys(("logger", "enable_checkpointing", "enable_model_summary", "enable_progress_bar"), False)
STEPS = 20


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataModule:
    cache = tmp_path_factory.mktemp("cache")
    module = DataModule(Simulator(rows=3000), batch_size=64, cache_dir=str(cache))
    module.prepare()
    return module


@contextmanager
def device_path(active: bool) -> Iterator[None]:
    """Let CPU tensors take the way of a device that the host must not wait for."""
    empty = torch.empty

    def unpinned(*size: Any, **options: Any) -> Tensor:  # memory cannot be pinned without a device
        return empty(*size, **{name: value for name, value in options.items() if name != "pin_memory"})

    with pytest.MonkeyPatch.context() as patch:
        if active:
            for module in (rows, skipped):
                patch.setattr(module, "HOST", ())
            patch.setattr(late, "record_event", lambda _: SimpleNamespace(synchronize=lambda: None))
            patch.setattr(torch, "empty", unpinned)
        yield


class Spoil(Callback):
    """Make the numbers of some batches NaN, and note the weights before and after each batch."""

    def __init__(self, broken: set[int]) -> None:
        self.broken = broken
        self.weights: list[dict[str, Tensor]] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx in self.broken:
            batch.dense.fill_(math.nan)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        self.weights.append({name: value.detach().clone() for name, value in pl_module.named_parameters()})


def fit(
    data: DataModule, on_device: bool, broken: set[int], options: dict[str, Any], **trainer: Any
) -> tuple[MultiTaskModule, Spoil]:
    data.train_dataloader().set_epoch(0)
    torch.manual_seed(3)
    module = build_module(
        data.schema, architecture="mmoe", optimizer=OptimizerConfig(**options), weighter="uncertainty", skip_nonfinite=3
    )
    spoil = Spoil(broken)
    with device_path(on_device):
        Trainer(max_steps=STEPS, limit_val_batches=0, accelerator="cpu", callbacks=[spoil], **QUIET, **trainer).fit(
            module, data
        )
    return module, spoil


@pytest.mark.parametrize(
    ("options", "trainer"),
    [
        ({}, {"gradient_clip_val": 0.05}),
        ({"tables": "lazy_adam", "name": "adam"}, {"accumulate_grad_batches": 2, "max_epochs": 2}),
        ({"tables": "adagrad"}, {"gradient_clip_val": 1e-3, "gradient_clip_algorithm": "value"}),
        ({"tables": "sgd", "name": "sgd", "momentum": 0.5}, {}),
    ],
    ids=lambda value: ",".join(map(str, value.values())) or "defaults",
)
def test_twenty_steps_on_a_device_are_those_on_a_cpu(
    data: DataModule, options: dict[str, Any], trainer: dict[str, Any]
) -> None:
    """With two broken steps in between, of which neither changes a weight."""
    broken = {6, 11}
    host, before = fit(data, False, broken, options, **trainer)
    device, after = fit(data, True, broken, options, **trainer)
    assert host.skipped == device.skipped == 2
    for name, value in host.named_parameters():
        torch.testing.assert_close(dict(device.named_parameters())[name], value, rtol=1e-5, atol=1e-7, msg=name)
    for record in (before, after) if "accumulate_grad_batches" not in trainer else ():
        for step in broken:
            for name, value in record.weights[step].items():
                assert torch.equal(value, record.weights[step - 1][name]), name


def test_a_training_on_a_device_stops_where_steps_stay_broken(data: DataModule) -> None:
    """At most ten steps later than on a CPU, and with the weights of the last good step."""
    with pytest.raises(MtlError, match=r"3 steps in a row had gradients that are not finite; the loss of"):
        fit(data, True, set(range(4, STEPS)), {})
    module, _ = fit(data, True, {STEPS - 2, STEPS - 1}, {})  # two are not enough
    assert module.skipped == 2
    with pytest.raises(MtlError, match="3 steps in a row"):  # known at the end of the training only
        fit(data, True, set(range(STEPS - 3, STEPS)), {})


@pytest.mark.parametrize("count", [1, 2, 50, 5000])
def test_merged_rows_are_those_of_torch(count: int) -> None:
    generator = torch.Generator().manual_seed(count)
    keys = torch.randint(0, 300, (count,), generator=generator)
    values = torch.randn(count, 4, dtype=torch.float64, generator=generator)
    values[keys == 7] = 0
    merged, sums = rows.merge(keys, values, 7)
    expected = torch.sparse_coo_tensor(keys[None], values, (300, 4), check_invariants=True).coalesce()
    ordered = keys.sort().values
    last = torch.cat([ordered[1:] != ordered[:-1], torch.tensor([True])])
    assert torch.equal(merged[last], expected.indices()[0])
    torch.testing.assert_close(sums[last], expected.values(), rtol=1e-13, atol=1e-13)
    assert len(merged) == count
    assert (merged[~last] == 7).all()
    assert not sums[~last].any()
