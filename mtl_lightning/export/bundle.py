"""An export opened again: its transforms, its model in onnxruntime, its formula."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

from mtl_lightning.data.prepared import Transforms
from mtl_lightning.data.row_encoder import Columns, RowEncoder
from mtl_lightning.errors import DataError, MtlError
from mtl_lightning.export.extras import need
from mtl_lightning.export.formula import Formula
from mtl_lightning.export.manifest import MODEL, NAME, TRANSFORMS, Manifest, digest
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
        check_onnx(folder)
        try:
            transforms = Transforms.load(folder / TRANSFORMS)
        except (TypeError, AttributeError, IndexError, pa.ArrowException) as error:
            raise MtlError(f"{folder / TRANSFORMS} holds no fitted transforms: {error!r}") from error
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
        _compare(manifest, session, folder)
        return cls(manifest, transforms, session, digest(folder / NAME))

    def run(self, parts: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Predictions per task, [B] or [B, K], of encoded rows.

        Args:
            parts: The model's inputs by name; others are ignored.
        """
        found = self.session.run(self.outputs, {name: parts[name] for name in self.inputs})
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


def _compare(manifest: Manifest, session: Any, folder: Path) -> None:
    """Check that the model takes and gives what the manifest says and the transforms make."""
    listed = [(one.get("name"), one.get("dtype"), one.get("shape", [])[1:]) for one in manifest.inputs]
    kinds = {name: np.dtype(kind).name for name, kind in DTYPES.items()}
    found = [(one.name, kinds.get(one.type), list(one.shape[1:])) for one in session.get_inputs()]
    outputs = {one.get("name") for one in manifest.outputs.values()}
    schema = manifest.fitted
    known = {
        "ids",
        "dense",
        *(f"{one.kind}/{one.name}" for one in schema.fields),
        *(f"raw/{one}" for one in schema.raw),
    }
    if found != listed or outputs != {one.name for one in session.get_outputs()} or not {n for n, *_ in found} <= known:
        raise MtlError(f"{folder}: the model has other inputs or outputs than the manifest says")
