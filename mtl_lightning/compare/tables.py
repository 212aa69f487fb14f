"""A comparison on the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text


def number(value: float | None, pattern: str = ".4f") -> str:
    """A number for a cell, ``–`` for none.

    Example:
        >>> number(0.12345), number(None), number(3.0, "+.1f")
        ('0.1235', '–', '+3.0')
    """
    return "–" if value is None else format(value, pattern)


def spread(values: Mapping[str, float | None]) -> str:
    """Mean ± standard deviation; the mean alone for one seed.

    Example:
        >>> spread({"mean": 0.7, "sd": 0.01}), spread({"mean": 0.7, "sd": None})
        ('0.7000 ±0.0100', '0.7000')
    """
    return number(values["mean"]) + ("" if values["sd"] is None else f" ±{values['sd']:.4f}")


def shown_name(configuration: Mapping[str, Any]) -> str:
    """The configuration's name; the tuned constant weights say what they are."""
    return f"{configuration['name']} (tuned)" if configuration["tuned"] else str(configuration["name"])


def result_tables(result: Mapping[str, Any]) -> RenderableType:
    """The result of :func:`~mtl_lightning.compare.gather.gather` as tables and sentences.

    Args:
        result: The result.
    """
    quality = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), title_justify="left")
    quality.add_column("configuration", no_wrap=True)
    quality.add_column("validation\nscore", justify="right", vertical="bottom")
    for task, facts in result["tasks"].items():
        quality.add_column(f"{task}\n{facts['metric']}", justify="right", vertical="bottom")
    quality.add_column("Δm %", justify="right", vertical="bottom")
    cost = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("configuration", "seeds", "parameters", "ms a step", "samples/s", "peak MB"):
        cost.add_column(heading, justify="left" if heading == "configuration" else "right")
    for each in result["configurations"]:
        chosen = each["name"] == result["selected"]
        tasks = [spread(each["tasks"][task]) for task in result["tasks"]]
        quality.add_row(
            Text(shown_name(each), style="bold" if chosen else ""), spread(each["validation_score"]), *tasks,
            number(each["delta_m"], "+.2f"),
        )  # fmt: skip
        cost.add_row(
            shown_name(each), str(each["seeds"]), number(each["parameters"], ",.0f"), number(each["step_ms"], ".1f"),
            number(each["samples_per_second"], ",.0f"), number(each["peak_memory_mb"], ",.0f"),
        )  # fmt: skip
    parts: list[RenderableType] = [
        Text(f"Test, mean ± sd over seeds; Δm against single-task models ({result['recipe']})", style="bold"),
        quality,
        Text("Cost", style="bold"),
        cost,
    ]
    if result["missing"]:
        parts.append(Text(f"{len(result['missing'])} runs are missing: {', '.join(result['missing'][:3])} …"))
    return Group(*parts, *[Text(sentence) for sentence in sentences(result)])


def sentences(result: Mapping[str, Any]) -> list[str]:
    """The verdict, or why there is none yet."""
    if result["verdict"] is None:
        return ["No verdict yet: the single-task models and one other configuration must have finished all seeds."]
    seeds = next(each["seeds"] for each in result["configurations"] if each["name"] == result["selected"])
    facts = f"{result['confidence']:.0%} confidence over all tasks, {seeds} seed{'s' * (seeds > 1)}"
    found = [f"Selected on validation: {result['selected']} ({facts}).", *result["verdict"]["sentences"]]
    if seeds == 1:
        found.append("With one seed, the spread between seeds isn't counted: intervals are too narrow.")
    return found
