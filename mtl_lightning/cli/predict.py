"""The command ``predict``: write predictions of a run or an export to a parquet file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from mtl_lightning.cli.run_arguments import open_run
from mtl_lightning.config.draft import Draft
from mtl_lightning.config.pairs import Arguments, read_arguments, read_overrides
from mtl_lightning.config.recipe import resolve
from mtl_lightning.errors import ConfigError, MtlError
from mtl_lightning.printable import Console
from mtl_lightning.ranks import process_count, process_rank
from mtl_lightning.report.render.console import first_console, say
from mtl_lightning.runs.interrupts import handled_signals

MANIFEST = "manifest.json"
FORM = ("format", "separator", "encoding", "names", "quote", "escape", "missing", "decimal", "thousands")
READING = tuple(f"source.{name}" for name in FORM)
"""Settings that describe the format of the files of ``data=``."""
BAD_ROWS = ("fail", "skip")
TABLES = ("", ".parquet", ".pq")


def predict(pairs: Sequence[str]) -> dict[str, Any] | None:
    """Write predictions for a run's test split, or for other rows.

    Under torchrun, or with ``RANK`` and ``WORLD_SIZE`` set, processes share the work. The same command resumes after
    a process was killed or interrupted.

    Args:
        pairs: ``run=<run directory or export> out=<file.parquet>``, and ``data=<path or glob>`` for rows other than the
            run's. Then :data:`READING` describes their format, if it differs from the run's. ``bad_rows=skip`` writes
            predictions of readable rows, and the other rows to a file next to ``out``. ``device=cuda`` predicts on a
            GPU. ``preference=[0.7,0.3]`` sets the preferences of tasks for a model that reads them.

    Returns:
        ``out``, its ``rows``, the number of ``refused`` rows and the file ``refused_rows`` with them (None without
        any). None if another process writes ``out``.

    Raises:
        MtlError: If the run can't be opened, ``out`` exists or is not a parquet file's name, or rows lack the column of
            a feature.
        Interrupted: On Ctrl-C or SIGTERM; parts that are written by then are kept.
    """
    with handled_signals():
        return _predict(pairs)


def _predict(pairs: Sequence[str]) -> dict[str, Any] | None:
    console = first_console()
    rank, processes = process_rank(), process_count()
    own_rows = not any(pair.startswith("data=") for pair in pairs)
    reading = () if own_rows else READING  # settings of the run otherwise
    optional = ["data", "bad_rows", "device", "preference", *reading]
    arguments = read_arguments("predict", pairs, ["run", "out"], optional, settings="dotted")
    folder = Path(arguments.own["run"])
    if exported := (folder / MANIFEST).is_file():
        arguments = read_arguments(
            "predict", pairs, ["run", "data", "out"], ["bad_rows", "device", "preference", *READING]
        )
    else:
        run, config = open_run(arguments, console, rows=own_rows)
    named = arguments.own
    out = Path(named["out"])
    if out.exists():
        if rank > 0:
            return None  # the other processes finished before this one started
        raise MtlError(f"out: {out} exists already", "choose another name")
    bad_rows = arguments.choose("bad_rows", BAD_ROWS)
    if not out.parent.is_dir():
        raise MtlError(f"out: there is no directory {out.parent}")
    if out.suffix.lower() not in TABLES:
        raise MtlError(f"out: predictions are written as parquet, not {out.suffix[1:]}", f"write {out.stem}.parquet")

    from mtl_lightning.predictions import Parts, Predictor

    device = named.get("device", "cpu")
    predictor = Predictor.of_export(folder, device=device) if exported else Predictor.of_run(run, config, device=device)
    if "preference" in named:
        predictor.prefer(_numbers(arguments))
    data, blocks = predictor.rows(named.get("data"), **_reading(named))
    identity = {"model": predictor.identity, "rows": data, "batch": predictor.size, "bad_rows": bad_rows}
    parts = Parts(out, identity)
    if parts.refused.exists():
        raise MtlError(f"out: {parts.refused} exists already", "choose another name")
    if written := parts.count_written():
        say(console, f"resuming: {written} parts are written already")
    score = predictor.predict if bad_rows == "fail" else predictor.predict_good
    count = parts.write(blocks, score, rank=rank, processes=processes, empty=predictor.empty)
    if count is None:
        return None
    say(Console(highlight=False, emoji=False), f"{count:,} rows in {out}")
    refused = pq.read_metadata(parts.refused).num_rows if parts.refused.is_file() else 0
    if refused:
        say(console, f"{refused:,} rows can't be read: see {parts.refused}", "yellow")
    return {"out": str(out), "rows": count, "refused": refused, "refused_rows": str(parts.refused) if refused else None}


def _numbers(arguments: Arguments) -> list[float]:
    """The preferences ``[0.7, 0.3]``."""
    try:
        return [float(part) for part in arguments.own["preference"].strip("[] ").split(",")]
    except ValueError as error:
        raise arguments.wrong("preference", "a number per task: preference=[0.7,0.3]") from error


def _reading(named: dict[str, str]) -> dict[str, Any]:
    """Options that describe the format of the files of ``data=``, checked like a recipe's."""
    pairs = [f"{key}={named[key]}" for key in READING if key in named]
    if not pairs:
        return {}
    options = resolve(read_overrides(pairs))["source"]
    draft = Draft()
    draft.component("source", "source", {"name": "table", "path": named.get("data"), **options})
    if draft.problems:
        raise ConfigError(draft.problems)
    return dict(options)
