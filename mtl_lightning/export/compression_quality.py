"""Size, latency and AUC of compressed graphs next to the graph in float32."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mtl_lightning.batch import Batch
from mtl_lightning.data.store.store import Store
from mtl_lightning.errors import MtlError
from mtl_lightning.export.compiled import PACKAGE, CompiledGraph
from mtl_lightning.export.ensemble import Average
from mtl_lightning.export.graph import PREDICTION, REQUEST, inputs_of
from mtl_lightning.export.manifest import MODEL, TENSORS
from mtl_lightning.export.session import open_session
from mtl_lightning.metrics.binary.auc import AUC
from mtl_lightning.training.network import Network

ROWS = 100
"""Rows of a timed call."""

CALLS = 200
"""Timed calls of a graph."""


def measure_graphs(
    graphs: Mapping[str, Path], network: Network | Average, store: Store, size: int, inputs: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Measure graphs on the same rows.

    Args:
        graphs: Files of graphs by their names.
        network: Network of the graphs, for its tasks.
        store: Rows with labels.
        size: Number of rows of a batch.
        inputs: Names of the inputs of a compiled graph, in order.

    Returns:
        Per graph ``name``, ``bytes``, ``milliseconds`` (median of calls with 100 rows and one thread, the graphs in
        turn) and ``auc`` per task with probabilities (None where it is undefined).

    Raises:
        MtlError: If a graph cannot be loaded.
    """
    tasks = [task for task in network.schema.tasks if task.traits.served_by(AUC.kinds)]
    sessions = {
        name: CompiledGraph.load(path, inputs) if path.name == PACKAGE else open_session(path, threads=1)
        for name, path in graphs.items()
    }
    metrics = {name: {task.name: AUC(task, exact=True) for task in tasks} for name in graphs}
    for start in range(0, len(store), size):
        batch = store.batch(slice(start, start + size))
        targets = network.targets(batch)
        parts = _parts(batch, sessions)
        for name, session in sessions.items():
            outputs = [PREDICTION + task.name for task in tasks]
            predictions = session.run(outputs, _used(session, parts))
            for task, prediction in zip(tasks, predictions, strict=True):
                metrics[name][task.name].update(torch.from_numpy(prediction), targets[task.name])
    repeated = _parts(store.batch(torch.arange(ROWS) % len(store)), sessions)
    milliseconds = _milliseconds(list(sessions.values()), repeated)
    return [
        {
            "name": name,
            "bytes": sum(path.with_name(file).stat().st_size for file in _files(path) if path.with_name(file).exists()),
            "milliseconds": time_of,
            "auc": {task: _number(float(metric.compute())) for task, metric in metrics[name].items()},
        }
        for (name, path), time_of in zip(graphs.items(), milliseconds, strict=True)
    ]


def _files(path: Path) -> tuple[str, ...]:
    """Names of the files of a graph."""
    return (PACKAGE,) if path.name == PACKAGE else (MODEL, TENSORS)


def check_loss(measured: Sequence[Mapping[str, Any]], most: float) -> None:
    """Check the AUC of the last graph against the first one's.

    Args:
        measured: Records of :func:`measure_graphs`.
        most: Largest accepted loss of AUC of a task.

    Raises:
        MtlError: If a task loses more, or no task has an AUC.

    Example:
        >>> before, after = {"name": "float32", "auc": {"click": 0.8}}, {"name": "tables=int8", "auc": {"click": 0.7}}
        >>> check_loss([before, after], 0.01)
        Traceback (most recent call last):
        mtl_lightning.errors.MtlError: tables=int8: AUC of 'click' falls from 0.8000 to 0.7000, by more than 0.01 ...
    """
    first, last = measured[0], measured[-1]
    defined = {task: value for task, value in first["auc"].items() if value is not None}
    if not defined:
        raise MtlError(
            f"{last['name']}: no task has an AUC on the validation split, so that the loss can't be checked",
            "export without tables= and dense=",
        )
    for task, before in defined.items():
        after = last["auc"][task]
        if after is None or not before - after <= most:
            value = "undefined" if after is None else f"{after:.4f}"
            raise MtlError(
                f"{last['name']}: AUC of {task!r} falls from {before:.4f} to {value}, by more than {most:g}",
                "choose a larger type, or raise max_auc_loss=",
            )


def _parts(batch: Batch, sessions: Mapping[str, Any]) -> dict[str, np.ndarray]:
    names = {value.name for session in sessions.values() for value in session.get_inputs()}
    inputs = inputs_of(batch if REQUEST in names else batch.expand())
    return {name: np.asarray(value) for name, value in inputs.items()}


def _used(session: Any, parts: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {value.name: parts[value.name] for value in session.get_inputs()}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value


def _milliseconds(sessions: Sequence[Any], parts: Mapping[str, np.ndarray]) -> list[float]:
    """Median time of a call, with the sessions in turn so that other load affects all alike."""
    seconds = np.zeros((CALLS + 1, len(sessions)))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for call in range(CALLS + 1):
        for place, session in enumerate(sessions):
            inputs = _used(session, parts)
            start = time.perf_counter()
            session.run(None, inputs)
            seconds[call, place] = time.perf_counter() - start
    torch.set_num_threads(threads)
    return [float(value) for value in np.median(seconds[1:], axis=0) * 1000]
