"""Codes of the ids of events that no vocabulary has."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.data.arrow.keys import keys
from mtl_lightning.schema import UNKNOWN


class UnknownIds:
    """Values of some columns that are in no vocabulary, each with a negative code.

    An unknown value has the same id as any other. While events are prepared, its code is in place of that id, so that
    equal events are found, and so that a later run, whose vocabulary may have the value, can look it up.

    Example:
        >>> unknown = UnknownIds()
        >>> ids = np.array([5, 1, 1, 1], dtype=np.int32)
        >>> unknown.mark("item", pa.array(["a", "x", "y", "x"]), ids).tolist()
        [5, -1, -2, -1]
        >>> unknown.values("item")
        ['x', 'y']
    """

    def __init__(self) -> None:
        self._codes: dict[str, dict[int | str, int]] = {}

    def mark(self, name: str, values: pa.Array, ids: np.ndarray) -> np.ndarray:
        """Replace the id of unknown values by their codes.

        Args:
            name: Name of the column.
            values: Values, [N].
            ids: Their ids, [N] int32.
        """
        places = np.flatnonzero(ids == UNKNOWN)
        if not len(places):
            return ids
        coded = pc.dictionary_encode(keys(values.take(pa.array(places)), name))
        marked = ids.copy()
        marked[places] = self.adopt(name, coded.dictionary.to_pylist())[coded.indices.to_numpy()]
        return marked

    def adopt(self, name: str, values: Iterable[int | str]) -> np.ndarray:
        """Return the codes of unknown values, [N] int32; new values get the next ones."""
        known = self._codes.setdefault(name, {})
        return np.array([known.setdefault(value, -1 - len(known)) for value in values], dtype=np.int32)

    def values(self, name: str) -> list[int | str]:
        """The values of a column in the order of their codes: -1 is the first one."""
        return list(self._codes.get(name, ()))


def without_codes(ids: np.ndarray) -> np.ndarray:
    """Ids with the id of unknown values in place of their codes.

    Example:
        >>> without_codes(np.array([5, -2, 0])).tolist()
        [5, 1, 0]
    """
    return np.where(ids < 0, UNKNOWN, ids)
