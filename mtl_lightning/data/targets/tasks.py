"""Builders of tasks from a recipe's specifications; parents come first."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from mtl_lightning.data.expressions.expression import Expression
from mtl_lightning.errors import DataError, did_you_mean
from mtl_lightning.schema import TASK_KINDS, Task
from mtl_lightning.validation.order import CycleError, sort_by_needs
from mtl_lightning.validation.review import Review


def names_classes(task: Task) -> bool:
    """True if a label is one column whose values are names of classes."""
    if task.traits.scalar or not (task.traits.several or task.classes == 1):
        return False
    return isinstance(task.label, str) and columns_of(task.label) <= {bare_name(task.label), task.label.strip()}


def bare_name(text: str) -> str:
    """Strip white space and backticks around the name of a column."""
    return text.strip().strip("`")


def columns_of(text: str) -> set[str]:
    """Columns of an expression, and the column that its text may name."""
    if not isinstance(text, str):
        return set()
    try:
        return {*Expression(text).columns, bare_name(text)}
    except DataError:
        return {bare_name(text)}


FITTED = ("mean", "scale")
"""Attributes of a task that are fitted, not set by a recipe."""

TaskSpec = Task | Mapping[str, Any] | str
"""Specification of a task: the task itself, a mapping with ``kind`` and options, or a kind."""


def build_tasks(specs: Mapping[str, TaskSpec]) -> tuple[Task, ...]:
    """Build tasks from specifications: parents before children, otherwise in the given order.

    Args:
        specs: Specifications by name. The label is the task's own name by default, and ``parents`` may be one name.

    Raises:
        DataError: With all problems; see :func:`read_tasks`.

    Example:
        >>> build_tasks({"buy": {"kind": "binary", "parents": ["click"]}, "click": "binary"})[0].label
        'click'
    """
    review = Review()
    tasks = read_tasks(long_form(specs), review)
    review.raise_problems()
    return tasks


def long_form(specs: Mapping[str, TaskSpec]) -> dict[str, Task | dict[str, Any]]:
    """Write out the short specifications that are allowed in Python but not in a recipe.

    Example:
        >>> long_form({"click": "binary"})
        {'click': {'label': 'click', 'kind': 'binary', 'parents': ()}}
    """
    return {
        str(name): spec if isinstance(spec, Task) else _written_out(str(name), spec) for name, spec in specs.items()
    }


def _written_out(name: str, spec: Mapping[str, Any] | str) -> dict[str, Any]:
    options = {"kind": spec} if isinstance(spec, str) else spec
    parents = options.get("parents", ()) or ()
    return {"label": name, **options, "parents": (parents,) if isinstance(parents, str) else parents}


def read_tasks(specs: Mapping[str, Any], review: Review) -> tuple[Task, ...]:
    """Build the tasks of a recipe that can be built: parents before children, otherwise in the given order.

    Args:
        specs: Per task the task itself, or a mapping with ``kind``, ``label`` and options.
        review: Receives the problems of all others, unknown parents, and cycles of parents.
    """
    tasks = {}
    for name, spec in specs.items():
        task = _read(name, spec, review)
        if task is not None:
            tasks[name] = task
    for name, task in tasks.items():
        for i, parent in enumerate(task.parents):
            if parent not in specs:
                review.problem(f"tasks.{name}.parents.{i}", f"no task {parent!r}", did_you_mean(parent, specs))
            elif parent in tasks and tasks[parent].traits.event_probability and not tasks[parent].traits.hard:
                reason = f"{parent!r} has labels between 0 and 1, so that no row says whether its event happened"
                review.problem(f"tasks.{name}.parents.{i}", reason, f"add a binary task: {tasks[parent].label} >= 0.5")
    try:
        return tuple(tasks[name] for name in sort_by_needs({name: task.parents for name, task in tasks.items()}))
    except CycleError as error:
        path = f"tasks.{error.chain[0]}.parents"
        review.problem(path, f"tasks are each other's parents: {error}", "break the cycle")
        return tuple(tasks.values())


def _read(name: str, spec: Any, review: Review) -> Task | None:
    """Build one task, or add to the review why that is impossible."""
    path = f"tasks.{name}"
    if not isinstance(spec, Task | Mapping):
        review.problem(path, f"expects a mapping with kind and label, not {spec!r}")
        return None
    if hasattr(nn.ModuleDict, name) or not name.isidentifier():
        review.problem(path, f"a task can't be called {name!r}", "choose another identifier")
    options: dict[str, Any]
    if isinstance(spec, Task):
        options = {"kind": spec.kind, "label": spec.label, "weight": spec.weight}
    else:
        options = review.bind(path, Task, spec, owner="tasks", without=("name", *FITTED)).options
    kind = options.get("kind")
    if kind is not None and kind not in TASK_KINDS:
        review.problem(f"{path}.kind", f"no kind {kind!r} of task", did_you_mean(kind, TASK_KINDS))
        return None
    if kind is None or "label" not in options:
        return None
    task = spec if isinstance(spec, Task) else Task(name=name, **options)
    if not task.weight >= 0:
        review.problem(f"{path}.weight", f"is {task.weight}, and must be at least 0")
    return task
