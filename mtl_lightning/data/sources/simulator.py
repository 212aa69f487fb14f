"""Source of simulated logs of any size."""

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
from mtl_lightning.data.simulator.worlds import World
from mtl_lightning.interfaces import DataError, RawSchema, Source

SCENARIOS = {
    "ads": "mtl_lightning.data.simulator.ads:Ads",
    "agreement": "mtl_lightning.data.simulator.transfer:Agreement",
    "conflict": "mtl_lightning.data.simulator.transfer:Conflict",
    "coupons": "mtl_lightning.data.simulator.coupons:Coupons",
    "ecommerce": "mtl_lightning.data.simulator.ecommerce:Ecommerce",
    "news": "mtl_lightning.data.simulator.news:News",
    "rare": "mtl_lightning.data.simulator.transfer:Rare",
    "social": "mtl_lightning.data.simulator.social:Social",
}
"""Scenarios by name, imported on use."""

WORLDS = {
    "crosses": "mtl_lightning.data.simulator.worlds:Crosses",
    "long_interest": "mtl_lightning.data.simulator.worlds:LongInterest",
    "next_action": "mtl_lightning.data.simulator.worlds:NextAction",
}
"""Scenarios with a single task that compare encoders, imported on use."""

IN_MEMORY = 2_000_000
"""Largest number of rows of a log in memory; a larger one is written to the cache and memory-mapped."""


class Simulator(Source):
    """Source of exposure logs from latent users and items, with the true probabilities of all outcomes as oracles.

    Rows are in order of time, and depend on the options only. Popularity follows Zipf's law, later positions get fewer
    clicks, and the logging policy shows users what their segment likes. Clicks are therefore a biased sample of
    exposures.

    Args:
        scenario: ``ads`` (click, conversion, dwell), ``ecommerce`` (view, cart, purchase, rating, next_category),
            ``news`` (click, read_time, share, tags) or ``social`` (like, comment, share, follow). Three more compare
            methods. In ``agreement`` (like, save, rare share) all tasks depend on the same tastes. In ``conflict``
            (like, save, hide) one task depends on opposed tastes. ``rare`` has four frequent tasks that agree (like,
            save, comment, share), two rare ones that agree (follow, subscribe) and a rare one that is opposed (report).
            ``coupons`` (purchase) has a treatment with known effects. Three compare encoders, with clicks alone: in
            ``long_interest`` an event as many steps back as there are items decides, in ``next_action`` the latest
            event, in ``crosses`` products of three fields.
        rows: Number of exposures.
        users: Number of users.
        items: Number of items.
        days: Length of the log in days.
        history: Largest number of clicks in the column ``history``.
        delayed: Leave out outcomes after the log's end, as in real logs; the oracles are unchanged.
        shuffled: Assign the outcomes to the rows at random (``agreement``, ``conflict``, ``rare``): nothing can be
            learned.
        selection: Strength of the selection by clicks (``ads``). Clicks depend more on the pair of user and item, and
            conversions become rarer where clicks are frequent. With 1, a model learned on clicks alone is strongly
            biased. In ``coupons``, strength with which likely buyers are preferred for a coupon.
        intent: Weight of short-term intents in the logit of clicks, views and likes (``ads``, ``ecommerce``, ``news``,
            ``social``). A user's latest clicks decide which categories attract the next ones. Only earlier events
            show it; the oracles know it.
        seed: Random seed.

    Raises:
        DataError: If the scenario is unknown, lacks an option, or a size is not positive.

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
        intent: float = 0.0,
        seed: int = 0,
    ) -> None:
        if scenario not in SCENARIOS | WORLDS:
            raise DataError(f"source.scenario: no scenario {scenario!r}", "there are " + ", ".join(SCENARIOS | WORLDS))
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
            intent=intent,
            seed=seed,
        )
        for name, value in asdict(self.size).items():
            if value < 0 or (value == 0 and name in ("users", "items", "days", "history")):
                raise DataError(f"source.{name}: {value} is too small")

    def schema(self) -> RawSchema:
        """Columns of the scenario, and suggested features and tasks."""
        return self._kind().raw

    def rows(self, split: str | None = None) -> datasets.Dataset:
        """The whole log; ``split`` must be None, because the log has no splits."""
        if split is not None:
            raise DataError(f"the simulator has no split {split!r}", "let the recipe split it, for example by time")
        if self.size.rows <= IN_MEMORY:
            batches = list(self.batches())
            table = pa.Table.from_batches(batches, schema=self._kind().arrow)
            return datasets.Dataset(table, fingerprint=self.fingerprint())
        return cache_rows(f"simulator/{self.fingerprint()}", self._kind().arrow, self.batches)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Draw the log block by block, in bounded memory."""
        return self._kind()(self.size).batches()

    def write_parquet(self, path: str | Path, rows_per_file: int | None = None) -> list[Path]:
        """Write the log to parquet, block by block.

        Args:
            path: The file; with ``rows_per_file``, a directory of files ``00000.parquet``, ….
            rows_per_file: Number of rows after which the next block starts a new file; None for a single file.

        Returns:
            The written files.

        Raises:
            DataError: If a file can't be written.
        """
        path, schema = Path(path), self._kind().arrow
        (path.parent if rows_per_file is None else path).mkdir(parents=True, exist_ok=True)
        paths = iter([path]) if rows_per_file is None else (path / f"{n:05d}.parquet" for n in itertools.count())
        rows = self.size.rows + 1 if rows_per_file is None else rows_per_file
        return write_files(self.batches(), lambda file: pq.ParquetWriter(file, schema, compression="zstd"), paths, rows)

    def fingerprint(self) -> str:
        """Digest of the options and the simulator's code."""
        digest = hashlib.sha256(json.dumps([self.scenario, asdict(self.size)]).encode())
        for source in sorted(Path(importlib.import_module(Scenario.__module__).__file__ or "").parent.glob("*.py")):
            digest.update(source.read_bytes())
        return digest.hexdigest()[:32]

    def _kind(self) -> type[Scenario] | type[World]:
        module, _, name = (SCENARIOS | WORLDS)[self.scenario].partition(":")
        kind: type[Scenario] | type[World] = getattr(importlib.import_module(module), name)
        if self.size.delayed and not kind.delays:
            raise DataError(f"source.delayed: the scenario {self.scenario!r} has no delayed outcomes", "ads has")
        if self.size.shuffled and not kind.shuffles:
            known = ", ".join(name for name, path in SCENARIOS.items() if ".transfer:" in path)
            raise DataError(f"source.shuffled: the scenario {self.scenario!r} can't be shuffled", f"these can: {known}")
        if self.size.selection and not kind.selects:
            raise DataError(f"source.selection: the scenario {self.scenario!r} has no selection", "ads, coupons have")
        if self.size.intent and not kind.intends:
            known = "ads, ecommerce, news and social have"
            raise DataError(f"source.intent: the scenario {self.scenario!r} has no intents", known)
        return kind
