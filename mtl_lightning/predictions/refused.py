"""Rows that can't be predicted: named, or set aside with the reason."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from mtl_lightning.data.arrow.columns import Block, column
from mtl_lightning.data.arrow.numbers import RowError
from mtl_lightning.data.readers.blocks import ROW
from mtl_lightning.errors import DataError


class Scored(NamedTuple):
    """Predictions of a block and its rows without one.

    Args:
        table: Predictions of the good rows.
        refused: ``row``, ``reason`` and the columns that were read, of the others.
    """

    table: pa.Table
    refused: pa.Table


def locate(block: Block, error: RowError) -> DataError:
    """The error with the number of its row."""
    row = column(block, ROW)[error.index].as_py()
    return DataError(f"{error.message} in row {row}", error.hint)


def score_good_rows(block: Block, score: Callable[[Block], pa.Table]) -> Scored:
    """Predict the rows of a block that can be read, and set the others aside.

    Args:
        block: Rows with their numbers.
        score: Rows → predictions; raises a RowError at one that it can't read.

    Raises:
        DataError: If a column can't be read in any row.
    """
    reasons: dict[int, str] = {}
    left = np.arange(block.num_rows)
    while True:
        try:
            table = score(block.take(pa.array(left)))
        except RowError as error:
            wrong = {error.index: error.message, **error.further}
            reasons |= {int(left[index]): reason for index, reason in wrong.items()}
            left = np.delete(left, list(wrong))
            continue
        return Scored(table, _refused(block, reasons))


def _refused(block: Block, reasons: dict[int, str]) -> pa.Table:
    places = sorted(reasons)
    rows = block.take(pa.array(places, pa.int64()))
    columns = {name: rows.column(name) for name in block.schema.names if name not in (ROW, "row", "reason")}
    why = pa.array([reasons[place] for place in places], pa.string())
    return pa.table({"row": rows.column(ROW), "reason": why, **columns})
