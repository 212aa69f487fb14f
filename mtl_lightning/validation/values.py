"""Checks of plain values against the type hints of constructors."""

import math
import types
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, Union, get_args, get_origin

from mtl_lightning.bounds import out_of_bounds
from mtl_lightning.errors import did_you_mean, shown

LISTS = (list, Sequence, Iterable, Collection)
MAPPINGS = (dict, Mapping, MutableMapping)
SCALARS = {int: "an integer", float: "a number", bool: "true or false", str: "a string", type(None): "null"}


class MismatchError(Exception):
    """A value that doesn't fit its type.

    Args:
        reason: What is wrong.
        hint: What to write instead; may be empty.
        inner: Dotted path below the value, for lists and mappings.
    """

    def __init__(self, reason: str, hint: str = "", inner: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint
        self.inner = inner


class BoundsError(MismatchError):
    """A number of the right type that is too small or too large."""


def coerce(value: Any, hint: Any) -> Any:
    """Convert a value to its type hint.

    Only lossless conversions are made: 3 to 3.0, 3.0 to 3, "1e-4" to 0.0001, a list to a tuple, an integer to a
    string. Supported are the scalar types, Literal, unions, lists, tuples, mappings, Path, NewType, and numbers with
    bounds (:mod:`mtl_lightning.bounds`).

    Args:
        value: Plain value of a recipe.
        hint: A resolved type hint.

    Raises:
        MismatchError: If the value does not fit.

    Example:
        >>> coerce("1e-4", float), coerce([64, 32], tuple[int, ...])
        (0.0001, (64, 32))
    """
    if isinstance(hint, NewType):
        return coerce(value, hint.__supertype__)
    if hint is Any or hint is object:
        return value
    origin = get_origin(hint) or hint
    if origin is Annotated:
        return _bounded(coerce(value, hint.__origin__), hint.__metadata__)
    if origin in (Union, types.UnionType):
        return _union(value, hint)
    if origin is Literal:
        return _literal(value, get_args(hint))
    if origin is tuple:
        return _tuple(value, get_args(hint))
    if origin in LISTS:
        return _list(value, get_args(hint))
    if origin in MAPPINGS:
        return _mapping(value, get_args(hint))
    if origin in SCALARS or origin is None:
        return _scalar(value, origin)
    if origin is Path:
        return Path(_scalar(value, str))
    raise MismatchError(f"{describe(hint)} can't be given in a recipe")


def describe(hint: Any) -> str:
    """A type hint in words.

    Example:
        >>> describe(int | None), describe(tuple[int, ...]), describe(Literal["a", "b"])
        ('an integer or null', 'a list of integers', "'a' or 'b'")
    """
    if isinstance(hint, NewType):
        words = {"ColumnName": "the name of a column", "FieldName": "the name of a feature"}
        return words.get(hint.__name__, describe(hint.__supertype__))
    if hint in (Any, object):
        return "any value"
    origin, arguments = get_origin(hint) or hint, get_args(hint)
    if origin is Annotated:
        return describe(arguments[0])
    if origin in (Union, types.UnionType):
        plain = [a for a in arguments if _plain(a)] or list(arguments)
        return " or ".join(dict.fromkeys(describe(argument) for argument in plain))
    if origin is Literal:
        return " or ".join(repr(argument) for argument in arguments)
    if origin is tuple and arguments and Ellipsis not in arguments:
        return f"a list of {len(arguments)}"
    if origin in (*LISTS, tuple):
        inner = describe(arguments[0]) if arguments else "values"
        return f"a list of {_plural(inner)}"
    if origin in MAPPINGS:
        return "a mapping"
    if origin is Path:
        return "a path"
    return SCALARS.get(type(None) if origin is None else origin, getattr(origin, "__name__", str(origin)))


def mentions(hint: Any, marker: object) -> bool:
    """True if the hint is the marker (a NewType), or an option or container of it."""
    return hint is marker or any(mentions(argument, marker) for argument in get_args(hint))


def strings(value: Any) -> Iterator[str]:
    """All strings in a value, mapping keys left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from strings(item)


def plain(value: Any) -> Any:
    """The value in YAML's types: tuples become lists, paths strings."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def is_plain(value: Any) -> bool:
    """True if YAML can hold the value as :func:`plain` gives it."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and is_plain(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(is_plain(item) for item in value)
    return value is None or isinstance(value, str | bool | int | float | Path)


def _plural(words: str) -> str:
    return {"an integer": "integers", "a number": "numbers", "a string": "strings"}.get(words, words)


def _plain(hint: Any) -> bool:
    """True if a recipe can hold a value of this type."""
    origin = get_origin(hint) or hint
    if origin is Annotated:
        return _plain(hint.__origin__)
    if isinstance(hint, NewType) or origin in (Any, Literal, None, Path, tuple, *SCALARS, *LISTS, *MAPPINGS):
        return True
    return origin in (Union, types.UnionType) and any(_plain(argument) for argument in get_args(hint))


def _scalar(value: Any, kind: Any) -> Any:
    kind = type(None) if kind is None else kind
    if type(value) is kind:
        return value
    if kind is str and type(value) is int:
        return str(value)
    if kind in (int, float) and isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            number = float(value)
            if kind is float:
                return number
            if math.isfinite(number) and number == int(number):
                return int(value) if isinstance(value, int) else int(number)
        except (ValueError, OverflowError):
            pass
    hint = "quote it" if kind is str and isinstance(value, bool | float) else ""
    raise MismatchError(f"expects {SCALARS[kind]}, not {shown(value)}", hint)


def _bounded(value: Any, markers: Iterable[Any]) -> Any:
    """The value, if it is within the bounds of all markers."""
    for marker in markers:
        if isinstance(value, int | float) and (reason := out_of_bounds(value, marker)):
            raise BoundsError(reason)
    return value


def _union(value: Any, hint: Any) -> Any:
    arguments = get_args(hint)
    exact = [a for a in arguments if (get_origin(a) or a) is type(value)]
    mismatches: list[MismatchError] = []
    for argument in [*exact, *(a for a in arguments if a not in exact)]:
        try:
            return coerce(value, argument)
        except MismatchError as mismatch:
            mismatches.append(mismatch)
    inner = next((mismatch for mismatch in mismatches if mismatch.inner or isinstance(mismatch, BoundsError)), None)
    if inner is not None:
        raise inner
    hints = [mismatch.hint for mismatch in mismatches if mismatch.hint]
    raise MismatchError(f"expects {describe(hint)}, not {shown(value)}", hints[0] if hints else "")


def _literal(value: Any, choices: tuple[Any, ...]) -> Any:
    for choice in choices:
        if type(value) is type(choice) and value == choice:
            return choice
    known = [choice for choice in choices if isinstance(choice, str)]
    hint = did_you_mean(value, known) if isinstance(value, str) and known else ""
    words = " or ".join(repr(choice) for choice in choices)
    raise MismatchError(f"expects {words}, not {shown(value)}", hint if hint.startswith("did") else "")


def _each(values: Iterable[tuple[Any, Any]], function: Callable[[Any], Any]) -> list[Any]:
    """Apply to each value; a mismatch names the place."""
    result = []
    for place, value in values:
        try:
            result.append(function(value))
        except MismatchError as error:
            inner = f"{place}.{error.inner}" if error.inner else str(place)
            raise type(error)(error.reason, error.hint, inner) from None
    return result


def _list(value: Any, arguments: tuple[Any, ...]) -> list[Any]:
    kind = arguments[0] if arguments else Any
    if not isinstance(value, list | tuple):
        hint = f"write [{value}]" if isinstance(value, str | int | float) and value != "" else ""
        raise MismatchError(f"expects {describe(list[kind])}, not {shown(value)}", hint)  # type: ignore[valid-type]
    return _each(enumerate(value), lambda item: coerce(item, kind))


def _tuple(value: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    if not arguments or arguments[-1] is Ellipsis:
        return tuple(_list(value, arguments[:1]))
    if not isinstance(value, list | tuple) or len(value) != len(arguments):
        raise MismatchError(f"expects a list of {len(arguments)}, not {shown(value)}")
    kinds = iter(arguments)
    return tuple(_each(enumerate(value), lambda item: coerce(item, next(kinds))))


def _mapping(value: Any, arguments: tuple[Any, ...]) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise MismatchError(f"expects a mapping, not {shown(value)}")
    key_kind, kind = arguments or (Any, Any)
    keys = _each(((key, key) for key in value), lambda key: coerce(key, key_kind))
    return dict(zip(keys, _each(value.items(), lambda item: coerce(item, kind)), strict=True))
