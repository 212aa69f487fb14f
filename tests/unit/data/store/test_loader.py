"""The loader: every row once, equal steps, the same global batches for any number of processes, exact resumption."""

import itertools
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch import Callback, LightningModule, Trainer

from mtl_lightning.batch import Batch
from mtl_lightning.data.store.loader import Loader
from mtl_lightning.data.store.order import FullOrder, PooledOrder
from mtl_lightning.data.store.store import Store
from mtl_lightning.data.store.writer import StoreWriter
from mtl_lightning.errors import DataError
from mtl_lightning.schema import Schema


def make(rows: int) -> Store:
    empty = torch.zeros(rows, 0)
    ids = torch.arange(rows, dtype=torch.int32).reshape(rows, 1)
    return Store(Schema((), ()), {"ids": ids, "dense": empty, "labels": empty, "mask": empty.bool()})


def ids(batch: Batch) -> list[int]:
    return batch.ids.flatten().tolist()


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 200),
    size=st.integers(1, 40),
    world=st.integers(1, 4),
    shuffle=st.booleans(),
    ahead=st.integers(0, 3),
)
def test_plan(rows: int, size: int, world: int, shuffle: bool, ahead: int) -> None:
    store = make(rows)
    loaders = [
        Loader(store, size, shuffle=shuffle, seed=3, rank=rank, world=world, ahead=ahead) for rank in range(world)
    ]
    whole = Loader(store, size * world, shuffle=shuffle, seed=3)
    for _ in range(2):
        parts = [[ids(batch) for batch in loader] for loader in loaders]
        assert {len(part) for part in parts} == {len(loaders[0])}
        assert Counter(row for part in parts for batch in part for row in batch) == Counter(range(rows))
        assert max(len(batch) for part in parts for batch in part) <= size
        sizes = [sum(len(part[step]) for part in parts) for step in range(len(loaders[0]))]
        assert max(sizes) - min(sizes) <= 1
        joined = [[row for part in parts for row in part[step]] for step in range(len(loaders[0]))]
        assert joined == [ids(batch) for batch in whole]


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(0, 60),
    window=st.integers(0, 20),
    cuts=st.lists(st.integers(0, 60), max_size=12),
    sort=st.booleans(),
)
def test_rows_that_are_gathered_together_are_the_same(rows: int, window: int, cuts: list[int], sort: bool) -> None:
    permutation = torch.randperm(rows)
    order = FullOrder(make(rows), permutation, window)
    places = [min(cut, rows) for cut in (sorted(cuts) if sort else cuts)]
    for start, stop in itertools.pairwise(places):
        start, stop = min(start, stop), max(start, stop)
        assert ids(order.batch(start, stop)) == permutation[start:stop].tolist()


def on_disk(path: Path, rows: int) -> Store:
    with StoreWriter(path / "store") as writer:
        for start in range(0, rows, 7):
            count = min(7, rows - start)
            ids = np.arange(start, start + count)[:, None]
            seen = np.repeat(ids, 3, axis=1)
            empty = np.zeros((count, 0))
            writer.write({"ids": ids, "dense": empty, "labels": empty, "mask": empty, "sequence/seen": seen})
    return Store.open(path / "store", Schema((), ()))


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 100),
    size=st.integers(1, 30),
    world=st.integers(1, 3),
    chunk=st.integers(1, 20),
    pool=st.integers(1, 60),
    shuffle=st.booleans(),
)
def test_pools_from_disk(
    tmp_path_factory: pytest.TempPathFactory, rows: int, size: int, world: int, chunk: int, pool: int, shuffle: bool
) -> None:
    store = on_disk(tmp_path_factory.mktemp("store"), rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PooledOrder.__init__, "__defaults__", (chunk,))
        loaders = [
            Loader(store, size, shuffle=shuffle, seed=1, rank=rank, world=world, pool=pool) for rank in range(world)
        ]
        for _ in range(2):
            batches = [list(loader) for loader in loaders]
            seen = [row for rank in batches for batch in rank for row in ids(batch)]
            assert sorted(seen) == list(range(rows))
            assert {len(rank) for rank in batches} == {len(loaders[0])}
            for batch in (batch for rank in batches for batch in rank):
                assert (batch.sequences["seen"] == batch.ids).all()
            if not shuffle and world == 1:
                assert seen == list(range(rows))
        if world == 1:
            running = Loader(store, size, shuffle=shuffle, seed=1, pool=pool)
            expected = [ids(batch) for batch in Loader(store, size, shuffle=shuffle, seed=1, pool=pool)]
            stop = len(running) // 2
            steps = iter(running)
            first = [ids(next(steps)) for _ in range(stop)]
            resumed = Loader(store, size, shuffle=shuffle, seed=1, pool=pool)
            resumed.load_state_dict(running.state_dict())
            assert first + [ids(batch) for batch in resumed] == expected


def test_pools_mix_rows_from_everywhere(tmp_path: Path) -> None:
    order = PooledOrder(make(10_000), 1000, (0, 0), chunk=50)
    pool = np.array(ids(order.batch(0, 1000)))
    assert pool.std() > 2000
    assert np.abs(np.diff(pool)).mean() > 1000
    assert ids(PooledOrder(make(10_000), 1000, (0, 1), chunk=50).batch(0, 1000)) != pool.tolist()


FLAT = """
import resource, sys, torch
from pathlib import Path
from mtl_lightning.data.store.loader import Loader
from mtl_lightning.data.store.order import FullOrder, PooledOrder
from mtl_lightning.data.store.store import Store
from mtl_lightning.data.store.writer import StoreWriter
from mtl_lightning.schema import Schema
torch.set_num_threads(1)
store = Store.open(Path(sys.argv[1]), Schema((), ()))
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before, rows = peak(), 0
for batch in Loader(store, 1024, shuffle=True, pool=65_536):
    rows += len(batch)
for batch in Loader(store, 4096, pool=65_536):
    rows += len(batch)
for batch in Loader(store, 1024, shuffle=True, pool=65_536, function=True):
    rows += len(batch)
print(rows, store.bytes, peak() - before)
"""


def test_memory_stays_flat_below_the_size_of_the_store(tmp_path: Path) -> None:
    count = 20_000
    ids_block = np.zeros((count, 100), dtype=np.int32)
    empty = np.zeros((count, 0))
    with StoreWriter(tmp_path / "store") as writer:
        for _ in range(40):
            writer.write({"ids": ids_block, "dense": empty, "labels": empty, "mask": empty})
    result = subprocess.run(
        [sys.executable, "-c", FLAT, str(tmp_path / "store")], check=True, capture_output=True, text=True
    ).stdout.split()
    rows, size, grown = map(int, result)
    assert rows == 3 * 40 * count
    assert size == 320_000_000
    assert grown < 160_000_000


def test_epochs_differ_and_seeds_matter() -> None:
    store = make(50)
    first, second = ([ids(b) for b in loader] for loader in [Loader(store, 7, shuffle=True)] * 2)
    assert first != second
    assert [ids(b) for b in Loader(store, 7, shuffle=True, seed=1)] != first


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 100), size=st.integers(1, 20), stop=st.integers(0, 30), ahead=st.integers(0, 3))
def test_resume_sees_exactly_the_rest(rows: int, size: int, stop: int, ahead: int) -> None:
    store = make(rows)
    running = Loader(store, size, shuffle=True, ahead=ahead)
    epochs = [[ids(b) for b in Loader(store, size, shuffle=True)]]
    steps = iter(running)
    stop = min(stop, len(running) - 1)
    seen = [ids(next(steps)) for _ in range(stop)]
    state = running.state_dict()
    resumed = Loader(store, size, shuffle=True, seed=99)
    resumed.load_state_dict(state)
    assert seen + [ids(b) for b in resumed] == epochs[0]
    assert [ids(b) for b in resumed] != epochs[0] or rows < 5
    # An iteration that was left begins the next epoch, all of it.
    if stop:
        assert Counter(row for b in running for row in ids(b)) == Counter(range(rows))


def test_other_plans_are_refused_in_mid_epoch() -> None:
    running = Loader(make(20), 4)
    next(iter(running))
    with pytest.raises(DataError, match="5 steps, resumed with 10"):
        Loader(make(20), 2).load_state_dict(running.state_dict())
    Loader(make(20), 2, world=2).load_state_dict(running.state_dict())
    with pytest.raises(DataError, match="20 training rows, resumed with 21"):
        Loader(make(21), 4).load_state_dict(running.state_dict())


class Recorder(LightningModule):
    """Learns nothing and notes what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[tuple[int, list[int]]] = []

    def training_step(self, batch: Batch, index: int) -> torch.Tensor:
        self.seen.append((self.current_epoch, ids(batch)))
        return self.weight.sum()

    def validation_step(self, batch: Batch, index: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class SaveAndStop(Callback):
    """Saves after a number of batches, then continues for one more and stops: what comes after the save is lost."""

    def __init__(self, path: Path, step: int, hook: str) -> None:
        self.path, self.step, self.hook = path, step, hook
        self.saved = False

    def _save(self, trainer: Trainer) -> None:
        if not self.saved and trainer.global_step >= self.step:
            trainer.save_checkpoint(self.path)
            self.saved = True
        elif self.saved:
            trainer.should_stop = True

    def on_train_batch_end(self, trainer: Trainer, *args: object) -> None:
        if self.hook == "batch":
            self._save(trainer)

    def on_validation_end(self, trainer: Trainer, *args: object) -> None:
        if self.hook == "validation" and not trainer.sanity_checking:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, *args: object) -> None:
        if self.hook == "epoch":
            self._save(trainer)


def fit(
    loader: Loader, *, path: Path | None = None, limit: float = 1.0, **options: object
) -> list[tuple[int, list[int]]]:
    module = Recorder()
    trainer = Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_train_batches=limit,
        **options,
    )
    trainer.fit(module, loader, Loader(make(5), 5), ckpt_path=path, weights_only=True)
    return module.seen


@pytest.mark.parametrize("hook", ["batch", "validation", "epoch"])
@pytest.mark.parametrize("step", [1, 4, 7, 8, 9, 14])
def test_trainer_resumes_exactly(tmp_path: Path, hook: str, step: int) -> None:
    store, path = make(50), tmp_path / "saved.ckpt"
    whole = fit(Loader(store, 7, shuffle=True))
    assert len(whole) == 24
    fit(Loader(store, 7, shuffle=True), callbacks=[SaveAndStop(path, step, hook)], val_check_interval=4)
    done = torch.load(path, weights_only=True)["global_step"]
    resumed = fit(Loader(store, 7, shuffle=True), path=path, val_check_interval=4)
    assert resumed == whole[done:]


def test_limited_epochs_have_their_own_order() -> None:
    seen = fit(Loader(make(50), 7, shuffle=True), limit=3)
    assert [epoch for epoch, _ in seen] == [0] * 3 + [1] * 3 + [2] * 3
    whole = fit(Loader(make(50), 7, shuffle=True))
    assert seen == [pair for epoch in range(3) for pair in whole[8 * epoch : 8 * epoch + 3]]
