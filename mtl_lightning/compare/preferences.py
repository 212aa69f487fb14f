"""Trade-offs of models that read preferences, next to all other configurations: numbers, and the page's section."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from mtl_lightning.compare.bootstrap import Arrays, Sampled, sample
from mtl_lightning.compare.statistics import interval
from mtl_lightning.compare.tables import number
from mtl_lightning.report.render.html import table
from mtl_lightning.report.render.trade_offs import Group, Spot, pair_of, preference_words, trade_offs

DRAWS = 100
"""Bootstrap samples of each point."""
Model = tuple[Sequence[str], Arrays, Sampled]
"""Settings of a run, its ``test.npz``, and its metrics on all test rows."""


def follows_preferences(arrays: Arrays) -> bool:
    """True if a run was predicted along preferences."""
    return "front/rows" in arrays


def preference_fronts(
    models: Mapping[str, Sequence[Model]], kinds: Mapping[str, str], level: float
) -> dict[str, Any] | None:
    """Metrics of all configurations on the rows that were predicted along preferences.

    Args:
        models: The runs of each configuration, one per seed.
        kinds: Kind of each task.
        level: Confidence level of each interval.

    Returns:
        ``rows`` of ``of`` test rows, ``level``; ``fronts`` of the configurations that read preferences, and ``others``.
        None if no configuration reads preferences.
    """
    first = next((arrays for own in models.values() for _, arrays, _ in own if follows_preferences(arrays)), None)
    if first is None:
        return None
    rows, total = first["front/rows"], len(first[f"known/{next(iter(kinds))}"])
    fronts, others = [], []
    for name, own in models.items():
        entry = {"configuration": name, "settings": list(own[0][0]), "seeds": len(own)}
        if all(follows_preferences(arrays) for _, arrays, _ in own):
            shares = {task: own[0][1][f"front/preference/{task}"].tolist() for task in kinds}
            points = [
                {
                    "preference": {task: shares[task][i] for task in kinds},
                    "tasks": _ends([sample(_at(arrays, rows, kinds, i), kinds, DRAWS) for _, arrays, _ in own], level),
                }
                for i in range(len(next(iter(shares.values()))))
            ]
            fronts.append({**entry, "points": points})
        else:
            whole = len(rows) == total
            sampled = [
                known if whole else sample(_at(arrays, rows, kinds), kinds, DRAWS) for _, arrays, known in own
            ]  # fmt: skip
            others.append({**entry, "tasks": _ends(sampled, level)})
    return {"rows": len(rows), "of": total, "level": level, "fronts": fronts, "others": others}


def _at(arrays: Arrays, rows: Any, kinds: Mapping[str, str], point: int | None = None) -> dict[str, Any]:
    """Some rows of a run's arrays, with the predictions at a preference."""
    chosen = {
        name: values[rows]
        for name, values in arrays.items()
        if not name.startswith(("front/", "scaling/")) and len(values)
    }
    if point is not None:
        chosen |= {f"prediction/{task}": arrays[f"front/prediction/{task}"][point] for task in kinds}
    return chosen


def _ends(models: Sequence[Sampled], level: float) -> dict[str, dict[str, float | None]]:
    """Mean and interval of each task's metric, over seeds and rows."""
    return {
        task: interval(
            np.array([model.value[task] for model in models]),
            np.array([model.samples[task] for model in models]).T,
            level,
        ).to_dict()
        for task in models[0].value
    }


def preference_groups(result: Mapping[str, Any], pair: tuple[str, str]) -> dict[str, Group]:
    """Models in the plane of two tasks: fronts first. Models without a value or an interval are left out.

    Args:
        result: Result of :func:`~mtl_lightning.compare.results.gather`.
        pair: The two tasks.
    """
    preferences, groups = result["preferences"], {}
    for front in preferences["fronts"]:
        spots, joined = [], []
        for point in sorted(front["points"], key=lambda point: float(point["preference"][pair[0]])):
            spot = _spot(point["tasks"], pair, preference_words(point["preference"]))
            if spot is not None:
                spots.append(spot)
                joined += [spot] if pair_of(point["preference"], pair) else []
        groups[front["configuration"]] = Group(spots, joined)
    for other in preferences["others"]:
        spot = _spot(other["tasks"], pair, _words(other["settings"]) or other["configuration"])
        groups[other["configuration"]] = Group([] if spot is None else [spot])
    return groups


def preferences_section(result: Mapping[str, Any]) -> str:
    """HTML section with a plot for each two tasks, and a table; empty if no configuration reads preferences.

    Args:
        result: Result of :func:`~mtl_lightning.compare.results.gather`.
    """
    preferences = result.get("preferences")
    if not preferences:
        return ""
    headings = [f"{task} {facts['metric']}" for task, facts in result["tasks"].items()]
    plots = [
        trade_offs((f"{a} {result['tasks'][a]['metric']}", f"{b} {result['tasks'][b]['metric']}"), groups)
        for a, b in combinations(result["tasks"], 2)
        if (groups := preference_groups(result, (a, b)))
    ]
    rows = [
        [front["configuration"], preference_words(point["preference"]), *_cells(point["tasks"], result)]
        for front in preferences["fronts"]
        for point in front["points"]
    ]
    rows += [
        [other["configuration"], _words(other["settings"]), *_cells(other["tasks"], result)]
        for other in preferences["others"]
    ]
    return f"""<h2>Trade-offs along preferences</h2>
<p>Models that read preferences at each of some preferences, and all other configurations as they were trained, on the
same {preferences["rows"]:,} of {preferences["of"]:,} test rows. A line joins preferences that give the other tasks
nothing. Intervals hold for one value of one task with {preferences["level"]:.0%} confidence, over rows and seeds; they
are not paired, so that points whose intervals overlap may still differ.</p>
{"".join(plots)}<details><summary>All points</summary>
{table(["configuration", "preference or weights", *headings], rows)}</details>
"""


def _spot(tasks: Mapping[str, Any], pair: tuple[str, str], words: str) -> Spot | None:
    x, y = (tuple(tasks[task][end] for end in ("mean", "low", "high")) for task in pair)
    return None if None in x + y else Spot(x, y, words)


def _words(settings: Sequence[str]) -> str:
    """Constant weights among the settings of a configuration, as text."""
    start = "weighter.weights."
    return ", ".join(setting.removeprefix(start) for setting in settings if setting.startswith(start))


def _cells(tasks: Mapping[str, Any], result: Mapping[str, Any]) -> list[str]:
    return [
        f"{number(ends['mean'])} ({number(ends['low'])} to {number(ends['high'])})"
        for ends in (tasks[task] for task in result["tasks"])
    ]
