"""The command ``compare``: a grid of runs and a verdict."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import typer
from filelock import FileLock, Timeout

from mtl_lightning.cli.json_output import notes_on_stderr, print_json
from mtl_lightning.compare.comparison import RESULT
from mtl_lightning.compare.grouping import group_cells, joint_run
from mtl_lightning.compare.plan import Cell, Grid, cells, confirming, read_grid
from mtl_lightning.config import compose, validate
from mtl_lightning.config.record import Config
from mtl_lightning.errors import MtlError
from mtl_lightning.files import write_atomic
from mtl_lightning.fitting.launch import Program
from mtl_lightning.printable import Console
from mtl_lightning.report.render.console import first_console, say
from mtl_lightning.runs.interrupts import Interrupted, handled_signals

SETTINGS = "comparison.json"
PAGE = "report.html"


def compare(pairs: Sequence[str], program: Program, *, print_commands: bool, only_gather: bool, as_json: bool) -> None:
    """Compare multi-task configurations with single-task models.

    Args:
        pairs: Arguments of :func:`~mtl_lightning.compare.plan.read_grid`.
        program: The command line that the runs use.
        print_commands: Print the commands of unfinished runs, and run nothing.
        only_gather: Compare the runs that have finished, and run nothing.
        as_json: Print one JSON document.

    Raises:
        MtlError: If an argument is wrong.
        Exit: With code 1 if a run failed.
    """
    grid = read_grid(pairs)
    if print_commands and only_gather:
        raise MtlError("--print and --gather exclude each other", "give one of them")
    plain = compose(grid.recipe, grid.overrides).plain
    config = validate(plain)
    kinds = {task.name: task.kind for task in config.tasks}
    if len(kinds) < 2:
        raise MtlError(
            f"{grid.recipe} has one task: there is nothing to train together", "compare needs at least two tasks"
        )
    joint, every = joint_run(grid, list(kinds)), cells(grid, list(kinds))
    _check(grid, [*joint, *every])
    if only_gather:
        _check_finished(grid, every)
    if grid.plots:
        from mtl_lightning.export.extras import need

        need("matplotlib", "plots")  # a missing library is reported before the first run
    _save_settings(grid, config)
    if print_commands:
        from mtl_lightning.compare.launch import command, unfinished
        from mtl_lightning.compare.results import select

        # Groups are known when the joint run has finished, the configuration to confirm when the grid has.
        every += group_cells(grid, list(kinds))
        left = unfinished(grid, [*joint, *every]) or unfinished(grid, confirming(grid, every, select(grid, every)))
        commands = [command(grid, cell) for cell in left]
        if as_json:
            print_json({"commands": commands})
        for line in [] if as_json else commands:
            typer.echo(line)
        return
    failed: list[Cell] = []
    with notes_on_stderr(as_json):
        if only_gather:
            result = _write(first_console(), grid, [*every, *group_cells(grid, list(kinds))], kinds)
        else:
            result, failed = _run(grid, joint, every, kinds, program)
    if as_json:
        print_json(result | {"directory": str(grid.out), "failed": [cell.name for cell in failed]})
    if failed:
        raise typer.Exit(1)


def _check(grid: Grid, every: Sequence[Cell]) -> None:
    """Report problems of all runs before the first one starts."""
    for cell in every:
        if cell.seed == grid.seeds[0]:
            try:
                validate(compose(grid.recipe, [*grid.overrides, *cell.pairs]).plain)
            except MtlError as error:
                raise MtlError(f"{cell.configuration}: {error}") from error


def _check_finished(grid: Grid, every: Sequence[Cell]) -> None:
    from mtl_lightning.compare.launch import unfinished

    if len(unfinished(grid, every)) == len(every):
        raise MtlError(f"no run of the comparison has finished in {grid.out}", "run it first, without --gather")


def _save_settings(grid: Grid, config: Config) -> None:
    """Save the settings that all runs share, or refuse others; seeds and methods can be added later."""
    settings = {"recipe": grid.recipe, "overrides": sorted(grid.overrides), "constants": grid.constants}
    settings |= {"first": grid.architectures[0], "content of the recipe": config.identity}
    path = grid.out / SETTINGS
    try:
        before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise MtlError(f"{path} can't be read: {error}", "choose another out=") from error
    if changed := [key for key in settings if before.get(key, settings[key]) != settings[key]]:
        raise MtlError(f"{grid.out} compares runs with another {' and '.join(changed)}", "choose another out=")
    try:
        grid.out.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(settings, indent=2) + "\n")
    except OSError as error:
        raise MtlError(f"out={grid.out}: can't be written: {error.strerror}", "choose another directory") from error


def _run(
    grid: Grid, joint: Sequence[Cell], every: Sequence[Cell], kinds: Mapping[str, str], program: Program
) -> tuple[dict[str, Any], list[Cell]]:
    """Run what has not finished; returns the comparison and the cells that failed."""
    from mtl_lightning.compare.launch import launch, unfinished
    from mtl_lightning.compare.results import select

    console = first_console()
    total = len(joint) + len(every)
    left = unfinished(grid, [*joint, *every])
    ended = total - len(left)
    say(console, f"{total} runs, {ended} finished, {grid.jobs} at a time, in {grid.out}")

    def report(cell: Cell, code: int, seconds: float) -> None:
        nonlocal ended
        ended += 1
        log = grid.out / "logs" / f"{cell.name}.log"
        outcome = f"failed with exit code {code}: {log}" if code else f"{seconds:.0f} s"
        say(console, f"{ended}/{total} {cell.name}: {outcome}", "red" if code else "")

    failed: list[Cell] = []

    def run(more: Sequence[Cell], reason: str = "") -> None:
        nonlocal total
        if more:
            if reason:
                total += len(more)
                say(console, f"{reason}: {len(more)} more runs")
            _prepare(grid, more[0])
            failed.extend(launch(grid, more, report, program))

    try:
        with handled_signals(), FileLock(grid.out / ".lock", timeout=0):
            run([cell for cell in left if cell in joint])
            groups = group_cells(grid, list(kinds))  # fails before the other runs if there are no affinities
            run([cell for cell in left if cell not in joint])
            run(unfinished(grid, groups), "groups of tasks from affinities")
            every = [*every, *groups]
            selected = select(grid, every)
            run(unfinished(grid, confirming(grid, every, selected)), f"{selected} is best on validation")
            result = _write(console, grid, every, kinds)
    except Timeout as error:
        raise MtlError(f"another compare is running in {grid.out}", "wait for it, or choose another out=") from error
    except Interrupted:
        say(console, "stopped; the same command continues the comparison")
        raise
    return result, failed


def _prepare(grid: Grid, cell: Cell) -> None:
    """Prepare the data once for all runs."""
    from mtl_lightning.build import build_data
    from mtl_lightning.cli.data_identity import check_data_identity

    data = build_data(validate(compose(grid.recipe, [*grid.overrides, *cell.pairs]).plain))
    check_data_identity(grid.out, data.prepare())
    for split in ("validation", "test"):
        if not len(data.prepared.stores.get(split, ())):
            raise MtlError(f"compare needs a {split} split", f"set split.{split}")


def _write(console: Console, grid: Grid, every: Sequence[Cell], kinds: Mapping[str, str]) -> dict[str, Any]:
    """Compare finished runs: on the terminal, as JSON and as a page."""
    from mtl_lightning.compare.figures import write_figures
    from mtl_lightning.compare.page import page
    from mtl_lightning.compare.paper import FORMATS
    from mtl_lightning.compare.results import gather
    from mtl_lightning.compare.tables import result_tables

    result: dict[str, Any] = gather(grid, every, kinds)
    write_atomic(grid.out / RESULT, json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    write_atomic(grid.out / PAGE, page(result))
    tables = {grid.out / FORMATS[name][0]: FORMATS[name][1] for name in grid.tables}
    for path, write in tables.items():
        write_atomic(path, write(result))
    plots = write_figures(result, grid.out, grid.plots) if grid.plots else []
    console.print(result_tables(result))
    say(console, ", ".join(map(str, (grid.out / PAGE, grid.out / RESULT, *tables, *plots))))
    return result
