"""AliExpress searches of four countries, from the raw files or from the processed form."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.data.sources.delimited import Form, read_tables
from mtl_lightning.data.sources.raw_log import RawLog, append_columns, declare
from mtl_lightning.interfaces import DataError, RawSchema

USER_CODES = (*range(2, 9), 32, 33)
ITEM_CODES = (19, 34, 35, 36, 40, 41, 42)
USER = {f"user_{n}": pa.string() if n in (1, *USER_CODES) else pa.float64() for n in range(1, 34)}
ITEM = {
    f"item_{n}": pa.string() if n in (1, *ITEM_CODES) else pa.int64() if n == 49 else pa.float64() for n in range(1, 50)
}
PROCESSED = (
    {"search_id": pa.string()}
    | {f"categorical_{n}": pa.string() for n in range(1, 17)}
    | {f"numerical_{n}": pa.float64() for n in range(1, 64)}
    | {"click": pa.int8(), "conversion": pa.int8()}
)
TASKS = {
    "click": {"kind": "binary", "label": "click"},
    "conversion": {"kind": "binary", "label": "conversion", "parents": ["click"]},
}
NO_FEATURES = ("search_id", "click", "conversion")


def _declare(columns: dict[str, pa.DataType]) -> tuple[RawSchema, pa.Schema]:
    def feature(name: str, kind: pa.DataType) -> Any:
        return None if name in NO_FEATURES else "categorical" if kind == pa.string() else "numeric"

    return declare(
        {name: (kind, feature(name, kind)) for name, kind in columns.items()},
        TASKS,
        splits=("train", "test"),
        group="search_id",
        after_event=("click", "conversion"),
    )


LABELS = {"click": pa.int8(), "conversion": pa.int8()}
JOINED = {"search_id": pa.string()} | {
    name: kind for name, kind in (USER | ITEM).items() if name not in ("user_1", "item_1", "item_49")
}


class AliExpress(RawLog):
    """Source of searches in NL, ES, FR or US with clicks and purchases (Li et al., 2020), in the official splits.

    In the raw form, the item file refers to the search (``item_1`` = ``user_1``, here ``search_id``). Items of unknown
    searches are dropped. ``item_49`` is 0 (nothing), 1 (click) or 2 (click and purchase). ``user_2`` to ``user_8``,
    ``user_32``, ``user_33`` and seven of the item's columns are codes; all others are numbers.

    Args:
        path: Directory of one country. Raw: files with ``train`` or ``test`` and ``user`` or ``item`` in their names,
            zipped or not. Processed: ``train.csv`` and ``test.csv``.
        processed: Read the processed form.

    Raises:
        DataError: If a file is missing, a line has a wrong number of values, or a search is repeated.

    Example:
        >>> len(AliExpress(path="NL").schema().features), len(AliExpress(path="NL", processed=True).schema().features)
        (79, 79)
    """

    name = "aliexpress"

    def __init__(self, *, path: str, processed: bool = False) -> None:
        super().__init__(path=path)
        self.processed = processed
        self.raw, self.arrow = _declare(PROCESSED if processed else JOINED | LABELS)

    def options(self) -> dict[str, Any]:
        """The form of the files."""
        return {"processed": self.processed}

    def files(self) -> list[Path]:
        """The files of both splits."""
        splits = self.raw.splits
        if self.processed:
            return [self.find(f"{split}.csv") for split in splits]
        return [self._part(split, kind) for split in splits for kind in ("user", "item")]

    def tables(self, split: str | None) -> Iterator[pa.Table]:
        """Read the exposures of a split."""
        if self.processed:
            yield from read_tables(self.find(f"{split}.csv"), Form(columns=PROCESSED))
            return
        users, items = self._part(str(split), "user"), self._part(str(split), "item")
        kinds = USER | {"known": pa.bool_()}
        searches = self.side(f"searches-{split}", [users], kinds, "user_1", _searches(users))
        for table in read_tables(items, Form(columns=ITEM, header=False)):
            table = append_columns(table, searches.take(table["item_1"]))
            table = table.filter(pc.is_valid(table["known"]))
            outcome = table["item_49"]
            wrong = pc.filter(outcome, pc.invert(pc.fill_null(pc.is_in(outcome, value_set=pa.array([0, 1, 2])), False)))
            if len(wrong):
                raise DataError(f"{items}: item_49 is {wrong[0].as_py()}", "it must be 0, 1 or 2")
            table = table.append_column("click", pc.greater_equal(outcome, 1).cast(pa.int8()))
            table = table.append_column("conversion", pc.equal(outcome, 2).cast(pa.int8()))
            yield table.append_column("search_id", table["item_1"])

    def _part(self, split: str, kind: str) -> Path:
        return self.find(f"*{split}*{kind}*.csv", f"*{kind}*{split}*.csv", f"*{split}*{kind}*", f"*{kind}*{split}*")


def _searches(path: Path) -> Iterator[pa.Table]:
    for table in read_tables(path, Form(columns=USER, header=False)):
        yield table.append_column("known", pa.repeat(pa.scalar(True), table.num_rows))
