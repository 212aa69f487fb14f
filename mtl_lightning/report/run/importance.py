"""Section of a run's page: importance of features."""

from collections.abc import Iterator, Mapping
from typing import Any

from mtl_lightning.report.render.html import table
from mtl_lightning.report.render.tables import number, spread

FILE = "importance.json"
"""File with the importance of a run's features."""


def importance_section(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield the HTML of the section; nothing for an empty record.

    Args:
        record: Content of :data:`FILE`.

    Example:
        >>> ends = {"mean": 0.02, "low": 0.01, "high": 0.03}
        >>> item = {"name": "user", "features": ["user"], "importance": {"score": ends, "click": ends}}
        >>> record = {"split": "validation", "rows": 90, "repeats": 5, "level": 0.95, "items": [item],
        ...           "tasks": {"click": {"metric": "auc", "value": 0.7}}, "score": 0.7}
        >>> "<td>user</td><td>+0.0200 ± 0.0100</td>" in "".join(importance_section(record))
        True
    """
    if not record:
        return
    tasks = record["tasks"]
    rows = [
        [item["name"], *(spread(item["importance"][name]) for name in ("score", *tasks))] for item in record["items"]
    ]
    values = [record["score"], *(facts["value"] for facts in tasks.values())]
    rows.append(["nothing: the value itself", *("undefined" if value is None else number(value) for value in values)])
    yield "<h2>Importance of features</h2>"
    yield f"<p>Loss of each metric when features get the values of other rows, a mean of {record['repeats']} "
    yield f"permutations of {record['rows']:,} {record['split']} rows, with {record['level']:.0%} intervals over rows "
    yield "and permutations. It says what this model relies on, not what a model trained without them would reach.</p>"
    yield table(["permuted", "score", *(f"{task} {facts['metric']}" for task, facts in tasks.items())], rows)
