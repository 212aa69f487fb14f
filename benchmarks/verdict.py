"""Check of the verdicts of ``compare`` on simulated worlds whose truth is known, twenty of each kind.

- ``conflict``: correct if the verdict is negative transfer for the opposed task.
- ``agreement``: correct if the verdict is a gain for the rare task. Half of the rows are for the test, because a gain
  can't be distinguished from chance with few positives.
- ``shuffled``: ``conflict`` with outcomes assigned to the rows at random; correct without evidence for any task.

Verdicts on the other tasks are not judged. Joint training costs the frequent ones a few thousandths of AUC, as the
means over worlds in the table show.

Each comparison is ``compare architecture=shared_bottom weighter=sum constants=0`` of its own world, with all cells in
this process. Finished cells are stored without their checkpoints: the same command resumes, and more seeds add to
fewer. After a change of the statistics, ``again=true`` computes the verdicts without training. Worlds before the
twentieth were used to develop the statistics.

Usage: ``python benchmarks/verdict.py [out=DIRECTORY] [worlds=20] [first=20] [seeds=3] [confirm=2] [seconds=240]
[again=false]``. No run starts after ``seconds``; prints a Markdown table of the finished comparisons.
"""

import contextlib
import io
import json
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from mtl_lightning.cli.app import main as command_line
from mtl_lightning.compare.launch import arguments, unfinished
from mtl_lightning.compare.plan import Cell, Grid, cells, confirming, read_grid
from mtl_lightning.compare.results import gather, select
from mtl_lightning.compare.verdict import GAIN, LOSS, NO_EVIDENCE
from mtl_lightning.config import compose
from mtl_lightning.files import write_atomic

Result = dict[str, Any]
WORLDS = {
    "conflict": ("conflict",),
    "agreement": ("agreement", "source.rows=48000", "split.test=0.5"),
    "shuffled": ("conflict", "source.shuffled=true"),
}
MOST_SEEDS = 5
"""Number of seeds reserved for a world, so that worlds have different seeds."""
KEPT = ("config.yaml", "metrics.json", "resources.json", "test.npz")
"""Files of a cell that its comparison needs."""


def is_correct(world: str, tasks: dict[str, str]) -> bool:
    """True if the verdicts per task agree with the truth about a world."""
    if world == "conflict":
        return tasks["hide"] == LOSS
    if world == "agreement":
        return tasks["share"] == GAIN
    return set(tasks.values()) == {NO_EVIDENCE}


def compare(world: str, number: int, seeds: int, confirm: int, out: Path, until: float, again: bool) -> Result | None:
    """Train the missing cells of a comparison and return its result; None if time is over before."""
    folder = out / f"{world}{number}"
    file = folder / f"result-{seeds}-{confirm}.json"
    if file.is_file() and not again:
        stored: Result = json.loads(file.read_text())
        return stored
    recipe, *settings = WORLDS[world]
    chosen = ",".join(str(MOST_SEEDS * number + i) for i in range(seeds))
    grid = read_grid([
        f"recipe={recipe}", *settings, f"source.seed={number}", f"data.cache_dir={folder / 'cache'}", f"out={folder}",
        "architecture=shared_bottom", "weighter=sum", "constants=0", f"seeds={chosen},", f"confirm={confirm}",
    ])  # fmt: skip
    kinds = {name: task["kind"] for name, task in compose(recipe).plain["tasks"].items()}
    every = cells(grid, list(kinds))
    if not train(grid, every, until) or not train(grid, confirming(grid, every, select(grid, every)), until):
        return None
    shutil.rmtree(folder / "cache", ignore_errors=True)
    result = gather(grid, every, kinds)
    write_atomic(file, json.dumps(result))
    return result


def train(grid: Grid, every: Sequence[Cell], until: float) -> bool:
    """Train the missing cells and remove files that comparisons do not need; True if all are done."""
    for cell in unfinished(grid, every):
        if time.monotonic() > until:
            return False
        path = cell.path(grid.out)
        shutil.rmtree(path, ignore_errors=True)
        fit(arguments(grid, cell))
        for left in path.iterdir():
            if left.name not in KEPT:
                shutil.rmtree(left) if left.is_dir() else left.unlink()
    return True


def fit(given: Sequence[str]) -> None:
    """Train a cell; its output is shown only if it fails."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            command_line(given)
    except SystemExit as end:
        if end.code:
            raise SystemExit(f"{' '.join(given)}: {printed.getvalue()}") from end


def table(results: dict[str, list[Result]]) -> str:
    """Table of correct verdicts, sizes of the differences, and verdicts of each task."""
    lines = [
        "| world | right | task | difference, mean ± its error | smallest | largest | said |",
        "|---|---|---|---|---|---|---|",
    ]
    for world, comparisons in results.items():
        verdicts = [comparison["verdict"]["tasks"] for comparison in comparisons]
        score = f"{sum(is_correct(world, verdict) for verdict in verdicts)} of {len(comparisons)}"
        for task in comparisons[0]["tasks"] if comparisons else ():
            means = [
                configuration["tasks"][task]["difference"]["mean"]
                for comparison in comparisons
                for configuration in comparison["configurations"]
                if configuration["name"] == comparison["selected"]
            ]
            said = [verdict[task] for verdict in verdicts]
            words = ", ".join(f"{word} {said.count(word)}" for word in (GAIN, LOSS, NO_EVIDENCE) if word in said)
            error = stdev(means) / len(means) ** 0.5 if len(means) > 1 else float("nan")
            mean = f"{fmean(means):+.4f} ± {error:.4f}"
            lines.append(f"| {world} | {score} | {task} | {mean} | {min(means):+.4f} | {max(means):+.4f} | {words} |")
            world, score = "", ""
    return "\n".join(lines)


def main(
    out: str = "runs/verdict", worlds: str = "20", first: str = "20", seeds: str = "3", confirm: str = "2",
    seconds: str = "240", again: str = "false",
) -> None:  # fmt: skip
    """Resume for some seconds, and print the table of the finished comparisons."""
    until = time.monotonic() + float(seconds)
    results: dict[str, list[Result]] = {world: [] for world in WORLDS}
    for number in range(int(first), int(first) + int(worlds)):
        for world in WORLDS:
            result = compare(world, number, int(seeds), int(confirm), Path(out), until, again == "true")
            results[world] += [result] if result else []
    print(table(results))
    print(f"{sum(map(len, results.values()))} comparisons")


if __name__ == "__main__":
    main(**dict(pair.split("=", 1) for pair in sys.argv[1:]))
