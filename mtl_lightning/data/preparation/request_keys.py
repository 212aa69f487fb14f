"""Keys of requests: one number per row, equal in the rows of a request."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from mtl_lightning.batch import WITHOUT_GROUP
from mtl_lightning.data.arrow.columns import as_written
from mtl_lightning.data.arrow.hashing import group_numbers, mix
from mtl_lightning.data.readers.blocks import ROW


def request_keys(block: pa.Table, columns: Sequence[str]) -> np.ndarray:
    """Key of each row's request, [B] int64; a row that lacks a value is a request by itself, with a key below 0.

    Args:
        block: Rows with their numbers in :data:`ROW`.
        columns: Columns whose values are equal in the rows of a request and in no other row.

    Raises:
        DataError: If a column holds lists, structs or bytes that are not text.

    Example:
        >>> block = pa.table({"user": ["a", "a", None], "visit": [1, 1, 1], ROW: [0, 1, 2]})
        >>> keys = request_keys(block, ["user", "visit"])
        >>> bool(keys[0] == keys[1]), int(keys[2])
        (True, -3)
    """
    keys = np.zeros(block.num_rows, dtype=np.uint64)
    missing = np.zeros(block.num_rows, dtype=bool)
    for name in columns:
        numbers = group_numbers(as_written(block, name), name)
        missing |= numbers == WITHOUT_GROUP
        keys = mix(keys ^ mix(numbers.view(np.uint64)))
    known = (keys >> np.uint64(1)).astype(np.int64)
    return np.where(missing, -1 - block[ROW].to_numpy(), known) if missing.any() else known


def number_requests(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number requests by their first row.

    Args:
        keys: Key of each row's request, [N].

    Returns:
        Number of each row's request, [N] int64, and the first row of each request, [R].

    Example:
        >>> [part.tolist() for part in number_requests(np.array([7, 7, 3, 7]))]
        [[0, 0, 1, 0], [0, 2]]
    """
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])[: len(keys)])
    _, first, inverse = np.unique(keys[starts], return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return np.repeat(rank[inverse], np.diff(np.append(starts, len(keys)))), starts[first[order]]
