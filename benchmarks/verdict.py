"""Is the verdict of ``compare`` right where the truth is known? Comparisons of simulated worlds, twenty of each kind.

- ``conflict``: right if the opposed task, and no other, is said to suffer negative transfer.
- ``agreement``: right if the rare task is said to gain, and none to suffer.
- ``shuffled``: ``conflict`` with its outcomes dealt to the rows at random; right if there is no evidence for any task.

Each comparison is ``compare architecture=shared_bottom weighter=sum constants=0 seeds=5`` of a world of its own, with
its cells in this process instead of one each. Finished ones are kept: the same command goes on where it was stopped.

Usage: ``python benchmarks/verdict.py [out=DIRECTORY] [worlds=20] [seconds=240]``; stops after so many seconds, prints
a Markdown table of what is finished.
"""

import contextlib
import io
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from mtl_lightning.cli.app import main as command_line
from mtl_lightning.compare.gather import gather
from mtl_lightning.compare.launch import arguments
from mtl_lightning.compare.plan import cells, read_grid
from mtl_lightning.compare.verdict import GAIN, LOSS, NO_EVIDENCE
from mtl_lightning.config import compose
from mtl_lightning.rundir import write_atomic

WORLDS = {
    "conflict": ("conflict",),
    "agreement": ("agreement",),
    "shuffled": ("conflict", "source.shuffled=true"),
}
SEEDS = 5
"""With three, the spread between seeds is known so badly that an effect of 0.03 may be missed."""


def right(world: str, tasks: dict[str, str]) -> bool:
    """Whether a verdict per task is the truth about a world."""
    if world == "conflict":
        return [task for task, found in tasks.items() if found == LOSS] == ["hide"]
    if world == "agreement":
        return tasks["share"] == GAIN and LOSS not in tasks.values()
    return set(tasks.values()) == {NO_EVIDENCE}


def compare(world: str, number: int, out: Path) -> dict[str, Any]:
    """The result of one comparison, from its file if there is one."""
    folder = out / f"{world}{number}"
    file = folder / "result.json"
    if file.is_file():
        found: dict[str, Any] = json.loads(file.read_text())
        return found
    shutil.rmtree(folder, ignore_errors=True)
    recipe, *settings = WORLDS[world]
    seeds = ",".join(str(SEEDS * number + i) for i in range(SEEDS))
    grid = read_grid([
        f"recipe={recipe}", *settings, f"source.seed={number}", f"data.cache_dir={folder / 'cache'}",
        "architecture=shared_bottom", "weighter=sum", "constants=0", f"seeds={seeds}", f"out={folder}",
    ])  # fmt: skip
    kinds = {name: task["kind"] for name, task in compose(recipe).plain["tasks"].items()}
    every = cells(grid, list(kinds))
    started = time.process_time()
    for cell in every:
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                command_line(arguments(grid, cell))
        except SystemExit as end:
            if end.code:
                raise SystemExit(f"{cell.name}: {printed.getvalue()}") from end
    found = gather(grid, every, kinds) | {"cpu_seconds": time.process_time() - started}
    write_atomic(file, json.dumps(found))
    shutil.rmtree(folder / "cells")
    shutil.rmtree(folder / "cache")
    return found


def table(results: dict[str, list[dict[str, Any]]]) -> str:
    """What was right, how large the differences were, and what was said of each task."""
    lines = ["| world | right | task | difference, mean | smallest | largest | said |", "|---|---|---|---|---|---|---|"]
    for world, found in results.items():
        verdicts = [each["verdict"]["tasks"] for each in found]
        score = f"{sum(right(world, verdict) for verdict in verdicts)} of {len(found)}"
        for task in found[0]["tasks"] if found else ():
            (name,) = {each["selected"] for each in found}
            means = [
                configuration["tasks"][task]["difference"]["mean"]
                for each in found
                for configuration in each["configurations"]
                if configuration["name"] == name
            ]
            said = [verdict[task] for verdict in verdicts]
            words = ", ".join(f"{word} {said.count(word)}" for word in (GAIN, LOSS, NO_EVIDENCE) if word in said)
            values = " | ".join(f"{value:+.4f}" for value in (sum(means) / len(means), min(means), max(means)))
            lines.append(f"| {world} | {score} | {task} | {values} | {words} |")
            world, score = "", ""
    return "\n".join(lines)


def main(out: str = "runs/verdict", worlds: str = "20", seconds: str = "240") -> None:
    """Go on for so many seconds, and print what is known."""
    started = time.monotonic()
    results: dict[str, list[dict[str, Any]]] = {world: [] for world in WORLDS}
    for number in range(int(worlds)):
        for world in WORLDS:
            done = (Path(out) / f"{world}{number}" / "result.json").is_file()
            if done or time.monotonic() - started < float(seconds):
                results[world].append(compare(world, number, Path(out)))
    print(table(results))
    spent = [each["cpu_seconds"] for found in results.values() for each in found]
    print(f"{len(spent)} comparisons, {sum(spent) / len(spent):.1f} CPU seconds each")


if __name__ == "__main__":
    main(**dict(pair.split("=", 1) for pair in sys.argv[1:]))
