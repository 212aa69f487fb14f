"""Python values of several types in one column: text, each as its key prints, or a message that names what is mixed."""

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
CONTAINERS = (list, tuple, dict, set)


def untensored(values: Any) -> Any:
    """A column without tensors: one of a tensor or array per row is one of numbers or of lists.

    Example:
        >>> untensored(torch.tensor([[1, 2], [3, 4]])), untensored([torch.tensor(1), None])
        ([[1, 2], [3, 4]], [1, None])
    """
    if isinstance(values, torch.Tensor):
        return values.detach().cpu().tolist() if values.ndim != 1 or values.dtype == torch.bfloat16 else _numpy(values)
    if isinstance(values, np.ndarray) and values.ndim > 1:
        return list(values) if values.ndim == 2 else values.tolist()
    if isinstance(values, list | tuple) or str(getattr(values, "dtype", "")) == "object":
        return [one.detach().cpu().tolist() if isinstance(one, torch.Tensor) else one for one in values]
    return values


def _numpy(tensor: torch.Tensor) -> Any:
    return tensor.detach().cpu().resolve_conj().resolve_neg().numpy()


def mixed(values: Iterable[Any], name: str) -> pa.Array:
    """A column of values of several types as text, NaN as missing; empty text among lists is an empty list.

    Raises:
        DataError: If lists or objects are among other values, or lists hold values of several types.

    Example:
        >>> mixed([1, "a", 2.0, None], "user").to_pylist()
        ['1', 'a', '2', None]
    """
    plain = [None if one is None or _is_nan(one) else one for one in values]
    listed = [one for one in plain if isinstance(one, CONTAINERS)]
    if not listed:
        return pa.array([None if one is None else printed(one) for one in plain], pa.string())
    if any(isinstance(one, str) and not one.strip() for one in plain):
        plain = [None if isinstance(one, str) and not one.strip() else one for one in plain]
        try:
            return pa.array(plain, from_pandas=True)
        except (pa.ArrowException, OverflowError, TypeError, ValueError):
            pass  # what else is mixed is told below
    others = [one for one in plain if one is not None and not isinstance(one, CONTAINERS)]
    if others:
        raise DataError(f"column {name!r} mixes lists and other values: {_shown(listed[0])} and {_shown(others[0])}")
    found: dict[str, Any] = {}
    for one in (one for values in listed if not isinstance(values, dict) for one in values):
        found.setdefault(_word(one), one)
    found.pop(WORDS[type(None)], None)
    if len(found) > 1:
        told = " and ".join(f"{word} ({_shown(one)})" for word, one in list(found.items())[:2])
        raise DataError(f"column {name!r} mixes {told} in its lists", "write all values as one type")
    raise DataError(f"column {name!r} holds nested values that differ in form", "single values and lists are known")


def _word(value: Any) -> str:
    return "lists" if isinstance(value, list | tuple | set) else WORDS.get(type(value), type(value).__name__)


def _shown(value: Any) -> str:
    told = repr(value)
    return told if len(told) <= 40 else f"{told[:40]}…"


def _is_nan(value: Any) -> bool:
    """NaN is unequal to itself, and what pandas has for missing values can't be asked."""
    try:
        return bool(value != value)
    except (TypeError, ValueError):
        return not isinstance(value, CONTAINERS) and not isinstance(value, np.ndarray)


def printed(value: Any) -> str:
    """A single value as its key prints: 7.0 is 7, and True is true.

    Example:
        >>> printed(7.0), printed(1e-7), printed(True)
        ('7', '1e-7', 'true')
    """
    if isinstance(value, bool | np.bool_):
        return str(value).lower()
    if isinstance(value, float):
        return str(text(keys(pa.array([float(value)])))[0])
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
