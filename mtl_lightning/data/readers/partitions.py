"""Columns in the names of folders (``day=2024-05-01/part-0.parquet``), as Hive and Spark write them."""

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

from mtl_lightning.data.arrow.keys import INTEGER

FOLDER = re.compile(r"(\w+)=(.*)")
"""Name of a folder with the value of a column."""
NOTHING = "__HIVE_DEFAULT_PARTITION__"
"""Spelling of a missing value."""


def folder_columns(paths: Sequence[str]) -> list[dict[str, Any]]:
    """Values of columns in the folders of each file; integers if all values of a column are, otherwise text.

    Args:
        paths: Paths or URLs of the files of one table.

    Example:
        >>> folder_columns(["log/day=2/a.parquet", "log/day=10/a.parquet", "b.parquet"])
        [{'day': 2}, {'day': 10}, {'day': None}]
        >>> folder_columns(["log/day=2024-05-01/hour=07/a.csv"])
        [{'day': '2024-05-01', 'hour': '07'}]
    """
    folders = [dict(_named(path)) for path in paths]
    names = list(dict.fromkeys(name for folder in folders for name in folder))
    columns = {name: _typed([folder.get(name) for folder in folders]) for name in names}
    return [{name: columns[name][place] for name in names} for place in range(len(paths))]


def _named(path: str) -> list[tuple[str, str | None]]:
    folders = (FOLDER.fullmatch(part) for part in path.split("::")[0].split("/")[:-1])
    pairs = ((match[1], unquote(match[2])) for match in folders if match)
    return [(name, None if value == NOTHING else value) for name, value in pairs]


def _typed(values: list[str | None]) -> list[Any]:
    if all(value is None or re.fullmatch(INTEGER, value) for value in values):
        return [None if value is None else int(value) for value in values]
    return list(values)
