"""The simulator as a source: a log of any size from a seed."""

import hashlib
import importlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from mtl_lightning.data.cache.arrow_tables import cache_rows
from mtl_lightning.data.cache.write_files import write_files
from mtl_lightning.data.simulator.scenario import Scenario, Size
from mtl_lightning.errors import DataError
from mtl_lightning.interfaces import RawSchema, Source

SCENARIOS = {
    "ads": "mtl_lightning.data.simulator.ads:Ads",
    "agreement": "mtl_lightning.data.simulator.transfer:Agreement",
    "conflict": "mtl_lightning.data.simulator.transfer:Conflict",
    "ecommerce": "mtl_lightning.data.simulator.ecommerce:Ecommerce",
    "news": "mtl_lightning.data.simulator.news:News",
    "social": "mtl_lightning.data.simulator.social:Social",
}
"""Scenarios by name, imported on use."""

IN_MEMORY = 2_000_000
"""Up to this many rows a log is kept in memory; a larger one is written to the cache and memory-mapped."""


class Simulator(Source):
    """Exposure logs from latent users and items, with the true probabilities of all outcomes as oracle columns.

    Rows are in order of time. They depend on the options and on nothing else. Popularity follows Zipf's law, later
    positions are clicked less, and the logging policy shows users what their segment likes, so that what is clicked
    is no fair sample of what is shown.

    Args:
        scenario: ``ads`` (click, conversion, dwell), ``ecommerce`` (view, cart, purchase, rating, next_category),
            ``news`` (click, read_time, share, tags), ``social`` (like, comment, share, follow), or a test of methods:
            ``agreement`` (like, save and the rare share have the same tastes), ``conflict`` (hide has others).
        rows: Exposures.
        users: Users.
        items: Items.
        days: Length of the log in days.
        history: Clicks in the column ``history``, at most.
        delayed: Leave outcomes out that come after the log's end, as real logs do; the oracles stay right.
        shuffled: Deal the outcomes to the rows at random (``agreement``, ``conflict``): nothing can be learned.
        selection: How strongly clicks select (``ads``): they depend more on who sees what, and what attracts them goes
            against conversions. 0 is the plain world, 1 a strong bias of what is learned on clicks alone.
        seed: Seed of the world and of the log.

    Raises:
        DataError: Unknown scenario, or a size that is not positive.

    Example:
        >>> log = Simulator(rows=1_000, users=50, items=40).rows()
        >>> log.num_rows, set(log["click"]) == {0, 1}
        (1000, True)
    """

    def __init__(
        self,
        *,
        scenario: str = "ads",
        rows: int = 500_000,
        users: int = 2_000,
        items: int = 600,
        days: int = 14,
        history: int = 10,
        delayed: bool = False,
        shuffled: bool = False,
        selection: float = 0.0,
        seed: int = 0,
    ) -> None:
        if scenario not in SCENARIOS:
            raise DataError(f"source.scenario: no scenario {scenario!r}", "there are " + ", ".join(SCENARIOS))
        self.scenario = scenario
        self.size = Size(
            rows=rows,
            users=users,
            items=items,
            days=days,
            history=history,
            delayed=delayed,
            shuffled=shuffled,
            selection=selection,
            seed=seed,
        )
        for name, value in asdict(self.size).items():
            if value < 0 or (value == 0 and name in ("users", "items", "days", "history")):
                raise DataError(f"source.{name}: {value} is too small")

    def schema(self) -> RawSchema:
        """Columns and suggestions of the scenario."""
        return self._kind().raw

    def rows(self, split: str | None = None) -> datasets.Dataset:
        """The whole log; ``split`` must be None, for a log has no splits of its own."""
        if split is not None:
            raise DataError(f"the simulator has no split {split!r}", "let the recipe split it, by time say")
        if self.size.rows <= IN_MEMORY:
            batches = list(self.batches())
            table = pa.Table.from_batches(batches, schema=self._kind().arrow)
            return datasets.Dataset(table, fingerprint=self.fingerprint())
        return cache_rows(f"simulator/{self.fingerprint()}", self._kind().arrow, self.batches)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The log block by block, in bounded memory."""
        return self._kind()(self.size).batches()

    def write_parquet(self, path: str | Path, rows_per_file: int | None = None) -> list[Path]:
        """Write the log, block by block.

        Args:
            path: The file; with ``rows_per_file``, a directory for files ``00000.parquet``, ….
            rows_per_file: Start another file at the first block after so many rows.

        Returns:
            The files.
        """
        path, schema = Path(path), self._kind().arrow
        (path.parent if rows_per_file is None else path).mkdir(parents=True, exist_ok=True)
        paths = iter([path]) if rows_per_file is None else (path / f"{n:05d}.parquet" for n in itertools.count())
        rows = self.size.rows + 1 if rows_per_file is None else rows_per_file
        return write_files(self.batches(), lambda file: pq.ParquetWriter(file, schema, compression="zstd"), paths, rows)

    def fingerprint(self) -> str:
        """A digest of the options and of the simulator's code."""
        digest = hashlib.sha256(json.dumps([self.scenario, asdict(self.size)]).encode())
        for source in sorted(Path(importlib.import_module(Scenario.__module__).__file__ or "").parent.glob("*.py")):
            digest.update(source.read_bytes())
        return digest.hexdigest()[:32]

    def _kind(self) -> type[Scenario]:
        module, _, name = SCENARIOS[self.scenario].partition(":")
        kind: type[Scenario] = getattr(importlib.import_module(module), name)
        if self.size.delayed and not kind.delays:
            raise DataError(f"source.delayed: in the scenario {self.scenario!r} nothing comes late")
        if self.size.shuffled and not kind.shuffles:
            known = ", ".join(name for name, path in SCENARIOS.items() if ".transfer:" in path)
            raise DataError(f"source.shuffled: the scenario {self.scenario!r} can't be shuffled", f"these can: {known}")
        if self.size.selection and not kind.selects:
            raise DataError(f"source.selection: the scenario {self.scenario!r} has none", "ads has")
        return kind
