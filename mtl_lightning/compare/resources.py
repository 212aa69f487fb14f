"""What each configuration of a comparison costs, part by part: the numbers, and the section of its page."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from mtl_lightning.compare.tables import number, shown_name
from mtl_lightning.report.render.html import table

PARAMETERS = ("tables", "encoder", "architecture", "heads", "losses", "weighter")
STEP = ("data", "forward", "weighter", "backward", "optimizer")
BYTES = ("model", "tables", "optimizer_state", "store")


def parts_of(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The resources of a configuration, part by part: medians over seeds, None where no seed has the number.

    Args:
        runs: ``resources.json`` of each run; one that is missing is empty.

    Returns:
        ``parameters`` and ``bytes`` (MB of 2^20) by part, ``parts_ms`` of a step, ``mflops`` per training row.

    Example:
        >>> run = {"parameters": {"heads": 7}, "parts_ms": {"data": 2.0}, "flops": 6e6, "flops_rows": 3}
        >>> found = parts_of([run, {**run, "parts_ms": {"data": 4.0}}, {}])
        >>> found["parameters"]["heads"], found["parts_ms"]["data"], found["mflops"], found["bytes"]["store"]
        (7.0, 3.0, 2.0, None)
    """
    flops = [run["flops"] / run["flops_rows"] / 1e6 for run in runs if run.get("flops") and run.get("flops_rows")]
    mega = [{part: size / 2**20 for part, size in run.get("bytes", {}).items()} for run in runs]
    return {
        "parameters": _medians([run.get("parameters") for run in runs], PARAMETERS),
        "parts_ms": _medians([run.get("parts_ms") for run in runs], STEP),
        "mflops": statistics.median(flops) if flops else None,
        "bytes": _medians(mega, BYTES),
    }


def _medians(found: Sequence[Mapping[str, float] | None], parts: Sequence[str]) -> dict[str, float | None]:
    known = {part: [each[part] for each in found if each and part in each] for part in parts}
    return {part: statistics.median(values) if values else None for part, values in known.items()}


def resources_section(result: Mapping[str, Any]) -> str:
    """Tables of parameters, step time, arithmetic and bytes by part; nothing of results that don't have them.

    Args:
        result: The result.
    """
    shown = [each for each in result["configurations"] if each.get("parts")]
    if not shown:
        return ""
    time = [
        [shown_name(each), *(number(each["parts"]["parts_ms"][part], ".2f") for part in STEP),
         number(each["parts"]["mflops"], ",.3g")]
        for each in shown
    ]  # fmt: skip
    parameters = [
        [shown_name(each), *(number(each["parts"]["parameters"][part], ",.0f") for part in PARAMETERS)]
        for each in shown
    ]
    kept = [[shown_name(each), *(number(each["parts"]["bytes"][part], ",.1f") for part in BYTES)] for each in shown]
    return f"""<h3>A training step by its parts, ms, and its arithmetic</h3>
{table(["configuration", *STEP, "MFLOP a row"], time)}
<h3>Parameters by part</h3>
{table(["configuration", *PARAMETERS], parameters)}
<h3>What is kept, MB</h3>
{table(["configuration", "model", "of it tables", "optimizer state", "prepared data"], kept)}
"""
