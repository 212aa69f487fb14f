"""Criteo Sponsored Search Conversion Log: clicks on product ads, from the raw file."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.data.sources.delimited import Form, read_tables, replace_sentinels
from mtl_lightning.data.sources.join import replace_column
from mtl_lightning.data.sources.raw_log import RawLog, declare

COLUMNS = {
    "Sale": ("sale", pa.int64(), None),
    "SalesAmountInEuro": ("sales_amount", pa.float64(), None),
    "Time_delay_for_conversion": ("conversion_delay", pa.float64(), None),
    "click_timestamp": ("timestamp", pa.int64(), None),
    "nb_clicks_1week": ("clicks_last_week", pa.float64(), {"kind": "numeric", "transform": "log"}),
    # Nearly reveals the sale, because only sold products have a price: not a feature unless a recipe makes it one.
    "product_price": ("product_price", pa.float64(), None),
    "product_age_group": ("product_age_group", pa.string(), "categorical"),
    "device_type": ("device_type", pa.string(), "categorical"),
    "audience_id": ("audience_id", pa.string(), "categorical"),
    "product_gender": ("product_gender", pa.string(), "categorical"),
    "product_brand": ("product_brand", pa.string(), "categorical"),
    **{f"product_category{n}": (f"product_category{n}", pa.string(), "categorical") for n in range(1, 8)},
    "product_country": ("product_country", pa.string(), "categorical"),
    "product_id": ("product_id", pa.string(), "categorical"),
    "product_title": ("product_title", pa.string(), {"kind": "sequence", "separator": " ", "length": 20}),
    "partner_id": ("partner_id", pa.string(), "categorical"),
    "user_id": ("user_id", pa.string(), "categorical"),
}
"""Name, type and feature by raw column; the file has no header, and these columns in this order."""
SENTINELS = {
    name: "-1" if kind == pa.string() else -1 for name, kind, _ in COLUMNS.values() if name not in ("sale", "timestamp")
}
FORM = Form(columns={name: kind for name, kind, _ in COLUMNS.values()}, separator="\t", header=False, quoted=False)


class CriteoSearch(RawLog):
    """Source of clicks on product ads with the following sale, its amount and its delay (Tallis and Yadav, 2018).

    Every row is a click. −1 is null. Without a sale, ``sales_amount`` (euros) is 0, so the amount is a value with many
    zeros, and ``conversion_delay`` (seconds) is null.

    Args:
        path: Directory with ``CriteoSearchData``, plain, gzipped or with any suffix.

    Raises:
        DataError: If the file is missing, or a line does not have 23 values.

    Example:
        >>> sorted(CriteoSearch(path="criteo").schema().tasks)
        ['amount', 'sale']
    """

    name = "criteo_search"
    raw, arrow = declare(
        {name: (kind, spec) for name, kind, spec in COLUMNS.values()},
        {"sale": {"kind": "binary", "label": "sale"}, "amount": {"kind": "value", "label": "sales_amount"}},
        time="timestamp",
        group="user_id",
        after_event=("sale", "sales_amount", "conversion_delay", "product_price"),
    )

    def files(self) -> list[Path]:
        """The file of the log."""
        return [self.find("CriteoSearchData", "CriteoSearchData.*", "*.tsv")]

    def tables(self, split: str | None) -> Iterator[pa.Table]:
        """Read the clicks in the order of the file."""
        for block in read_tables(self.files()[0], FORM):
            table = replace_sentinels(block, SENTINELS)
            unsold = pc.equal(table["sale"], 0)
            yield replace_column(table, "sales_amount", pc.if_else(unsold, 0.0, table["sales_amount"]))
