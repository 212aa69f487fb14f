"""Columns of side tables that features read, by the keys of rows and of events."""

from collections.abc import Iterable
from typing import Protocol

from mtl_lightning.data.arrow.columns import Block


class SideTable(Protocol):
    """Table whose rows are looked up by a key."""

    on: str
    """Column of the log with the key."""

    def owns(self, column_name: str) -> bool:
        """Return True if a column is one of the side table."""

    def join(self, block: Block) -> Block:
        """Append its columns to a block that has the key, but not the columns; other blocks stay as they are."""


def join(tables: Iterable[SideTable], block: Block) -> Block:
    """Append the columns of side tables to a block."""
    for table in tables:
        block = table.join(block)
    return block


def without_lookups(tables: Iterable[SideTable], names: Iterable[str]) -> tuple[str, ...]:
    """Columns of the log that columns depend on: for a column of a side table its key."""
    held = list(tables)
    owners = {name: next((table for table in held if table.owns(name)), None) for name in names}
    return tuple(dict.fromkeys(name if owner is None else owner.on for name, owner in owners.items()))
