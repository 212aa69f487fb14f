"""A comparison as a self-contained HTML page."""

from collections.abc import Mapping
from html import escape
from typing import Any

from mtl_lightning.compare.grouping import grouping_section
from mtl_lightning.compare.plan import BASELINE
from mtl_lightning.compare.plots import Interval, forest
from mtl_lightning.compare.preferences import preferences_section
from mtl_lightning.compare.relations import relations_section
from mtl_lightning.compare.reliability import reliability_section
from mtl_lightning.compare.resources import resources_section
from mtl_lightning.compare.tables import number, sentences, shown_name, spread
from mtl_lightning.report.evaluation.reliability import STYLE as RELIABILITY_STYLE
from mtl_lightning.report.render.html import document, links
from mtl_lightning.report.render.html import table as _table
from mtl_lightning.report.render.svg import bars

STYLE = """
tr.selected td { font-weight: bold; }
.verdict { background: rgba(128, 140, 160, .14); border-left: 4px solid #36c; padding: .5rem 1rem; margin: 1rem 0; }
.verdict p { margin: .3rem 0; } .verdict .use { font-size: 1.25rem; font-weight: bold; }
body { max-width: 64rem; }
table { display: block; overflow-x: auto; font-size: .9rem; } th, td { white-space: nowrap; padding: .25rem .5rem; }
.chosen { font-weight: bold; }
line.zero { stroke: #777; stroke-dasharray: 3 3; stroke-width: 1; }
line.gain { stroke: #2f8f57; } line.loss { stroke: #cf4a41; } line.even { stroke: #7c8494; }
circle.gain, path.gain { fill: #2f8f57; } circle.loss, path.loss { fill: #cf4a41; }
circle.even, path.even { fill: #7c8494; }
"""


def page(result: Mapping[str, Any]) -> str:
    """HTML page of a comparison.

    Args:
        result: Result of :func:`~mtl_lightning.compare.results.gather`.
    """
    title = f"Does multi-task learning help on {result['recipe']}?"
    configurations = result["configurations"]
    *reasons, use = [escape(sentence) for sentence in sentences(result)]
    verdict = f'<p class="use">{use}</p>' + "".join(f"<p>{reason}</p>" for reason in reasons)
    costs = [
        bars(heading, [(shown_name(configuration), configuration[key]) for configuration in configurations], unit)
        for heading, key, unit in (
            ("Time of a training step", "step_ms", "ms"),
            ("Parameters", "parameters", ""),
            ("Peak memory", "peak_memory_mb", "MB"),
        )
    ]
    missing = f"<p>Missing runs: {escape(', '.join(result['missing']))}</p>" if result["missing"] else ""
    settings = " ".join([f"recipe={result['recipe']}", *result["overrides"]])
    body = f"""<p><code>{escape(settings)}</code>, seeds {escape(", ".join(map(str, result["seeds"])))}</p>
<div class="verdict">{verdict}</div>{missing}
<h2>Quality on the test split</h2>
<p>Mean ± standard deviation over seeds. RMSE is in the unit of the label, and lower is better. Models and the
configuration were selected on validation. Δm is the mean relative change over tasks against single-task models of the
same seeds.</p>
{_quality(result)}
<h2>Advantage over single-task models</h2>
<p>Positive is better. The intervals of tasks hold for all tasks at once with {result["confidence"]:.0%} confidence.
They include the bootstrap over test rows, with whole users drawn, and the spread over seeds; with one seed the spread
is unknown. The verdict is based on the selected configuration only, shown in bold: among many others, one may look good
by chance.</p>
{_overall(result)}{"".join(_forest(result, task) for task in result["tasks"])}
{grouping_section(result)}{preferences_section(result)}{reliability_section(result)}{relations_section(result)}<h2>Cost</h2>
{_cost(result)}
{"".join(costs)}
{resources_section(result)}{_pages(result)}"""
    return document(title, body, STYLE + RELIABILITY_STYLE)


def _pages(result: Mapping[str, Any]) -> str:
    """Links to the pages of the runs."""
    pages = {
        shown_name(configuration): {f"seed {seed}": path for seed, path in configuration.get("pages", {}).items()}
        for configuration in result["configurations"]
    }
    return links("Runs", pages)


def _overall(result: Mapping[str, Any]) -> str:
    intervals: list[Interval] = [
        (shown_name(rival), rival["delta_m"], *rival["delta_m_interval"]) for rival in _rivals(result)
    ]
    return forest("All tasks: Δm, %", intervals, _chosen(result))


def _forest(result: Mapping[str, Any], task: str) -> str:
    intervals: list[Interval] = []
    for rival in _rivals(result):
        difference = rival["tasks"][task]["difference"]
        intervals.append((shown_name(rival), difference["mean"], difference["low"], difference["high"]))
    facts = result["tasks"][task]
    better = "fall" if facts["metric"] == "rmse" else "rise"
    rows = "" if facts["rows"] is None else f", {facts['rows']:,} test rows"
    rows += "" if facts["positive"] is None else f", {facts['positive']:,} positive"
    return forest(f"{task}: {better} of {facts['metric']}{rows}", intervals, _chosen(result))


def _rivals(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [rival for rival in result["configurations"] if rival["name"] != BASELINE]


def _chosen(result: Mapping[str, Any]) -> str | None:
    return next((shown_name(rival) for rival in _rivals(result) if rival["name"] == result["selected"]), None)


def _quality(result: Mapping[str, Any]) -> str:
    headings = ["configuration", "seeds", "validation score"]
    headings += [f"{task} {facts['metric']}" for task, facts in result["tasks"].items()]
    rows = [
        [shown_name(configuration), str(configuration["seeds"]), spread(configuration["validation_score"])]
        + [spread(configuration["tasks"][task]) for task in result["tasks"]]
        + [number(configuration["delta_m"], "+.2f")]
        for configuration in result["configurations"]
    ]
    return _table([*headings, "Δm %"], rows, _selected(result))


def _cost(result: Mapping[str, Any]) -> str:
    patterns = {"parameters": ",.0f", "step_ms": ".2f", "samples_per_second": ",.0f", "peak_memory_mb": ",.0f"}
    rows = [
        [shown_name(configuration), *(number(configuration[key], pattern) for key, pattern in patterns.items())]
        for configuration in result["configurations"]
    ]
    return _table(["configuration", "parameters", "ms/step", "samples/s", "peak MB"], rows, _selected(result))


def _selected(result: Mapping[str, Any]) -> list[str]:
    return ["selected" if rival["name"] == result["selected"] else "" for rival in result["configurations"]]
