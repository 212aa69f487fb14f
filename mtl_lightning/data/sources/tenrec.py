"""Tenrec (QK-video, QB-video, QK-article): feedback on videos and articles, from the raw files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from mtl_lightning.data.sources.delimited import Form, read_tables, replace_sentinels
from mtl_lightning.data.sources.multivalued import rows_as_lists
from mtl_lightning.data.sources.raw_log import RawLog, declare
from mtl_lightning.interfaces import DataError, RawSchema

CATEGORY, LABEL, AFTER = "categorical", "label", None
PERSON = {"user_id": (pa.int64(), CATEGORY), "item_id": (pa.int64(), CATEGORY), "click": (pa.int64(), LABEL)}
TRAITS = {"gender": (pa.int64(), CATEGORY), "age": (pa.int64(), CATEGORY)}
LOG_NUMBER = {"kind": "numeric", "transform": "log"}
VIDEO: dict[str, tuple[pa.DataType, Any]] = {
    **PERSON,
    **dict.fromkeys(("follow", "like", "share"), (pa.int64(), LABEL)),
    "video_category": (pa.int64(), CATEGORY),
    "watching_times": (pa.int64(), AFTER),
    **TRAITS,
}
ARTICLE: dict[str, tuple[pa.DataType, Any]] = {
    **PERSON,
    **TRAITS,
    **dict.fromkeys(("exposure_count", "click_count", "like_count", "comment_count"), (pa.int64(), LOG_NUMBER)),
    "read_percentage": (pa.float64(), AFTER),
    **dict.fromkeys(("item_score1", "item_score2"), (pa.float64(), "numeric")),
    **dict.fromkeys(("category_second", "category_first"), (pa.int64(), CATEGORY)),
    "item_score3": (pa.float64(), "numeric"),
    "read": (pa.int64(), LABEL),
    "read_time": (pa.float64(), AFTER),
    **dict.fromkeys(("share", "like", "follow", "favorite"), (pa.int64(), LABEL)),
}
FORMS = {"qk_video": VIDEO, "qb_video": VIDEO, "qk_article": ARTICLE}
FILES = {
    "qk_video": ("ctr_data_1M.csv", "QK-video.csv"),
    "qb_video": ("QB-video.csv",),
    "qk_article": ("QK-article.csv",),
}
HISTORY = [f"hist_{n}" for n in range(1, 11)]


class Tenrec(RawLog):
    r"""Source of clicks, likes, shares and follows of videos and articles, without time (Yuan et al., 2022).

    ``\N`` is null. A pair of user and item may occur twice with different clicks; such rows are kept. Columns
    ``hist_1`` to ``hist_10`` (of ``ctr_data_1M.csv``, 120 million rows) become the list ``history``, without zeros. For
    other files ``history`` is empty.

    Args:
        path: Directory with the scenario's file.
        scenario: ``qk_video``, ``qb_video`` or ``qk_article``.

    Raises:
        DataError: If the scenario is unknown, or the file is missing or lacks a column.

    Example:
        >>> sorted(Tenrec(path="tenrec", scenario="qk_article").schema().tasks)
        ['click', 'favorite', 'follow', 'like', 'read', 'share']
    """

    name = "tenrec"

    def __init__(self, *, path: str, scenario: str = "qk_video") -> None:
        super().__init__(path=path)
        if scenario not in FORMS:
            raise DataError(f"source.scenario: no scenario {scenario!r}", f"there are {', '.join(FORMS)}")
        self.scenario = scenario
        self.raw, self.arrow = _declare(FORMS[scenario])

    def options(self) -> dict[str, Any]:
        """The scenario."""
        return {"scenario": self.scenario}

    def files(self) -> list[Path]:
        """The scenario's file."""
        return [self.find(*FILES[self.scenario])]

    def tables(self, split: str | None) -> Iterator[pa.Table]:
        """Read the exposures in the order of the file."""
        path = self.files()[0]
        columns = {name: kind for name, (kind, _) in FORMS[self.scenario].items()}
        history = HISTORY if path.name.startswith("ctr_data") else []
        form = Form(columns=columns | dict.fromkeys(history, pa.int64()), nulls=("", "\\N"))
        for table in read_tables(path, form):
            parts = replace_sentinels(table.select(history), dict.fromkeys(history, 0))
            yield table.append_column("history", rows_as_lists(parts, pa.int64()))


def _declare(columns: dict[str, tuple[pa.DataType, Any]]) -> tuple[RawSchema, pa.Schema]:
    labels = [name for name, (_, spec) in columns.items() if spec == LABEL]
    history = (pa.list_(pa.int64()), {"kind": "sequence", "of": "item_id", "length": 10})
    return declare(
        {**columns, "history": history},
        {name: {"kind": "binary", "label": name} for name in labels},
        group="user_id",
        after_event=(*labels, *(name for name, (_, spec) in columns.items() if spec is AFTER)),
    )
