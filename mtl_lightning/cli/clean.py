"""The command ``data clean``: list what is in the cache, and remove it."""

import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import typer

from mtl_lightning.cli.json_output import print_json
from mtl_lightning.data.cache.directory import cache_directory
from mtl_lightning.data.cache.inventory import LAYOUTS, Entry, entries, in_use, remove
from mtl_lightning.data.cache.processes import users_of
from mtl_lightning.errors import MtlError, did_you_mean
from mtl_lightning.printable import Console
from mtl_lightning.report.render.console import say

DAY = 86_400
UNITS = ("bytes", "kB", "MB", "GB", "TB")


def size(count: int) -> str:
    """Number of bytes as text.

    Example:
        >>> size(0), size(999), size(1234567), size(3 * 10**15)
        ('0 bytes', '999 bytes', '1.2 MB', '3000.0 TB')
    """
    power = min((len(str(count)) - 1) // 3, len(UNITS) - 1)
    return f"{count / 1000**power:.{1 if power else 0}f} {UNITS[power]}"


def clean(kinds: Collection[str], yes: bool, older_than: float, cache: Path | None, as_json: bool) -> None:
    """List what is in the cache, and remove it with ``yes``.

    Args:
        kinds: Kinds of entries; empty for all.
        yes: Whether to remove them.
        older_than: Days for which an entry must not have changed.
        cache: The cache's directory, if not the default.
        as_json: Print one JSON document.

    Raises:
        MtlError: If a kind is unknown, or the directory can't be read.
        Exit: With code 1 if an entry can't be removed.
    """
    for kind in kinds:
        if kind not in LAYOUTS:
            raise MtlError(f"data clean: no kind is called {kind!r}", did_you_mean(kind, LAYOUTS))
    directory = cache or cache_directory()
    if cache is not None and not cache.is_dir():
        raise MtlError(f"--cache: there is no directory {cache}")
    try:
        record = _clean(directory, set(kinds or LAYOUTS), yes, older_than)
    except OSError as error:
        raise MtlError(f"{directory} can't be read: {error.strerror or error}") from error
    if as_json:
        print_json(record)
    else:
        _print(record)
    if record["failed"]:
        raise typer.Exit(1)


def _clean(directory: Path, kinds: set[str], yes: bool, days: float) -> dict[str, Any]:
    """List and remove; returns what happened to each entry."""
    own, others = entries(directory)
    latest = time.time() - days * DAY
    chosen = [entry for entry in own if entry.kind in kinds and (not days or entry.modified <= latest)]
    users = {} if yes else users_of(entry.path for entry in chosen)
    rows = []
    for entry in chosen:
        state, reason = "listed", ""
        try:
            reason = remove(entry) if yes else in_use(entry, users)
            state = "in use" if reason else "removed" if yes else "listed"
        except OSError as error:
            state, reason = "failed", error.strerror or str(error)
        rows.append(_row(entry, state, reason))
    totals = {
        state: sum(row["bytes"] for row in rows if row["state"] == state) for state in ("listed", "removed", "in use")
    }
    return {
        "cache": str(directory),
        "entries": rows,
        "bytes": {state.replace(" ", "_"): total for state, total in totals.items()},
        "others": [str(path) for path in others],
        "failed": sum(row["state"] == "failed" for row in rows),
    }


def _row(entry: Entry, state: str, reason: str) -> dict[str, Any]:
    return {
        "kind": entry.kind,
        "path": str(entry.path),
        "bytes": entry.bytes,
        "modified": entry.modified,
        "state": state,
        "reason": reason or None,
    }


def _print(record: dict[str, Any]) -> None:
    console = Console(highlight=False, emoji=False)
    verbs = {"listed": "would remove", "removed": "removed", "in use": "kept", "failed": "can't remove"}
    for row in record["entries"]:
        path = Path(row["path"]).relative_to(record["cache"])
        reason = f": {row['reason']}" if row["reason"] else ""
        style = {"in use": "yellow", "failed": "red"}.get(row["state"], "")
        say(console, f"{verbs[row['state']]} {path} ({size(row['bytes'])}){reason}", style)
    for path in record["others"]:
        say(console, f"left {Path(path).relative_to(record['cache'])}: not written by mtl-lightning", "dim")
    removed, listed = record["bytes"]["removed"], record["bytes"]["listed"]
    states = [row["state"] for row in record["entries"]]
    if "listed" in states:
        say(console, f"{size(listed)} in {states.count('listed')} entries of {record['cache']}; remove them with --yes")
    elif "removed" in states:
        say(console, f"removed {size(removed)} in {states.count('removed')} entries of {record['cache']}")
    elif not states:
        say(console, f"nothing to remove in {record['cache']}")
