"""The option ``--json``: one JSON document on stdout, and everything else that is printed on stderr."""

import contextlib
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from mtl_lightning.printable import printable

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document; notes and progress go to stderr.")]


def print_json(content: Any) -> None:
    r"""Print a JSON document on stdout.

    Numbers are not rounded, and NaN and infinite numbers are null. Control characters are escaped.

    Args:
        content: Plain containers; paths are printed as text.

    Example:
        >>> print_json({"auc": 0.1 + 0.2, "loss": float("nan"), "name": "\x7f"})
        {
          "auc": 0.30000000000000004,
          "loss": null,
          "name": "\u007f"
        }
    """
    text = json.dumps(_finite(content), indent=2, ensure_ascii=False, allow_nan=False, default=str)
    typer.echo(printable(text.replace("\x7f", "\\u007f")))


def _finite(value: Any) -> Any:
    """Containers with None in place of numbers that are not finite."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextlib.contextmanager
def notes_on_stderr(active: bool = True) -> Iterator[None]:
    """Send to stderr what is printed within the block, including output of child processes and C libraries.

    Args:
        active: Whether to change anything.

    Example:
        >>> with notes_on_stderr():
        ...     print("a note")
    """
    with contextlib.ExitStack() as stack:
        if active:
            stdout = sys.__stdout__  # another one in notebooks and tests
            if stdout is not None and stdout is sys.stdout and stdout.fileno() == 1:
                stack.enter_context(_stdout_file_as_stderr())
            stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        yield


@contextlib.contextmanager
def _stdout_file_as_stderr() -> Iterator[None]:
    """Let the file descriptor 1 refer to stderr."""
    sys.stdout.flush()
    stdout = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(stdout, 1)
        os.close(stdout)
