"""The table of a comparison for a paper, an issue or a spreadsheet: LaTeX, Markdown, CSV."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mtl_lightning.compare.plan import BASELINE
from mtl_lightning.compare.tables import change, number, shown_name, spread

BETTER, WORSE = "+", "-"
"""Marks of a task whose interval against single-task models excludes zero."""
SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


def latex(result: Mapping[str, Any]) -> str:
    """A ``tabular`` for the package ``booktabs``, with the selected configuration in bold.

    Args:
        result: Result of :func:`~mtl_lightning.compare.results.gather`.
    """
    marks = {BETTER: r"$^{\uparrow}$", WORSE: r"$^{\downarrow}$", "": ""}

    def cell(text: str, bold: bool = False) -> str:
        plain = "".join(SPECIAL.get(letter, letter) for letter in text).replace("±", r"$\pm$").replace("–", "--")
        return rf"\textbf{{{plain}}}" if bold else plain

    lines = [rf"\begin{{tabular}}{{l{'r' * (len(result['tasks']) + 1)}}}", r"\toprule"]
    heading = ["configuration", *(f"{task} ({facts['metric']})" for task, facts in result["tasks"].items())]
    lines += [" & ".join(map(cell, heading)) + r" & $\Delta m$ (\%) \\", r"\midrule"]
    for configuration in result["configurations"]:
        bold = configuration["name"] == result["selected"]
        values = [cell(text) + marks[mark] for text, mark in _values(result, configuration)]
        lines.append(
            " & ".join([cell(shown_name(configuration), bold), *values, cell(_change(configuration))]) + r" \\"
        )
    lines += [r"\bottomrule", r"\end{tabular}", *(f"% {sentence}" for sentence in _notes(result))]
    return "\n".join(lines) + "\n"


def markdown(result: Mapping[str, Any]) -> str:
    """A table of GitHub's Markdown, with the selected configuration in bold.

    Args:
        result: Result of :func:`~mtl_lightning.compare.results.gather`.
    """
    marks = {BETTER: " ↑", WORSE: " ↓", "": ""}

    def row(cells: Sequence[str]) -> str:
        return "| " + " | ".join(text.replace("|", r"\|") for text in cells) + " |"

    heading = ["configuration", *(f"{task} {facts['metric']}" for task, facts in result["tasks"].items()), "Δm %"]
    lines = [row(heading), "|---" + "|---:" * (len(heading) - 1) + "|"]
    for configuration in result["configurations"]:
        name = shown_name(configuration)
        name = f"**{name}**" if configuration["name"] == result["selected"] else name
        values = [text + marks[mark] for text, mark in _values(result, configuration)]
        lines.append(row([name, *values, _change(configuration)]))
    return "\n".join([*lines, "", *_notes(result)]) + "\n"


def comma_separated(result: Mapping[str, Any]) -> str:
    """All numbers in full: means, standard deviations, differences and their intervals; empty where unknown.

    Args:
        result: Result of :func:`~mtl_lightning.compare.results.gather`.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = ("mean", "sd", "difference", "low", "high")
    tasks = [f"{task}/{facts['metric']}/{column}" for task, facts in result["tasks"].items() for column in columns]
    ends = ["delta_m", "delta_m_low", "delta_m_high"]
    writer.writerow(["configuration", "selected", "seeds", "validation_score", *tasks, *ends])
    for configuration in result["configurations"]:
        row = [shown_name(configuration), int(configuration["name"] == result["selected"]), configuration["seeds"]]
        row.append(configuration["validation_score"]["mean"])
        for task in result["tasks"]:
            values = configuration["tasks"][task]
            difference = values.get("difference") or {}
            row += [values["mean"], values["sd"], *(difference.get(key) for key in ("mean", "low", "high"))]
        writer.writerow([*row, configuration["delta_m"], *configuration["delta_m_interval"]])
    return text.getvalue()


FORMATS: dict[str, tuple[str, Callable[[Mapping[str, Any]], str]]] = {
    "latex": ("table.tex", latex),
    "markdown": ("table.md", markdown),
    "csv": ("table.csv", comma_separated),
}
"""File name and function of each format."""


def _values(result: Mapping[str, Any], configuration: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(spread(configuration["tasks"][task]), _mark(configuration, task)) for task in result["tasks"]]


def _mark(configuration: Mapping[str, Any], task: str) -> str:
    """Sign of a task's difference if its interval excludes zero; differences are positive where a task gains."""
    difference = configuration["tasks"][task].get("difference") or {}
    if difference.get("low") is None or configuration["name"] == BASELINE:
        return ""
    return BETTER if difference["low"] > 0 else WORSE if difference["high"] < 0 else ""


def _change(configuration: Mapping[str, Any]) -> str:
    """Δm with its interval; a dash for single-task models, which it refers to."""
    if configuration["delta_m"] is None or configuration["name"] == BASELINE:
        return number(None)
    return change(configuration).replace("%", "")


def _notes(result: Mapping[str, Any]) -> list[str]:
    facts = f"Test split of {result['recipe']}, mean ± standard deviation over {len(result['seeds'])} seeds"
    level = f"{result['confidence']:.0%} confidence for all tasks of a configuration at once"
    return [
        f"{facts}; Δm against single-task models.",
        f"Arrows mark tasks whose interval excludes zero, with {level}.",
    ]
