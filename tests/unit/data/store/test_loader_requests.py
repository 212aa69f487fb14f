"""Loaders of requests: every row once, whole requests on every process, exact resumption, the same rows from pools."""

from collections import Counter
from contextlib import suppress

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_lightning.batch import Batch
from mtl_lightning.data.store.loader import Loader, request_bounds
from mtl_lightning.data.store.order import PooledOrder
from mtl_lightning.data.store.store import Store
from mtl_lightning.errors import DataError
from mtl_lightning.schema import Field, Schema

SCHEMA = Schema(
    (
        Field(name="user", kind="categorical", size=999, table="user", per_request=True),
        Field(name="item", kind="categorical", size=999, table="item"),
        Field(name="seen", kind="sequence", size=999, table="seen", length=2, per_request=True),
    ),
    (),
)
SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=40)


def make(sizes: list[int], scattered: bool = False) -> Store:
    """Rows numbered by ``item``, whose ``user`` and ``seen`` are the number of the request."""
    request = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    if scattered:
        request = request[torch.randperm(len(request), generator=torch.Generator().manual_seed(0))]
    rows, count = len(request), len(sizes)
    number = torch.arange(count, dtype=torch.int32).unsqueeze(1)
    shared = {"ids": number, "dense": torch.zeros(count, 0), "sequence/seen": number.expand(-1, 2)}
    own = torch.arange(rows, dtype=torch.int32).unsqueeze(1)
    empty = torch.zeros(rows, 0)
    parts = {"ids": own, "dense": empty, "labels": empty, "mask": empty.bool(), "request": request}
    return Store(SCHEMA, parts, requests=Store(SCHEMA, shared))


def check(batch: Batch, store: Store) -> list[int]:
    """Rows of a batch, with the values of their requests."""
    rows = batch.ids[:, 1]
    request = store.parts["request"][rows]
    assert batch.request is not None
    assert batch.request_row is not None
    assert torch.equal(batch.ids[:, 0], request)
    assert torch.equal(batch.sequences["seen"][:, 0][batch.request], request)
    assert torch.equal(batch.request[batch.request_row], torch.arange(len(batch.sequences["seen"])))
    assert torch.equal(batch.expand().sequences["seen"][:, 1], request)
    return rows.tolist()


@settings(max_examples=60, deadline=None)
@given(
    sizes=SIZES,
    size=st.integers(1, 40),
    world=st.integers(1, 4),
    scattered=st.booleans(),
    pool=st.sampled_from([None, 8]),
)
def test_plan(sizes: list[int], size: int, world: int, scattered: bool, pool: int | None) -> None:
    scattered = scattered and pool is None
    store = make(sizes, scattered)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PooledOrder.__init__, "__defaults__", (4,))
        loaders = [
            Loader(store, size, shuffle=True, seed=3, rank=rank, world=world, pool=pool) for rank in range(world)
        ]
        whole = Loader(store, size * world, shuffle=True, seed=3, pool=pool)
        for _ in range(2):
            parts = [[check(batch, store) for batch in loader] for loader in loaders]
            assert {len(part) for part in parts} == {len(loaders[0])}
            assert Counter(row for part in parts for batch in part for row in batch) == Counter(range(sum(sizes)))
            for batch in (batch for part in parts for batch in part):
                requests = Counter(store.parts["request"][batch].tolist())
                assert all(sizes[request] == count for request, count in requests.items()), "a request was cut"
                if len(sizes) >= world:
                    assert batch
                if len(sizes) // world * world * size >= sum(sizes):
                    assert len(batch) <= size + max(sizes) * world
            joined = [[row for part in parts for row in part[step]] for step in range(len(loaders[0]))]
            if max(sizes) * 2 < sum(sizes) // (len(loaders[0]) * world):  # no part moved to hold a request
                assert joined == [check(batch, store) for batch in whole]


@settings(max_examples=30, deadline=None)
@given(sizes=SIZES, parts=st.integers(1, 12))
def test_bounds_are_ends_of_requests_near_equal_parts(sizes: list[int], parts: int) -> None:
    ends = torch.tensor(sizes).cumsum(0)
    bounds = request_bounds(ends, parts).tolist()
    assert len(bounds) == parts + 1
    assert bounds[0] == 0
    assert bounds[-1] == sum(sizes)
    assert set(bounds) <= {0, *ends.tolist()}
    if len(sizes) >= parts:
        assert bounds == sorted(set(bounds))
    if sum(sizes) > 2 * parts * max(sizes):
        assert all(abs(bound - sum(sizes) * i / parts) <= max(sizes) / 2 + 1 for i, bound in enumerate(bounds))


@pytest.mark.parametrize("pool", [None, 8])
@pytest.mark.parametrize("stop", [1, 4])
def test_a_resumed_loader_gives_the_remaining_rows(
    pool: int | None, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PooledOrder.__init__, "__defaults__", (4,))
    store = make([3, 1, 4, 1, 5, 9, 2, 6] * 3)
    options = {"shuffle": True, "seed": 1, "pool": pool}
    expected = [check(batch, store) for batch in Loader(store, 10, **options)]
    running = Loader(store, 10, **options)
    seen = [check(batch, store) for _, batch in zip(range(stop), running, strict=False)]
    resumed = Loader(store, 10, **options)
    resumed.load_state_dict(running.state_dict())
    assert seen + [check(batch, store) for batch in resumed] == expected


def test_another_number_of_processes_gives_the_remaining_rows_or_is_refused() -> None:
    resumed = refused = 0
    for seed in range(60):
        random = torch.Generator().manual_seed(seed)
        store = make(torch.tensor([1, 1, 2, 3, 12, 30])[torch.randint(6, (20,), generator=random)].tolist())
        loaders = [Loader(store, 8, shuffle=True, seed=seed, rank=rank, world=2) for rank in range(2)]
        single = Loader(store, 16, shuffle=True, seed=seed)
        if len(single) != len(loaders[0]) or len(single) < 3:
            continue
        iterators = [iter(loader) for loader in loaders]
        seen = [row for _ in range(2) for iterator in iterators for row in check(next(iterator), store)]
        single.load_state_dict(loaders[0].state_dict())
        with suppress(DataError):
            rest = [row for batch in single for row in check(batch, store)]
            assert Counter(seen + rest) == Counter(range(len(store)))
            resumed += 1
            continue
        refused += 1
        single.load_state_dict(loaders[0].state_dict())
        with pytest.raises(DataError, match="another number of processes than 1"):
            next(iter(single))
    assert resumed
    assert refused


@pytest.mark.parametrize("scattered", [False, True])
def test_evaluation_keeps_the_order_of_rows(scattered: bool) -> None:
    store = make([3, 1, 4, 1, 5, 9, 2, 6], scattered)
    parts = [[check(batch, store) for batch in Loader(store, 5, rank=rank, world=2)] for rank in range(2)]
    rows = [row for step in range(len(parts[0])) for part in parts for row in part[step]]
    assert rows == list(range(31))


def test_scattered_requests_need_a_log_that_fits_memory() -> None:
    with pytest.raises(DataError, match="not next to each other") as error:
        Loader(make([3, 1, 4, 1, 5], scattered=True), 5, shuffle=True, pool=8).order()
    assert "sort the log" in (error.value.hint or "")
