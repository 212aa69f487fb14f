"""Checks of a recipe's source, split, features and tasks."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from torch import nn

from mtl_lightning.config.draft import Draft
from mtl_lightning.config.record import Component
from mtl_lightning.data.features.build import Feature, feature, parameter_name
from mtl_lightning.data.preparation.column_uses import column_uses, read_for
from mtl_lightning.data.preparation.split import SplitSpec
from mtl_lightning.data.readers.uses import Uses
from mtl_lightning.data.targets.tasks import build_tasks
from mtl_lightning.errors import MtlError, PluginError, did_you_mean
from mtl_lightning.interfaces import RawSchema
from mtl_lightning.schema import TASK_KINDS, Task

FITTED = ("name", "mean", "scale")
"""Parts of a task that no recipe sets."""


def check_source(draft: Draft, rows: bool = True) -> tuple[Component | None, RawSchema | None]:
    """The source, and what it says of its rows if they can be read."""
    if draft.plain.get("source") is None:
        draft.problem("source", "is required", "known: " + ", ".join(draft.registry.names("source")))
        return None, None
    before = len(draft.problems)
    component = draft.component("source", "source", draft.plain["source"])
    if component is None or len(draft.problems) > before:
        return component, None
    try:
        made = draft.classes["source"](**component.options)
        read_for(made, _uses(draft))
        return component, made.schema()
    except MtlError as error:
        if not rows:
            return component, None
        path, separator, reason = error.message.partition(": ")
        named = separator and path.startswith("source.") and " " not in path
        draft.problem(path if named else "source", reason if named else error.message, error.hint)
    return component, None


def _uses(draft: Draft) -> Uses:
    """How the recipe reads columns, as far as it can be read before it is checked."""
    features: dict[str, Feature] = {}
    tasks: list[Task] = []
    for name, entry in _entries(draft, "features").items():
        with suppress(MtlError):
            features[str(name)] = feature(str(name), entry)
    for name, entry in _entries(draft, "tasks").items():
        with suppress(MtlError):
            tasks += build_tasks({str(name): {**entry, "parents": ()} if isinstance(entry, Mapping) else entry})
    group = _entries(draft, "data").get("group")
    split = None
    with suppress(MtlError, TypeError):
        split = SplitSpec(**_entries(draft, "split"))
    return column_uses(features, tasks, split, group)


def _entries(draft: Draft, section: str) -> dict[str, Any]:
    """A section's entries that may be right; what is wrong with the others is said elsewhere."""
    found = draft.plain.get(section)
    own = found.items() if isinstance(found, Mapping) else ()
    odd = (list, tuple, type(None)) if section in ("features", "tasks") else ()
    return {str(name): entry for name, entry in own if not isinstance(entry, odd)}


def check_features(draft: Draft, raw: RawSchema | None) -> None:
    """Features by kind and options; the source's own suggestions if the recipe has none."""
    entries = draft.section("features") or dict(raw.features if raw else {})
    known = draft.registry.names("feature")
    if not entries and not draft.problems:
        draft.problem("features", "there is none", "name at least one column")
    for name, entry in entries.items():
        path = f"features.{name}"
        options = {"kind": entry} if isinstance(entry, str) else entry
        if not isinstance(options, Mapping):
            draft.problem(path, f"expects a kind, not {entry!r}", "one of " + ", ".join(known))
            continue
        options = {parameter_name(key): value for key, value in options.items()}
        kind = options.pop("kind", None)
        if kind is None:
            draft.problem(f"{path}.kind", "is required", "one of " + ", ".join(known))
            continue
        try:
            found = draft.registry.resolve("feature", str(kind))
        except PluginError as error:
            draft.problem(f"{path}.kind", error.message, error.hint)
            continue
        one = draft.record(path, found, options, owner=f"{kind} features", also=("kind",))
        if one is not None:
            draft.features[str(name)] = one
    for name, one in draft.features.items():
        for other in one.needs():
            referred = draft.features.get(other)
            if other not in entries:
                draft.problem(f"features.{name}.of", f"no feature {other!r}", did_you_mean(other, entries))
            elif referred is not None and (reason := one.refuses(referred)):
                draft.problem(f"features.{name}.of", f"{other!r} {reason}", "it must be categorical")


def check_tasks(draft: Draft, raw: RawSchema | None) -> tuple[Task, ...]:
    """Tasks, parents before children; the source's own suggestions if the recipe has none."""
    entries = draft.section("tasks") or dict(raw.tasks if raw else {})
    if not entries and not draft.problems:
        draft.problem("tasks", "there is none", "name at least one label")
    for name, entry in entries.items():
        path = f"tasks.{name}"
        if not isinstance(entry, Mapping):
            draft.problem(path, f"expects a mapping with kind and label, not {entry!r}")
            continue
        if hasattr(nn.ModuleDict, name) or not name.isidentifier():
            draft.problem(path, f"a task can't be called {name!r}", "choose another identifier")
        bound = draft.bound(path, Task, entry, owner="tasks", without=FITTED).options
        kind = bound.get("kind")
        if kind is not None and kind not in TASK_KINDS:
            draft.problem(f"{path}.kind", f"no kind {kind!r} of task", did_you_mean(kind, TASK_KINDS))
        elif kind is not None and "label" in bound:
            task = Task(name=str(name), **bound)
            draft.tasks[task.name] = task
            if not task.weight >= 0:
                draft.problem(f"{path}.weight", f"is {task.weight}, and must be at least 0")
    for name, task in draft.tasks.items():
        for i, parent in enumerate(task.parents):
            if parent not in entries:
                draft.problem(f"tasks.{name}.parents.{i}", f"no task {parent!r}", did_you_mean(parent, entries))
    return _sorted(draft)


def _sorted(draft: Draft) -> tuple[Task, ...]:
    """Parents before children, else in the recipe's order."""
    waiting = dict(draft.tasks)
    done: list[Task] = []
    while waiting:
        free = next((t for t in waiting.values() if not any(p in waiting for p in t.parents)), None)
        if free is None:
            draft.problem(*_cycle(waiting))
            return tuple(draft.tasks.values())
        done.append(waiting.pop(free.name))
    return tuple(done)


def _cycle(waiting: Mapping[str, Task]) -> tuple[str, str, str]:
    """The problem that names a cycle; every task here has a parent here."""
    chain = [next(iter(waiting))]
    while chain[-1] not in chain[:-1]:
        chain.append(next(parent for parent in waiting[chain[-1]].parents if parent in waiting))
    chain = chain[chain.index(chain[-1]) :]
    return f"tasks.{chain[0]}.parents", "tasks are each other's parents: " + " → ".join(chain), "break the cycle"


def check_split(draft: Draft, raw: RawSchema | None) -> SplitSpec | None:
    """How rows are divided; time and user columns come from the source where the recipe is silent."""
    given = draft.section("split")
    by = given.get("by", "random")
    # Where the source can't be read there is a problem already, and the column it would have named is none of its own.
    time, group = ("", "") if raw is None else (raw.time, raw.group)
    suggested = {"time": {"column": time}, "user": {"column": group}, "last": {"column": group, "time": time}}
    for name, column in suggested.get(str(by), {}).items():
        if given.get(name) is None:
            given[name] = column
    if raw is not None and by == "given" and given.get("column") is None and not raw.splits:
        draft.problem("split.by", "the source has no splits of its own", "set split.column, or split by time")
    spec: SplitSpec | None = draft.record("split", SplitSpec, given)
    return spec
