"""The order in lanes: every row once, the same for any number of processes, which read their own rows only."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_lightning.batch import Batch
from mtl_lightning.data.store import lanes
from mtl_lightning.data.store.lanes import LaneOrder
from mtl_lightning.data.store.loader import Loader
from mtl_lightning.data.store.store import Store
from mtl_lightning.data.store.writer import StoreWriter
from mtl_lightning.errors import DataError
from mtl_lightning.schema import Schema


class CountedStore(Store):
    """Counts the rows that are read."""

    count = 0

    def read(self, ranges: Sequence[tuple[int, int]]) -> Any:
        assert all(0 <= start < stop <= len(self) for start, stop in ranges)
        CountedStore.count += sum(stop - start for start, stop in ranges)
        return super().read(ranges)


def make(rows: int) -> Store:
    empty = torch.zeros(rows, 0)
    ids = torch.arange(rows, dtype=torch.int32).reshape(rows, 1)
    parts = {"ids": ids, "dense": ids.double(), "labels": empty, "mask": empty.bool(), "group": ids[:, 0].long()}
    return CountedStore(Schema((), ()), parts)


def rows_of(batch: Batch) -> list[int]:
    assert batch.group is not None
    assert batch.group.tolist() == batch.ids[:, 0].tolist() == batch.dense[:, 0].tolist()
    return batch.ids.flatten().tolist()


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 300),
    size=st.integers(1, 40),
    world=st.integers(1, 5),
    pool=st.integers(1, 120),
    lane=st.sampled_from([1, 2, 8, 16]),
)
def test_plan(rows: int, size: int, world: int, pool: int, lane: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lanes, "LANES", lane)
        patch.setattr(lanes, "SHORTEST", 1)
        options: dict[str, Any] = {"shuffle": True, "seed": 3, "pool": pool, "function": True}
        loaders = [Loader(make(rows), size, rank=rank, world=world, **options) for rank in range(world)]
        whole = Loader(make(rows), size * world, **options)
        for _ in range(2):
            parts = [[rows_of(batch) for batch in loader] for loader in loaders]
            assert Counter(row for part in parts for batch in part for row in batch) == Counter(range(rows))
            joined = [[row for part in parts for row in part[step]] for step in range(len(whole))]
            assert max(map(len, joined)) - min(map(len, joined)) <= 1
            assert joined == [rows_of(batch) for batch in whole]


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 200), size=st.integers(1, 20), pool=st.integers(1, 100), stop=st.integers(0, 30))
def test_resume_sees_exactly_the_rest(rows: int, size: int, pool: int, stop: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lanes, "SHORTEST", 4)
        loader = lambda: Loader(make(rows), size, shuffle=True, pool=pool, function=True)  # noqa: E731
        running, resumed = loader(), loader()
        steps = iter(running)
        seen = [rows_of(next(steps)) for _ in range(min(stop, len(running) - 1))]
        resumed.load_state_dict(running.state_dict())
        assert seen + [rows_of(batch) for batch in resumed] == [rows_of(batch) for batch in loader()]


@pytest.mark.parametrize("world", [1, 2, 8, 16])
def test_a_process_reads_its_own_rows_once(world: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "LANES", 16)
    store = make(20_011)
    for rank in (0, world // 2, world - 1):
        CountedStore.count = 0
        loader = Loader(store, 512 // world, shuffle=True, rank=rank, world=world, pool=16 * 512, function=True)
        assert sum(len(batch) for batch in loader) == CountedStore.count


def test_processes_that_share_a_lane_read_at_most_two_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "LANES", 16)
    CountedStore.count = 0
    loader = Loader(make(20_000), 100, shuffle=True, rank=1, world=3, pool=16 * 512, function=True)
    own = sum(len(batch) for batch in loader)
    assert own < CountedStore.count <= own + 2 * 20_000 / 16


def test_batches_have_rows_from_everywhere() -> None:
    order = LaneOrder(make(40_000), 8192, 40, (0, 0))
    assert (order.lanes, order.chunk) == (16, 512)
    first = np.array(rows_of(order.batch(0, 1000)))
    assert len(set((first - order.shift) % 40_000 // 512)) >= 16
    assert np.abs(np.diff(first)).mean() > 100
    chunks = [sorted((np.array(rows_of(order.batch(start, start + 1000))) // 512).tolist()) for start in (0, 5000)]
    assert chunks[0] != chunks[1]


def test_the_buffer_holds_a_pool(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "store") as writer:
        ids = np.arange(50_000)[:, None]
        empty = np.zeros((50_000, 0))
        writer.write({"ids": ids, "dense": ids, "labels": empty, "mask": empty, "group": ids[:, 0]})
    order = LaneOrder(Store.open(tmp_path / "store", Schema((), ())), 8192, 100, (0, 0))
    seen = [row for step in range(100) for row in rows_of(order.batch(step * 500, step * 500 + 500))]
    assert sorted(seen) == list(range(50_000))
    assert len(order._buffer) <= 8192 * 5 / 4


def test_another_order_is_refused_in_mid_epoch() -> None:
    running = Loader(make(20), 4, shuffle=True)
    next(iter(running))
    state = running.state_dict()
    with pytest.raises(DataError, match=r"data\.order=array, resumed with function"):
        Loader(make(20), 4, shuffle=True, function=True).load_state_dict(state)
    del state["order"]  # saved by an earlier version
    Loader(make(20), 4, shuffle=True).load_state_dict(state)


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 200), size=st.integers(1, 40), world=st.integers(1, 4))
def test_in_memory_the_function_gives_the_same_batches_for_any_number_of_processes(
    rows: int, size: int, world: int
) -> None:
    options: dict[str, Any] = {"shuffle": True, "seed": 3, "function": True}
    parts = [list(Loader(make(rows), size, rank=rank, world=world, **options)) for rank in range(world)]
    whole = [rows_of(batch) for batch in Loader(make(rows), size * world, **options)]
    assert [[row for part in parts for row in rows_of(part[step])] for step in range(len(whole))] == whole
    assert Counter(row for batch in whole for row in batch) == Counter(range(rows))


def test_a_function_does_not_keep_requests_together() -> None:
    store = make(20)
    with pytest.raises(DataError, match=r"data\.order: a function does not keep .* \(set data\.order=array\)"):
        Loader(Store(store.schema, store.parts, requests=make(2)), 4, shuffle=True, function=True)
