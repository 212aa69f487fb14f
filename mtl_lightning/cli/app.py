"""The command line: the list of commands, and exit codes of errors."""

import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Annotated, Any, NoReturn

import typer
from rich.markup import escape

from mtl_lightning.cli import compare, data, doctor, plugins, recipes, tune, validate
from mtl_lightning.cli.allocation import keep_freed_memory
from mtl_lightning.cli.completion import CHOICES, complete_pairs
from mtl_lightning.cli.json_output import AsJson, notes_on_stderr, print_json
from mtl_lightning.errors import MtlError
from mtl_lightning.fitting.launch import Program
from mtl_lightning.fitting.memory import exhausted
from mtl_lightning.plugins import registry
from mtl_lightning.printable import Console
from mtl_lightning.ranks import process_rank


def _pairs(example: str, *keys: str, choices: Sequence[str] = ()) -> Any:
    complete = complete_pairs(*keys, choices=choices)
    return typer.Argument(metavar="KEY=VALUE...", help=example, autocompletion=complete)


TestPairs = Annotated[list[str] | None, _pairs("run=runs/ads/1 trainer.accelerator=cpu …", "run")]
FIT_KEYS = ("resume", "init_from", "run.dir", "seed", "trainer.max_epochs", "trainer.accelerator")


COMPLETION = "_MTL_LIGHTNING_COMPLETE"
"""Variable that is set when a shell asks for completions."""
SPINS = "3000"
"""Times that a waiting OpenMP thread polls before it sleeps, unless the environment sets it."""


def build_app() -> typer.Typer:
    """Build the app with all commands, including commands of plugins. Does not import torch."""
    app = typer.Typer(
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "obj": PROGRAM},
    )
    app.callback(help="Multi-task learning for recommender systems, on Lightning.")(_options)
    app.command("fit")(_fit)
    app.command("test")(_test)
    app.command("predict")(_predict)
    app.command("export")(_export)
    app.command("serve")(_serve)
    for group in (compare, tune, validate, recipes, data, plugins, doctor):
        group.register(app)
    registry().commands(app)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("mtl-lightning"))
        raise typer.Exit


def _options(
    show_version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    """Options of the program itself; each has a callback."""


def _fit(
    pairs: Annotated[
        list[str] | None, _pairs("recipe=ads weighter=pcgrad trainer.max_epochs=3 …", *FIT_KEYS, choices=CHOICES)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train a recipe, or resume a run: recipe=NAME key=value …, or resume=RUN_DIRECTORY."""
    from mtl_lightning.cli.fit import fit

    _print_summary(fit, pairs, as_json)


def _test(pairs: TestPairs = None, as_json: AsJson = False) -> None:
    """Evaluate a run on its test split: run=RUN_DIRECTORY."""
    from mtl_lightning.cli.test import test

    _print_summary(test, pairs, as_json)


def _predict(
    pairs: Annotated[
        list[str] | None,
        _pairs("run=runs/ads/1 data=tomorrow.csv out=scores.parquet …", "run", "data", "out", "bad_rows"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a run's predictions: run=RUN_DIRECTORY out=FILE.parquet, and data=FILES for other rows."""
    from mtl_lightning.cli.predict import predict

    _print_summary(predict, pairs, as_json)


def _export(
    pairs: Annotated[
        list[str] | None,
        _pairs("run=runs/ads/1 out=exports/ads score=p_click calibrate=false …", "run", "out", "score", "calibrate"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Export a run to a folder to serve: run=RUN_DIRECTORY out=FOLDER, and score=FORMULA."""
    from mtl_lightning.cli.export import export

    _print_summary(export, pairs, as_json)


def _serve(
    pairs: Annotated[
        list[str] | None,
        _pairs("export=exports/ads host=0.0.0.0 port=8000 threads=1 …", "export", "host", "port", "threads"),
    ] = None,
) -> None:
    """Serve an export over HTTP: export=FOLDER, and port=8000."""
    from mtl_lightning.cli.serve import serve

    serve(pairs or [])


def _print_summary(
    command: Callable[[Sequence[str]], dict[str, Any] | None], pairs: list[str] | None, as_json: bool
) -> None:
    """Run a command; with ``--json`` print its summary, which only one process has, and nothing else on stdout."""
    with notes_on_stderr(as_json):
        summary = command(pairs or [])
    if as_json and summary is not None:
        print_json(summary)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Errors that are meant for the user are printed on stderr without a traceback, or with one if ``MTL_DEBUG`` is set.
    The exit code is 2, or 1 if memory ran out; after SIGINT and SIGTERM it is 130 and 143. Control characters are
    printed as text.

    Args:
        arguments: Arguments to use instead of the process's own.
    """
    # Read when torch loads libgomp: waiting threads yield their core after microseconds instead of milliseconds. That
    # costs nothing on an idle machine, and more than doubles the speed of steps on a busy one.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    keep_freed_memory()
    if COMPLETION in os.environ:
        logging.disable()  # a warning about a plugin would be printed into the line that is being completed
    try:
        build_app()(None if arguments is None else list(arguments))
    except KeyboardInterrupt:  # while plugins are loaded; typer handles it in a command
        sys.exit(128 + signal.SIGINT)
    except MtlError as error:
        _fail(str(error))
    except Exception as error:
        if (short := exhausted(error)) is not None:
            _fail(short, code=1)
        # Lightning raises it for arguments that contradict each other or the machine.
        if type(error).__name__ != "MisconfigurationException":
            raise
        _fail(f"trainer: {error}")


def _fail(message: str, code: int = 2) -> NoReturn:
    """Print the message of the error that is being handled, and exit."""
    if os.environ.get("MTL_DEBUG"):
        traceback.print_exc()
    rank = process_rank()
    if rank:  # the first process usually prints the same error: one line is enough here
        message = f"[process {rank}] {message.splitlines()[0]}"
    console = Console(stderr=True, highlight=False, emoji=False)
    console.print(f"[bold red]error:[/bold red] {escape(message)}", soft_wrap=True)
    sys.exit(code)


PROGRAM = Program(main, preload=("mtl_lightning.fitting.run",))
"""The command line for processes that compare and tune start; the ``obj`` of every command's context."""

if __name__ == "__main__":
    main()
