"""Encoding by parts: the same bytes on any executor, also when a worker is killed in the middle."""

import hashlib
import multiprocessing
import os
import pickle
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mtl_lightning.data.features.build import build_features
from mtl_lightning.data.preparation import fitting
from mtl_lightning.data.preparation.lookups import LookupFiles
from mtl_lightning.data.preparation.prepare import SUMMARY, prepare
from mtl_lightning.data.preparation.prepared import Prepared
from mtl_lightning.data.preparation.split import SplitSpec
from mtl_lightning.data.preparation.split_reader import RowPart
from mtl_lightning.data.preparation.transforms import Transforms
from mtl_lightning.data.readers.blocks import RowRange, read_blocks, row_ranges
from mtl_lightning.data.readers.frames import Frame
from mtl_lightning.data.readers.parquet import ParquetRows
from mtl_lightning.data.sources.table import Table
from mtl_lightning.data.targets.tasks import build_tasks
from mtl_lightning.errors import DataError, MtlError
from mtl_lightning.executors.base import Executor
from mtl_lightning.executors.processes import Processes
from mtl_lightning.executors.threads import Threads

FEATURES = {
    "user": {"kind": "categorical", "admit": 2, "expire": 5e5, "time": "time"},
    "item": {"kind": "categorical", "min_count": 3},
    "price": "numeric",
    "band": {"kind": "buckets", "column": "price"},
    "items.shop": "categorical",
    "seen": {"kind": "history", "by": "user", "time": "time", "of": "item", "with_": [{"price": "log"}], "gap": True},
}
TASKS = {"click": "binary", "spend": {"kind": "regression", "label": "price * click"}}
ROWS = 12_000


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files of several row groups, and a side table that lacks some items."""
    folder = tmp_path_factory.mktemp("log")
    random = np.random.default_rng(0)
    table = pa.table({
        "user": random.integers(0, 300, ROWS).astype(str),
        "item": random.zipf(1.3, ROWS) % 4_000,
        "price": np.where(random.random(ROWS) < 0.1, np.nan, random.lognormal(size=ROWS)),
        "time": np.sort(random.integers(0, 10**6, ROWS)),
        "click": random.integers(0, 2, ROWS),
    })  # fmt: skip
    pq.write_table(table.slice(0, 7_000), folder / "a.parquet", row_group_size=2_000)
    pq.write_table(table.slice(7_000), folder / "b.parquet", row_group_size=5_000)
    pq.write_table(pa.table({"item": range(3_000), "shop": [n % 7 for n in range(3_000)]}), folder / "items.pq")
    return folder


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the log have many blocks, which begin and end within its parts."""
    monkeypatch.setattr(fitting, "BLOCK", 700)
    monkeypatch.setattr(fitting, "BLOCKS", 2)


def run(source: Table, log: Path, cache: Path, executor: Executor, split: dict[str, Any] | None = None) -> Prepared:
    return prepare(
        source,
        features=build_features(FEATURES),
        tasks=build_tasks(TASKS),
        split=SplitSpec(**(split or {"by": "time", "column": "time"}), cold=("item",)),
        raw=("price",),
        group="user",
        cache_dir=cache,
        lookups={"items": LookupFiles("items", {"path": str(log / "items.pq"), "key": "item"})},
        executor=executor,
    )


def contents(prepared: Prepared) -> dict[str, Any]:
    """Digests of all files, and the summary without its times."""
    path = prepared.path
    assert path is not None
    files = [file for file in sorted(path.rglob("*")) if file.is_file() and file.name != SUMMARY]
    digests: dict[str, Any] = {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files
    }
    return digests | {name: value for name, value in prepared.summary.items() if name != "seconds"}


def table(log: Path, **options: Any) -> Table:
    return Table(path=str(log / "?.parquet"), **options)


SPLITS = [{"by": "time", "column": "time"}, {"by": "random"}, {"by": "last", "column": "user", "time": "time"}]


@pytest.mark.parametrize("split", SPLITS, ids=[split["by"] for split in SPLITS])
def test_threads_and_processes_write_the_same_bytes(log: Path, tmp_path: Path, split: dict[str, Any]) -> None:
    executors = [Threads(workers=1), Threads(workers=4), Processes(workers=1), Processes(workers=2)]
    first, *others = (
        contents(run(table(log), log, tmp_path / str(i), executor, split)) for i, executor in enumerate(executors)
    )
    assert first["lookups"]["items"]["missing"] > 0
    assert {"train/ids.bin", "test/raw-6e65775f6974656d.bin", "transforms.json"} <= set(first)
    for other in others:
        assert other == first


class Copying(Executor):
    """Executor whose workers see copies of everything, in this process."""

    def map(self, function: Any, parts: Any) -> Iterator[Any]:
        worker = pickle.loads(pickle.dumps(function))
        for part in parts:
            yield pickle.loads(pickle.dumps(worker(pickle.loads(pickle.dumps(part)))))


def test_gaps_and_delays_of_timestamps_do_not_depend_on_the_executor(tmp_path: Path) -> None:
    start = np.datetime64("2024-01-01T00:00:00", "us")
    rows = {"user": [n % 7 for n in range(200)], "item": [n % 11 for n in range(200)], "click": [0, 1] * 100}
    rows["time"] = list(start + np.arange(200) * np.timedelta64(60, "s"))
    # Fitting reads no times here: the history shares the vocabulary of items, and carries no numbers.
    seen = {"kind": "history", "by": "user", "time": "time", "of": "item", "gap": True, "delay": 3600}
    done = [
        prepare(
            Frame(rows=rows),
            features=build_features({"item": "categorical", "seen": seen}),
            tasks=build_tasks({"click": "binary"}),
            split=SplitSpec(by="time", column="time"),
            cache_dir=tmp_path / type(executor).__name__,
            executor=executor,
        )
        for executor in (Threads(workers=1), Copying())
    ]
    assert contents(done[1]) == contents(done[0])
    steps = done[1].stores["test"].batch(slice(0, 1)).steps["seen"]
    assert steps.gap is not None
    assert 3600 < steps.gap[0, steps.length[0] - 1] < 3600 + 8 * 60


def test_own_splits_and_streams_are_written_by_parts(log: Path, tmp_path: Path) -> None:
    class Streamed(Table):
        def rows(self, split: str | None = None) -> Any:
            return super().rows(split).shuffle(buffer_size=1)  # an IterableDataset that can't be divided

    paths = {"train": str(log / "a.parquet"), "test": str(log / "b.parquet")}
    given = {"by": "given", "validation": 0.2}
    done = run(Table(path=paths), log, tmp_path / "a", Threads(workers=3), given)
    assert done.summary["rows"] == {"train": 5_600, "validation": 1_400, "test": 5_000}
    again = run(Table(path=paths), log, tmp_path / "b", Processes(workers=2), given)
    streamed = run(Streamed(path=paths), log, tmp_path / "c", Threads(workers=3), given)
    assert contents(again) == contents(done)
    for split, store in done.stores.items():
        for name, part in store.parts.items():
            assert np.array_equal(part.numpy(), streamed.stores[split].parts[name].numpy(), equal_nan=True)


class KillingRows(ParquetRows):
    """Rows of which a row group kills the worker that reads it first, or each one."""

    folder: Path
    always: bool

    def tables(self, columns: Sequence[str], only: tuple[int, int] | None = None) -> Iterator[pa.Table]:
        if multiprocessing.parent_process() is not None and only == (0, 2):
            killed = self.folder / "killed"
            if self.always or not killed.exists():
                killed.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return super().tables(columns, only)


class Killing(Table):
    """Source of such rows."""

    folder: Path
    always = False

    def rows(self, split: str | None = None) -> ParquetRows:
        rows = KillingRows(self._paths(split), known=self._footers(split))
        rows.folder, rows.always = self.folder, self.always
        return rows


def test_a_worker_that_is_killed_in_the_middle_loses_nothing(log: Path, tmp_path: Path) -> None:
    source = Killing(path=str(log / "?.parquet"))
    source.folder = tmp_path
    done = run(source, log, tmp_path / "a", Processes(workers=2))
    assert (tmp_path / "killed").exists()
    assert contents(done) == contents(run(source, log, tmp_path / "b", Threads(workers=1)))


def test_a_part_that_kills_every_worker_is_named_and_leaves_nothing(log: Path, tmp_path: Path) -> None:
    source = Killing(path=str(log / "?.parquet"))
    source.folder, source.always = tmp_path, True
    message = "the source: fitting to rows 2,000 to 5,999 failed 3 times: its process died"
    with pytest.raises(MtlError, match=message):
        run(source, log, tmp_path / "a", Processes(workers=2))
    assert [path.name for path in (tmp_path / "a" / "prepared").iterdir() if path.suffix != ".lock"] == []


def test_errors_of_a_worker_name_split_and_row(log: Path, tmp_path: Path) -> None:
    rows = pq.read_table(log / "b.parquet").to_pydict()
    rows["price"][4_700] = float("inf")
    pq.write_table(pa.table(rows), tmp_path / "b.parquet", row_group_size=1_000)
    with pytest.raises(DataError, match=r"'price' is infinite in row 4700 \(split test\)"):
        run(Table(path=str(tmp_path / "b.parquet")), log, tmp_path / "cache", Processes(workers=2))


def test_a_source_that_can_not_be_sent_names_the_remedy(log: Path, tmp_path: Path) -> None:
    source = table(log)
    source.handle = lambda: None  # type: ignore[attr-defined]
    with pytest.raises(MtlError, match=r"can't be sent to other processes.*data.executor=threads"):
        run(source, log, tmp_path, Processes(workers=1))


def test_ranges_of_parquet_files_read_the_same_rows(log: Path) -> None:
    rows = table(log).rows()
    whole = pa.concat_tables(read_blocks(rows, ["item"], "rows"))
    ranges = row_ranges(rows)
    assert [(part.start, part.group) for part in ranges if part is not None] == [
        (0, (0, 0)), (2_000, (0, 1)), (4_000, (0, 2)), (6_000, (0, 3)), (7_000, (1, 0)),
    ]  # fmt: skip
    parts = [block for part in reversed(ranges) for block in read_blocks(rows, ["item"], "rows", only=part)]
    assert pa.concat_tables(parts[::-1]).to_pydict() == whole.to_pydict()


def test_labels_of_every_kind_are_fitted_by_parts_as_by_one_process() -> None:
    random = np.random.default_rng(0)
    rows = pa.table({
        "genre": random.choice(["x", "y", None], 900),
        "tags": random.choice(["p|q", "q", "", None], 900),
        "stars": random.choice([1.0, 2.0, 7.0, np.nan], 900),
        "worth": np.where(np.arange(900) < 350, np.nan, random.normal(7, 3, 900)),  # unknown in the first blocks
    })  # fmt: skip
    tasks = build_tasks({
        "genre": "multiclass",
        "tags": "multilabel",
        "stars": {"kind": "multiclass", "label": "stars"},
        "worth": "regression",
    })  # fmt: skip
    blocks = [rows.slice(start, 100) for start in range(0, 900, 100)]
    sequential, several = (Transforms({}, tasks, cold=("genre",)) for _ in range(2))
    sequential.fit(blocks)
    several.observe(blocks[0])
    unfitted = pickle.dumps(several)
    for part in (blocks[1:3], blocks[3:8], blocks[8:]):
        worker = pickle.loads(unfitted)
        worker.record()
        for block in part:
            worker.observe(block)
        several.merge(pickle.loads(pickle.dumps(worker.partial())))
    several.finish()
    assert several.to_dict() == sequential.to_dict()
    assert several.schema == sequential.schema


@pytest.mark.parametrize("sizes", [[100], [1_400], [10, 1_390, 700, 3, 5_000, 1], [700] * 9, [3_000, 0, 50]])
def test_training_parts_cover_every_block_after_the_first_once(sizes: list[int]) -> None:
    random = np.random.default_rng(1)
    parts, first, start = [], 0, 0
    for size in sizes:
        assigned = random.integers(0, 2, size).astype(np.int8)
        parts.append(RowPart(None, "log", RowRange(start, start + size), assigned, (first, 0, 0)))
        first, start = first + int((assigned == 0).sum()), start + size
    covered: list[int] = []
    for part in fitting.training_parts(parts):
        begin = part.parts[0].first[0] + part.skip
        assert begin % part.block == 0
        assert begin < part.parts[0].first[0] + int((np.asarray(part.parts[0].assigned) == 0).sum())
        covered += range(begin, begin + part.rows)
    assert covered == list(range(700, first))
