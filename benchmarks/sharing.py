"""Harm and gain of sharing, where the truth is known: worlds ``rare``, ``conflict`` and ``agreement``.

Each world is ``compare`` of single-task models, ``shared_bottom`` and ``dual_path``; with ``groups=true`` also of the
groups that ``grouping=auto`` finds. All cells are trained in this process. A task is harmed if the interval of its
difference from single-task models is below zero, and gains if it is above. Intervals hold for all tasks of a comparison
at once. Finished cells and worlds are kept: the same command resumes.

Usage: ``python benchmarks/sharing.py [out=DIRECTORY] [worlds=20] [first=0] [seeds=3] [groups=false] [scale=1]
[kinds=rare,conflict,agreement] [seconds=240]``. ``scale`` multiplies rows. No run starts after ``seconds``; prints a
Markdown table of the finished worlds.
"""

import json
import shutil
import sys
import time
from pathlib import Path
from statistics import fmean
from typing import Any

from verdict import MOST_SEEDS, train

from mtl_lightning.compare.grouping import group_cells, joint_run
from mtl_lightning.compare.plan import BASELINE, cells, read_grid
from mtl_lightning.compare.results import gather
from mtl_lightning.config import compose
from mtl_lightning.files import write_atomic

ROWS = {"rare": 60_000, "conflict": 40_000, "agreement": 48_000}
SETTINGS = {"agreement": ("split.test=0.5",)}


def compare(
    kind: str, number: int, out: Path, seeds: int, groups: bool, scale: float, until: float
) -> dict[str, Any] | None:
    """Train the missing cells of a world and return its comparison; None if time is over before."""
    folder = out / f"{kind}{number}"
    file = folder / f"result-{seeds}-{groups}.json"
    if file.is_file():
        stored: dict[str, Any] = json.loads(file.read_text())
        return stored
    chosen = ",".join(str(MOST_SEEDS * number + i) for i in range(seeds))
    grid = read_grid([
        f"recipe={kind}", f"source.rows={int(scale * ROWS[kind])}", *SETTINGS.get(kind, ()), f"source.seed={number}",
        "run.relations=0", f"data.cache_dir={folder / 'cache'}", f"out={folder}", "confirm=0", "constants=0",
        "architecture=shared_bottom,dual_path", "weighter=sum", f"seeds={chosen},",
        *(["grouping=auto"] if groups else []),
    ])  # fmt: skip
    kinds = {name: task["kind"] for name, task in compose(kind).plain["tasks"].items()}
    every = cells(grid, list(kinds))
    if not train(grid, [*joint_run(grid, list(kinds)), *every], until):
        return None
    every += group_cells(grid, list(kinds))
    if not train(grid, every, until):
        return None
    shutil.rmtree(folder / "cache", ignore_errors=True)
    result: dict[str, Any] = gather(grid, every, kinds)
    write_atomic(file, json.dumps(result))
    return result


def rows_of(kind: str, results: list[dict[str, Any]]) -> list[str]:
    """Rows of the table: harm and gain of each configuration, and its mean differences by task."""
    rows = []
    for name in [part["name"] for part in results[0]["configurations"] if part["name"] != BASELINE]:
        own = [next(part for part in result["configurations"] if part["name"] == name)["tasks"] for result in results]
        differences = [{task: values["difference"] for task, values in tasks.items()} for tasks in own]
        harmed = [[task for task, ends in tasks.items() if ends["high"] < 0] for tasks in differences]
        gains = sum(ends["low"] > 0 for tasks in differences for ends in tasks.values())
        means = {task: fmean(tasks[task]["mean"] for tasks in differences) for task in differences[0]}
        unharmed = f"{sum(not tasks for tasks in harmed)} of {len(results)}"
        listed = ", ".join(f"{task} {mean:+.3f}" for task, mean in means.items())
        rows.append(f"| {kind} | {name} | {unharmed} | {sum(map(len, harmed))} | {gains} | {listed} |")
    return rows


def main(
    out: str = "runs/sharing", worlds: str = "20", first: str = "0", seeds: str = "3", groups: str = "false",
    scale: str = "1", kinds: str = ",".join(ROWS), seconds: str = "240",
) -> None:  # fmt: skip
    """Resume for some seconds, and print the table of the finished worlds."""
    until = time.monotonic() + float(seconds)
    results: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds.split(",")}
    for number in range(int(first), int(first) + int(worlds)):
        for kind, finished in results.items():
            result = compare(kind, number, Path(out), int(seeds), groups == "true", float(scale), until)
            finished += [result] if result else []
    print("| world | configuration | worlds without harm | tasks harmed | gains | mean difference in AUC by task |")
    print("|---|---|---|---|---|---|")
    for kind, finished in results.items():
        print("\n".join(rows_of(kind, finished) if finished else []))
    print(f"{sum(map(len, results.values()))} worlds")


if __name__ == "__main__":
    main(**dict(pair.split("=", 1) for pair in sys.argv[1:]))
