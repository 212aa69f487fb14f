"""The command ``report``: a run as one HTML page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mtl_lightning.config import read_arguments
from mtl_lightning.errors import MtlError
from mtl_lightning.report.render.console import first_console, say
from mtl_lightning.runs.directory import RunDirectory


def report(pairs: Sequence[str]) -> dict[str, Any]:
    """Write the page of a run, which ``fit`` writes at its end, too.

    Args:
        pairs: ``run=<run directory>``, and ``out=<file.html>`` for a file other than ``report.html`` in it.

    Returns:
        ``run`` and the ``page``.

    Raises:
        MtlError: If the directory is not a run directory, a record of the run is damaged, or the file can't be
            written.
    """
    named = read_arguments("report", pairs, ["run"], ["out"]).own
    run = RunDirectory.open(named["run"])
    out = Path(named["out"]) if "out" in named else None
    if out is not None and not out.parent.is_dir():
        raise MtlError(f"out: there is no directory {out.parent}")

    from mtl_lightning.report.run.page import write_page

    page = write_page(run, out)
    say(first_console(), f"page {page}")
    return {"run": str(run.path), "page": str(page)}
