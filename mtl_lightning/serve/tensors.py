"""Tensors of the Open Inference Protocol: data in JSON, or bytes after it.

Source: KServe, "Open Inference Protocol", V2 REST, and Triton's extension "binary tensor data".
"""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from mtl_lightning.serve.request import RequestError

DTYPES = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
"""Types of numbers by their names in the protocol; all are little-endian."""

TEXT = "BYTES"
"""Type of text, in UTF-8."""

KEYS = {"name", "shape", "datatype", "data", "parameters"}
"""Keys of a tensor of a request."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of a request.

    Args:
        name: Name of the input.
        shape: Sizes, one or two.
        values: Values in row-major order; None for missing ones.
    """

    name: str
    shape: tuple[int, ...]
    values: list[Any]


def read_tensor(item: Any, place: str, tail: memoryview) -> tuple[Tensor, memoryview]:
    """Read a tensor.

    Missing values are ``null`` in JSON, NaN in numbers and the empty text in ``BYTES``.

    Args:
        item: Description of the tensor in JSON.
        place: Place of the tensor, for messages.
        tail: Bytes after the JSON that no earlier tensor has taken.

    Returns:
        The tensor, and the bytes that remain.

    Raises:
        RequestError: If the tensor is not one, or its data do not match its shape and type.

    Example:
        >>> item = {"name": "price", "shape": [2], "datatype": "FP32", "data": [3.5, None]}
        >>> read_tensor(item, "inputs[0]", memoryview(b""))[0]
        Tensor(name='price', shape=(2,), values=[3.5, None])
    """
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        raise RequestError(422, f"{place} must be an object with name, shape, datatype and data")
    name = item["name"]
    where = f"input {name!r}"
    if unknown := set(item) - KEYS:
        raise RequestError(422, f"{where}: unknown key {sorted(unknown)[0]!r}")
    kind, shape = item.get("datatype"), _shape(item.get("shape"), where)
    if not isinstance(kind, str) or (kind != TEXT and kind not in DTYPES):
        raise RequestError(422, f"{where}: datatype must be one of {', '.join([*DTYPES, TEXT])}")
    parameters = item.get("parameters", {})
    if not isinstance(parameters, dict) or set(parameters) - {"binary_data_size"}:
        raise RequestError(422, f"{where}: the only parameter is binary_data_size; shared memory is not supported")
    count = math.prod(shape)
    if "binary_data_size" in parameters:
        if "data" in item:
            raise RequestError(422, f"{where} has data and binary_data_size")
        size = parameters["binary_data_size"]
        if type(size) is not int or not 0 <= size <= len(tail):
            raise RequestError(
                422, f"{where}: binary_data_size must be a number of at most {len(tail)} remaining bytes"
            )
        raw, tail = tail[:size], tail[size:]
        values = _texts(raw, count, where) if kind == TEXT else _numbers(raw, count, kind, where)
    else:
        values = _converted(_flat(item.get("data"), shape, where), kind, where)
    return Tensor(name, shape, values), tail


def _shape(shape: Any, where: str) -> tuple[int, ...]:
    if not isinstance(shape, list) or not 1 <= len(shape) <= 2 or any(type(size) is not int for size in shape):
        raise RequestError(422, f"{where}: shape must be a list of one or two sizes")
    if min(shape) < 0:
        raise RequestError(422, f"{where}: shape has a negative size")
    return tuple(shape)


def _texts(raw: memoryview, count: int, where: str) -> list[Any]:
    values: list[Any] = []
    place = 0
    while place < len(raw):
        if place + 4 > len(raw):
            raise RequestError(422, f"{where}: the bytes end within the length of an element")
        (size,) = struct.unpack_from("<I", raw, place)
        place += 4 + size
        if place > len(raw):
            raise RequestError(422, f"{where}: an element of {size} bytes exceeds the tensor")
        try:
            values.append(str(raw[place - size : place], "utf-8") or None)
        except UnicodeDecodeError as error:
            raise RequestError(422, f"{where}: element {len(values)} is not UTF-8") from error
    _check_count(len(values), count, where)
    return values


def _numbers(raw: memoryview, count: int, kind: str, where: str) -> list[Any]:
    width = np.dtype(DTYPES[kind]).itemsize
    if len(raw) != count * width:
        raise RequestError(422, f"{where}: {len(raw)} bytes, but shape and datatype need {count * width}")
    if kind == "BOOL" and any(byte > 1 for byte in raw):
        raise RequestError(422, f"{where}: a byte of a BOOL must be 0 or 1")
    return _without_nan(np.frombuffer(raw, DTYPES[kind]))


def _without_nan(numbers: np.ndarray) -> list[Any]:
    values: list[Any] = numbers.tolist()
    if numbers.dtype.kind == "f" and np.isnan(numbers).any():
        values = [None if math.isnan(value) else value for value in values]
    return values


def _flat(data: Any, shape: tuple[int, ...], where: str) -> list[Any]:
    """Return data that are flat, or nested as the shape says, as a flat list."""
    if not isinstance(data, list):
        raise RequestError(422, f"{where}: data must be a list")
    if len(shape) == 2 and data and isinstance(data[0], list):
        if any(not isinstance(row, list) or len(row) != shape[1] for row in data):
            raise RequestError(422, f"{where}: data must have rows of {shape[1]} values, as shape says")
        _check_count(len(data), shape[0], where)
        data = list(chain.from_iterable(data))
    _check_count(len(data), math.prod(shape), where)
    return list(data)


def _check_count(count: int, expected: int, where: str) -> None:
    if count != expected:
        raise RequestError(422, f"{where} has {count} values, but its shape has {expected}")


def _converted(values: list[Any], kind: str, where: str) -> list[Any]:
    """Check values of JSON, and round numbers as the binary form of their type does."""
    types = {str} if kind == TEXT else {bool} if kind == "BOOL" else {int, float} if kind[0] == "F" else {int}
    for value in values:
        if value is not None and type(value) not in types:
            raise RequestError(422, f"{where}: {str(value)[:40]!r} is not a value of {kind}")
    if kind == TEXT:
        return [value or None for value in values]
    if kind == "BOOL":
        return values
    if kind[0] != "F":
        limits = np.iinfo(DTYPES[kind])
        if any(value is not None and not limits.min <= value <= limits.max for value in values):
            raise RequestError(422, f"{where}: a value is out of the range of {kind}")
        return values
    exact = np.array([math.nan if value is None else value for value in values], dtype=np.float64)
    with np.errstate(over="ignore"):
        rounded = exact.astype(DTYPES[kind])
    if np.isinf(rounded).any():
        raise RequestError(422, f"{where}: a value is out of the range of {kind}")
    return _without_nan(rounded)


def write_tensors(outputs: Sequence[tuple[str, np.ndarray, bool]]) -> tuple[list[dict[str, Any]], bytes]:
    r"""Describe outputs for an answer.

    Args:
        outputs: Name, values, and whether the values are sent as bytes.

    Returns:
        Descriptions of the tensors, and the bytes after the JSON.

    Example:
        >>> (described,), tail = write_tensors([("score", np.array([0.5], np.float32), True)])
        >>> described
        {'name': 'score', 'datatype': 'FP32', 'shape': [1], 'parameters': {'binary_data_size': 4}}
        >>> tail
        b'\x00\x00\x00?'
    """
    described, tail = [], []
    for name, values, binary in outputs:
        item: dict[str, Any] = {"name": name, "datatype": f"FP{8 * values.itemsize}", "shape": list(values.shape)}
        if binary:
            raw = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
            item["parameters"] = {"binary_data_size": len(raw)}
            tail.append(raw)
        else:
            item["data"] = np.ascontiguousarray(values).reshape(-1)
        described.append(item)
    return described, b"".join(tail)
