"""Trial of an export before it is served: everything that requests need, once."""

from contextlib import suppress

import numpy as np
import orjson

from mtl_lightning.errors import DataError, MtlError
from mtl_lightning.export.bundle import Bundle
from mtl_lightning.serve.answer import describe
from mtl_lightning.serve.openapi import operation

ROWS = (1, 2)
"""Numbers of rows to score."""


def attempt(bundle: Bundle) -> None:
    """Run an export's graph, encode a row, and describe the export, as requests do.

    The first call of a graph is slow, so that no request should wait for it. An export that fails here would answer
    every request with an error.

    Args:
        bundle: An open export.

    Raises:
        MtlError: If the graph returns another number of rows than it receives.
        Exception: Any other error of the export.
    """
    for rows in ROWS:
        predictions = bundle.run({item["name"]: _blank(item, rows) for item in bundle.manifest.inputs})
        for task, values in predictions.items():
            if values.shape[:1] != (rows,):
                raise MtlError(f"the model returns {values.shape} for {rows} rows of task {task!r}")
    with suppress(DataError):  # a feature may refuse missing values
        bundle.score({name: [None] for name in bundle.manifest.columns}, 1)
    orjson.dumps([describe(bundle), operation(bundle, 1)])


def _blank(item: dict[str, object], rows: int) -> np.ndarray:
    shape = item["shape"]
    assert isinstance(shape, list)
    return np.zeros((rows, *shape[1:]), dtype=str(item["dtype"]))
