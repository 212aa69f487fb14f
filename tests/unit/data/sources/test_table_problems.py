"""Problems of several columns, and files that disagree, are reported at once and by name."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mtl_lightning import DataModule
from mtl_lightning.data.arrow.threads import FEW, map_threads
from mtl_lightning.data.sources.table import Table
from mtl_lightning.errors import DataError, MtlError

ROWS = 60


def column(bad: Any, at: int) -> list[Any]:
    return [bad if row == at else str(row) for row in range(ROWS)]


def module(folder: Path, rows: dict[str, Any], **features: str) -> DataModule:
    table = {"user": ["a", "b"] * (ROWS // 2), "click": [0, 1, 1] * (ROWS // 3), **rows}
    return DataModule.from_frame(
        table, features={"user": "categorical", **features}, tasks={"click": "binary"}, cache_dir=folder,
        split={"by": "random", "validation": 0, "test": 0},
    )  # fmt: skip


def test_all_bad_columns_are_listed_with_their_rows(tmp_path: Path) -> None:
    rows = {"price": column("free", 7), "age": column("old", 9), "stock": column("3", 4)}
    with pytest.raises(DataError) as caught:
        module(tmp_path, rows, price="numeric", age="numeric", stock="numeric").prepare()
    lines = str(caught.value).splitlines()
    assert lines[0] == "2 problems in the rows"
    assert lines[1].startswith("  column 'price' holds 'free', which is not a number in row 7 (split train)")
    assert lines[2].startswith("  column 'age' holds 'old', which is not a number in row 9 (split train)")
    assert len(lines) == 3


def test_one_bad_column_stays_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^column 'when' holds 'soon', which is not a time in row 5 \(split train\)"):
        module(tmp_path, {"when": ["soon" if i == 5 else "2024-05-01" for i in range(ROWS)]}, when="date").prepare()


@pytest.mark.parametrize("rows", [1, FEW])
def test_threads_keep_the_order_of_errors_and_raise_others_at_once(rows: int) -> None:
    def refuse_odd(number: int) -> int:
        if number % 2:
            raise DataError(f"{number} is odd")
        return number

    with pytest.raises(DataError, match="1 is odd") as caught:
        map_threads(refuse_odd, range(6), rows)
    assert [str(error) for error in caught.value.others] == ["3 is odd", "5 is odd"]
    assert map_threads(refuse_odd, [4, 2], rows) == [4, 2]
    with pytest.raises(ZeroDivisionError):
        map_threads(lambda number: 1 // number, [0], rows)


HOURS = [datetime(2024, 5, 1) + timedelta(hours=row) for row in range(ROWS)]
PLAIN, UTC, BERLIN = (pa.timestamp("us", zone) for zone in (None, "UTC", "Europe/Berlin"))


@pytest.mark.parametrize(
    ("first", "second", "advice"),
    [
        (PLAIN, UTC, "with one zone, or all without"),
        (UTC, PLAIN, "with one zone, or all without"),
        (UTC, BERLIN, "with one zone, or all without"),
        (UTC, pa.bool_(), "with the same type in all files"),
    ],
)
def test_files_that_disagree_on_a_column_are_both_named(
    tmp_path: Path, first: pa.DataType, second: pa.DataType, advice: str
) -> None:
    for number, kind in enumerate((first, first, second, second)):
        values = pa.array([True] * ROWS) if pa.types.is_boolean(kind) else pa.array(HOURS, PLAIN).cast(kind)
        table = pa.table({"user": range(ROWS), "when": values, "click": [0, 1] * (ROWS // 2)})
        pq.write_table(table, tmp_path / f"part{number}.parquet")
    with pytest.raises(MtlError) as caught:
        Table(path=str(tmp_path / "*.parquet")).schema()
    message = f"the column 'when': {first} in {tmp_path}/part0.parquet, {second} in {tmp_path}/part2.parquet"
    assert message in caught.value.message
    assert advice in caught.value.hint
