"""MIND (small, large): impressions of news, from the raw files."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.data.sources.delimited import Form, read_blocks, read_tables
from mtl_lightning.data.sources.multivalued import as_list, words
from mtl_lightning.data.sources.raw_log import RawLog, append_columns, declare
from mtl_lightning.errors import DataError

DIRECTORIES = {"train": ("*train*",), "validation": ("*dev*", "*valid*"), "test": ("*test*",)}
"""Patterns of the directory of each split."""
BEHAVIORS = Form(
    columns=dict.fromkeys(("impression_id", "user_id", "time", "history", "impressions"), pa.string()),
    separator="\t",
    header=False,
    quoted=False,
)
NEWS = Form(
    columns=dict.fromkeys(
        ("news_id", "category", "subcategory", "title", "abstract", "url", "title_entities", "abstract_entities"),
        pa.string(),
    ),
    separator="\t",
    header=False,
    quoted=False,
)
TEXT = pa.list_(pa.string())
ARTICLE = {
    "news_id": pa.string(),
    "category": pa.string(),
    "subcategory": pa.string(),
    "title": pa.string(),
    "abstract": pa.string(),
    "title_words": TEXT,
    "abstract_words": TEXT,
}


class MIND(RawLog):
    """Source of impressions of news with clicks, histories and texts (Wu et al., 2020), a row per article shown.

    ``click`` is null in the test split of MIND-large, which has no labels. ``history`` may be empty, ``abstract`` null.
    ``timestamp`` counts seconds of local time, because the file has no zone. The names of the splits' directories
    contain ``train``, ``dev`` (validation) or ``test``.

    Args:
        path: Directory that contains ``MINDsmall_train`` and so on, each with ``behaviors.tsv`` and ``news.tsv``.
        splits: Splits to use, of ``train``, ``validation`` and ``test``.

    Raises:
        DataError: If a split is unknown, a file is missing, or a line has a wrong number of values.

    Example:
        >>> MIND(path="mind").schema().features["history"]["of"]
        'news_id'
    """

    name = "mind"
    raw, arrow = declare(
        {
            "impression_id": (pa.string(), None),
            "user_id": (pa.string(), "categorical"),
            "timestamp": (pa.int64(), None),
            "hour": (pa.int64(), "categorical"),
            "history": (TEXT, {"kind": "sequence", "of": "news_id", "length": 50}),
            "news_id": (pa.string(), "categorical"),
            "position": (pa.int64(), None),
            "click": (pa.int8(), None),
            "category": (pa.string(), "categorical"),
            "subcategory": (pa.string(), "categorical"),
            "title": (pa.string(), None),
            "abstract": (pa.string(), None),
            "title_words": (TEXT, {"kind": "sequence", "length": 20, "min_count": 2}),
            "abstract_words": (TEXT, {"kind": "sequence", "length": 50, "min_count": 2}),
        },
        {"click": {"kind": "binary", "label": "click"}},
        splits=("train", "validation", "test"),
        time="timestamp",
        group="user_id",
        after_event=("click",),
    )

    def __init__(self, *, path: str, splits: tuple[str, ...] | list[str] = tuple(DIRECTORIES)) -> None:
        super().__init__(path=path)
        for split in splits:
            if split not in DIRECTORIES:
                raise DataError(f"source.splits: no split {split!r}", f"there are {', '.join(DIRECTORIES)}")
        self.raw = replace(self.raw, splits=tuple(split for split in DIRECTORIES if split in splits))

    def options(self) -> dict[str, Any]:
        """The splits."""
        return {"splits": self.raw.splits}

    def directories(self) -> dict[str, Path]:
        """Directories of the existing splits.

        Raises:
            DataError: If the training split is missing.
        """
        directories = {}
        for split in self.raw.splits:
            patterns = DIRECTORIES[split]
            matches = [path for pattern in patterns for path in sorted(self.path.glob(pattern)) if path.is_dir()]
            if matches:
                directories[split] = matches[0]
        if ("train" in self.raw.splits and "train" not in directories) or not directories:
            raise DataError(f"{self.name}: {self.path} has no directory *train*", "set source.path to its parent")
        return directories

    def files(self) -> list[Path]:
        """Behaviors and news of each split."""
        folders = self.directories().values()
        return [self.find(f"{folder.name}/{file}") for folder in folders for file in ("behaviors.tsv", "news.tsv")]

    def tables(self, split: str | None) -> Iterator[pa.Table]:
        """Read the shown articles, impression after impression; none if the split's directory is missing."""
        directory = self.directories().get(str(split))
        if directory is None:
            return
        news_path = self.find(f"{directory.name}/news.tsv")
        news = self.side(f"news-{split}", [news_path], ARTICLE, "news_id", _articles(news_path))
        path, line = self.find(f"{directory.name}/behaviors.tsv"), 1
        for batch in read_blocks(path, BEHAVIORS):
            wrong = pc.and_(pc.is_valid(batch["time"]), pc.is_null(_time(batch)))
            if pc.any(wrong).as_py():
                place = pc.index(wrong, True).as_py()
                raise DataError(f"{path}: line {line + place}: {batch['time'][place].as_py()!r} is not a time")
            line += batch.num_rows
            # An impression becomes many rows, each with the history: convert a few thousand at a time.
            for start in range(0, batch.num_rows, 2_000):
                table = _shown(batch.slice(start, 2_000))
                yield append_columns(table, news.take(table["news_id"]))


def _time(batch: pa.RecordBatch) -> pa.Array:
    return pc.strptime(batch["time"], "%m/%d/%Y %I:%M:%S %p", "s", error_is_null=True)


def _shown(batch: pa.RecordBatch) -> pa.Table:
    shown = as_list(batch["impressions"], " ")
    counts = np.diff(shown.offsets.to_numpy())
    parts = pc.extract_regex(shown.values, r"^(?P<news>.*?)(?:-(?P<click>[01]))?$")
    label = pc.struct_field(parts, "click")
    label = pc.if_else(pc.equal(label, ""), pa.scalar(None, pa.string()), label)
    time = _time(batch)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    columns = {
        "impression_id": batch["impression_id"],
        "user_id": batch["user_id"],
        "timestamp": time.cast(pa.int64()),
        "hour": pc.hour(time),
        "history": as_list(batch["history"], " "),
    }
    table = pa.table(columns).take(pa.array(np.repeat(np.arange(batch.num_rows), counts)))
    table = table.append_column("news_id", pc.struct_field(parts, "news"))
    table = table.append_column("position", pa.array(np.arange(len(first)) - first + 1))
    return table.append_column("click", label.cast(pa.int8()))


def _articles(path: Path) -> Iterator[pa.Table]:
    for table in read_tables(path, NEWS):
        table = table.append_column("title_words", words(table["title"]))
        yield table.append_column("abstract_words", words(table["abstract"]))
