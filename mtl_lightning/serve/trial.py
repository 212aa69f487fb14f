"""A trial of an export before it is served: what requests will ask of it, once."""

from contextlib import suppress

import numpy as np
import orjson

from mtl_lightning.errors import DataError, MtlError
from mtl_lightning.export.bundle import Bundle
from mtl_lightning.serve.answer import described
from mtl_lightning.serve.openapi import operation

ROWS = (1, 2)


def attempt(bundle: Bundle) -> None:
    """Run an export's graph, encode a row for it, and describe it, as requests will.

    The first call of a graph is slow, and so no request waits for it. An export that fails here would answer every
    request with an error.

    Args:
        bundle: An opened export.

    Raises:
        MtlError: If the graph returns another number of rows than it was given.
        Exception: Whatever else the export brings about.
    """
    for rows in ROWS:
        found = bundle.run({item["name"]: _blank(item, rows) for item in bundle.manifest.inputs})
        for task, values in found.items():
            if values.shape[:1] != (rows,):
                raise MtlError(f"the model returns {values.shape} for {rows} rows of task {task!r}")
    with suppress(DataError):  # a column that can't be missing is the request's fault
        bundle.score({name: [None] for name in bundle.manifest.columns}, 1)
    orjson.dumps([described(bundle), operation(bundle, 1)])


def _blank(item: dict[str, object], rows: int) -> np.ndarray:
    shape = item["shape"]
    assert isinstance(shape, list)
    return np.zeros((rows, *shape[1:]), dtype=str(item["dtype"]))
