"""Checks of untrusted files against a declared structure: types, bounds and finite numbers, with places."""

import json
import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    NewType,
    NotRequired,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from mtl_lightning.bounds import Bounds, out_of_bounds
from mtl_lightning.errors import MtlError
from mtl_lightning.files import read_regular

DEEPEST = 64
"""Levels of nesting that a file may have."""
SCALARS = {bool: "true or false", int: "an integer", float: "a number", str: "text", types.NoneType: "null"}
INFINITE = object()
"""Marker of numbers that may be infinite: ``Annotated[float, INFINITE]``."""


class StructureError(MtlError):
    """A value that is not what its place declares."""


def read_json(path: Path, limit: int) -> Any:
    """Read a JSON file; numbers may still be infinite or NaN, which :func:`check` refuses with their place.

    Args:
        path: A regular file.
        limit: Largest size in bytes.

    Raises:
        MtlError: If it is not a regular file, too large, or not JSON.
        FileNotFoundError: If there is no such file.
    """
    try:
        return json.loads(read_regular(path, limit).decode("utf-8"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise MtlError(f"{path} can't be read: {error}") from error


def check(value: Any, hint: Any, place: str, depth: int = 0) -> None:
    """Check a value from a file against a type.

    Args:
        value: Nested containers of plain values (and tensors, where the type names them).
        hint: Scalars, ``Literal``, unions, lists, tuples, mappings, records (``TypedDict`` or a dataclass's fields) and
            bounds (:mod:`mtl_lightning.bounds`); ``Any`` is any plain value. Floats are finite, integers fit 64 bits.
        place: Dotted path of the value, for messages.
        depth: Levels above it.

    Raises:
        StructureError: If the value is of another form. The message begins with the place.

    Example:
        >>> check({"mean": 0.5, "edges": [1, 2]}, dict[str, float | list[float]], "fitted")
        >>> check({"mean": "x"}, dict[str, float], "fitted")
        Traceback (most recent call last):
        mtl_lightning.structure.StructureError: fitted.mean is 'x', not a number
        >>> check([1.0, float("nan")], list[float], "edges")
        Traceback (most recent call last):
        mtl_lightning.structure.StructureError: edges[1] is nan, not a finite number
    """
    if depth > DEEPEST:
        raise StructureError(f"{place[:200]}… is nested deeper than {DEEPEST} levels")
    while isinstance(hint, NewType):
        hint = hint.__supertype__
    origin = get_origin(hint) or hint
    if hint in (Any, object):
        _check_plain(value, place, depth)
    elif origin is NotRequired:
        check(value, get_args(hint)[0], place, depth)
    elif origin is Annotated:
        _check_bounded(value, hint, place, depth)
    elif origin in (Union, types.UnionType):
        _check_union(value, get_args(hint), place, depth)
    elif origin is Literal:
        if not any(type(value) is type(choice) and value == choice for choice in get_args(hint)):
            raise StructureError(f"{place} is {shown(value)}, not {' or '.join(map(repr, get_args(hint)))}")
    elif is_typeddict(origin) or is_dataclass(origin):
        _check_record(value, origin, place, depth)
    elif origin in (list, tuple, Sequence):
        _check_list(value, origin, get_args(hint), place, depth)
    elif origin in (dict, Mapping):
        _check_mapping(value, get_args(hint), place, depth)
    else:
        _check_scalar(value, types.NoneType if hint is None else hint, place)


def shown(value: Any) -> str:
    """A value for a message, shortened."""
    if isinstance(value, list | tuple | set | dict):
        return f"a {type(value).__name__} of {len(value)}"
    text = ascii(value) if isinstance(value, str | int | float | bool | None) else f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def _inside(place: str, key: Any) -> str:
    """Place of a value in a mapping. Keys may hold anything, including line breaks and escape sequences."""
    name = key if isinstance(key, str) and key.isprintable() else shown(key)
    return f"{place}.{name}" if place else name


def _check_scalar(value: Any, kind: Any, place: str, *, infinite: bool = False) -> None:
    right = type(value) in (int, float) if kind is float else type(value) is kind
    if kind not in SCALARS:
        right = isinstance(value, kind)
    if not right:
        raise StructureError(f"{place} is {shown(value)}, not {SCALARS.get(kind, f'a {kind.__name__}')}")
    if type(value) is int and not -(2**63) <= value < 2**63:
        raise StructureError(f"{place} is {shown(value)}, which 64 bits can't hold")
    if type(value) is float and not math.isfinite(value) and not (infinite and math.isinf(value)):
        raise StructureError(f"{place} is {value}, not a finite number")
    if type(value) is str and not _encodable(value):
        raise StructureError(f"{place} is {shown(value)}, which is not valid Unicode")


def _encodable(value: str) -> bool:
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_bounded(value: Any, hint: Any, place: str, depth: int) -> None:
    inner, *markers = get_args(hint)
    if inner is float and INFINITE in markers:
        _check_scalar(value, float, place, infinite=True)
    else:
        check(value, inner, place, depth)
    for marker in markers:
        if isinstance(value, int | float) and (reason := out_of_bounds(value, marker)):
            raise StructureError(f"{place} {reason}")
        sized = isinstance(value, list | tuple | dict) and isinstance(marker, Bounds)
        if sized and (reason := out_of_bounds(len(value), marker)):
            raise StructureError(f"{place}: the number of its values {reason}")


def _check_union(value: Any, hints: Sequence[Any], place: str, depth: int) -> None:
    errors: list[StructureError] = []
    for hint in hints:
        try:
            check(value, hint, place, depth)
        except StructureError as error:
            errors.append(error)
        else:
            return
    # An error about an inner value is more specific than one about the whole.
    inner = [error for error in errors if not error.message.startswith(f"{place} is ")]
    words = " or ".join(dict.fromkeys(error.message.rpartition(", not ")[2] for error in errors))
    raise inner[0] if inner else StructureError(f"{place} is {shown(value)}, not {words}")


def _check_record(value: Any, record: Any, place: str, depth: int) -> None:
    """A mapping with the keys of a TypedDict, or with the fields of a dataclass."""
    hints = get_type_hints(record, include_extras=True)
    if is_dataclass(record):
        hints = {item.name: hints[item.name] for item in fields(record)}
        required = {item.name for item in fields(record) if item.default is item.default_factory is MISSING}
    else:
        required = set(record.__required_keys__)
    if type(value) is not dict:
        raise StructureError(f"{place} is {shown(value)}, not a mapping")
    if missing := sorted(required - value.keys()):
        raise StructureError(f"{place} has no {missing[0]!r}")
    if unknown := [key for key in value if key not in hints]:
        raise StructureError(f"{place} has an unknown key {shown(unknown[0])}")
    for key, item in value.items():
        check(item, hints[key], _inside(place, key), depth + 1)


def _check_list(value: Any, origin: Any, hints: tuple[Any, ...], place: str, depth: int) -> None:
    if type(value) not in (list, tuple):
        raise StructureError(f"{place} is {shown(value)}, not a list")
    if origin is tuple and hints and hints[-1] is not Ellipsis:
        if len(value) != len(hints):
            raise StructureError(f"{place} is {shown(value)}, not a list of {len(hints)}")
        for index, (item, hint) in enumerate(zip(value, hints, strict=True)):
            check(item, hint, f"{place}[{index}]", depth + 1)
        return
    hint = hints[0] if hints else Any
    kinds = set(map(type, value))  # vocabularies have millions of values of one type
    if hint in (int, Any) and kinds == {int} and min(value) >= -(2**63) and max(value) < 2**63:
        return
    if hint in (str, Any) and kinds == {str} and all(map(_encodable, value)):
        return
    if hint in (float, Any) and kinds == {float} and all(map(math.isfinite, value)):
        return
    for index, item in enumerate(value):
        check(item, hint, f"{place}[{index}]", depth + 1)


def _check_mapping(value: Any, hints: tuple[Any, ...], place: str, depth: int) -> None:
    if type(value) is not dict:
        raise StructureError(f"{place} is {shown(value)}, not a mapping")
    key_hint, hint = hints or (Any, Any)
    for key, item in value.items():
        check(key, key_hint, f"{place} (key)", depth + 1)
        check(item, hint, _inside(place, key), depth + 1)


def _check_plain(value: Any, place: str, depth: int) -> None:
    if type(value) in SCALARS:
        _check_scalar(value, type(value), place)
    elif isinstance(value, list | tuple):
        _check_list(value, list, (Any,), place, depth)
    else:
        _check_mapping(value, (str, Any), place, depth)
