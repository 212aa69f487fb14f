"""Checks of the parents of a funnel's heads."""

from collections.abc import Mapping

from mtl_lightning.interfaces import TASK_KINDS, Head, MtlError, Task


def only_parent(head: str, task: Task, parents: Mapping[str, Head]) -> tuple[str, Head]:
    """Name and head of the only parent of a cascade, a binary one.

    Args:
        head: Name of the head that needs the parent, for the message.
        task: Its task.
        parents: Built heads of the task's parents.

    Raises:
        MtlError: If there is not exactly one parent, or it is not binary.

    Example:
        >>> only_parent("esmm", Task(name="sale", kind="binary", label="sale"), {})
        Traceback (most recent call last):
        mtl_lightning.errors.MtlError: heads.sale: esmm needs one parent task, not 0 (set tasks.sale.parents)
    """
    if len(parents) != 1:
        hint = f"set tasks.{task.name}.parents" if not parents else "name the last step of the funnel only"
        raise MtlError(f"heads.{task.name}: {head} needs one parent task, not {len(parents)}", hint)
    (name, parent), *_ = parents.items()
    if not any(TASK_KINDS[kind].event_probability for kind in parent.kinds if kind in TASK_KINDS):
        raise MtlError(f"heads.{task.name}: {head} needs a binary parent, and {name} is not binary")
    return name, parent
