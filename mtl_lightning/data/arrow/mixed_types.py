"""Columns of Python values of several types, which become text or an error that names the types."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from mtl_lightning.data.arrow.keys import keys, text
from mtl_lightning.errors import DataError

WORDS = {
    bool: "truth values", int: "numbers", float: "numbers", str: "text", bytes: "bytes", dict: "objects",
    type(None): "nothing",
}  # fmt: skip
"""Names of types in messages."""
CONTAINERS = (list, tuple, dict, set)


def remove_tensors(values: Any) -> Any:
    """Replace tensors and arrays in a column by numbers and lists.

    Args:
        values: A tensor, an array, or a sequence that may hold tensors.

    Example:
        >>> remove_tensors(torch.tensor([[1, 2], [3, 4]])), remove_tensors([torch.tensor(1), None])
        ([[1, 2], [3, 4]], [1, None])
    """
    if isinstance(values, torch.Tensor):
        return values.detach().cpu().tolist() if values.ndim != 1 or values.dtype == torch.bfloat16 else _numpy(values)
    if isinstance(values, np.ndarray) and values.ndim > 1:
        return list(values) if values.ndim == 2 else values.tolist()
    if isinstance(values, list | tuple) or str(getattr(values, "dtype", "")) == "object":
        return [value.detach().cpu().tolist() if isinstance(value, torch.Tensor) else value for value in values]
    return values


def _numpy(tensor: torch.Tensor) -> Any:
    return tensor.detach().cpu().resolve_conj().resolve_neg().numpy()


def mixed_to_text(values: Iterable[Any], name: str) -> pa.Array:
    """Convert a column of values of several types to text; NaN is missing, empty text among lists an empty list.

    Args:
        values: The column.
        name: Name of the column, for messages.

    Raises:
        DataError: If lists or objects are among other values, or lists hold values of several types.

    Example:
        >>> mixed_to_text([1, "a", 2.0, None], "user").to_pylist()
        ['1', 'a', '2', None]
    """
    plain = [None if value is None or _is_nan(value) else value for value in values]
    containers = [value for value in plain if isinstance(value, CONTAINERS)]
    if not containers:
        return pa.array([None if value is None else print_value(value) for value in plain], pa.string())
    if any(isinstance(value, str) and not value.strip() for value in plain):
        plain = [None if isinstance(value, str) and not value.strip() else value for value in plain]
        try:
            return pa.array(plain, from_pandas=True)
        except (pa.ArrowException, OverflowError, TypeError, ValueError):
            pass  # the errors below report the remaining mixture
    others = [value for value in plain if value is not None and not isinstance(value, CONTAINERS)]
    if others:
        examples = f"{_shown(containers[0])} and {_shown(others[0])}"
        raise DataError(f"column {name!r} mixes lists and other values: {examples}")
    by_type: dict[str, Any] = {}
    for item in (item for container in containers if not isinstance(container, dict) for item in container):
        by_type.setdefault(_word(item), item)
    by_type.pop(WORDS[type(None)], None)
    if len(by_type) > 1:
        mixture = " and ".join(f"{word} ({_shown(item)})" for word, item in list(by_type.items())[:2])
        raise DataError(f"column {name!r} mixes {mixture} in its lists", "write all values as one type")
    raise DataError(f"column {name!r} holds nested values that differ in form", "use single values or lists of them")


def _word(value: Any) -> str:
    return "lists" if isinstance(value, list | tuple | set) else WORDS.get(type(value), type(value).__name__)


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:40]}…"


def _is_nan(value: Any) -> bool:
    """True for NaN, which is unequal to itself, and for pandas.NA, whose comparison has no truth value."""
    try:
        return bool(value != value)
    except (TypeError, ValueError):
        return not isinstance(value, CONTAINERS) and not isinstance(value, np.ndarray)


def print_value(value: Any) -> str:
    """Print a single value as its key: 7.0 as 7, True as true.

    Example:
        >>> print_value(7.0), print_value(1e-7), print_value(True)
        ('7', '1e-7', 'true')
    """
    if isinstance(value, bool | np.bool_):
        return str(value).lower()
    if isinstance(value, float):
        return str(text(keys(pa.array([float(value)])))[0])
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
