"""The transfer of a batch to a device: the same values, in one copy."""

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer

from mtl_lightning.batch import WITHOUT_GROUP, Batch, Steps
from mtl_lightning.build import build_module
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.sources.simulator import Simulator
from mtl_lightning.data.store.events import Events, EventsWriter, Narrow, TimeRange, row_part
from mtl_lightning.schema import Field, Schema, Task
from mtl_lightning.steps import Layout
from mtl_lightning.training.transfer import send_batch
from tests.support.remote_device import DEVICE, Remote, RemoteDevice

ROWS = 5


def make(size: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    schema = Schema(
        (Field(name="user", kind="categorical", size=size, table="user"),),
        (Task(name="click", kind="binary", label="click", oracle="p"),),
    )
    return Batch(
        schema=schema,
        ids=torch.randint(0, size, (ROWS, 3), generator=generator),
        dense=torch.randn(ROWS, 3, generator=generator),
        labels=torch.zeros(ROWS, 1),
        mask=torch.rand(ROWS, 1, generator=generator) < 0.5,
        sequences={"list": torch.randint(0, size, (ROWS, 1), generator=generator)},
        steps={
            "past": Steps(
                torch.randint(0, size, (ROWS, 2, 1), generator=generator),
                torch.zeros(ROWS, 2, 0),
                torch.arange(ROWS) % 3,
                torch.rand(ROWS, 2, generator=generator),
            )
        },
        vectors={"image": torch.randn(ROWS, 7, generator=generator).half()},
        group=torch.tensor([WITHOUT_GROUP, 2**62 + 1, -3, 0, 7]),
        raw={"p": torch.rand(ROWS, dtype=torch.float64), "length": torch.rand(ROWS, dtype=torch.float64)},
    )


@pytest.mark.parametrize("size", [100, 2**33], ids=["narrow", "wide"])
@pytest.mark.parametrize("training", [True, False])
def test_a_batch_arrives_whole_in_one_copy(size: int, training: bool) -> None:
    batch = make(size)
    with RemoteDevice() as traffic:
        sent = send_batch(batch, DEVICE, training=training)
    assert sum(traffic.copies.values()) == 1
    assert not traffic.reads
    assert list(sent.raw) == (["length"] if training else ["p", "length"])
    expected = batch if not training else replace(batch, raw={"length": batch.raw["length"]})
    arrived: list[torch.Tensor] = []
    sent.map(arrived.append)
    originals: list[torch.Tensor] = []
    expected.map(originals.append)
    for tensor, original in zip(arrived, originals, strict=True):
        assert isinstance(tensor, Remote)
        assert tensor.dtype == original.dtype
        assert torch.equal(tensor.values, original)


def test_the_data_module_sends_batches_without_a_warning_of_lightning(tmp_path: Path) -> None:
    """Lightning warns where the hook is the module's and a data module is given."""
    data = DataModule(Simulator(rows=1000), batch_size=64, cache_dir=str(tmp_path))
    data.prepare()
    trainer = Trainer(max_steps=1, limit_val_batches=0, logger=False, enable_checkpointing=False, accelerator="cpu")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*transfer_batch_to_device.*")
        trainer.fit(build_module(data.schema), datamodule=data)
    batch = next(iter(data.train_dataloader()))
    with RemoteDevice() as traffic:
        sent = data.transfer_batch_to_device(batch, DEVICE, 0)
    assert isinstance(sent.ids, Remote)
    assert sum(traffic.copies.values()) == 1


def test_histories_travel_as_they_are_stored(tmp_path: Path) -> None:
    layout, times = Layout(ids=2, numbers=1, gap=True, scale=2.0), TimeRange()
    time = torch.arange(20).numpy()
    times.add(time, units=1)
    ids, numbers = torch.randint(0, 2**16, (20, 2)).numpy(), torch.randn(20, 1).numpy()
    with EventsWriter(tmp_path / "events", layout, 8, Narrow.of(2**16, times)) as writer:
        writer.write(layout.pack(ids, numbers, time))
    start, count = torch.tensor([[0, 3, 9, 20, 12], [3, 1, 8, 0, 5]]).numpy()
    part = torch.from_numpy(row_part(start, start + count, start + 30))
    events = Events.open(tmp_path / "events")
    batch = replace(make(100), steps={"past": events.steps(part)})
    with RemoteDevice() as traffic:
        steps = send_batch(batch, DEVICE, training=False).steps["past"]
        arrived = {name: getattr(steps, name) for name in ("ids", "numbers", "length", "gap")}
        stored = steps.windows.stored("ids") if steps.windows is not None else None
    assert sum(traffic.copies.values()) == 1
    assert not traffic.reads
    assert stored is not None
    assert stored.dtype == torch.int16
    for name, tensor in arrived.items():
        assert isinstance(tensor, Remote)
        assert torch.equal(tensor.values, getattr(events.steps(part), name)), name


def test_a_batch_of_the_host_stays_as_it_is() -> None:
    batch = make(10)
    assert send_batch(batch, torch.device("cpu"), training=True) is batch
