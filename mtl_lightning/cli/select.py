"""The command ``select features``: features that a recipe does not need, and what leaving them out costs."""

import json
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from filelock import FileLock, Timeout
from rich.markup import escape

from mtl_lightning.cli.importance import MARK, marked, read_groups
from mtl_lightning.cli.json_output import notes_on_stderr, print_json
from mtl_lightning.cli.run_arguments import open_run
from mtl_lightning.compare.plan import Cell
from mtl_lightning.config import Config, compose, validate
from mtl_lightning.config.pairs import Arguments, read_arguments
from mtl_lightning.errors import ConfigError, MtlError
from mtl_lightning.files import write_atomic
from mtl_lightning.fitting.launch import Program
from mtl_lightning.printable import Console
from mtl_lightning.report.render.console import first_console, say
from mtl_lightning.report.render.tables import plain_table, spread
from mtl_lightning.runs.interrupts import Interrupted, handled_signals

if TYPE_CHECKING:
    from mtl_lightning.importance.retraining import Retraining

KEYS = ("max_loss", "verify", "seeds", "jobs", "out")
MEASURING = ("repeats", "draws", "groups", "groups.", "rows", "device")
RESULT = "selection.json"


def select_features(pairs: Sequence[str], program: Program, as_json: bool) -> None:
    """Suggest features to remove, train without them, and say what that costs.

    Args:
        pairs: ``run=<run directory>``, any of :data:`KEYS` and :data:`MEASURING`, and settings of the runs.
        program: The command line that the runs use.
        as_json: Print one JSON document.

    Raises:
        MtlError: If the run can't be opened, or an argument is wrong.
        Exit: With code 1 if a run failed.
    """
    with notes_on_stderr(as_json):
        keys = (*KEYS, *MEASURING)
        result, failed = _select(read_arguments("select features", pairs, ["run"], keys, settings="dotted"), program)
    if as_json:
        print_json(result)
    if failed:
        raise typer.Exit(1)


def _select(arguments: Arguments, program: Program) -> tuple[dict[str, Any], list[Cell]]:
    console = first_console()
    groups, verify = read_groups(arguments), arguments.switch("verify")
    max_loss = arguments.number("max_loss", 0.0, least=0)
    seeds = arguments.number("seeds", 3, least=1, most=1000)
    jobs = arguments.number("jobs", min(2, os.cpu_count() or 1), least=1)
    repeats, draws = arguments.number("repeats", 5, least=1), arguments.number("draws", 100, least=2)
    rows = arguments.number("rows", 0, least=0)
    run, config = open_run(arguments, console)
    out = Path(arguments.own.get("out", run.path / "select"))

    from mtl_lightning.importance.elimination import eliminate, removals
    from mtl_lightning.importance.items import items
    from mtl_lightning.importance.measurement import Importance
    from mtl_lightning.importance.retraining import FIXED, Retraining, cost_sentences

    per_request = config.data.per_request or ()

    def allowed(removed: Collection[str]) -> bool:
        settings = [*arguments.settings, *FIXED, *removals(removed, per_request)]
        try:
            validate(compose(str(run.config_file), settings).plain)
        except ConfigError:
            return False
        return True

    chosen = items(config.features, groups)
    device = arguments.own.get("device", "cpu")
    importance = Importance.of_run(run, config, rows=rows, device=device, repeats=repeats, count=draws)
    steps = eliminate(chosen, config.features, importance.of, allowed, max_loss)
    removed = next((step.features for step in reversed(steps) if step.goes), ())
    result: dict[str, Any] = {
        "run": str(run.path),
        "removed": list(removed),
        "overrides": list(removals(removed, per_request)),
        "max_loss": max_loss,
        "steps": [step.to_dict() for step in steps],
        "cost": None,
    }
    _print_steps(console, config, result)
    failed: list[Cell] = []
    if verify and removed:
        retraining = Retraining(run.config_file, config, arguments.settings, removed, seeds, jobs, out)
        failed = _retrain(console, retraining, program)
        result["cost"] = None if failed else retraining.cost()
    result["failed"] = [cell.name for cell in failed]
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_atomic(out / RESULT, json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        raise MtlError(f"out={out}: can't be written: {error.strerror}", "choose another directory") from error
    for sentence in cost_sentences(result["cost"]) if result["cost"] else ():
        say(console, sentence)
    say(console, f"without them: {' '.join(result['overrides'])}" if removed else "no feature can go")
    say(console, str(out / RESULT))
    return result, failed


def _print_steps(console: Console, config: Config, result: Mapping[str, Any]) -> None:
    """Print what was tried, with the joint loss of the score when it goes as well."""
    tasks = [task.name for task in config.tasks]
    table = plain_table(["permuted as well", "goes"], ["score", *tasks])
    for step in result["steps"]:
        losses, goes = step["losses"], "yes" if step["goes"] else "no" if step["losses"] else "needed"
        cells = [spread(losses["score"]), *(marked(losses[task]) for task in tasks)] if losses else []
        table.add_row(escape(step["name"]), goes, *cells)
    console.print("[bold]Loss of each metric when features are permuted together with those that go[/bold]")
    console.print(table)
    console.print(MARK, style="dim")


def _retrain(console: Console, retraining: "Retraining", program: Program) -> list[Cell]:
    """Train with and without the features; returns the runs that failed."""
    from mtl_lightning.build import build_data
    from mtl_lightning.cli.data_identity import check_data_identity

    def report(cell: Cell, code: int, seconds: float) -> None:
        log = retraining.out / "logs" / f"{cell.name}.log"
        say(console, f"{cell.name}: {f'failed with exit code {code}: {log}' if code else f'{seconds:.0f} s'}")

    say(console, f"training with and without {len(retraining.removed)} features, {retraining.seeds} seeds each")
    try:
        retraining.out.mkdir(parents=True, exist_ok=True)
        with handled_signals(), FileLock(retraining.out / ".lock", timeout=0):
            prepared = build_data(retraining.config).prepare()
            if not len(prepared.stores.get("test", ())):
                raise MtlError("there is no test split to verify the selection", "set split.test, or verify=false")
            check_data_identity(retraining.out, prepared)
            return retraining.run(report, program)
    except Timeout as error:
        raise MtlError(f"another command trains in {retraining.out}", "wait for it, or choose another out=") from error
    except OSError as error:
        raise MtlError(f"out={retraining.out}: can't be used: {error.strerror}", "choose another out=") from error
    except Interrupted:
        say(console, "stopped; the same command continues")
        raise
