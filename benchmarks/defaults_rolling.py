"""Multi-task against single-task models under repeated training, each time tested on the following rows.

Usage::

    python benchmarks/defaults_rolling.py movielens_rolling               # trials, selection, test; resumable
    python benchmarks/defaults_rolling.py movielens_rolling --minutes 9   # stop after a while; the same command resumes
    python benchmarks/defaults_rolling.py movielens_history_rolling       # two given settings, without selection

A single split by time tests only a set's few last users. Therefore ``defaults.yaml`` names several windows, each with
its own validation and test rows. In every window, each side takes the setting with the best validation score and trains
it with ``--seeds`` seeds. Figures are means of the windows' AUC, weighted by their rows; the bootstrap draws users over
all windows.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from defaults_trials import OUT, TRIALS, composed, result, run, write_part

from mtl_lightning.compare.statistics import Rows, draws, interval, metric_of
from mtl_lightning.config import validate
from mtl_lightning.runs.records.test_rows import read_rows

RECIPE, SEVERAL, SINGLE = "recipe", "several tasks", "single-task"
DRAWS = 1000


class Clock:
    """Time limit of a resumable program."""

    def __init__(self, minutes: float) -> None:
        self.end = time.monotonic() + 60 * minutes

    def check(self) -> None:
        """Exit if time is over."""
        if time.monotonic() > self.end:
            raise SystemExit("time is over; the same command resumes")


def select(group: str, clock: Clock) -> dict[str, str]:
    """Select the current recipe, and each side's best trial by the window's validation score with seed 0."""
    scores = {}
    for trial in TRIALS[group]["trials"]:
        record = result(group, trial, 0)
        if record is None:
            clock.check()
            record = run(group, trial, 0)
        scores[trial] = record["validation"]["score"]
    single = [trial for trial in scores if trial.startswith("single")]
    several = [trial for trial in scores if trial not in single]
    return {
        RECIPE: several[0],
        SEVERAL: max(several, key=scores.__getitem__),
        SINGLE: max(single, key=scores.__getitem__),
    }


def test_rows(group: str, trial: str, seed: int, clock: Clock) -> dict[str, np.ndarray]:
    """Labels and predictions of a trial for the window's test rows."""
    record = result(group, trial, seed)
    if record is None or "rows" not in record:
        clock.check()
        record = run(group, trial, seed, test=True)
    return read_rows(Path(record["rows"]))


def compare(
    windows: Sequence[Mapping[str, Sequence[Mapping[str, np.ndarray]]]], task: str, tasks: int, base: str
) -> None:
    """Print a task's figures, and the gain over a side with intervals at 95% and at 95% for all tasks jointly.

    Args:
        windows: Test rows of each window by side and seed.
        task: Name of a binary task.
        tasks: Number of tasks that are judged jointly.
        base: Side over which gains are computed.
    """
    first = [window[base][0] for window in windows]
    sizes = [len(part[f"label/{task}"]) for part in first]
    rows = Rows(
        np.concatenate([part[f"label/{task}"].ravel() for part in first]).astype(np.float64),
        np.ones(sum(sizes)),
        np.concatenate([part["group"] for part in first]),
    )
    ends = np.cumsum(sizes)
    seeds = len(windows[0][base])

    def figures(side: str, weight: np.ndarray) -> np.ndarray:
        parts = [weight[end - size : end] for end, size in zip(ends, sizes, strict=True)]
        values = [[metric(part) for metric in by_seed] for part, by_seed in zip(parts, metrics[side], strict=True)]
        return np.average(values, axis=0, weights=[part.sum() for part in parts])

    metrics = {
        side: [
            [
                metric_of("binary", own[f"label/{task}"].ravel().astype(np.float64), seed[f"prediction/{task}"].ravel())
                for seed in window[side]
            ]
            for own, window in zip(first, windows, strict=True)
        ]
        for side in (base, *(name for name in windows[0] if name != base))
    }
    whole = {side: figures(side, rows.weight) for side in metrics}
    drawn = [{side: figures(side, weight) for side in metrics} for weight in draws(rows, DRAWS)]
    for side, values in whole.items():
        spread = f" ± {values.std(ddof=1):.4f}" if seeds > 1 else ""
        line = f"{task:8} {side:15} {values.mean():.4f}{spread} (seeds: {seeds})"
        if side != base:
            samples = np.array([sample[side] - sample[base] for sample in drawn])
            for level in (0.95, 1 - 0.05 / tasks):
                gain = interval(values - whole[base], samples, level)
                line += f"   {gain.mean:+.4f} ({gain.low:+.4f} to {gain.high:+.4f} at {level:.3g})"
        print(line, flush=True)


def main() -> None:
    """Read the command line."""
    names = sorted({group.rsplit("_", 1)[0] for group, trials in TRIALS.items() if "windows" in trials})
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
        write_part(group)
        sides = TRIALS[group].get("sides") or select(group, clock)
        base = next(iter(sides)) if "sides" in TRIALS[group] else SINGLE
        print(f"{group:24}", "   ".join(f"{side}: {trial}" for side, trial in sides.items()), flush=True)
        windows.append(
            {
                side: [test_rows(group, trial, seed, clock) for seed in range(arguments.seeds)]
                for side, trial in sides.items()
            }
        )
    users = np.unique(np.concatenate([window[base][0]["group"] for window in windows]))
    print(f"{len(users)} users in {sum(len(window[base][0]['group']) for window in windows)} test rows")
    tasks = [task.name for task in validate(composed(group, next(iter(sides.values())), 0)).tasks]
    for task in tasks:
        compare(windows, task, len(tasks), base)


if __name__ == "__main__":
    main()
