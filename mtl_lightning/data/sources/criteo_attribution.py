"""Criteo Attribution Modeling for Bidding: display impressions, from the raw file."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.data.sources.delimited import Form, read_tables, replace_sentinels
from mtl_lightning.data.sources.raw_log import RawLog, declare

RAW = {
    "timestamp": pa.int64(),
    "uid": pa.int64(),
    "campaign": pa.int64(),
    "conversion": pa.int64(),
    "conversion_timestamp": pa.int64(),
    "conversion_id": pa.int64(),
    "attribution": pa.int64(),
    "click": pa.int64(),
    "click_pos": pa.int64(),
    "click_nb": pa.int64(),
    "cost": pa.float64(),
    "cpo": pa.float64(),
    "time_since_last_click": pa.float64(),
    **{f"cat{n}": pa.int64() for n in range(1, 10)},
}
FEATURES = {
    "uid": "categorical",
    "campaign": "categorical",
    "cost": {"kind": "numeric", "transform": "log"},
    "time_since_last_click": {"kind": "numeric", "transform": "log"},
    **{f"cat{n}": "categorical" for n in range(1, 10)},
}
# Columns known only after the event.
LEAKS = ("conversion_timestamp", "conversion_id", "attribution", "click_pos", "click_nb", "cpo")
SENTINELS = dict.fromkeys(
    ("conversion_timestamp", "conversion_id", "click_pos", "click_nb", "time_since_last_click"), -1
)
FORM = Form(columns=RAW, separator="\t", quoted=False)


class CriteoAttribution(RawLog):
    """Source of 16.5 million display impressions of 30 days with clicks and conversions (Diemert et al., 2017).

    ``conversion`` is a conversion of the user within 30 days, so it occurs without a click as well.
    ``click_conversion`` is click ∧ conversion, the label of a funnel. −1 is null. ``timestamp`` counts seconds from the
    log's start.

    Args:
        path: Directory with ``criteo_attribution_dataset.tsv``, plain or gzipped.

    Raises:
        DataError: If the file is missing, or lacks a column.

    Example:
        >>> CriteoAttribution(path="criteo").schema().tasks["conversion"]["label"]
        'click_conversion'
    """

    name = "criteo_attribution"
    raw, arrow = declare(
        {name: (kind, FEATURES.get(name)) for name, kind in RAW.items()} | {"click_conversion": (pa.int64(), None)},
        {
            "click": {"kind": "binary", "label": "click"},
            "conversion": {"kind": "binary", "label": "click_conversion", "parents": ["click"]},
        },
        time="timestamp",
        group="uid",
        after_event=("click", "conversion", "click_conversion", *LEAKS),
    )

    def files(self) -> list[Path]:
        """The file of the log."""
        return [self.find("criteo_attribution_dataset.tsv", "*.tsv")]

    def tables(self, split: str | None) -> Iterator[pa.Table]:
        """Read the impressions in the order of the file."""
        for block in read_tables(self.files()[0], FORM):
            table = replace_sentinels(block, SENTINELS)
            yield table.append_column("click_conversion", pc.multiply(table["click"], table["conversion"]))
