"""Rows that cannot be predicted: an error that names them, or a table of them with the reasons."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from mtl_lightning.data.arrow.columns import Block, column
from mtl_lightning.data.arrow.numbers import RowError
from mtl_lightning.data.readers.blocks import ROW
from mtl_lightning.errors import DataError


class Scored(NamedTuple):
    """Predictions of a block, and the rows without a prediction.

    Args:
        table: Predictions of the rows that could be read.
        refused: ``row``, ``reason`` and the raw columns of the other rows.
    """

    table: pa.Table
    refused: pa.Table


def locate(block: Block, error: RowError) -> DataError:
    """Return an error with the number of its row."""
    row = column(block, ROW)[error.index].as_py()
    return DataError(f"{error.message} in row {row}", error.hint)


def score_good_rows(block: Block, score: Callable[[Block], pa.Table]) -> Scored:
    """Predict the rows of a block that can be read, and collect the other rows.

    Args:
        block: Rows with their numbers.
        score: Function from rows to predictions, which raises a RowError for a row that it cannot read.

    Raises:
        DataError: If a column cannot be read in any row.
    """
    reasons: dict[int, str] = {}
    good = np.arange(block.num_rows)
    while True:
        try:
            table = score(block.take(pa.array(good)))
        except RowError as error:
            wrong = {error.index: error.message, **error.further}
            reasons |= {int(good[index]): reason for index, reason in wrong.items()}
            good = np.delete(good, list(wrong))
            continue
        return Scored(table, _refused_table(block, reasons))


def _refused_table(block: Block, reasons: dict[int, str]) -> pa.Table:
    places = sorted(reasons)
    rows = block.take(pa.array(places, pa.int64()))
    columns = {name: rows.column(name) for name in block.schema.names if name not in (ROW, "row", "reason")}
    texts = pa.array([reasons[place] for place in places], pa.string())
    return pa.table({"row": rows.column(ROW), "reason": texts, **columns})
