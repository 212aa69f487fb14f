"""Section of a comparison's page on relations between tasks."""

from collections.abc import Mapping
from html import escape
from typing import Any

from mtl_lightning.compare.tables import shown_name
from mtl_lightning.report.training.relation_plots import label_plots, relation_plots


def relations_section(result: Mapping[str, Any]) -> str:
    """HTML section of the relations of a result; empty if its runs have none.

    The selected configuration is expanded, the others are collapsed.

    Args:
        result: Result of :func:`~mtl_lightning.compare.results.gather`.
    """
    known = [configuration for configuration in result["configurations"] if configuration.get("relations")]
    if not known:
        return ""
    parts: list[str] = []
    relations = [configuration["relations"] for configuration in known]
    parts += label_plots(next((part for part in relations if "labels" in part), {}))
    known.sort(key=lambda configuration: configuration["name"] != result["selected"])  # stable for the others
    for configuration in known:
        plots = "".join(relation_plots(configuration["relations"]))
        if plots:
            opened = " open" if configuration is known[0] else ""
            parts.append(f"<details{opened}><summary>{escape(shown_name(configuration))}</summary>{plots}</details>")
    return f"""<h2>Relations between tasks</h2>
<p>Means over seeds. Predictions and gates are from the test split; gradients and look-ahead steps were sampled in
training. Affinity: the relative fall of the column's loss after a step on the row's task, divided by the fall of the
row's own loss.</p>
{"".join(parts)}
"""
