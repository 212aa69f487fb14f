"""A comparison as tables and sentences on the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mtl_lightning.compare.ensemble import ensemble_sentence
from mtl_lightning.compare.grouping import grouping_sentences
from mtl_lightning.compare.plan import BASELINE
from mtl_lightning.report.render.tables import plain_table

MOST = 4
"""Largest number of tasks in a table: more do not fit a terminal of 80 columns."""


def number(value: float | None, pattern: str = ".4f") -> str:
    """Number as text, ``–`` for None.

    Example:
        >>> number(0.12345), number(None), number(3.0, "+.1f")
        ('0.1235', '–', '+3.0')
    """
    return "–" if value is None else format(value, pattern)


def spread(values: Mapping[str, float | None]) -> str:
    """Mean ± standard deviation as text; only the mean for one seed.

    Example:
        >>> spread({"mean": 0.7, "sd": 0.01}), spread({"mean": 40.123, "sd": None})
        ('0.7000 ±0.0100', '40.12')
    """
    mean, deviation = values["mean"], values["sd"]
    pattern = ".4f" if mean is None or abs(mean) < 10 else ".2f" if abs(mean) < 10_000 else ",.0f"
    return number(mean, pattern) + ("" if deviation is None else f" ±{number(deviation, pattern)}")


def shown_name(configuration: Mapping[str, Any]) -> str:
    """Name of a configuration, with "(tuned)" after tuned constant weights."""
    return f"{configuration['name']} (tuned)" if configuration["tuned"] else str(configuration["name"])


def change(configuration: Mapping[str, Any]) -> str:
    """Δm as text, with its interval if at least two seeds are paired.

    Example:
        >>> change({"delta_m": -1.5, "delta_m_interval": [-2.0, -1.0], "paired_seeds": 3})
        '-1.50% (-2.00 to -1.00)'
    """
    low, high = configuration["delta_m_interval"]
    ends = "" if low is None or configuration["paired_seeds"] < 2 else f" ({low:+.2f} to {high:+.2f})"
    return f"{configuration['delta_m']:+.2f}%{ends}"


def result_tables(result: Mapping[str, Any]) -> RenderableType:
    """Tables and sentences of a comparison.

    Args:
        result: Result of :func:`~mtl_lightning.compare.results.gather`.
    """
    names = list(result["tasks"])
    quality = [_quality(result, names[start : start + MOST]) for start in range(0, len(names), MOST)]
    cost = plain_table(["configuration"], ["seeds", "parameters", "ms/step", "samples/s", "peak MB"])
    patterns = {"parameters": ",.0f", "step_ms": ".1f", "samples_per_second": ",.0f", "peak_memory_mb": ",.0f"}
    for configuration in result["configurations"]:
        numbers = [number(configuration[key], pattern) for key, pattern in patterns.items()]
        cost.add_row(shown_name(configuration), str(configuration["seeds"]), *numbers)
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
    headings = [f"{task}\n{result['tasks'][task]['metric']}" for task in tasks]
    table = plain_table(["configuration"], ["validation\nscore", *headings, "Δm %"], unwrapped=1)
    for configuration in result["configurations"]:
        table.add_row(
            Text(shown_name(configuration), style="bold" if configuration["name"] == result["selected"] else ""),
            spread(configuration["validation_score"]),
            *(spread(configuration["tasks"][task]) for task in tasks),
            number(configuration["delta_m"], "+.2f"),
        )
    return table


def sentences(result: Mapping[str, Any]) -> list[str]:
    """Sentences of the verdict, or the reason why there is none yet."""
    if result["verdict"] is None:
        return ["No verdict yet: the single-task models and one other configuration must have finished all seeds."]
    by_name = {configuration["name"]: configuration for configuration in result["configurations"]}
    own, seeds = by_name[result["selected"]], by_name[result["selected"]]["paired_seeds"]
    scores = [number(by_name[name]["validation_score"]["mean"]) for name in (result["selected"], BASELINE)]
    best = f"{shown_name(own)}, the best multi-task configuration (score {scores[0]}; {BASELINE} {scores[1]})"
    facts = f"against single-task models, {seeds} seed{'s' * (seeds > 1)}"
    level = f"{result['confidence']:.0%} confidence, for all tasks at once"
    overall = "undefined" if own["delta_m"] is None else change(own)
    reasons = [f"Selected on validation: {best}.", f"Δm {overall} {facts}; {level}."]
    ensemble = [sentence] if (sentence := ensemble_sentence(result)) else []
    return reasons + grouping_sentences(result) + ensemble + list(result["verdict"]["sentences"])
