"""The command ``importance``: by how much each feature counts for each task of a run."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape

from mtl_lightning.cli.run_arguments import open_run
from mtl_lightning.config.pairs import Arguments, read_arguments, read_overrides
from mtl_lightning.errors import MtlError
from mtl_lightning.printable import Console
from mtl_lightning.report.render.console import first_console, say
from mtl_lightning.report.render.tables import plain_table, spread

KEYS = ("repeats", "draws", "groups", "groups.", "split", "rows", "seed", "device")
MARK = "* the interval does not contain 0"
SPLITS = ("validation", "test")


def importance(pairs: Sequence[str]) -> dict[str, Any]:
    """Measure the permutation importance of a run's features, and record it in the run directory.

    Args:
        pairs: ``run=<run directory>``, and any of :data:`KEYS`: ``repeats=5`` permutations, ``draws=100`` bootstrap
            samples, ``groups.user=[user_id,age]`` for features that are permuted together, ``split=validation``,
            ``rows=100000`` for a random sample of so many rows, ``seed=0``, ``device=cuda``. Settings of the run may
            change.

    Returns:
        The content of ``importance.json``, the ``run`` and the ``page``.

    Raises:
        MtlError: If the run can't be opened, or an argument is wrong.
    """
    console = first_console()
    arguments = read_arguments("importance", pairs, ["run"], KEYS, settings="dotted")
    groups = read_groups(arguments)
    split, rows = arguments.choose("split", SPLITS), arguments.number("rows", 0, least=0)
    repeats, draws = arguments.number("repeats", 5, least=1), arguments.number("draws", 100, least=2)
    seed = arguments.number("seed", 0, least=0)
    run, config = open_run(arguments, console)

    from mtl_lightning.importance.items import items
    from mtl_lightning.importance.measurement import Importance
    from mtl_lightning.report.run.importance import FILE
    from mtl_lightning.report.run.page import write_page

    chosen = items(config.features, groups)
    device = arguments.own.get("device", "cpu")
    importance = Importance.of_run(
        run, config, split=split, rows=rows, device=device, seed=seed, repeats=repeats, count=draws
    )
    say(console, f"{len(chosen)} items, {repeats} permutations each, {len(importance.store):,} rows of {split}")
    record = {"split": split, "weights": run.weights().name, **importance.record(chosen)}
    run.save_json(FILE, record)
    page = write_page(run)
    _print(console, record)
    say(console, f"{run.path / FILE}, page {page}")
    return {"run": str(run.path), **record, "page": str(page)}


def read_groups(arguments: Arguments) -> dict[str, Any]:
    """Read the arguments ``groups`` and ``groups.<name>``: lists of features by name.

    Raises:
        MtlError: If they are not a mapping.
    """
    pairs = [f"{key}={value}" for key, value in arguments.own.items() if key.partition(".")[0] == "groups"]
    groups = read_overrides(pairs).get("groups", {})
    if not isinstance(groups, dict):
        raise MtlError(f"groups is {groups!r}, not lists of features by name", "write groups.user=[user_id,age]")
    return groups


def _print(console: Console, record: Mapping[str, Any]) -> None:
    tasks = record["tasks"]
    table = plain_table(["permuted"], ["score", *(f"{task}\n{facts['metric']}" for task, facts in tasks.items())])
    for item in record["items"]:
        losses = item["importance"]
        table.add_row(escape(item["name"]), spread(losses["score"]), *(marked(losses[task]) for task in tasks))
    console.print("[bold]Loss of each metric when features are permuted[/bold]")
    console.print(table)
    console.print(MARK, style="dim")


def marked(ends: Mapping[str, float | None]) -> str:
    """Mean, with an asterisk if its interval does not contain 0.

    Example:
        >>> marked({"mean": 0.02, "low": 0.01, "high": 0.03}), marked({"mean": 0.02, "low": -0.01, "high": 0.05})
        ('+0.0200*', '+0.0200 ')
    """
    mean, low, high = ends["mean"], ends["low"], ends["high"]
    if mean is None or low is None or high is None:
        return "undefined"
    return f"{mean:+.4f}{'*' if low > 0 or high < 0 else ' '}"
