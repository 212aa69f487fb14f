"""Result of a study as plain containers: its trials, the best one, and the Pareto front over tasks."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mtl_lightning.compare.front import pareto_front
from mtl_lightning.report.run.page import page_below
from mtl_lightning.tune.plan import SCORE, Plan
from mtl_lightning.tune.study import REASON, VALUES

if TYPE_CHECKING:
    from optuna import Study


def gather(plan: Plan, study: "Study", metrics: Mapping[str, str], higher: Mapping[str, bool]) -> dict[str, Any]:
    """Collect the trials of a study, its front and its best trial.

    The best trial has the highest validation score. With ``objective=tasks`` Optuna gets no score, and the best trial
    is the one on the front with the best mean rank over tasks.

    Args:
        plan: The plan.
        study: The study.
        metrics: Logged name of each task's metric.
        higher: Per task, True if higher is better.
    """
    trials: list[dict[str, Any]] = []
    for frozen in study.get_trials(deepcopy=False):
        score = frozen.value if plan.objective == SCORE and frozen.state.name == "COMPLETE" else None
        trials.append({
            "number": frozen.number,
            "state": frozen.state.name.lower(),
            "score": score,
            "epochs": len(frozen.intermediate_values) or None,
            "settings": plan.pairs(frozen.params),
            "params": dict(frozen.params),
            "tasks": frozen.user_attrs.get(VALUES),
            "reason": frozen.user_attrs.get(REASON),
            "directory": str(plan.path(frozen.number)),
            "page": page_below(plan.out, plan.path(frozen.number)),
        })  # fmt: skip
    complete = {trial["number"]: trial for trial in trials if trial["state"] == "complete"}
    points = {
        number: [trial["tasks"][task] for task in metrics]
        for number, trial in complete.items()
        if trial["tasks"] and None not in trial["tasks"].values()
    }
    front = pareto_front(points, list(higher.values()))
    return {
        "recipe": plan.recipe,
        "study": plan.study,
        "objective": plan.objective,
        "tasks": {task: {"metric": name.split("/", 2)[-1], "higher": higher[task]} for task, name in metrics.items()},
        "trials": trials,
        "front": front,
        "best": _best(plan, complete, points, front, list(higher.values())),
    }


def _best(
    plan: Plan,
    complete: Mapping[int, dict[str, Any]],
    points: Mapping[int, Sequence[float]],
    front: Sequence[int],
    higher: Sequence[bool],
) -> int | None:
    if plan.objective == SCORE:
        scored = [number for number, trial in complete.items() if trial["score"] is not None]
        return max(scored, key=lambda number: complete[number]["score"], default=None)
    orders = [sorted(points, key=lambda number: points[number][i], reverse=up) for i, up in enumerate(higher)]
    return min(front, key=lambda number: sum(order.index(number) for order in orders), default=None)
