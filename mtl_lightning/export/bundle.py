"""Bundle of an export: transforms, model in onnxruntime, and formula."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from mtl_lightning.data.preparation.prepared import Transforms
from mtl_lightning.data.preparation.row_encoder import Columns, RowEncoder
from mtl_lightning.data.store.latest_events import LatestEvents, exported_latest
from mtl_lightning.errors import DataError, MtlError
from mtl_lightning.export.device import CPU, providers
from mtl_lightning.export.extras import need
from mtl_lightning.export.formula import Formula
from mtl_lightning.export.graph import REQUEST
from mtl_lightning.export.manifest import MODEL, NAME, TRANSFORMS, Manifest, digest
from mtl_lightning.export.session import open_session
from mtl_lightning.export.signature import columns_of, input_shapes, output_of, output_shapes
from mtl_lightning.export.tensors import check_onnx

DTYPES = {"tensor(int64)": np.int64, "tensor(float)": np.float32, "tensor(double)": np.float64}
"""Types of values by their names in ONNX."""


class Bundle:
    """A checked export that scores rows.

    Args:
        manifest: Manifest of the export.
        transforms: Fitted transforms.
        session: Model in onnxruntime.
        identity: SHA-256 of the manifest, which holds the hashes of all other files.

    Raises:
        MtlError: From :meth:`open`, if the folder differs from its manifest, or the model cannot be loaded.
        DataError: While scoring, if rows lack a column or hold a wrong type.

    Example:
        ``Bundle.open(Path("exports/ads")).score({"user_id": [7], "item_id": [1, 2, 3], …}, 3)``
    """

    def __init__(self, manifest: Manifest, transforms: Transforms, session: Any, identity: str) -> None:
        self.manifest = manifest
        self.transforms = transforms
        self.session = session
        self.identity = identity
        self.schema = manifest.fitted
        self.inputs = [value.name for value in session.get_inputs()]
        self.encoder = RowEncoder(transforms, requests=REQUEST in self.inputs)
        self.tasks = {output["name"]: task for task, output in manifest.outputs.items()}
        self.outputs = [value.name for value in session.get_outputs()]
        self.formula = Formula(manifest.score, self.schema, manifest.calibration) if manifest.score else None

    @classmethod
    def open(cls, folder: Path, *, threads: int = 1, device: str = CPU) -> Self:
        """Open an export; everything is checked before the model is loaded.

        Args:
            folder: Folder of the export.
            threads: Number of threads of a call of the model.
            device: ``cpu``, ``cuda`` or ``cuda:<number>``.

        Raises:
            MtlError: If the folder differs from its manifest, or the model cannot be loaded or run on the device.
        """
        onnxruntime = need("onnxruntime", "export")
        chosen = providers(device, onnxruntime.get_available_providers())
        manifest = Manifest.open(folder)
        check_onnx(folder, manifest.files)
        transforms = Transforms.load(folder / TRANSFORMS)
        if transforms.schema != manifest.fitted:
            raise MtlError(f"{folder}: the transforms make other inputs than the manifest says")
        transforms.serve(_latest(folder, manifest, transforms))
        session = open_session(folder / MODEL, threads=threads, providers=chosen)
        if len(chosen) != len(session.get_providers()):  # onnxruntime falls back to the CPU with a log line only
            raise MtlError(f"device: onnxruntime can't use {device}", "check that its CUDA libraries are installed")
        _compare(manifest, transforms, session, folder)
        return cls(manifest, transforms, session, digest(folder / NAME))

    def run(self, parts: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Predict encoded rows.

        Args:
            parts: Inputs of the model by name, with B rows each; other names are ignored. With ``request``, inputs that
                are constant within a request have a row per request.

        Returns:
            Predictions per task, [B] or [B, K] float32.

        Raises:
            MtlError: If the model cannot be run.
        """
        if REQUEST in self.inputs and REQUEST not in parts:
            parts = {**parts, REQUEST: np.arange(len(parts["ids"]))}
        inputs = {name: parts[name] for name in self.inputs}
        try:
            outputs = self.session.run(self.outputs, inputs)
        except Exception as error:  # onnxruntime's exceptions have no common base
            raise MtlError(f"the model can't be run: {str(error).splitlines()[0]}") from error
        rows = len(inputs[REQUEST if REQUEST in inputs else self.inputs[0]])
        if wrong := next(
            (name for name, values in zip(self.outputs, outputs, strict=True) if len(values) != rows), None
        ):
            raise MtlError(f"the model returns another number of rows for {wrong!r} than it received")
        return {self.tasks[name]: values for name, values in zip(self.outputs, outputs, strict=True)}

    def predict(self, columns: Columns, rows: int) -> dict[str, np.ndarray]:
        """Predict raw rows.

        Args:
            columns: Values by raw column; a single value of a column is used for all rows.
            rows: Number of rows, B.

        Returns:
            Predictions per task, [B] or [B, K] float32.

        Raises:
            DataError: If a column is missing or holds values that its feature cannot read.
            MtlError: If the model cannot be run.
        """
        return self.run(self._encode(columns, rows))

    def score(self, columns: Columns, rows: int) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
        """Predict raw rows like :meth:`predict`, and combine the predictions into a score.

        Returns:
            Predictions per task, and the score, [B] float64, or None without a formula.
        """
        parts = self._encode(columns, rows)
        predictions = self.run(parts)
        return predictions, self.formula(predictions, parts["ids"]) if self.formula else None

    def _encode(self, columns: Columns, rows: int) -> dict[str, np.ndarray]:
        for name in self.manifest.columns:
            if name not in columns:
                raise DataError(f"no column {name!r}")
        return self.encoder.encode(columns, rows)


def _latest(folder: Path, manifest: Manifest, transforms: Transforms) -> dict[str, LatestEvents]:
    """Latest events of users, of the histories for which the export has them."""
    sizes = {
        name: [table.vocabulary.size for table in history.tables.values()]
        for name, history in transforms.histories.items()
    }
    layouts = {name: history.layout for name, history in transforms.histories.items()}
    return exported_latest(folder, manifest.files, sizes, layouts)


def _compare(manifest: Manifest, transforms: Transforms, session: Any, folder: Path) -> None:
    """Check that the inputs and outputs of model, manifest and transforms agree."""
    schema = transforms.schema
    inputs, outputs = (list(map(_shape, values)) for values in (session.get_inputs(), session.get_outputs()))
    listed = [(value["name"], value["dtype"], value["shape"]) for value in manifest.inputs]
    possible = {name: (dtype, [None, *shape]) for name, (dtype, shape) in input_shapes(schema).items()}
    expected = {name: (dtype, [None, *shape]) for name, (dtype, shape) in output_shapes(schema).items()}
    same = inputs == listed and {name: (dtype, shape) for name, dtype, shape in outputs} == expected
    if not same or any(possible.get(name) != (dtype, shape) for name, dtype, shape in inputs):
        raise MtlError(f"{folder}: the model has other inputs or outputs than the manifest says")
    if manifest.outputs != {task.name: output_of(task) for task in schema.tasks}:
        raise MtlError(f"{folder}: the manifest has other outputs than its tasks")
    if manifest.columns != columns_of(transforms, [name for name, *_ in inputs]):
        raise MtlError(f"{folder}: the manifest has other columns than the transforms and the model read")
    if unknown := sorted(set(manifest.calibration) - set(schema.task_index)):
        raise MtlError(f"{folder}: the manifest has a calibration of {unknown[0]!r}, which is not a task")
    for task, record in manifest.calibration.items():
        if "parts" in record and record["parts"]["feature"] not in schema.id_columns:
            raise MtlError(f"{folder}: calibration.{task} has parts of another feature than the transforms make")


def _shape(value: Any) -> tuple[str, str | None, list[int | None]]:
    """Return the name, type and sizes of an input or output; a size is None if it is not fixed."""
    dtype = np.dtype(DTYPES[value.type]).name if value.type in DTYPES else None
    return value.name, dtype, [size if isinstance(size, int) else None for size in value.shape]
