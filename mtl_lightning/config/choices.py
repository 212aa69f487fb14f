"""Checks of the heads, losses and metrics of each task, and of the features that components name."""

from collections.abc import Mapping
from typing import Any

from mtl_lightning.config.draft import Draft
from mtl_lightning.config.record import Component
from mtl_lightning.data.expressions.expression import Expression
from mtl_lightning.errors import DataError, did_you_mean
from mtl_lightning.metrics import default_metrics
from mtl_lightning.schema import Task


def _entries(draft: Draft, section: str) -> dict[str, Any]:
    """Entries of a section by task. Entries for unknown tasks are problems."""
    named = draft.plain.get("tasks")
    known = [*draft.tasks, *(named if isinstance(named, Mapping) else ())]
    entries = draft.section(section)
    for name in entries:
        if name not in known:
            draft.problem(f"{section}.{name}", f"no task {name!r}", did_you_mean(str(name), known))
    return entries


def _fits(draft: Draft, path: str, task: Task) -> bool:
    """Check that a component serves the kind of a task."""
    chosen = draft.classes.get(path)
    kinds = getattr(chosen, "kinds", None)
    if kinds is not None and not task.traits.served_by(kinds):
        serves = ", ".join(sorted(kinds))
        draft.problem(path, f"serves tasks that are {serves}, and {task.name!r} is {task.kind}")
        return False
    return True


def _reads(draft: Draft, task: Task, head: Component, loss: Component) -> None:
    """Check that a loss can read the outputs of the task's head."""
    readable = getattr(draft.classes.get(f"losses.{task.name}"), "heads", None)
    default = getattr(draft.classes.get(f"heads.{task.name}"), "loss", None)
    if readable is None or head.name.split("/")[-1] in readable or loss.name.split("/")[-1] == default:
        return
    reason = f"{loss.name} reads the head {' or '.join(sorted(readable))}, and {task.name!r} has {head.name}"
    draft.problem(f"losses.{task.name}", reason, f"the loss of {head.name} is {default}")


def _everywhere(draft: Draft, path: str, task: Task) -> None:
    """Check that a head of joint events learns on all rows, not only where the first event happened."""
    instead = getattr(draft.classes.get(path), "everywhere", "")
    if not instead or task.observed_when is None:
        return
    parents = [draft.tasks[name] for name in task.parents if name in draft.tasks]
    try:
        read = Expression(task.observed_when).columns
        parent_columns = [column for parent in parents for column in Expression(parent.label).columns]
    except DataError:
        return  # reported where expressions are checked
    if both := [column for column in read if column in parent_columns]:
        reason = f"learns on all rows, but observed_when leaves out the rows without {both[0]!r}"
        draft.problem(path, f"{reason}: probabilities would hold for the other rows only", instead)


def check_heads(draft: Draft) -> dict[str, Component]:
    """Choose one head per task. The kind of the task names the default."""
    entries = _entries(draft, "heads")
    heads = {}
    for task in draft.tasks.values():
        path = f"heads.{task.name}"
        entry = entries.get(task.name) or {}
        spec = {"name": task.traits.head, **entry} if isinstance(entry, Mapping) else entry
        head = draft.component(path, "head", spec)
        if head is not None and _fits(draft, path, task):
            _everywhere(draft, path, task)
            heads[task.name] = head
    return heads


def check_losses(draft: Draft, heads: Mapping[str, Component]) -> dict[str, Component]:
    """Choose one loss per task. The head names the default."""
    entries = _entries(draft, "losses")
    losses = {}
    for task in draft.tasks.values():
        if task.name not in heads:
            continue  # its head, which names the default loss, has a problem
        path = f"losses.{task.name}"
        entry = entries.get(task.name) or {}
        if isinstance(entry, Mapping) and "name" not in entry:
            entry = {"name": getattr(draft.classes[f"heads.{task.name}"], "loss", None), **entry}
        loss = draft.component(path, "loss", entry)
        if loss is not None:
            if _fits(draft, path, task):
                _reads(draft, task, heads[task.name], loss)
            losses[task.name] = loss
    return losses


def check_metrics(draft: Draft) -> dict[str, tuple[Component, ...]]:
    """Choose metrics per task. The first one counts in the score."""
    entries = _entries(draft, "metrics")
    metrics = {}
    for task in draft.tasks.values():
        path = f"metrics.{task.name}"
        entry = entries.get(task.name)
        if entry is None:
            entry = list(default_metrics(task))
        if not isinstance(entry, list | tuple):
            entry = [entry]
        chosen: list[Component] = []
        for i, spec in enumerate(entry):
            metric = draft.component(f"{path}.{i}", "metric", spec)
            if metric is None:
                continue
            _fits(draft, f"{path}.{i}", task)
            metric_class = draft.classes.get(f"{path}.{i}")
            if metric_class in [draft.classes[f"{path}.{k}"] for k in range(i) if f"{path}.{k}" in draft.classes]:
                draft.problem(f"{path}.{i}", f"{metric.name!r} is listed twice")
            chosen.append(metric)
            # None means that neither direction is better; a class without the attribute does not say.
            if len(chosen) == 1 and getattr(metric_class, "higher_is_better", True) is None:
                reason = f"{metric.name!r} can't count in the score: neither higher nor lower is better"
                draft.problem(f"{path}.{i}", reason, "put a metric that has a direction first")
        metrics[task.name] = tuple(chosen)
    return metrics


def check_fields(draft: Draft) -> None:
    """Check that options of components name features of the recipe."""
    for path, name in draft.fields.items():
        if name not in draft.features:
            draft.problem(path, f"no feature {name!r}", did_you_mean(name, draft.features))
