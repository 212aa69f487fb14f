"""Verdict of a comparison in words, from differences with confidence intervals."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from mtl_lightning.compare.statistics import Difference

GAIN, LOSS, NO_EVIDENCE = "gain", "negative transfer", "no evidence"


@dataclass(frozen=True)
class Verdict:
    """Conclusion of a comparison.

    Args:
        tasks: ``gain``, ``negative transfer`` or ``no evidence`` per task.
        use: Configuration to use, for all tasks or with exceptions.
        sentences: The conclusion in sentences.
    """

    tasks: dict[str, str]
    use: str
    sentences: tuple[str, ...]


def judge_task(difference: Difference) -> str:
    """Conclusion from a difference in a task.

    Example:
        >>> judge_task(Difference(0.02, 0.01, 0.03)), judge_task(Difference(0.02, -0.01, 0.05))
        ('gain', 'no evidence')
    """
    if difference.low > 0:
        return GAIN
    return LOSS if difference.high < 0 else NO_EVIDENCE


def judge(
    selected: str,
    baseline: str,
    differences: Mapping[str, Difference],
    parameters: Mapping[str, float],
    *,
    metrics: Mapping[str, str],
    seeds: int,
) -> Verdict:
    """Judge the configuration that was selected on validation against single-task models.

    Args:
        selected: Name of the selected configuration.
        baseline: Name of the single-task configuration.
        differences: Advantage of the selected configuration per task. The confidence level of the intervals is
            already corrected for the number of tasks.
        parameters: Number of parameters of both; without evidence, the smaller one is recommended.
        metrics: Name of each task's metric.
        seeds: Number of seeds. With a single seed there is no evidence.

    Example:
        >>> differences = {"click": Difference(0.01, 0.004, 0.016), "hide": Difference(-0.02, -0.03, -0.01)}
        >>> names = {"click": "auc", "hide": "auc"}
        >>> for sentence in judge("mmoe", "single_task", differences, {}, metrics=names, seeds=3).sentences:
        ...     print(sentence)
        click gains from training together: auc better by 0.0100 (0.0040 to 0.0160).
        hide suffers negative transfer: auc worse by 0.0200 (0.0100 to 0.0300).
        Use mmoe for click; single_task for hide.
    """
    tasks = {task: judge_task(difference) if seeds > 1 else NO_EVIDENCE for task, difference in differences.items()}
    sentences = [_sentence(task, tasks[task], differences[task], metrics[task], seeds) for task in tasks]
    gains = [task for task, outcome in tasks.items() if outcome == GAIN]
    losses = [task for task, outcome in tasks.items() if outcome == LOSS]
    if gains and losses:
        use = f"{selected} for {', '.join(t for t in tasks if t not in losses)}; {baseline} for {', '.join(losses)}"
    elif gains:
        use = selected
    elif losses:
        use = baseline
    else:
        use = min((baseline, selected), key=lambda name: parameters.get(name, math.inf))
        sentences.append(_undecided(differences, seeds))
    sentences.append(f"Use {use}.")
    return Verdict(tasks, use, tuple(sentences))


def _sentence(task: str, outcome: str, difference: Difference, metric: str, seeds: int) -> str:
    if math.isnan(difference.mean):
        return f"{task}: {metric} is undefined on the test rows (one class only, or a prediction that is not finite)."
    mean, low, high = (f"{abs(value):.4f}" for value in (difference.mean, difference.low, difference.high))
    change = f"{metric} {_direction(difference.mean)} by {mean}"
    if seeds < 2:
        return f"{task}: {change}, which may be chance."
    if math.isnan(difference.low):
        return f"{task}: no evidence either way: {change}, with too few rows for an interval."
    if outcome == GAIN:
        return f"{task} gains from training together: {change} ({low} to {high})."
    if outcome == LOSS:
        return f"{task} suffers negative transfer: {change} ({high} to {low})."
    ends = f"{low} {_direction(difference.low)} to {high} {_direction(difference.high)}"
    return f"{task}: no evidence either way: {change} ({ends})."


def _direction(value: float) -> str:
    return "better" if value >= 0 else "worse"


def _undecided(differences: Mapping[str, Difference], seeds: int) -> str:
    if seeds < 2:
        return (
            "One seed cannot distinguish transfer from chance: use more (seeds=3, or confirm=2). "
            "Until then, prefer the smaller model."
        )
    if all(math.isnan(difference.mean) for difference in differences.values()):
        return (
            "No conclusion is possible: the test split needs known labels of every class. "
            "Until then, prefer the smaller model."
        )
    return (
        "No evidence that training together helps or harms any task; a difference within the intervals is possible. "
        "Until more seeds or rows decide, prefer the smaller model."
    )
