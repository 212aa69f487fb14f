"""WeChat Big Data Challenge 2021: actions on short videos, from the raw files."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.data.sources.delimited import Form, read_blocks, read_tables
from mtl_lightning.data.sources.join import replace_column
from mtl_lightning.data.sources.multivalued import as_list
from mtl_lightning.data.sources.raw_log import RawLog, append_columns, declare

LABELS = ("read_comment", "comment", "like", "click_avatar", "forward", "follow", "favorite")
TASKS = {"forward": "share"}
"""Names of tasks that differ from their label, because every torch module has a ``forward``."""
SECONDS = ("play", "stay")
ACTIONS = dict.fromkeys(("userid", "feedid", "date_", "device", *LABELS), pa.int64()) | dict.fromkeys(
    SECONDS, pa.float64()
)
IDS = ("authorid", "bgm_song_id", "bgm_singer_id")
SPLIT_BY = {
    "description": " ", "ocr": " ", "asr": " ", "description_char": " ", "ocr_char": " ", "asr_char": " ",
    "manual_keyword_list": ";", "machine_keyword_list": ";", "manual_tag_list": ";", "machine_tag_list": ";",
}  # fmt: skip
"""Separators of the columns with several values; texts are words or characters as numbers."""
LENGTHS = {"manual_keyword_list": 10, "machine_keyword_list": 10, "manual_tag_list": 10, "machine_tag_list": 10}
FEEDS = {"feedid": pa.int64(), "videoplayseconds": pa.float64(), **dict.fromkeys(IDS, pa.int64())} | dict.fromkeys(
    SPLIT_BY, pa.list_(pa.string())
)
RAW_FEEDS = Form(
    # Songs and singers are written as 5.0, because some videos have none.
    columns=FEEDS | dict.fromkeys(SPLIT_BY, pa.string()) | dict.fromkeys(("bgm_song_id", "bgm_singer_id"), pa.float64())
)
VECTORS = Form(columns={"feedid": pa.int64(), "feed_embedding": pa.string()})


class WeChat(RawLog):
    """Source of 14 days of actions on short videos: comments read, likes, avatar clicks, forwards, follows and more.

    Lists are split at ``;``. Tags of ``machine_tag_list`` are kept without their probabilities. ``play`` and ``stay``
    (milliseconds) are known only after the event. ``feed_embedding`` is a list of floats, empty without its file.
    ``date_`` (1 to 14) orders the rows.

    Args:
        path: Directory with ``user_action.csv``, ``feed_info.csv`` and, optionally, ``feed_embeddings.csv``.

    Raises:
        DataError: If a file is missing or lacks a column, or a feed is repeated.

    Example:
        >>> sorted(WeChat(path="wechat").schema().tasks)[:3]
        ['click_avatar', 'comment', 'favorite']
    """

    name = "wechat"
    raw, arrow = declare(
        {
            "userid": (pa.int64(), "categorical"),
            "feedid": (pa.int64(), "categorical"),
            "date_": (pa.int64(), None),
            "device": (pa.int64(), "categorical"),
            **dict.fromkeys(LABELS, (pa.int64(), None)),
            **dict.fromkeys(SECONDS, (pa.float64(), None)),
            "videoplayseconds": (pa.float64(), "numeric"),
            **dict.fromkeys(IDS, (pa.int64(), "categorical")),
            **{
                name: (
                    pa.list_(pa.string()),
                    {"kind": "sequence", "length": LENGTHS[name]} if name in LENGTHS else None,
                )
                for name in SPLIT_BY
            },
            "feed_embedding": (pa.list_(pa.float32()), None),
        },
        {TASKS.get(name, name): {"kind": "binary", "label": name} for name in LABELS},
        time="date_",
        group="userid",
        after_event=(*LABELS, *SECONDS),
    )

    def files(self) -> list[Path]:
        """Actions, feeds, and embeddings if there are any."""
        vectors = sorted(self.path.glob("feed_embeddings.csv*"))
        return [self.find("user_action.csv"), self.find("feed_info.csv"), *vectors[:1]]

    def tables(self, split: str | None) -> Iterator[pa.Table]:
        """Read the actions with the features of the video."""
        actions, feeds, *vectors = self.files()
        feed = self.side("feeds", [feeds], FEEDS, "feedid", _feeds(feeds))
        kind = {"feedid": pa.int64(), "feed_embedding": pa.list_(pa.float32())}
        vector = self.side("vectors", vectors, kind, "feedid", _vectors(vectors))
        for table in read_tables(actions, Form(columns=ACTIONS)):
            yield append_columns(append_columns(table, feed.take(table["feedid"])), vector.take(table["feedid"]))


def _feeds(path: Path) -> Iterator[pa.Table]:
    for table in read_tables(path, RAW_FEEDS):
        for name, separator in SPLIT_BY.items():
            text = table[name]
            if name == "machine_tag_list":  # "tag probability;tag probability"
                text = pc.replace_substring_regex(text, r" [^;]*", "")
            table = replace_column(table, name, as_list(text, separator))
        yield table


def _vectors(paths: list[Path]) -> Iterator[pa.Table]:
    for path in paths:
        for batch in read_blocks(path, VECTORS):
            numbers = as_list(batch["feed_embedding"], " ", pa.float32())
            yield pa.table({"feedid": batch["feedid"], "feed_embedding": numbers})
