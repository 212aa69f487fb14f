"""The command line: its commands, and exit codes of errors."""

import logging
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer
from rich.markup import escape

from mtl_lightning.cli.allocation import keep_freed_memory
from mtl_lightning.cli.commands import register
from mtl_lightning.errors import MtlError
from mtl_lightning.fitting.launch import Program
from mtl_lightning.fitting.memory import exhausted
from mtl_lightning.plugins import registry
from mtl_lightning.printable import Console
from mtl_lightning.ranks import process_rank

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
    register(app)
    registry().commands(app)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("mtl-lightning"))
        raise typer.Exit


def _options(
    show_version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    """Options of the program itself; each has a callback."""


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
