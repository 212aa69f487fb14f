"""An export as a pyfunc model of MLflow.

Registered models name this module as their loader, so that its name and :func:`_load_pyfunc` stay.
"""

from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from mtl_lightning.data.arrow.columns import require
from mtl_lightning.data.readers.blocks import ROW
from mtl_lightning.data.readers.frames import as_table
from mtl_lightning.errors import DataError
from mtl_lightning.export.bundle import Bundle
from mtl_lightning.predictions.predictor import Predictor

LISTS = ("sequence", "overlap")
"""Kinds of features whose columns hold lists."""


class MlflowModel:
    """An export with the interface of a pyfunc model: raw rows → a column per task, and the combined score.

    Args:
        folder: Folder of the export.

    Raises:
        MtlError: If the folder differs from its manifest, or the model cannot be loaded.

    Example:
        ``MlflowModel(Path("exports/ads")).predict(pandas.read_json("rows.json"))``
    """

    def __init__(self, folder: Path) -> None:
        self.predictor = Predictor.of_export(folder)

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Predict raw rows.

        Args:
            model_input: Rows in any form of :func:`~mtl_lightning.data.readers.frames.as_table`.
            params: Not used.

        Raises:
            DataError: If a column is missing, or a value cannot be used.
        """
        rows = as_table(model_input)
        require(rows.column_names, self.predictor.needed, "the input")
        block = rows.append_column(ROW, pa.array(np.arange(len(rows))))
        table = self.predictor.predict(block) if len(rows) else self.predictor.empty()
        frame: pd.DataFrame = table.drop_columns(["row", *self.predictor.keys]).to_pandas()
        return frame


def _load_pyfunc(data_path: str) -> MlflowModel:
    return MlflowModel(Path(data_path))


def log_model(folder: Path, name: str, run_id: str | None) -> int:
    """Log an export to the tracking server that is set, register it, and return the number of its version.

    Args:
        folder: Folder of the export.
        name: Name of the registered model.
        run_id: MLflow run of the model, or None.
    """
    from mlflow import pyfunc
    from mlflow.models import Model

    bundle = Bundle.open(folder)
    info = Model.log(
        artifact_path=None,
        name="export",
        flavor=pyfunc,
        run_id=run_id,
        registered_model_name=name,
        tags={"export": bundle.identity},
        loader_module=__name__,
        data_path=str(folder),
        signature=signature(bundle),
        input_example=_example(bundle),
        pip_requirements=[f"mtl-lightning[export]=={version('mtl-lightning')}"],
    )
    return int(info.registered_model_version)


def signature(bundle: Bundle) -> Any:
    """Signature of an export. MLflow drops columns that it lacks, so that it has the optional ones as well."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import AnyType, Array

    manifest, text = bundle.manifest, bundle.transforms.text
    outputs = {
        name: DataType.double if item["width"] == 1 else Array(DataType.double)
        for name, item in manifest.outputs.items()
    }
    if manifest.score:
        outputs.setdefault("score", DataType.double)
    other = AnyType()  # type: ignore[no-untyped-call]
    needed = [ColSpec(DataType.string if name in text else other, name) for name in manifest.columns]
    optional = [name for name in bundle.transforms.optional_columns if name not in manifest.columns]
    inputs = Schema([*needed, *(ColSpec(other, name, required=False) for name in optional)])
    return ModelSignature(inputs, Schema([ColSpec(kind, name) for name, kind in outputs.items()]))


def _example(bundle: Bundle) -> pd.DataFrame | None:
    """Return a row of the first known id of each vocabulary and of zeros; None if the export refuses it."""
    row = {name: _value(bundle, features) for name, features in bundle.manifest.columns.items()}
    with suppress(DataError):
        bundle.score({name: [value] for name, value in row.items()}, 1)
        return pd.DataFrame({name: pd.Series([value], dtype=object) for name, value in row.items()})
    return None


def _value(bundle: Bundle, features: list[str]) -> Any:
    """Return a value that the first of some features reads."""
    name = features[0] if features else ""
    table = getattr(bundle.transforms.transforms.get(name), "table", None)
    if table is None:
        return 0.0
    key = table.vocabulary.keys[0].as_py() if table.vocabulary.size > 2 else None
    return [key] if bundle.transforms.features[name].kind in LISTS else key
