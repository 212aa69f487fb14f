"""Pairs of labels: co-occurrence, correlation, and violated funnels."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from mtl_lightning.data.quality.findings import Finding
from mtl_lightning.data.quality.scores import correlation
from mtl_lightning.data.store.store import Store
from mtl_lightning.schema import Schema

BLOCK = 1 << 18
"""Number of rows that are read at a time."""

FUNNEL_SERIOUS = 0.01
"""Share of positive labels without the parent's label from which on a violation is serious."""


def label_pairs(schema: Schema, store: Store) -> list[dict[str, Any]]:
    """Measure the co-occurrence and correlation of every two tasks with one number per label.

    All rows are read, block by block.

    Args:
        schema: Fitted schema.
        store: Encoded rows.

    Returns:
        A record per pair, with

        - ``tasks``: the names of the two tasks;
        - ``rows``: number of rows where both labels are known;
        - ``both``, ``first``, ``second``, ``neither``: number of rows with both events, with one, and with none of
          them; None unless both labels are events;
        - ``correlation``: Pearson's correlation (phi of two binary tasks), or None where it is undefined.
    """
    tasks = [task for task in schema.tasks if task.traits.scalar]
    columns = [schema.label_slices[task.name].start for task in tasks]
    places = [schema.task_index[task.name] for task in tasks]
    # Labels are 0 where they are unknown; all sums are over rows where both labels are known.
    size = len(tasks)
    count, sums, squares, product, both, happened = (np.zeros((size, size)) for _ in range(6))
    narrow = Store(schema, {name: store.parts[name] for name in ("labels", "mask")}, store.path)
    for start in range(0, len(store), BLOCK):
        parts = narrow.read([(start, min(start + BLOCK, len(store)))]).parts
        mask = parts["mask"].numpy()[:, places].astype(np.float64)
        value = parts["labels"].numpy()[:, columns].astype(np.float64) * mask
        event = (value > 0).astype(np.float64)
        count += mask.T @ mask
        sums += value.T @ mask
        squares += (value**2).T @ mask
        product += value.T @ value
        both += event.T @ event
        happened += event.T @ mask
    records = []
    for i, first in enumerate(tasks):
        for j, second in enumerate(tasks[:i]):
            rows = count[i, j]
            events = first.traits.signals_event and second.traits.signals_event
            cells = {
                "both": both[i, j],
                "first": happened[j, i] - both[i, j],
                "second": happened[i, j] - both[i, j],
                "neither": rows - happened[j, i] - happened[i, j] + both[i, j],
            }
            records.append(
                {
                    "tasks": [second.name, first.name],
                    "rows": int(rows),
                    **{key: int(number) if events else None for key, number in cells.items()},
                    "correlation": correlation(
                        rows, (sums[i, j], sums[j, i]), (squares[i, j], squares[j, i]), product[i, j]
                    ),
                }
            )
    return records


def funnels(schema: Schema, pairs: list[dict[str, Any]]) -> Iterator[Finding]:
    """Yield a finding for each task with events that happened without the event of a parent."""
    for task in schema.tasks:
        wrong, total, parents = 0, 0, []
        for pair in pairs:
            if task.name not in pair["tasks"] or pair["both"] is None:
                continue
            other = pair["tasks"][1 - pair["tasks"].index(task.name)]
            alone = pair["second" if pair["tasks"][1] == task.name else "first"]
            if other in task.parents and alone:
                wrong, total = max(wrong, alone), max(total, alone + pair["both"])
                parents.append(other)
        if wrong:
            named = " or ".join(map(repr, parents))
            yield Finding(
                level="serious" if wrong >= FUNNEL_SERIOUS * total else "warning",
                name=f"funnel:{task.name}",
                reason=f"{wrong:,} of {total:,} rows with {task.name!r} are without {named}, which is its parent",
                hint=f"repair the log, or remove the parent: tasks.{task.name}.parents=[]",
            )
