"""EB-NeRD: impressions of a newspaper, from the raw files."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mtl_lightning.data.readers.files import reading
from mtl_lightning.data.sources.multivalued import words
from mtl_lightning.data.sources.raw_log import RawLog, append_columns, declare

IMPRESSION = {
    "impression_id": pa.int64(),
    "impression_time": pa.timestamp("us"),
    "device_type": pa.int64(),
    "article_ids_inview": pa.list_(pa.int64()),
    "article_ids_clicked": pa.list_(pa.int64()),
    "user_id": pa.int64(),
    "is_sso_user": pa.bool_(),
    "gender": pa.int64(),
    "postcode": pa.int64(),
    "age": pa.int64(),
    "is_subscriber": pa.bool_(),
    "session_id": pa.int64(),
    "next_read_time": pa.float64(),
    "next_scroll_percentage": pa.float64(),
}
"""Used columns of behaviors; not ``read_time`` and ``scroll_percentage``, which belong to the page before."""
CARRIED = ("impression_id", "device_type", "user_id", "is_sso_user", "gender", "postcode", "age", "is_subscriber",
           "session_id")  # fmt: skip
HISTORY = {
    "user_id": pa.int64(),
    "article_id_fixed": pa.list_(pa.int64()),
    "read_time_fixed": pa.list_(pa.float32()),
    "scroll_percentage_fixed": pa.list_(pa.float32()),
}
ARTICLE = {
    "article_id": pa.int64(),
    "title": pa.string(),
    "subtitle": pa.string(),
    "category": pa.int64(),
    "premium": pa.bool_(),
    "article_type": pa.string(),
    "title_words": pa.list_(pa.string()),
}


class EBNeRD(RawLog):
    """Source of impressions of a Danish newspaper with clicks, reading times and scrolling (Kruse et al., 2024).

    There is a row per article in view. ``next_read_time`` (seconds) and ``next_scroll_percentage`` belong to the
    clicked article: they are null in all other rows, and in a fifth of the clicked ones. ``impression_time`` is the
    time of a row, and ``timestamp`` has it in seconds. ``history`` holds the articles read before, with parallel lists
    ``history_read_time`` and ``history_scroll_percentage``.

    Args:
        path: Directory with ``articles.parquet``, ``train`` and ``validation``; the latter with ``behaviors.parquet``
            and ``history.parquet``.

    Raises:
        DataError: If a file is missing, can't be read or lacks a column.

    Example:
        >>> EBNeRD(path="ebnerd").schema().tasks["read_time"]["observed_when"]
        'click == 1'
    """

    name = "ebnerd"
    raw, arrow = declare(
        {
            **{name: (IMPRESSION[name], "categorical") for name in CARRIED if not name.endswith("ion_id")},
            "impression_id": (pa.int64(), None),
            "session_id": (pa.int64(), None),
            "timestamp": (pa.int64(), None),
            "impression_time": (pa.timestamp("us"), None),
            "hour": (pa.int64(), "categorical"),
            "article_id": (pa.int64(), "categorical"),
            "position": (pa.int64(), None),
            "click": (pa.int8(), None),
            "next_read_time": (pa.float64(), None),
            "next_scroll_percentage": (pa.float64(), None),
            "history": (pa.list_(pa.int64()), {"kind": "sequence", "of": "article_id", "length": 30}),
            "history_read_time": (pa.list_(pa.float32()), None),
            "history_scroll_percentage": (pa.list_(pa.float32()), None),
            "title": (pa.string(), None),
            "subtitle": (pa.string(), None),
            "category": (pa.int64(), "categorical"),
            "premium": (pa.bool_(), "categorical"),
            "article_type": (pa.string(), "categorical"),
            "title_words": (pa.list_(pa.string()), {"kind": "sequence", "length": 20, "min_count": 2}),
        },
        {
            "click": {"kind": "binary", "label": "click"},
            "read_time": {"kind": "regression", "label": "next_read_time", "observed_when": "click == 1"},
            "scroll": {"kind": "regression", "label": "next_scroll_percentage", "observed_when": "click == 1"},
        },
        splits=("train", "validation"),
        time="timestamp",
        group="user_id",
        after_event=("click", "next_read_time", "next_scroll_percentage"),
    )

    def files(self) -> list[Path]:
        """Behaviors and histories of both splits, articles."""
        names = [f"{split}/{name}.parquet" for split in self.raw.splits for name in ("behaviors", "history")]
        return [self.find(name) for name in (*names, "articles.parquet")]

    def tables(self, split: str | None) -> Iterator[pa.Table]:
        """Read the articles in view, impression after impression."""
        articles_path, history_path = self.find("articles.parquet"), self.find(f"{split}/history.parquet")
        articles = self.side("articles", [articles_path], ARTICLE, "article_id", _articles(articles_path))
        history = self.side(f"history-{split}", [history_path], HISTORY, "user_id", _blocks(history_path, HISTORY))
        for block in _blocks(self.find(f"{split}/behaviors.parquet"), IMPRESSION, rows=2_000):
            table = _in_view(block)
            past = history.take(table["user_id"])
            past = past.rename_columns(["history", "history_read_time", "history_scroll_percentage"])
            yield append_columns(append_columns(table, past), articles.take(table["article_id"]))


def _in_view(block: pa.Table) -> pa.Table:
    block = block.combine_chunks()
    shown, clicked = (block[f"article_ids_{kind}"].combine_chunks() for kind in ("inview", "clicked"))
    counts = pc.fill_null(pc.list_value_length(shown), 0).to_numpy(zero_copy_only=False)
    row = np.repeat(np.arange(block.num_rows), counts)
    table = block.select(CARRIED).take(pa.array(row))
    article = pc.list_flatten(shown)
    hits = set(zip(pc.list_parent_indices(clicked).to_pylist(), pc.list_flatten(clicked).to_pylist(), strict=True))
    click = np.fromiter(
        ((r, a) in hits for r, a in zip(row.tolist(), article.to_pylist(), strict=True)), bool, len(row)
    )
    first = np.repeat(np.cumsum(counts) - counts, counts)
    time = block["impression_time"].take(pa.array(row))
    table = table.append_column("impression_time", time)
    table = table.append_column("timestamp", pc.divide(time.cast(pa.int64()), 1_000_000))
    table = table.append_column("hour", pc.hour(time))
    table = table.append_column("article_id", article)
    table = table.append_column("position", pa.array(np.arange(len(row)) - first + 1))
    table = table.append_column("click", pa.array(click.astype(np.int8)))
    for name in ("next_read_time", "next_scroll_percentage"):
        value = block[name].take(pa.array(row))
        table = table.append_column(name, pc.if_else(pa.array(click), value, pa.scalar(None, value.type)))
    return table


def _blocks(path: Path, columns: dict[str, pa.DataType], rows: int = 8_000) -> Iterator[pa.Table]:
    with reading(str(path)):
        for batch in pq.ParquetFile(path).iter_batches(batch_size=rows, columns=list(columns)):
            yield pa.Table.from_batches([batch]).select(list(columns)).cast(pa.schema(list(columns.items())))


def _articles(path: Path) -> Iterator[pa.Table]:
    stored = {name: kind for name, kind in ARTICLE.items() if name != "title_words"}
    for table in _blocks(path, stored):
        yield table.append_column("title_words", words(table["title"]))
