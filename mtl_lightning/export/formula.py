"""One score of several predictions: a small expression over tasks, never executed as code."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.data.expressions.expression import Expression
from mtl_lightning.errors import DataError, did_you_mean
from mtl_lightning.schema import Schema, Task


def scalar(task: Task) -> bool:
    """True if a task has one value per row."""
    return task.traits.scalar


def default_formula(schema: Schema) -> str | None:
    """Binary tasks by their weight; without one, the first task that has one value per row; None if none has.

    Example:
        >>> tasks = (Task(name="click", kind="binary", label="click"),
        ...          Task(name="buy", kind="binary", label="buy", weight=2.0))
        >>> default_formula(Schema((), tasks))
        'p_click + 2 * p_buy'
    """
    binary = [task for task in schema.tasks if task.traits.event_probability and task.weight > 0]
    if binary:
        return " + ".join(f"{'' if task.weight == 1 else f'{task.weight:g} * '}p_{task.name}" for task in binary)
    return next((task.name for task in schema.tasks if scalar(task)), None)


class Formula:
    """An expression over predictions.

    ``p_<task>`` is the probability of a binary task, ``calibrated_<task>`` its calibrated one, and ``<task>`` the
    prediction of any task with one value per row.

    Args:
        text: The expression; ``^`` is a power.
        schema: The tasks.
        calibration: Per binary task ``{"a": …, "b": …}``: the calibrated log-odds are a · log-odds + b.

    Raises:
        DataError: If it is no expression or names something else.

    Example:
        >>> schema = Schema((), (Task(name="click", kind="binary", label="click"),))
        >>> Formula("2 * p_click ^ 0.5", schema)({"click": np.array([0.25, 1.0])}).tolist()
        [1.0, 2.0]
        >>> Formula("p_clik", schema)
        Traceback (most recent call last):
        mtl_lightning.errors.DataError: score: no prediction 'p_clik' (did you mean 'p_click'?)
    """

    def __init__(self, text: str, schema: Schema, calibration: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self.text = text
        self.calibration = {name: one for name, one in (calibration or {}).items() if one.get("a") is not None}
        names = {task.name: (task.name, False) for task in schema.tasks if scalar(task)}
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
            raise DataError(f"score: {text!r} gives {kind}", "a number is needed")

    def __call__(self, predictions: Mapping[str, np.ndarray]) -> np.ndarray:
        """The score of each row, [B] float64; NaN where it isn't defined."""
        columns = {name: self._values(predictions[task], task, wanted) for name, (task, wanted) in self.names.items()}
        found = pc.cast(self.expression.evaluate(pa.table(columns)), pa.float64()).fill_null(np.nan)
        return np.asarray(found.to_numpy(zero_copy_only=False))

    def _values(self, prediction: np.ndarray, task: str, calibrated: bool) -> np.ndarray:
        values = prediction.astype(np.float64)
        return calibrate(values, self.calibration[task]["a"], self.calibration[task]["b"]) if calibrated else values


def calibrate(probability: np.ndarray, a: float, b: float) -> np.ndarray:
    """Probabilities whose log-odds are a · log-odds + b.

    Example:
        >>> calibrate(np.array([0.5, 0.0]), 1.0, 0.0).tolist()
        [0.5, 0.0]
    """
    with np.errstate(divide="ignore", over="ignore"):
        logit = np.log(probability) - np.log1p(-probability)
        result: np.ndarray = 1 / (1 + np.exp(-(a * logit + b)))
    return result
