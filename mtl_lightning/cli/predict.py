"""The command ``predict``: a run's predictions as a parquet file."""

from collections.abc import Sequence
from pathlib import Path

from mtl_lightning.cli.console import first_console, say
from mtl_lightning.cli.opened import open_run
from mtl_lightning.errors import MtlError
from mtl_lightning.rundir import process_rank


def predict(pairs: Sequence[str]) -> None:
    """Write a run's predictions for its test split, or for other rows.

    Args:
        pairs: ``run=<run directory> out=<file.parquet>``, and ``data=<path or glob>`` for rows that are not the run's.

    Raises:
        MtlError: If the run can't be opened, the file exists already, or rows lack a feature's column.
    """
    console = first_console()
    opened = open_run("predict", pairs, ["run", "out"], ["data"], console)
    out = Path(opened.named["out"])
    if out.exists():
        raise MtlError(f"out: {out} exists already", "choose another name")
    if not out.parent.is_dir():
        raise MtlError(f"out: there is no directory {out.parent}")
    if process_rank() > 0:
        return  # one process reads in the rows' own order

    from mtl_lightning.predictions import Predictor, write

    predictor = Predictor.open(opened.run, opened.config)
    rows = predictor.rows(opened.named.get("data"))
    count = write(predictor.predict(rows), out)
    say(console, f"{count:,} rows in {out}")
