"""Tables of results, written by the program that measures them: ``--into PAGE``.

A page marks the place of a table with ``<!-- name -->`` and ``<!-- /name -->``; the text between them is replaced.
"""

import argparse
import os
import platform
import time
from pathlib import Path


def add_option(parser: argparse.ArgumentParser, page: str) -> None:
    """Add ``--into`` to a program's options.

    Args:
        parser: The program's parser.
        page: The page with its table, for the help.
    """
    parser.add_argument("--into", type=Path, metavar="PAGE", help=f"replace the table of a page ({page})")


def stamp(started: float) -> str:
    """Sentence with the date, the machine and the duration of a measurement.

    Args:
        started: ``time.monotonic()`` at the start.
    """
    seconds = time.monotonic() - started
    return f"Measured on {time.strftime('%d %B %Y')}, {platform.machine()}, {os.cpu_count()} cores, in {seconds:.0f} s."


def show(text: str, name: str, page: Path | None) -> None:
    """Print a table and, if a page is given, write it there.

    Args:
        text: The table, in Markdown.
        name: Name of the place in the page.
        page: The page, or None.

    Raises:
        SystemExit: If the page has no such place.
    """
    print(f"\n{text}", flush=True)
    if page is None:
        return
    start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
    old = page.read_text()
    if old.count(start) != 1 or old.count(end) != 1 or old.index(end) < old.index(start):
        raise SystemExit(f"{page} has no place <!-- {name} --> … <!-- /{name} -->")
    before, after = old[: old.index(start) + len(start)], old[old.index(end) :]
    page.write_text(f"{before}\n{text.strip()}\n\n{after}")
