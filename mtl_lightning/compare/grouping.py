"""Groups of tasks to train together, from affinities that one joint run measures."""

from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from typing import Any

from mtl_lightning.compare.launch import finished
from mtl_lightning.compare.plan import Cell, Grid
from mtl_lightning.errors import MtlError
from mtl_lightning.report.render.heatmap import Matrix, heatmap
from mtl_lightning.report.render.html import table
from mtl_lightning.runs.directory import RunDirectory

EVERY = 10
"""Batches between two samples of affinity, as in the paper."""
LEAST_TASKS, MOST_TASKS = 3, 12
"""Numbers of tasks for which groups are searched; the search takes 3^T operations."""
MOST_GROUPS = 4
"""Largest number of groups."""


def partitions(affinity: Matrix, most: int) -> list[list[list[int]]]:
    """Best partitions of tasks into 2, 3, … ``most`` groups.

    The best partition has the largest sum of the affinities of all ordered pairs of tasks in the same group. To first
    order, that is the sum over tasks of the relative fall of their losses in a step on their group.

    Source: Fifty et al., "Efficiently Identifying Task Groupings for Multi-Task Learning", NeurIPS 2021. There, a task
    counts with the mean affinity onto it, which does not grow with the number of tasks that help.

    Args:
        affinity: Effect of a step on task i on the loss of task j, [T][T]; None counts as 0.
        most: Largest number of groups; there are at most T − 1.

    Returns:
        A partition per number of groups; groups and their tasks are in the order of the tasks.

    Example:
        >>> partitions([[1.0, 0.2, -0.1], [0.3, 1.0, -0.2], [0.0, -0.1, 1.0]], 4)
        [[[0, 1], [2]]]
    """
    count = len(affinity)

    @cache
    def gain(members: int) -> float:
        group = _members(members)
        return sum(affinity[i][j] or 0.0 for i in group for j in group if i != j)

    @cache
    def best(members: int, groups: int) -> tuple[float, tuple[int, ...]]:
        if groups == 1:
            return gain(members), (members,)
        options, others = [], members & (members - 1)  # the first task is in the first group
        rest = others
        while rest:
            if rest.bit_count() >= groups - 1:
                total, parts = best(rest, groups - 1)
                options.append((total + gain(members ^ rest), (members ^ rest, *parts)))
            rest = (rest - 1) & others
        return max(options)

    return [[_members(group) for group in best(2**count - 1, k)[1]] for k in range(2, min(most, count - 1) + 1)]


def _members(mask: int) -> list[int]:
    return [i for i in range(mask.bit_length()) if mask >> i & 1]


def joint_run(grid: Grid, tasks: Sequence[str]) -> list[Cell]:
    """The run that measures affinities, a shared bottom; none if the grid has no search for groups.

    Args:
        grid: The grid.
        tasks: Names of the recipe's tasks.

    Raises:
        MtlError: If there are too few or too many tasks for a search.
    """
    if not grid.grouping:
        return []
    if not LEAST_TASKS <= len(tasks) <= MOST_TASKS:
        raise MtlError(
            f"grouping=auto: {len(tasks)} tasks, and {LEAST_TASKS} to {MOST_TASKS} can be searched",
            "compare architecture=task_groups with groups of your own (architecture.groups)",
        )
    pairs = ("architecture=shared_bottom", "weighter=sum", f"run.affinity={EVERY}")
    return [Cell("affinity", grid.seeds[0], pairs)]


def affinities(grid: Grid, tasks: Sequence[str]) -> dict[str, Any] | None:
    """``relations.affinity`` of the joint run; None without a search, or until the run has finished.

    Raises:
        MtlError: If the run has finished without a sample.
    """
    for cell in joint_run(grid, tasks):
        if finished(path := cell.path(grid.out)):
            relations = RunDirectory(path).load_json("metrics.json").get("relations", {})
            if "affinity" not in relations:
                raise MtlError(
                    f"{cell.name} took no sample of affinity in its training", f"it needs {EVERY} steps or more"
                )
            return dict(relations["affinity"])
    return None


def candidates(grid: Grid, tasks: Sequence[str]) -> dict[str, list[list[str]]]:
    """Groups of task names by configuration, a configuration per number of groups; empty without affinities."""
    if (affinity := affinities(grid, tasks)) is None:
        return {}
    names, best = affinity["tasks"], partitions(affinity["relative"], MOST_GROUPS)
    return {f"groups{len(groups)}-sum": [[names[i] for i in group] for group in groups] for groups in best}


def group_cells(grid: Grid, tasks: Sequence[str]) -> list[Cell]:
    """Runs of the candidates with all seeds, by which validation chooses; none until affinities are known."""
    return [
        Cell(
            name,
            seed,
            (
                "architecture=task_groups",
                "weighter=sum",
                *(f"architecture.groups.{task}={i}" for i, group in enumerate(groups) for task in group),
            ),
        )
        for seed in grid.seeds
        for name, groups in candidates(grid, tasks).items()
    ]


def grouping_of(grid: Grid, tasks: Sequence[str]) -> dict[str, Any] | None:
    """Affinities, candidates and cost of a search, as plain containers; None without affinities.

    ``seconds`` is the training time of the joint run and of the candidates' runs that have finished, from their steps
    and the time of a step. A sample of affinity counts as T steps.
    """
    if (affinity := affinities(grid, tasks)) is None:
        return None
    joint = joint_run(grid, tasks)
    runs = [cell for cell in [*joint, *group_cells(grid, tasks)] if finished(cell.path(grid.out))]
    costs = [RunDirectory(cell.path(grid.out)).load_json("resources.json") or {} for cell in runs]
    looked = affinity["samples"] * len(affinity["tasks"])
    steps = [cost.get("steps", 0) + (looked if cell in joint else 0) for cell, cost in zip(runs, costs, strict=True)]
    times = [n * (cost.get("step_ms") or 0.0) / 1e3 for n, cost in zip(steps, costs, strict=True)]
    return {
        "tasks": affinity["tasks"],
        "relative": affinity["relative"],
        "samples": affinity["samples"],
        "candidates": candidates(grid, tasks),
        "runs": len(runs),
        "seconds": sum(times),
        "seconds_of_affinities": sum(times[: len(joint)]),
    }


def grouping_sentences(result: Mapping[str, Any]) -> list[str]:
    """Sentences on the groups and on the cost of their search; none for a result without a search.

    Example:
        >>> grouping = {"candidates": {"groups2-sum": [["like", "save"], ["hide"]]}, "samples": 20, "runs": 4}
        >>> grouping_sentences({"grouping": {**grouping, "seconds": 40.0, "seconds_of_affinities": 12.0}})
        ['groups2-sum: {like, save}, {hide}.', 'Search for groups: 20 samples of affinity in a joint run and 4 runs in \
all, about 40 seconds of training, 12 of them for affinities.']
    """
    if not (grouping := result.get("grouping")):
        return []
    named = [f"{name}: {_groups_text(groups)}." for name, groups in grouping["candidates"].items()]
    cost = (
        f"Search for groups: {grouping['samples']} samples of affinity in a joint run and {grouping['runs']} runs in "
        f"all, about {grouping['seconds']:.0f} seconds of training, {grouping['seconds_of_affinities']:.0f} of them "
        "for affinities."
    )
    return [*named, cost]


def grouping_section(result: Mapping[str, Any]) -> str:
    """HTML section with groups, affinities and cost; empty for a result without a search."""
    if not (grouping := result.get("grouping")):
        return ""
    tasks = grouping["tasks"]
    title = "Affinity: step on the row's task, loss of the column's"
    rows = [[name, _groups_text(groups)] for name, groups in grouping["candidates"].items()]
    return f"""<h2>Groups of tasks</h2>
<p>The best partition into each number of groups by affinities of a joint run. Each was trained with all seeds, and
takes part in the selection on validation. {escape(grouping_sentences(result)[-1])}</p>
{table(["configuration", "groups"], rows)}{heatmap(title, tasks, tasks, grouping["relative"])}
"""


def _groups_text(groups: Sequence[Sequence[str]]) -> str:
    return ", ".join(f"{{{', '.join(group)}}}" for group in groups)
