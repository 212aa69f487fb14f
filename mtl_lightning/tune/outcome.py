"""What a study found: the best trial, the Pareto front over tasks, as plain containers."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mtl_lightning.tune.plan import SCORE, Plan
from mtl_lightning.tune.study import REASON, VALUES

if TYPE_CHECKING:
    from optuna import Study


def pareto_front(points: Mapping[int, Sequence[float]], higher: Sequence[bool]) -> list[int]:
    """Numbers of the points that no other one equals or beats in everything and beats in something.

    Args:
        points: Values by number.
        higher: Whether more is better, per value.

    Example:
        >>> pareto_front({0: (0.7, 30.0), 1: (0.6, 25.0), 2: (0.6, 31.0)}, (True, False))
        [0, 1]
    """
    signed = {
        number: [value if up else -value for value, up in zip(values, higher, strict=True)]
        for number, values in points.items()
    }

    def beaten(own: list[float]) -> bool:
        return any(
            all(b >= a for a, b in zip(own, other, strict=True)) and any(b > a for a, b in zip(own, other, strict=True))
            for other in signed.values()
        )

    return [number for number, values in signed.items() if not beaten(values)]


def gather(plan: Plan, study: "Study", metrics: Mapping[str, str], higher: Mapping[str, bool]) -> dict[str, Any]:
    """The state of a study.

    The best trial has the highest validation score; with ``objective=tasks``, where no score is told to Optuna, it is
    the one of the front whose mean rank over tasks is best.

    Args:
        plan: The plan.
        study: The study.
        metrics: Each task's metric, as it is logged.
        higher: Whether more of it is better.
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
        })  # fmt: skip
    done = {each["number"]: each for each in trials if each["state"] == "complete"}
    points = {
        number: [each["tasks"][task] for task in metrics]
        for number, each in done.items()
        if each["tasks"] and None not in each["tasks"].values()
    }
    front = pareto_front(points, list(higher.values()))
    return {
        "recipe": plan.recipe,
        "study": plan.study,
        "objective": plan.objective,
        "tasks": {task: {"metric": name.split("/", 2)[-1], "higher": higher[task]} for task, name in metrics.items()},
        "trials": trials,
        "front": front,
        "best": _best(plan, done, points, front, list(higher.values())),
    }


def _best(
    plan: Plan,
    done: Mapping[int, dict[str, Any]],
    points: Mapping[int, Sequence[float]],
    front: Sequence[int],
    higher: Sequence[bool],
) -> int | None:
    if plan.objective == SCORE:
        scored = [number for number, each in done.items() if each["score"] is not None]
        return max(scored, key=lambda number: done[number]["score"], default=None)
    orders = [sorted(points, key=lambda number: points[number][i], reverse=up) for i, up in enumerate(higher)]
    return min(front, key=lambda number: sum(order.index(number) for order in orders), default=None)
