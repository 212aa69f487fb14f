"""Several tasks against single ones when a model is trained again and again, each time tested on what comes next.

Usage::

    python benchmarks/defaults_rolling.py movielens_rolling               # trials, selection, test; resumable
    python benchmarks/defaults_rolling.py movielens_rolling --minutes 9   # stop after a while; the same command goes on

One split by time tests a set's few last users. Here ``defaults.yaml`` names windows, each with validation and test rows
of its own. In every window each side takes the setting with the best validation score, and trains it with ``--seeds``
seeds. A figure is the mean of the windows' AUC, weighted by their rows; users are drawn whole, over all windows.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from defaults_trials import OUT, TRIALS, composed, result, run, written

from mtl_lightning.compare.statistics import Rows, draws, interval, metric_of
from mtl_lightning.config import validate
from mtl_lightning.runs.records.test_rows import read_rows

RECIPE, SEVERAL, SINGLE = "recipe", "several tasks", "single-task"
DRAWS = 1000


class Clock:
    """Stops a program that others continue."""

    def __init__(self, minutes: float) -> None:
        self.end = time.monotonic() + 60 * minutes

    def check(self) -> None:
        """Leave if time is over."""
        if time.monotonic() > self.end:
            raise SystemExit("time is over; the same command goes on")


def chosen(group: str, clock: Clock) -> dict[str, str]:
    """The recipe as it is, and the best trial of either side by the window's validation score, seed 0."""
    scores = {}
    for trial in TRIALS[group]["trials"]:
        found = result(group, trial, 0)
        if found is None:
            clock.check()
            found = run(group, trial, 0)
        scores[trial] = found["validation"]["score"]
    single = [trial for trial in scores if trial.startswith("single")]
    several = [trial for trial in scores if trial not in single]
    return {
        RECIPE: several[0],
        SEVERAL: max(several, key=scores.__getitem__),
        SINGLE: max(single, key=scores.__getitem__),
    }


def test_rows(group: str, trial: str, seed: int, clock: Clock) -> dict[str, np.ndarray]:
    """A trial's labels and predictions of the window's test rows."""
    found = result(group, trial, seed)
    if found is None or "rows" not in found:
        clock.check()
        found = run(group, trial, seed, test=True)
    return read_rows(Path(found["rows"]))


def compare(windows: Sequence[Mapping[str, Sequence[Mapping[str, np.ndarray]]]], task: str, tasks: int) -> None:
    """Print a task's figures, and the advantage of several tasks at 95% and at 95% for all tasks at once.

    Args:
        windows: Test rows of each window by side and seed.
        task: A binary task.
        tasks: Number of tasks that are judged at once.
    """
    first = [window[RECIPE][0] for window in windows]
    sizes = [len(each[f"label/{task}"]) for each in first]
    rows = Rows(
        np.concatenate([each[f"label/{task}"].ravel() for each in first]).astype(np.float64),
        np.ones(sum(sizes)),
        np.concatenate([each["group"] for each in first]),
    )
    ends = np.cumsum(sizes)
    seeds = len(windows[0][RECIPE])

    def figures(side: str, weight: np.ndarray) -> np.ndarray:
        parts = [weight[end - size : end] for end, size in zip(ends, sizes, strict=True)]
        values = [[metric(part) for metric in found] for part, found in zip(parts, metrics[side], strict=True)]
        return np.average(values, axis=0, weights=[part.sum() for part in parts])

    metrics = {
        side: [
            [
                metric_of("binary", own[f"label/{task}"].ravel().astype(np.float64), each[f"prediction/{task}"].ravel())
                for each in window[side]
            ]
            for own, window in zip(first, windows, strict=True)
        ]
        for side in (SINGLE, RECIPE, SEVERAL)
    }
    whole = {side: figures(side, rows.weight) for side in metrics}
    drawn = [{side: figures(side, weight) for side in metrics} for weight in draws(rows, DRAWS)]
    for side, values in whole.items():
        line = f"{task:8} {side:14} {values.mean():.4f} ± {values.std(ddof=1):.4f} ({seeds} seeds)"
        if side != SINGLE:
            samples = np.array([each[side] - each[SINGLE] for each in drawn])
            for level in (0.95, 1 - 0.05 / tasks):
                gain = interval(values - whole[SINGLE], samples, level)
                line += f"   {gain.mean:+.4f} ({gain.low:+.4f} to {gain.high:+.4f} at {level:.3g})"
        print(line, flush=True)


def main() -> None:
    """Read the command line."""
    names = sorted({group.rsplit("_", 1)[0] for group, each in TRIALS.items() if "windows" in each})
    parser = argparse.ArgumentParser()
    parser.add_argument("set", choices=names)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=1e6)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    clock = Clock(arguments.minutes)
    windows = []
    for group in (group for group in TRIALS if group.rsplit("_", 1)[0] == arguments.set):
        (OUT / group).mkdir(parents=True, exist_ok=True)
        written(group)
        sides = chosen(group, clock)
        print(f"{group:24}", "   ".join(f"{side}: {trial}" for side, trial in sides.items()), flush=True)
        windows.append(
            {
                side: [test_rows(group, trial, seed, clock) for seed in range(max(arguments.seeds, 2))]
                for side, trial in sides.items()
            }
        )
    users = np.unique(np.concatenate([window[RECIPE][0]["group"] for window in windows]))
    print(f"{len(users)} users in {sum(len(window[RECIPE][0]['group']) for window in windows)} test rows")
    tasks = [task.name for task in validate(composed(group, "recipe", 0)).tasks]
    for task in tasks:
        compare(windows, task, len(tasks))


if __name__ == "__main__":
    main()
