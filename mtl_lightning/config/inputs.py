"""Checks of a recipe's source, split, features and tasks."""

from collections.abc import Mapping
from typing import Any

from mtl_lightning.config.draft import Draft
from mtl_lightning.config.record import Component
from mtl_lightning.data.features.build import read_features
from mtl_lightning.data.preparation.column_uses import column_uses, read_for
from mtl_lightning.data.preparation.split import SplitSpec, read_split
from mtl_lightning.data.readers.uses import Uses
from mtl_lightning.data.targets.tasks import read_tasks
from mtl_lightning.errors import MtlError, Problem
from mtl_lightning.interfaces import RawSchema
from mtl_lightning.schema import Task
from mtl_lightning.validation.review import Review


def check_source(draft: Draft, rows: bool = True) -> tuple[Component | None, RawSchema | None]:
    """Check the source; returns it with its schema, if the source can be read."""
    if draft.plain.get("source") is None:
        draft.problem("source", "is required", "known: " + ", ".join(draft.registry.names("source")))
        return None, None
    before = len(draft.problems)
    component = draft.component("source", "source", draft.plain["source"])
    if component is None or len(draft.problems) > before:
        return component, None
    try:
        source = draft.classes["source"](**component.options)
        read_for(source, _uses(draft))
        return component, source.schema()
    except MtlError as error:
        if not rows:
            return component, None
        draft.problems.append(Problem.from_error(error, "source"))
    return component, None


def _uses(draft: Draft) -> Uses:
    """Uses of columns by the recipe, as far as they are known before it is checked."""
    ignored = Review()  # problems are reported when the sections are checked
    features = read_features(_entries(draft, "features"), ignored, draft.registry)
    tasks = read_tasks(_entries(draft, "tasks"), ignored)
    split = read_split(_entries(draft, "split"), ignored)
    group = _entries(draft, "data").get("group")
    lookups = _entries(draft, "data").get("lookup")
    tables = lookups.values() if isinstance(lookups, Mapping) else ()
    given = [table.get("on") or table.get("key") for table in tables if isinstance(table, Mapping)]
    request = _entries(draft, "data").get("request")
    keys = [key for key in (*given, *(request if isinstance(request, list | tuple) else ())) if isinstance(key, str)]
    return column_uses(features, tasks, split, group if isinstance(group, str) else None, keys=keys)


def _entries(draft: Draft, section: str) -> dict[str, Any]:
    """Entries of a section that may be valid; problems of the others are reported elsewhere."""
    value = draft.plain.get(section)
    own = value.items() if isinstance(value, Mapping) else ()
    odd = (list, tuple, type(None)) if section in ("features", "tasks") else ()
    return {str(name): entry for name, entry in own if not isinstance(entry, odd)}


def check_features(draft: Draft, raw: RawSchema | None) -> None:
    """Check features; a recipe without any takes those that the source suggests."""
    entries = draft.section("features") or dict(raw.features if raw else {})
    if not entries and not draft.problems:
        draft.problem("features", "is empty", "name at least one column")
    draft.features |= read_features(entries, draft, draft.registry)


def check_tasks(draft: Draft, raw: RawSchema | None) -> tuple[Task, ...]:
    """Check tasks; a recipe without any takes those that the source suggests. Parents come before children."""
    entries = {str(name): entry for name, entry in (draft.section("tasks") or (raw.tasks if raw else {})).items()}
    if not entries and not draft.problems:
        draft.problem("tasks", "is empty", "name at least one label")
    tasks = read_tasks(entries, draft)
    built = {task.name: task for task in tasks}
    draft.tasks |= {name: built[name] for name in entries if name in built}
    return tasks


def check_split(draft: Draft, raw: RawSchema | None) -> SplitSpec | None:
    """Check the split. Columns of time and user come from the source unless the recipe names them."""
    given = draft.section("split")
    by = given.get("by", "random")
    # A source that can't be read is a problem already; the column that it would name must not become another one.
    time, group = ("", "") if raw is None else (raw.time, raw.group)
    suggested = {"time": {"column": time}, "user": {"column": group}, "last": {"column": group, "time": time}}
    for name, column in suggested.get(str(by), {}).items():
        if given.get(name) is None:
            given[name] = column
    if raw is not None and by == "given" and given.get("column") is None and not raw.splits:
        draft.problem("split.by", "the source has no splits of its own", "set split.column, or split by time")
    return read_split(given, draft)
