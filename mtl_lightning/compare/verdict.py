"""The answer in words, from differences and costs; it says no more than their confidence intervals do."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from mtl_lightning.compare.statistics import Difference

GAIN, LOSS, NO_EVIDENCE = "gain", "negative transfer", "no evidence"


@dataclass(frozen=True)
class Verdict:
    """What to conclude.

    Args:
        tasks: ``gain``, ``negative transfer`` or ``no evidence`` per task.
        use: What to use: the name of a configuration, for all tasks or with exceptions.
        sentences: The answer.
    """

    tasks: dict[str, str]
    use: str
    sentences: tuple[str, ...]


def judge_task(difference: Difference) -> str:
    """What a difference shows.

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
    """Judge the configuration that validation selected against single-task models.

    Args:
        selected: Its name.
        baseline: Name of the single-task configuration.
        differences: Its advantage per task; the intervals' confidence is already corrected for the number of tasks.
        parameters: Number of parameters of both; the smaller one is to be used when nothing else tells them apart.
        metrics: Name of each task's metric.
        seeds: How many seeds the differences rest on. One says nothing of luck, so that nothing is concluded.

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
    gains = [task for task, found in tasks.items() if found == GAIN]
    losses = [task for task, found in tasks.items() if found == LOSS]
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


def _sentence(task: str, found: str, each: Difference, metric: str, seeds: int) -> str:
    if math.isnan(each.mean):
        return f"{task}: {metric} isn't defined on the test rows (one class only, or a prediction that is no number)."
    mean, low, high = (f"{abs(value):.4f}" for value in (each.mean, each.low, each.high))
    change = f"{metric} {_direction(each.mean)} by {mean}"
    if seeds < 2:
        return f"{task}: {change}, which may be luck."
    if math.isnan(each.low):
        return f"{task}: no evidence either way: {change}, on too few rows for an interval."
    if found == GAIN:
        return f"{task} gains from training together: {change} ({low} to {high})."
    if found == LOSS:
        return f"{task} suffers negative transfer: {change} ({high} to {low})."
    ends = f"{low} {_direction(each.low)} to {high} {_direction(each.high)}"
    return f"{task}: no evidence either way: {change} ({ends})."


def _direction(value: float) -> str:
    return "better" if value >= 0 else "worse"


def _undecided(differences: Mapping[str, Difference], seeds: int) -> str:
    if seeds < 2:
        return (
            "One seed can't tell transfer from luck: take more (seeds=3, or confirm=2). Till then, the smaller model."
        )
    if all(math.isnan(each.mean) for each in differences.values()):
        return (
            "Nothing can be said: a test split with known labels of all kinds is needed. Till then, the smaller model."
        )
    return (
        "No evidence that training together helps or harms any task, though a difference within the intervals may be: "
        "till more seeds or rows tell, the smaller model will do."
    )
