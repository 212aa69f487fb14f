"""Formula of a combined score: an expression over predictions, which is never executed as code."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.data.expressions.expression import Expression
from mtl_lightning.errors import DataError, did_you_mean
from mtl_lightning.export.calibration_fits import calibrated
from mtl_lightning.export.calibration_fits import probability as probability_of
from mtl_lightning.schema import Schema


def default_formula(schema: Schema) -> str | None:
    """Return the default formula of a schema.

    It is the sum of the binary tasks' probabilities by the tasks' weights. Without a binary task it is the first task
    with one value per row, or None.

    Example:
        >>> from mtl_lightning.schema import Task
        >>> tasks = (Task(name="click", kind="binary", label="click"),
        ...          Task(name="buy", kind="binary", label="buy", weight=2.0))
        >>> default_formula(Schema((), tasks))
        'p_click + 2 * p_buy'
    """
    binary = [task for task in schema.tasks if task.traits.event_probability and task.weight > 0]
    if binary:
        return " + ".join(f"{'' if task.weight == 1 else f'{task.weight:g} * '}p_{task.name}" for task in binary)
    return next((task.name for task in schema.tasks if task.traits.scalar), None)


class Formula:
    """An expression over predictions.

    Its names are:

    - ``p_<task>``: probability of a binary task;
    - ``calibrated_<task>``: calibrated probability of a binary task;
    - ``<task>``: prediction of a task with one value per row.

    Args:
        text: Expression; ``^`` is a power.
        schema: Schema with the tasks.
        calibration: Record per binary task; see :func:`mtl_lightning.export.calibration.measure`.

    Raises:
        DataError: If the text is not an expression of numbers, or has another name.

    Example:
        >>> from mtl_lightning.schema import Task
        >>> schema = Schema((), (Task(name="click", kind="binary", label="click"),))
        >>> Formula("2 * p_click ^ 0.5", schema)({"click": np.array([0.25, 1.0])}).tolist()
        [1.0, 2.0]
        >>> Formula("p_clik", schema)
        Traceback (most recent call last):
        mtl_lightning.errors.DataError: score: no prediction 'p_clik' (did you mean 'p_click'?)
    """

    def __init__(self, text: str, schema: Schema, calibration: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self.text = text
        self.calibration = {task: fit for task, fit in (calibration or {}).items() if fits(fit)}
        columns = schema.id_columns
        self.columns = {
            task: columns[fit["parts"]["feature"]] for task, fit in self.calibration.items() if "parts" in fit
        }
        names = {task.name: (task.name, False) for task in schema.tasks if task.traits.scalar}
        for task in schema.tasks:
            if task.traits.event_probability:
                names.setdefault(f"p_{task.name}", (task.name, False))
                if task.name in self.calibration:
                    names.setdefault(f"calibrated_{task.name}", (task.name, True))
        self.expression = Expression(text, place="score")
        for name in self.expression.columns:
            if name not in names:
                hint = did_you_mean(name, names)
                raise DataError(f"score: no prediction {name!r}", hint)
        self.names = {name: names[name] for name in self.expression.columns}
        kind = self.expression.result_type(pa.schema([(name, pa.float64()) for name in self.names]))
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
            raise DataError(f"score: {text!r} has values of type {kind}", "the score must be a number")

    def __call__(self, predictions: Mapping[str, np.ndarray], ids: np.ndarray | None = None) -> np.ndarray:
        """Return the score of each row, [B] float64; NaN where it is undefined.

        Args:
            predictions: Predictions per task, [B].
            ids: Ids of the features with one id per row, [B, C]; needed where parts are calibrated apart.
        """
        columns = {
            name: self._values(predictions[task], task, ids, as_calibrated)
            for name, (task, as_calibrated) in self.names.items()
        }
        scores = pc.cast(self.expression.evaluate(pa.table(columns)), pa.float64()).fill_null(np.nan)
        return np.asarray(scores.to_numpy(zero_copy_only=False))

    def _values(self, prediction: np.ndarray, task: str, ids: np.ndarray | None, as_calibrated: bool) -> np.ndarray:
        values = prediction.astype(np.float64)
        if not as_calibrated:
            return values
        own = ids[:, self.columns[task]] if ids is not None and task in self.columns else None
        return calibrate(values, self.calibration[task], own)


def fits(record: Mapping[str, Any]) -> bool:
    """True if a record of a task has a map to calibrated log-odds: not if all its labels are equal.

    Example:
        >>> fits({"a": None, "b": None}), fits({"points": [[0.0, 0.1]]})
        (False, True)
    """
    return record.get("a") is not None or bool(record.get("points"))


def calibrate(probability: np.ndarray, fitted: Mapping[str, Any], ids: np.ndarray | None = None) -> np.ndarray:
    """Return calibrated probabilities, [B] float64.

    Args:
        probability: Probabilities of a model, [B].
        fitted: Record of the task; see :func:`mtl_lightning.export.calibration.measure`.
        ids: Id of the feature by which parts were calibrated, per row, [B]; a part that had no rows is calibrated like
            all rows together.

    Example:
        >>> calibrate(np.array([0.5, 0.0]), {"a": 1.0, "b": 0.0}).tolist()
        [0.5, 0.0]
    """
    with np.errstate(divide="ignore"):
        log_odds = calibrated(np.log(probability) - np.log1p(-probability), fitted)
    if parts := fitted.get("parts"):
        assert ids is not None
        known = np.array(parts["ids"])
        place = np.searchsorted(known, ids).clip(max=len(known) - 1)
        own = known[place] == ids
        slope, shift = (np.where(own, np.array(parts[name])[place], other) for name, other in (("a", 1.0), ("b", 0.0)))
        log_odds = slope * log_odds + shift
    return probability_of(log_odds)
