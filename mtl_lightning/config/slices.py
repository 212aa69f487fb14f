"""Slices of an evaluation that a recipe names, and the columns that they need."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mtl_lightning.config.draft import Draft
from mtl_lightning.config.leaks import NESTED, TEXT
from mtl_lightning.data.preparation.cold_start import slice_name
from mtl_lightning.data.preparation.split import SplitSpec
from mtl_lightning.errors import did_you_mean
from mtl_lightning.interfaces import RawSchema

NEW = slice_name("")
USERS = "new_users"
DAY = "day"


def slice_columns(
    names: Sequence[str], features: Mapping[str, Any], split: SplitSpec, group: str | None, time: str | None
) -> list[tuple[str, str, str]]:
    """Name, kind and column of each slice; kinds are ``feature``, ``new``, ``day`` and ``column``.

    Args:
        names: The recipe's ``run.slices``.
        features: Features by name.
        split: How rows are divided.
        group: Column with the user, or None.
        time: The source's column that orders rows in time, or None.

    Example:
        >>> slice_columns(["new_users", "day", "hour"], {}, SplitSpec(), "user", "time")
        [('new_users', 'new', 'new_user'), ('day', 'day', 'time'), ('hour', 'column', 'hour')]
    """
    time = split.time or (split.column if split.by == "time" else None) or time
    slices = []
    for name in names:
        if name in features and features[name].kind == "categorical":
            slices.append((name, "feature", name))
        elif name == USERS and group is not None:
            slices.append((name, "new", slice_name(group)))
        elif name == DAY and time is not None:
            slices.append((name, "day", time))
        elif name.startswith(NEW):
            slices.append((name, "new", name))
        else:
            slices.append((name, "column", name))
    return slices


def check_slices(
    draft: Draft, names: Sequence[str], raw: RawSchema | None, split: SplitSpec | None, group: str | None
) -> SplitSpec | None:
    """Check ``run.slices`` and note the columns that they need; returns the split, which marks new values for them."""
    if split is None or not names:
        return split
    columns = raw.columns if raw is not None else {}
    known = [*columns, *draft.features, DAY, *([USERS] if group else []), *(slice_name(column) for column in columns)]
    cold = list(split.cold)
    time = raw.time if raw is not None else None
    for i, (name, kind, column) in enumerate(slice_columns(names, draft.features, split, group, time)):
        path = f"run.slices.{i}"
        source = column.removeprefix(NEW) if kind == "new" else column
        if kind != "feature" and raw is not None and source not in columns:
            why = {DAY: "the source names no time and the split has none"}.get(name, f"nothing is called {name!r}")
            draft.problem(path, why, did_you_mean(name, known))
        elif kind == "new":
            cold += [source] if source not in cold else []
        elif kind == "column" and columns.get(column, "").startswith((*TEXT, *NESTED)):
            draft.problem(path, f"{column!r} holds {columns[column]}", "make it a categorical feature to slice by it")
        elif kind != "feature":
            draft.columns[path] = column
    return replace(split, cold=tuple(cold))
