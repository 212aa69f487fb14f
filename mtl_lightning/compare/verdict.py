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
    selected: str, baseline: str, differences: Mapping[str, Difference], parameters: Mapping[str, float]
) -> Verdict:
    """Judge the configuration that validation selected against single-task models.

    Args:
        selected: Its name.
        baseline: Name of the single-task configuration.
        differences: Its advantage per task; the intervals' confidence is already corrected for the number of tasks.
        parameters: Number of parameters of both; the smaller one is to be used when nothing else tells them apart.

    Example:
        >>> differences = {"click": Difference(0.01, 0.004, 0.016), "hide": Difference(-0.02, -0.03, -0.01)}
        >>> for sentence in judge("mmoe", "single_task", differences, {}).sentences:
        ...     print(sentence)
        click gains from training together (+0.0100, 0.0040 to 0.0160).
        hide suffers negative transfer (-0.0200, -0.0300 to -0.0100).
        Use mmoe for click; single_task for hide.
    """
    tasks = {task: judge_task(difference) for task, difference in differences.items()}
    sentences = []
    for task, found in tasks.items():
        each = differences[task]
        numbers = f"({each.mean:+.4f}, {each.low:.4f} to {each.high:.4f})"
        if found == GAIN:
            sentences.append(f"{task} gains from training together {numbers}.")
        elif found == LOSS:
            sentences.append(f"{task} suffers negative transfer {numbers}.")
        elif math.isnan(each.mean):
            sentences.append(f"{task}: the metric isn't defined on the test rows.")
        else:
            sentences.append(f"{task}: no evidence either way {numbers}.")
    gains = [task for task, found in tasks.items() if found == GAIN]
    losses = [task for task, found in tasks.items() if found == LOSS]
    if gains and losses:
        use = f"{selected} for {', '.join(t for t in tasks if t not in losses)}; {baseline} for {', '.join(losses)}"
    elif gains:
        use = selected
    elif losses:
        use = baseline
    else:
        use = min((selected, baseline), key=lambda name: parameters.get(name, math.inf))
        sentences.append("No evidence that training together helps or harms any task: the smaller model will do.")
    sentences.append(f"Use {use}.")
    return Verdict(tasks, use, tuple(sentences))
