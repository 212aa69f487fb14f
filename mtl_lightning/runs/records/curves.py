"""Logged values of a run over its steps, from its TensorBoard or CSV files."""

import csv
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from mtl_lightning.errors import MtlError
from mtl_lightning.runs.directory import RunDirectory

Curve = list[tuple[int, float]]
"""Values by step, in the order of steps; NaN where a value is undefined."""


def read_curves(run: RunDirectory) -> dict[str, Curve]:
    """Values that a run logged while training, by name; empty if it has neither TensorBoard nor CSV files.

    Where a resumed run repeats steps, the later value counts.

    Args:
        run: The run directory.

    Raises:
        MtlError: If a file can't be read.

    Example:
        >>> import tempfile
        >>> from mtl_lightning.loggers.csv import CSVLog
        >>> run = RunDirectory(Path(tempfile.mkdtemp()))
        >>> log = CSVLog(run.path)
        >>> log.log_metrics({"train/loss/click": 0.5}, step=10)
        >>> log.save()
        >>> read_curves(run)
        {'train/loss/click': [(10, 0.5)]}
    """
    values: dict[str, dict[int, float]] = {}
    try:
        for step, name, value in _logged(run):
            values.setdefault(name, {})[step] = value
    except (OSError, ValueError) as error:
        raise MtlError(f"{run.path}: its logged values can't be read: {error}") from error
    return {name: sorted(by_step.items()) for name, by_step in values.items()}


def _logged(run: RunDirectory) -> Iterator[tuple[int, str, float]]:
    events = sorted(run.tensorboard.glob("events.out.tfevents.*"), key=lambda path: path.name)
    if events:
        for path in events:
            yield from _events(path)
        return
    versions = sorted((run.path / "csv").glob("version_*/metrics.csv"), key=lambda path: path.stat().st_mtime_ns)
    for path in versions:
        yield from _records(path)


def _events(path: Path) -> Iterator[tuple[int, str, float]]:
    """Scalars of an event file; a record that was being written when the run was killed is left out."""
    from tensorboard.backend.event_processing.event_file_loader import (  # type: ignore[import-untyped]
        LegacyEventFileLoader,
    )

    for event in LegacyEventFileLoader(str(path)).Load():
        for value in event.summary.value:
            if value.WhichOneof("value") == "simple_value":
                yield event.step, value.tag, value.simple_value


def _records(path: Path) -> Iterator[tuple[int, str, float]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows: Iterator[Mapping[str, str]] = csv.DictReader(file)
        for row in rows:
            for name, text in row.items():
                if name != "step" and text:
                    yield int(row["step"]), name, float(text)


def finite(curve: Curve) -> Curve:
    """A curve without its undefined and infinite values."""
    return [(step, value) for step, value in curve if math.isfinite(value)]
