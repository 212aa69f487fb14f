"""Tasks as a recipe names them, in an order in which parents come first."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from mtl_lightning.data.expressions.expression import Expression
from mtl_lightning.errors import DataError, did_you_mean
from mtl_lightning.schema import TASK_KINDS, Task


def names_classes(task: Task) -> bool:
    """Whether a label is one column whose values are the names of classes."""
    if task.traits.scalar or not (task.traits.several or task.classes == 1):
        return False
    return isinstance(task.label, str) and columns_of(task.label) <= {bare_name(task.label), task.label.strip()}


def bare_name(text: str) -> str:
    """A column's name without white space and backticks around it."""
    return text.strip().strip("`")


def columns_of(text: str) -> set[str]:
    """Columns of an expression, and the column that it may be the name of."""
    if not isinstance(text, str):
        return set()
    try:
        return {*Expression(text).columns, bare_name(text)}
    except DataError:
        return {bare_name(text)}


FITTED = ("mean", "scale")
"""Attributes of a task that are fitted, not given."""


def build_tasks(specs: Mapping[str, Task | Mapping[str, Any] | str]) -> tuple[Task, ...]:
    """Tasks from a recipe's mappings, parents before children, otherwise in the given order.

    Args:
        specs: Per task a record, options with ``kind``, or a kind; the label is the task's own name by default.

    Raises:
        DataError: If a kind, an option or a parent is unknown, or parents form a cycle.

    Example:
        >>> build_tasks({"buy": {"kind": "binary", "parents": ["click"]}, "click": "binary"})[0].label
        'click'
    """
    tasks = {str(name): _task(str(name), spec) for name, spec in specs.items()}
    for task in tasks.values():
        for parent in task.parents:
            if parent not in tasks:
                raise DataError(f"tasks.{task.name}.parents: no task {parent!r}", did_you_mean(parent, tasks))
    return in_order(tasks)


def _task(name: str, spec: Task | Mapping[str, Any] | str) -> Task:
    if isinstance(spec, Task):
        return spec
    options = {"kind": spec} if isinstance(spec, str) else dict(spec)
    if options.get("kind") not in TASK_KINDS:
        kind = str(options.get("kind"))
        hint = did_you_mean(kind, TASK_KINDS) or f"one of {', '.join(TASK_KINDS)}"
        raise DataError(f"tasks.{name}: no kind {kind!r}", hint)
    known = [option.name for option in fields(Task) if option.name not in ("name", *FITTED)]
    for option in options:
        if option not in known:
            hint = did_you_mean(option, known) or f"options: {', '.join(known)}"
            raise DataError(f"tasks.{name}: no option {option!r}", hint)
    parents = options.pop("parents", ()) or ()
    return Task(
        **{
            "name": name,
            "label": name,
            **options,
            "parents": (parents,) if isinstance(parents, str) else tuple(parents),
        }
    )


def in_order(tasks: Mapping[str, Task]) -> tuple[Task, ...]:
    """Parents before children, otherwise as given.

    Raises:
        DataError: If parents form a cycle; it is named.
    """
    done: dict[str, Task] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            cycle = " → ".join((*path[path.index(name) :], name))
            raise DataError(f"tasks.{name}.parents: tasks depend on each other in a circle: {cycle}")
        if name not in done:
            for parent in tasks[name].parents:
                visit(parent, (*path, name))
            done[name] = tasks[name]

    for name in tasks:
        visit(name, ())
    return tuple(done.values())
