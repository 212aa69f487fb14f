"""Checks of side tables: their files and keys, and what their columns depend on."""

from collections.abc import Mapping
from typing import Any

from mtl_lightning.config.draft import Draft
from mtl_lightning.data.preparation.column_uses import column_uses, with_events
from mtl_lightning.data.preparation.lookups import LookupFiles
from mtl_lightning.errors import DataError, Problem, did_you_mean
from mtl_lightning.interfaces import RawSchema

Joined = Mapping[str, tuple[str, str | None]]
"""Type of each column of side tables, and the column of the log with its key; None if the table has a problem."""


def check_lookups(draft: Draft, raw: RawSchema | None, lookups: Mapping[str, Any], *, rows: bool = True) -> Joined:
    """Check side tables, and return their columns by the names that features use.

    Args:
        draft: The configuration so far.
        raw: Schema of the source, if it can be read.
        lookups: ``data.lookup`` of the recipe.
        rows: Whether rows are needed. Otherwise files are not read.
    """
    joined: dict[str, tuple[str, str | None]] = {}
    for name, options in lookups.items():
        read = [column for part, feature in draft.features.items() for column in feature.lookup_columns(part)]
        joined |= {column: ("", None) for column in read if column.startswith(f"{name}.")}
        try:
            files = LookupFiles(name, options)
            if raw is None or not rows:
                continue
            files.follow(with_events(column_uses(draft.features), draft.features))
            columns = files.columns()
        except DataError as error:
            draft.problems.append(Problem.from_error(error, f"data.lookup.{name}"))
            continue
        key = files.on if files.on in raw.columns else None
        if key is None:
            draft.problem(f"{files.place}.on", f"no column {files.on!r}", did_you_mean(files.on, raw.columns))
        joined = {column: known for column, known in joined.items() if not column.startswith(f"{name}.")}
        joined |= {column: (kind, key) for column, kind in columns.items()}
    return joined
