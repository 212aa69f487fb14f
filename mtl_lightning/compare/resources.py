"""Cost of the configurations of a comparison by part: medians over seeds, and the section of its page."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from mtl_lightning.compare.tables import number, shown_name
from mtl_lightning.report.render.html import table

PARAMETERS = ("tables", "encoder", "architecture", "heads", "losses", "weighter")
STEP = ("data", "forward", "weighter", "backward", "optimizer")
BYTES = ("model", "tables", "optimizer_state", "store")


def parts_of(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Resources of a configuration by part: medians over seeds, None where no seed has the value.

    Args:
        runs: ``resources.json`` of each run; empty if it is missing.

    Returns:
        ``parameters`` and ``bytes`` (MB of 2^20) by part, ``parts_ms`` of a step, ``mflops`` per training row.

    Example:
        >>> run = {"parameters": {"heads": 7}, "parts_ms": {"data": 2.0}, "flops": 6e6, "flops_rows": 3}
        >>> parts = parts_of([run, {**run, "parts_ms": {"data": 4.0}}, {}])
        >>> parts["parameters"]["heads"], parts["parts_ms"]["data"], parts["mflops"], parts["bytes"]["store"]
        (7.0, 3.0, 2.0, None)
    """
    flops = [run["flops"] / run["flops_rows"] / 1e6 for run in runs if run.get("flops") and run.get("flops_rows")]
    mega = [{part: size / 2**20 for part, size in run.get("bytes", {}).items()} for run in runs]
    return {
        "parameters": medians([run.get("parameters") for run in runs], PARAMETERS),
        "parts_ms": medians([run.get("parts_ms") for run in runs], STEP),
        "mflops": statistics.median(flops) if flops else None,
        "bytes": medians(mega, BYTES),
    }


def medians(runs: Sequence[Mapping[str, Any] | None], parts: Sequence[str]) -> dict[str, float | None]:
    """Median of each number over the runs that have it."""
    known = {part: [run[part] for run in runs if run and run.get(part) is not None] for part in parts}
    return {part: statistics.median(values) if values else None for part, values in known.items()}


def resources_section(result: Mapping[str, Any]) -> str:
    """HTML tables of step time, arithmetic, parameters and bytes by part; empty for results without them.

    Args:
        result: Result of :func:`~mtl_lightning.compare.results.gather`.
    """
    shown = [configuration for configuration in result["configurations"] if configuration.get("parts")]
    if not shown:
        return ""
    time = [
        [*_row(configuration, "parts_ms", STEP, ".2f"), number(configuration["parts"]["mflops"], ",.3g")]
        for configuration in shown
    ]
    parameters = [_row(configuration, "parameters", PARAMETERS, ",.0f") for configuration in shown]
    memory = [_row(configuration, "bytes", BYTES, ",.1f") for configuration in shown]
    return f"""<h3>Time of a training step by part, ms, and arithmetic</h3>
{table(["configuration", *STEP, "MFLOP per row"], time)}
<h3>Parameters by part</h3>
{table(["configuration", *PARAMETERS], parameters)}
<h3>Memory and storage, MB</h3>
{table(["configuration", "model", "of which tables", "optimizer state", "prepared data"], memory)}
"""


def _row(configuration: Mapping[str, Any], key: str, parts: Sequence[str], pattern: str) -> list[str]:
    values = configuration["parts"][key]
    return [shown_name(configuration), *(number(values[part], pattern) for part in parts)]
