"""An export opened again: its transforms, its model in onnxruntime, its formula."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from mtl_lightning.data.preparation.prepared import Transforms
from mtl_lightning.data.preparation.row_encoder import Columns, RowEncoder
from mtl_lightning.errors import DataError, MtlError
from mtl_lightning.export.extras import need
from mtl_lightning.export.formula import Formula
from mtl_lightning.export.manifest import MODEL, NAME, TRANSFORMS, Manifest, digest
from mtl_lightning.export.signature import columns_of, input_shapes, output_of, output_shapes
from mtl_lightning.export.tensors import check_onnx

DTYPES = {"tensor(int64)": np.int64, "tensor(float)": np.float32, "tensor(double)": np.float64}


class Bundle:
    """A checked export, ready to score.

    Args:
        manifest: Its manifest.
        transforms: Its fitted transforms.
        session: Its model in onnxruntime.
        identity: SHA-256 of its manifest, which names all other hashes.

    Raises:
        MtlError: From :meth:`open`, if the folder isn't what its manifest says, or its model doesn't load.
        DataError: If rows lack a column or hold a wrong type.

    Example:
        ``Bundle.open(Path("exports/ads")).score({"user_id": [7], "item_id": [1, 2, 3], …}, 3)``
    """

    def __init__(self, manifest: Manifest, transforms: Transforms, session: Any, identity: str) -> None:
        self.manifest = manifest
        self.transforms = transforms
        self.session = session
        self.identity = identity
        self.schema = manifest.fitted
        self.encoder = RowEncoder(transforms)
        self.inputs = [one.name for one in session.get_inputs()]
        self.tasks = {one["name"]: task for task, one in manifest.outputs.items()}
        self.outputs = [one.name for one in session.get_outputs()]
        self.formula = Formula(manifest.score, self.schema, manifest.calibration) if manifest.score else None

    @classmethod
    def open(cls, folder: Path, *, threads: int = 1) -> Self:
        """Open an export; nothing of it is run before it is checked.

        Args:
            folder: The export.
            threads: Threads of one call of the model.
        """
        onnxruntime = need("onnxruntime", "export")
        manifest = Manifest.open(folder)
        check_onnx(folder, manifest.files)
        transforms = Transforms.load(folder / TRANSFORMS)
        if transforms.schema != manifest.fitted:
            raise MtlError(f"{folder}: the transforms make other inputs than the manifest says")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.enable_mem_pattern = False  # it keeps a plan for every number of rows that it meets
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(folder / MODEL, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's have no common parent
            raise MtlError(f"{folder / MODEL} can't be loaded: {str(error).splitlines()[0]}") from error
        _compare(manifest, transforms, session, folder)
        return cls(manifest, transforms, session, digest(folder / NAME))

    def run(self, parts: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Predictions per task, [B] or [B, K], of encoded rows.

        Args:
            parts: The model's inputs by name; others are ignored.
        """
        given = {name: parts[name] for name in self.inputs}
        try:
            found = self.session.run(self.outputs, given)
        except Exception as error:  # onnxruntime's have no common parent
            raise MtlError(f"the model can't be run: {str(error).splitlines()[0]}") from error
        rows = len(given[self.inputs[0]])
        if wrong := next((name for name, one in zip(self.outputs, found, strict=True) if len(one) != rows), None):
            raise MtlError(f"the model gives another number of rows for {wrong!r} than it got")
        return {self.tasks[name]: values for name, values in zip(self.outputs, found, strict=True)}

    def predict(self, columns: Columns, rows: int) -> dict[str, np.ndarray]:
        """Predictions per task of raw rows.

        Args:
            columns: Values by raw column; one value stands for the same value in every row.
            rows: Number of rows.
        """
        for name in self.manifest.columns:
            if name not in columns:
                raise DataError(f"no column {name!r}")
        return self.run(self.encoder.encode(columns, rows))

    def score(self, columns: Columns, rows: int) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
        """Predictions, and the combined score if the export has a formula."""
        predictions = self.predict(columns, rows)
        return predictions, self.formula(predictions) if self.formula else None


def _compare(manifest: Manifest, transforms: Transforms, session: Any, folder: Path) -> None:
    """Check that the model takes and gives what the manifest says and the transforms make."""
    schema = transforms.schema
    taken, given = (list(map(_shape, values)) for values in (session.get_inputs(), session.get_outputs()))
    listed = [(one["name"], one["dtype"], one["shape"]) for one in manifest.inputs]
    known = {name: (dtype, [None, *shape]) for name, (dtype, shape) in input_shapes(schema).items()}
    made = {name: (dtype, [None, *shape]) for name, (dtype, shape) in output_shapes(schema).items()}
    same = taken == listed and {name: (dtype, shape) for name, dtype, shape in given} == made
    if not same or any(known.get(name) != (dtype, shape) for name, dtype, shape in taken):
        raise MtlError(f"{folder}: the model has other inputs or outputs than the manifest says")
    if manifest.outputs != {task.name: output_of(task) for task in schema.tasks}:
        raise MtlError(f"{folder}: the manifest has other outputs than its tasks")
    if manifest.columns != columns_of(transforms, [name for name, *_ in taken]):
        raise MtlError(f"{folder}: the manifest has other columns than the transforms and the model read")
    if unknown := sorted(set(manifest.calibration) - set(schema.task_index)):
        raise MtlError(f"{folder}: the manifest has a calibration of {unknown[0]!r}, which is no task")


def _shape(value: Any) -> tuple[str, str | None, list[int | None]]:
    """Name, type and sizes of an input or output; None for a size that is not fixed."""
    dtype = np.dtype(DTYPES[value.type]).name if value.type in DTYPES else None
    return value.name, dtype, [size if isinstance(size, int) else None for size in value.shape]
