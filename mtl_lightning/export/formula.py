"""Formula of a combined score: an expression over predictions, which is never executed as code."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.data.expressions.expression import Expression
from mtl_lightning.errors import DataError, did_you_mean
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
        calibration: ``a`` and ``b`` per binary task: the calibrated log-odds are a · log-odds + b.

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
        self.calibration = {task: fit for task, fit in (calibration or {}).items() if fit.get("a") is not None}
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

    def __call__(self, predictions: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the score of each row, [B] float64; NaN where it is undefined.

        Args:
            predictions: Predictions per task, [B].
        """
        columns = {
            name: self._values(predictions[task], task, calibrated) for name, (task, calibrated) in self.names.items()
        }
        scores = pc.cast(self.expression.evaluate(pa.table(columns)), pa.float64()).fill_null(np.nan)
        return np.asarray(scores.to_numpy(zero_copy_only=False))

    def _values(self, prediction: np.ndarray, task: str, calibrated: bool) -> np.ndarray:
        values = prediction.astype(np.float64)
        return calibrate(values, self.calibration[task]["a"], self.calibration[task]["b"]) if calibrated else values


def calibrate(probability: np.ndarray, a: float, b: float) -> np.ndarray:
    """Return the probabilities, [B] float64, whose log-odds are a · log-odds + b.

    Example:
        >>> calibrate(np.array([0.5, 0.0]), 1.0, 0.0).tolist()
        [0.5, 0.0]
    """
    with np.errstate(divide="ignore", over="ignore"):
        logit = np.log(probability) - np.log1p(-probability)
        result: np.ndarray = 1 / (1 + np.exp(-(a * logit + b)))
    return result
