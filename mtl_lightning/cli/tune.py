"""The command ``tune``: search the settings of a recipe."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer
from rich.markup import escape

from mtl_lightning.cli.json_output import notes_on_stderr, print_json
from mtl_lightning.config import Config, compose, validate
from mtl_lightning.errors import MtlError
from mtl_lightning.files import write_atomic
from mtl_lightning.fitting.launch import Program
from mtl_lightning.plugins import registry
from mtl_lightning.printable import Console
from mtl_lightning.report.render.console import command, first_console, say
from mtl_lightning.report.render.tables import plain_table
from mtl_lightning.runs.interrupts import Interrupted, handled_signals
from mtl_lightning.tune.plan import Plan, read_plan

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from mtl_lightning.interfaces import TaskMetric

RESULT, PAGE, BEST = "result.json", "report.html", "best.yaml"


def tune(pairs: Sequence[str], program: Program, as_json: bool) -> None:
    """Search the settings of a recipe.

    Args:
        pairs: Arguments of :func:`~mtl_lightning.tune.plan.read_plan`.
        program: The command line that the trials use.
        as_json: Print one JSON document.

    Raises:
        MtlError: If an argument is wrong.
        Exit: With code 1 if no trial succeeded.
    """
    plan = read_plan(pairs)
    plan.check()
    with notes_on_stderr(as_json):
        result = _search(plan, program)
    if as_json:
        print_json(result | {"directory": str(plan.out)})
    if result["best"] is None:
        raise typer.Exit(1)


def _search(plan: Plan, program: Program) -> dict[str, Any]:
    """Run the trials that are left, and write and print the result."""
    config = validate(compose(plan.recipe, plan.overrides).plain)
    metrics, higher = _metrics(config)

    from mtl_lightning.build import build_data
    from mtl_lightning.cli.data_identity import check_data_identity
    from mtl_lightning.tune.outcome import gather
    from mtl_lightning.tune.study import REASON, Trials, open_study

    console = first_console()

    def report(trial: "FrozenTrial", seconds: float) -> None:
        value = f", {', '.join(f'{value:.4f}' for value in trial.values)}" if trial.state.name == "COMPLETE" else ""
        reason = trial.user_attrs.get(REASON)
        log = f": {reason} ({plan.out}/logs/{trial.number:04d}.log)" if reason else ""
        settings = " ".join(plan.pairs(trial.params))
        say(console, f"trial {trial.number} {trial.state.name.lower()}{value}, {seconds:.0f} s: {settings}{log}")

    try:
        with handled_signals():
            study = open_study(plan, higher)
            started = len(study.get_trials(deepcopy=False))
            say(console, f"study {plan.study}: {started} of {plan.trials} trials started, {plan.out}")
            prepared = build_data(config).prepare()
            if not len(prepared.stores["validation"]):
                raise MtlError("tune needs a validation split: it selects the best trial", "set split.validation")
            check_data_identity(plan.out, prepared)
            Trials(plan, study, metrics, program, report).run()
    except Interrupted:
        say(console, "stopped; the same command continues the study")
        raise
    result = gather(plan, study, metrics, higher)
    _write(plan, result)
    _print(console, plan, result)
    return result


def _metrics(config: Config) -> tuple[dict[str, str], dict[str, bool]]:
    """Logged name of each task's first metric, and whether higher is better."""
    first = {task.name: config.metrics[task.name][0].name for task in config.tasks}
    kinds: dict[str, type[TaskMetric]] = {task: registry().resolve("metric", name) for task, name in first.items()}
    higher = {task: bool(kind.higher_is_better) for task, kind in kinds.items()}
    return {task: f"validation/{task}/{name}" for task, name in first.items()}, higher


def _write(plan: Plan, result: Mapping[str, Any]) -> None:
    """Write the result, the page, and recipes of the best trial and of the trials on the front."""
    from mtl_lightning.tune.page import page

    write_atomic(plan.out / RESULT, json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    write_atomic(plan.out / PAGE, page(result))
    trials = {trial["number"]: trial for trial in result["trials"]}
    for old in plan.out.glob("front*.yaml"):
        old.unlink()
    for number in result["front"]:
        comment = f"Trial {number} of {plan.study}: no other trial is as good for every task."
        write_atomic(plan.out / f"front{number:04d}.yaml", plan.recipe_text(trials[number]["params"], comment))
    if result["best"] is not None:
        comment = f"Trial {result['best']}, the best of {len(trials)} of {plan.study}."
        write_atomic(plan.out / BEST, plan.recipe_text(trials[result["best"]]["params"], comment))


def _print(console: Console, plan: Plan, result: Mapping[str, Any]) -> None:
    headings = [f"{task}\n{facts['metric']}" for task, facts in result["tasks"].items()]
    table = plain_table(["trial", "settings"], headings, unwrapped=1)
    front: Sequence[Mapping[str, Any]] = [trial for trial in result["trials"] if trial["number"] in result["front"]]
    for trial in front:
        name = f"{trial['number']} (best)" if trial["number"] == result["best"] else str(trial["number"])
        table.add_row(name, escape(" ".join(trial["settings"])), *(f"{value:.4f}" for value in trial["tasks"].values()))
    console.print("[bold]Front over tasks[/bold]")
    console.print(table)
    say(console, f"{plan.out / PAGE}, {plan.out / RESULT}")
    if result["best"] is not None:
        say(
            console,
            f"to train the best trial and evaluate it on the test split: {command('fit', f'recipe={plan.out / BEST}')}",
        )
