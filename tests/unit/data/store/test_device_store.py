"""Stores on a device: the same batches as from the host, for any order, and nothing but row numbers is sent."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from mtl_lightning.batch import Batch
from mtl_lightning.build import build_module
from mtl_lightning.data.datamodule import AHEAD, DataModule
from mtl_lightning.data.sources.simulator import Simulator
from mtl_lightning.data.store import device_store
from mtl_lightning.data.store.device_store import DeviceStores
from mtl_lightning.data.store.events import Events, EventsWriter, EventWindows, Narrow, TimeRange, row_part
from mtl_lightning.data.store.loader import Loader
from mtl_lightning.data.store.order import PooledOrder
from mtl_lightning.data.store.store import Store
from mtl_lightning.errors import DataError
from mtl_lightning.schema import Field, Schema, Task
from mtl_lightning.steps import Layout
from mtl_lightning.training.transfer import pack_batch
from tests.support.remote_device import DEVICE, Remote, RemoteDevice

ROWS, REQUESTS = 101, 23
TAG = Field(name="tag", kind="categorical", size=99)
ORDERS: dict[str, dict[str, Any]] = {
    "array": {"shuffle": True},
    "function": {"shuffle": True, "function": True},
    "pools": {"shuffle": True, "pool": 32},
    "lanes": {"shuffle": True, "pool": 32, "function": True},
    "stored": {},
    "stored, from disk": {"pool": 32},
}


def make_schema(requests: bool) -> Schema:
    fields = (
        Field(name="item", kind="categorical", size=99, table="item"),
        Field(name="user", kind="categorical", size=99, table="user", per_request=requests),
        Field(name="price", kind="numeric"),
        Field(name="list", kind="sequence", size=99, table="item", length=3),
        Field(name="tags", kind="history", length=20, steps=(TAG,), per_request=requests),
        Field(name="seen", kind="history", length=20, steps=(TAG,), per_request=requests),
        Field(name="image", kind="vector", size=2, per_request=requests),
    )
    return Schema(fields, (Task(name="click", kind="binary", label="click", oracle="p"),))


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Events:
    """Events with ids of 16 bits, and times of 32 bits."""
    layout, times, time = Layout(ids=1, numbers=1, gap=True), TimeRange(), np.arange(60)
    times.add(time, units=1)
    path = tmp_path_factory.mktemp("events") / "seen"
    with EventsWriter(path, layout, 20, Narrow.of(99, times)) as writer:
        writer.write(layout.pack(np.arange(60)[:, None] % 99, np.linspace(0, 1, 60)[:, None], time))
    return Events.open(path)


def make(events: Events, requests: bool) -> Store:
    generator = np.random.default_rng(0)
    shared = REQUESTS if requests else ROWS
    start = generator.integers(0, 40, shared)
    count = np.where(generator.random(shared) < 0.1, 19, 2)
    own: dict[str, Any] = {
        "ids": generator.integers(0, 99, (ROWS, 1 if requests else 2), dtype=np.int32),
        "dense": generator.random((ROWS, 1), dtype=np.float32),
        "labels": generator.random((ROWS, 1), dtype=np.float32),
        "mask": generator.random((ROWS, 1)) < 0.5,
        "weight": generator.random((ROWS, 1), dtype=np.float32),
        "group": generator.integers(-9, 9, ROWS),
        "sequence/list": generator.integers(0, 99, (ROWS, 3), dtype=np.int32),
        "raw/p": generator.random(ROWS),
        "raw/length": generator.random(ROWS),
    }
    of_request: dict[str, Any] = {
        "listed/tags": np.concatenate([count[:, None], generator.integers(0, 99, (shared, 20))], 1, dtype=np.int32),
        "history/seen": row_part(start, start + count, start + 30.5),
        "vector/image": generator.random((shared, 2), dtype=np.float32),
    }
    schema, seen = make_schema(requests), {"seen": events}
    if not requests:
        parts = {name: torch.from_numpy(part) for name, part in {**own, **of_request}.items()}
        return Store(schema, parts, events=seen)
    own["request"] = np.sort(np.concatenate([np.arange(REQUESTS), generator.integers(0, REQUESTS, ROWS - REQUESTS)]))
    of_request["ids"] = generator.integers(0, 99, (REQUESTS, 1), dtype=np.int32)
    of_request["dense"] = np.zeros((REQUESTS, 0), dtype=np.float32)
    inner = Store(schema, {name: torch.from_numpy(part) for name, part in of_request.items()}, events=seen)
    return Store(schema, {name: torch.from_numpy(part) for name, part in own.items()}, events=seen, requests=inner)


def tensors(batch: Batch) -> list[Tensor]:
    arrived: list[Tensor] = []
    batch.map(arrived.append)
    return arrived


def equal(batch: Batch, expected: Batch, device: bool = False) -> bool:
    """Compare all tensors of two batches bit for bit."""
    assert batch.steps.keys() == expected.steps.keys()
    pairs = list(zip(tensors(batch), tensors(expected), strict=True))
    assert all(isinstance(tensor, Remote) == device and tensor.dtype == other.dtype for tensor, other in pairs)
    values = [(tensor.values if isinstance(tensor, Remote) else tensor, other) for tensor, other in pairs]
    return all(torch.equal(torch.nan_to_num(tensor), torch.nan_to_num(other)) for tensor, other in values)


@contextmanager
def small_chunks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PooledOrder.__init__, "__defaults__", (4,))
        yield


@pytest.mark.parametrize("requests", [False, True], ids=["rows", "requests"])
@pytest.mark.parametrize("order", ORDERS)
def test_batches_are_those_of_the_host(order: str, requests: bool, events: Events) -> None:
    """Two processes, each with one of two consecutive epochs, of which the second is resumed after two batches."""
    if requests and "function" in ORDERS[order]:
        pytest.skip("refused with requests")
    store = make(events, requests)
    on_device = DeviceStores(torch.device("cpu"), "device").get("train", store)
    assert on_device is not None
    with small_chunks():
        for rank in range(2):
            options = {**ORDERS[order], "rank": rank, "world": 2, "seed": 5}
            host, there = (
                Loader(store, 8, **options),
                Loader(store, 8, on_device=on_device, ahead=3 * rank, **options),
            )
            count = 0
            for expected, batch in zip(host, there, strict=True):
                assert equal(batch, expected)
                count += 1
            assert count == len(host) > 3
            rest = itertools.islice(host, 2, None)
            for _ in itertools.islice(there, 2):
                state = there.state_dict()
            resumed = Loader(store, 8, on_device=on_device, **options)
            resumed.load_state_dict(state)
            assert all(equal(*pair) for pair in zip(resumed, rest, strict=True))


@pytest.mark.parametrize("requests", [False, True], ids=["rows", "requests"])
@pytest.mark.parametrize("place", ["device", "auto", "host"])
def test_a_batch_takes_one_copy_and_no_wait(
    place: Any, requests: bool, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a thread gathers and packs rows of the host ahead of their use."""
    store = make(events, requests)
    expected = list(Loader(store, 40, shuffle=True))
    with RemoteDevice() as traffic:
        stores = DeviceStores(DEVICE, place)
        on_device = stores.get("train", store, {"raw/p"}) if place == "device" else None
        if place == "auto":  # rows that do not fit, and events that do
            size = sum(part.numel() * part.element_size() for part in events.parts.values())
            monkeypatch.setattr(device_store, "free_memory", lambda _: 2 * size)
            assert stores.get("train", store) is None
            store = stores.with_events(store)
        else:
            assert stores.with_events(store) is store or place == "device"
        pack = partial(pack_batch, device=DEVICE, training=True)
        loader = iter(Loader(store, 40, shuffle=True, on_device=on_device, pack=pack, ahead=2))
        for host in expected:
            traffic.clear()
            batch = next(loader)
            windows = batch.steps["seen"].windows
            assert isinstance(windows, EventWindows) == (place != "host")
            arrived = tensors(batch)
            assert sum(traffic.copies.values()) == 1
            assert not traffic.reads + traffic.late_reads
            assert sum(tensor.numel() for tensor in arrived) > 0
            del host.raw["p"]
            assert equal(batch, host, device=True)


@pytest.mark.parametrize("place", ["auto", "host"])
def test_a_data_module_prepares_batches_for_the_device_of_its_trainer(place: Any, tmp_path: Path) -> None:
    data = DataModule(Simulator(rows=500), batch_size=64, cache_dir=tmp_path, resident=place)
    expected = data.loader("test")
    assert expected.ahead == 0
    strategy = SimpleNamespace(root_device=DEVICE)
    data.trainer = SimpleNamespace(strategy=strategy, global_rank=0, world_size=1, training=True)  # type: ignore[assignment]
    with RemoteDevice() as traffic:
        loader = data.loader("test")
        assert loader.ahead == AHEAD
        assert (loader.on_device is not None) == (place == "auto")
        for host, batch in zip(expected, loader, strict=True):
            traffic.clear()
            assert equal(data.transfer_batch_to_device(batch, DEVICE, 0), host, device=True)
            assert not traffic.copies


def test_what_fits_in_half_of_the_free_memory_is_on_the_device(events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make(events, False)
    size = store.bytes + sum(part.numel() * part.element_size() for part in events.parts.values())
    with RemoteDevice():
        for free, there in ((2 * size, True), (2 * size - 1, False)):
            monkeypatch.setattr(device_store, "free_memory", lambda _, free=free: free)
            assert (DeviceStores(DEVICE, "auto").get("train", store) is not None) == there
        # A second Store shares the events, and needs less.
        monkeypatch.setattr(device_store, "free_memory", lambda _: 2 * size)
        stores = DeviceStores(DEVICE, "auto")
        assert stores.get("train", store) is stores.get("train", store) is not None
        monkeypatch.setattr(device_store, "free_memory", lambda _: 2 * store.bytes)
        assert stores.get("test", store) is not None
        monkeypatch.setattr(device_store, "free_memory", lambda _: size - 1)
        with pytest.raises(DataError, match=r"data.resident: the device can't hold .* free.*data.resident=auto"):
            DeviceStores(DEVICE, "device").get("train", store)
        assert DeviceStores(DEVICE, "host").get("train", store) is None
    assert DeviceStores(torch.device("cpu"), "auto").get("train", store) is None


def test_memory_that_torch_keeps_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"mem_get_info": (5, 90), "memory_reserved": 70, "memory_allocated": 20}.items():
        monkeypatch.setattr(torch.cuda, name, lambda _, value=value: value)
    assert device_store.free_memory(torch.device("cuda", 0)) == 55


@pytest.mark.parametrize("prefetch", [0, 2])
def test_training_rows_keep_their_true_expectations_in_evaluation(prefetch: int, tmp_path: Path) -> None:
    data = DataModule(Simulator(rows=300), cache_dir=tmp_path, resident="device", prefetch=prefetch)
    assert "oracle_click" not in next(iter(data.train_dataloader())).raw
    expected = DataModule(Simulator(rows=300), cache_dir=tmp_path, resident="host").loader("train")
    assert all(equal(*pair) for pair in zip(data.loader("train"), expected, strict=True))


class SaveAtStep(Callback):
    """Saves once, after the third step."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        if trainer.global_step == 3 and not self.path.exists():
            trainer.save_checkpoint(self.path)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("requests", [False, True], ids=["rows", "requests"])
@pytest.mark.parametrize("place", ["device", "events", "host"])
def test_batches_arrive_on_a_gpu_while_torch_refuses_to_wait(place: str, requests: bool, events: Events) -> None:
    device, store = torch.device("cuda", 0), make(events, requests)
    expected = list(Loader(store, 40, shuffle=True))
    stores = DeviceStores(device, "device")
    on_device = stores.get("train", store) if place == "device" else None
    rows = stores.with_events(store) if place == "events" else store
    pack = partial(pack_batch, device=device, training=False)
    loader = Loader(rows, 40, shuffle=True, on_device=on_device, pack=pack, ahead=2)
    torch.cuda.set_sync_debug_mode("error")
    try:
        batches = [batch.map(lambda part: part) for batch in loader]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(batch.ids.device == device for batch in batches)
    assert all(equal(batch.to("cpu"), host) for batch, host in zip(batches, expected, strict=True))


def test_training_is_the_same(tmp_path: Path) -> None:
    """Accumulated gradients, validation, metrics, and a run that is resumed in mid-epoch at the other place."""

    def fit(place: Any, resumed: str | None = None) -> Any:
        data = DataModule(Simulator(rows=800), batch_size=64, cache_dir=tmp_path / "cache", resident=place, seed=3)
        data.prepare()
        torch.manual_seed(0)
        module = build_module(data.schema, architecture="shared_bottom")
        quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_model_summary", "enable_progress_bar"), False)
        options: dict[str, Any] = {"accumulate_grad_batches": 2, "num_sanity_val_steps": 0, "val_check_interval": 4}
        save = SaveAtStep(tmp_path / f"{place}.ckpt")
        trainer = Trainer(max_steps=6, accelerator="cpu", callbacks=[save], **options, **quiet)
        path = None if resumed is None else tmp_path / f"{resumed}.ckpt"
        trainer.fit(module, data, ckpt_path=path, weights_only=True)
        loader = trainer.train_dataloader
        assert isinstance(loader, Loader)
        assert (loader.on_device is not None) == (place == "device")
        return module.state_dict(), trainer.callback_metrics

    weights, metrics = fit("host")
    for state, values in (fit("device"), fit("device", "host"), fit("host", "device")):
        assert all(torch.equal(value, weights[name]) for name, value in state.items())
        assert values.keys() == metrics.keys()
        assert all(torch.equal(value, metrics[name]) for name, value in values.items() if name.startswith("val"))
