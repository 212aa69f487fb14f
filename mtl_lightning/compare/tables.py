"""A comparison on the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mtl_lightning.compare.plan import BASELINE

MOST = 4
"""Tasks side by side: more would be cut off on a terminal of 80 columns."""


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
        >>> spread({"mean": 0.7, "sd": 0.01}), spread({"mean": 40.123, "sd": None})
        ('0.7000 ±0.0100', '40.12')
    """
    mean, deviation = values["mean"], values["sd"]
    pattern = ".4f" if mean is None or abs(mean) < 10 else ".2f" if abs(mean) < 10_000 else ",.0f"
    return number(mean, pattern) + ("" if deviation is None else f" ±{number(deviation, pattern)}")


def shown_name(configuration: Mapping[str, Any]) -> str:
    """The configuration's name; the tuned constant weights say what they are."""
    return f"{configuration['name']} (tuned)" if configuration["tuned"] else str(configuration["name"])


def change(configuration: Mapping[str, Any]) -> str:
    """Δm with its interval, where seeds are compared with others of theirs.

    Example:
        >>> change({"delta_m": -1.5, "delta_m_interval": [-2.0, -1.0], "paired_seeds": 3})
        '-1.50% (-2.00 to -1.00)'
    """
    low, high = configuration["delta_m_interval"]
    ends = "" if low is None or configuration["paired_seeds"] < 2 else f" ({low:+.2f} to {high:+.2f})"
    return f"{configuration['delta_m']:+.2f}%{ends}"


def result_tables(result: Mapping[str, Any]) -> RenderableType:
    """The result of :func:`~mtl_lightning.compare.results.gather` as tables and sentences.

    Args:
        result: The result.
    """
    names = list(result["tasks"])
    quality = [_quality(result, names[start : start + MOST]) for start in range(0, len(names), MOST)]
    cost = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("configuration", "seeds", "parameters", "ms a step", "samples/s", "peak MB"):
        cost.add_column(heading, justify="left" if heading == "configuration" else "right")
    for each in result["configurations"]:
        cost.add_row(
            shown_name(each), str(each["seeds"]), number(each["parameters"], ",.0f"), number(each["step_ms"], ".1f"),
            number(each["samples_per_second"], ",.0f"), number(each["peak_memory_mb"], ",.0f"),
        )  # fmt: skip
    parts: list[RenderableType] = [
        Text(f"Test, mean ± sd over seeds; Δm against single-task models ({result['recipe']})", style="bold"),
        *quality,
        Text("Cost", style="bold"),
        cost,
    ]
    if result["missing"]:
        parts.append(Text(f"{len(result['missing'])} runs are missing: {', '.join(result['missing'][:3])} …"))
    return Group(*parts, *[Text(sentence) for sentence in sentences(result)])


def _quality(result: Mapping[str, Any], tasks: Sequence[str]) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), title_justify="left")
    table.add_column("configuration", no_wrap=True)
    table.add_column("validation\nscore", justify="right", vertical="bottom")
    for task in tasks:
        table.add_column(
            f"{task}\n{result['tasks'][task]['metric']}", justify="right", vertical="bottom", overflow="fold"
        )
    table.add_column("Δm %", justify="right", vertical="bottom")
    for each in result["configurations"]:
        table.add_row(
            Text(shown_name(each), style="bold" if each["name"] == result["selected"] else ""),
            spread(each["validation_score"]),
            *(spread(each["tasks"][task]) for task in tasks),
            number(each["delta_m"], "+.2f"),
        )
    return table


def sentences(result: Mapping[str, Any]) -> list[str]:
    """The verdict, or why there is none yet."""
    if result["verdict"] is None:
        return ["No verdict yet: the single-task models and one other configuration must have finished all seeds."]
    names = {each["name"]: each for each in result["configurations"]}
    own, seeds = names[result["selected"]], names[result["selected"]]["paired_seeds"]
    scores = [number(names[name]["validation_score"]["mean"]) for name in (result["selected"], BASELINE)]
    best = f"{shown_name(own)}, the best that trains tasks together (score {scores[0]}; {BASELINE} {scores[1]})"
    facts = f"against single-task models, {seeds} seed{'s' * (seeds > 1)}"
    level = f"{result['confidence']:.0%} confidence, of tasks for all at once"
    overall = "not defined" if own["delta_m"] is None else change(own)
    found = [f"Selected on validation: {best}.", f"Δm {overall} {facts}; {level}."]
    return found + list(result["verdict"]["sentences"])
