"""Is the verdict of ``compare`` right where the truth is known? Comparisons of simulated worlds, twenty of each kind.

- ``conflict``: right if the opposed task is said to suffer negative transfer.
- ``agreement``: right if the rare task is said to gain. Half of its rows are for the test, because a rare task's gain
  can't be told from chance on few positives.
- ``shuffled``: ``conflict`` with its outcomes dealt to the rows at random; right if there is no evidence for any task.

What is said of the other tasks isn't judged: training together costs the frequent ones a few thousandths of AUC, as the
means over worlds show. The table has it.

Each comparison is ``compare architecture=shared_bottom weighter=sum constants=0`` of a world of its own, with its cells
in this process instead of one each. Finished cells are kept without their checkpoints: the same command goes on where
it was stopped, more seeds add to what fewer trained, and with other statistics the verdicts are found anew by
``again=true``, without training. Worlds before the twentieth were looked at while the statistics were made.

Usage: ``python benchmarks/verdict.py [out=DIRECTORY] [worlds=20] [first=20] [seeds=3] [confirm=2] [seconds=240]
[again=false]``; begins no run after so many seconds, prints a Markdown table of what is finished.
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
"""Seeds of a world are its own: those of the next one begin so many later."""
KEPT = ("config.yaml", "metrics.json", "resources.json", "test.npz")
"""What of a cell its comparison needs."""


def right(world: str, tasks: dict[str, str]) -> bool:
    """Whether a verdict per task is the truth about a world."""
    if world == "conflict":
        return tasks["hide"] == LOSS
    if world == "agreement":
        return tasks["share"] == GAIN
    return set(tasks.values()) == {NO_EVIDENCE}


def compare(world: str, number: int, seeds: int, confirm: int, out: Path, until: float, again: bool) -> Result | None:
    """The result of one comparison, trained as far as it isn't; None if time is over before that."""
    folder = out / f"{world}{number}"
    file = folder / f"result-{seeds}-{confirm}.json"
    if file.is_file() and not again:
        found: Result = json.loads(file.read_text())
        return found
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
    found = gather(grid, every, kinds)
    write_atomic(file, json.dumps(found))
    return found


def train(grid: Grid, every: Sequence[Cell], until: float) -> bool:
    """Train cells that aren't, keep what comparisons need of them; whether all are done."""
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
    """One run; what it prints is shown if it fails."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            command_line(given)
    except SystemExit as end:
        if end.code:
            raise SystemExit(f"{' '.join(given)}: {printed.getvalue()}") from end


def table(results: dict[str, list[Result]]) -> str:
    """What was right, how large the differences were, and what was said of each task."""
    lines = [
        "| world | right | task | difference, mean ± its error | smallest | largest | said |",
        "|---|---|---|---|---|---|---|",
    ]
    for world, found in results.items():
        verdicts = [each["verdict"]["tasks"] for each in found]
        score = f"{sum(right(world, verdict) for verdict in verdicts)} of {len(found)}"
        for task in found[0]["tasks"] if found else ():
            means = [
                configuration["tasks"][task]["difference"]["mean"]
                for each in found
                for configuration in each["configurations"]
                if configuration["name"] == each["selected"]
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
    """Go on for so many seconds, and print what is known."""
    until = time.monotonic() + float(seconds)
    results: dict[str, list[Result]] = {world: [] for world in WORLDS}
    for number in range(int(first), int(first) + int(worlds)):
        for world in WORLDS:
            found = compare(world, number, int(seeds), int(confirm), Path(out), until, again == "true")
            results[world] += [found] if found else []
    print(table(results))
    print(f"{sum(map(len, results.values()))} comparisons")


if __name__ == "__main__":
    main(**dict(pair.split("=", 1) for pair in sys.argv[1:]))
