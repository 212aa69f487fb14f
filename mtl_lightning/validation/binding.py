"""Binding of options to the constructor that takes them."""

import numbers
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from mtl_lightning.errors import Problem, did_you_mean
from mtl_lightning.options import Option, options_of
from mtl_lightning.schema import ColumnName, FieldName
from mtl_lightning.validation.values import MismatchError, coerce, describe, is_plain, mentions, strings

__all__ = ["Bound", "Option", "bind", "options_of"]


@dataclass
class Bound:
    """Options after binding.

    Args:
        options: Values for the constructor, with defaults filled in and without those that have problems.
        columns: Paths of options that name raw columns, with the names.
        fields: Paths of options that name features, with the names.
    """

    options: dict[str, Any] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)


def coerce_option(value: Any, hint: Any) -> Any:
    """Convert a value to its type hint. Objects that no recipe can hold are left to the constructor.

    Raises:
        MismatchError: If a plain value or a number does not fit.
    """
    if not is_plain(value):
        if not isinstance(value, numbers.Real):
            return value
        value = int(value) if isinstance(value, numbers.Integral) else float(value)  # NumPy's
    return coerce(value, hint)


def bind(
    target: Callable[..., Any],
    given: Mapping[str, Any],
    path: str,
    problems: list[Problem],
    *,
    owner: str = "",
    also: Collection[str] = (),
    without: Collection[str] = (),
) -> Bound:
    """Bind options to a constructor.

    Args:
        target: The constructor.
        given: The options.
        path: Place of the options, for problems.
        problems: Receives all problems.
        owner: Name of what takes the options, for messages (``weighter 'pcgrad'``).
        also: Further keys that are allowed next to the options (``name``), for hints.
        without: Parameters that a recipe can't set.

    Example:
        >>> def component(context, *, eps: float = 1e-8, every: int = 1): ...
        >>> problems = []
        >>> bind(component, {"epz": 1, "every": 2.5}, "weighter", problems).options
        {'eps': 1e-08}
        >>> for problem in problems: print(problem)
        weighter.epz: unknown option (did you mean 'eps'?)
        weighter.every: expects an integer, not 2.5
    """
    options = {name: option for name, option in options_of(target).items() if name not in without}
    bound = Bound()
    for name in given:
        if name not in options:
            reason = "unknown option" + (f" of {owner}" if owner else "")
            problems.append(Problem(f"{path}.{name}", reason, did_you_mean(str(name), [*options, *also])))
    for name, option in options.items():
        here = f"{path}.{name.removesuffix('_')}"  # ``with_`` is the parameter for ``with``, a keyword of Python
        if name not in given:
            if option.required:
                problems.append(Problem(here, f"is required: {describe(option.hint)}"))
                continue
            value = option.default
            if not is_plain(value):
                continue  # only the constructor can supply such a default
            with suppress(MismatchError):  # the same form as after saving and reading: a list for a default of ()
                value = coerce(value, option.hint)
        else:
            try:
                value = coerce_option(given[name], option.hint)
            except MismatchError as error:
                problems.append(Problem(f"{here}.{error.inner}" if error.inner else here, error.reason, error.hint))
                continue
        bound.options[name] = value
        for marker, names in ((ColumnName, bound.columns), (FieldName, bound.fields)):
            if mentions(option.hint, marker):
                names |= {here if i == 0 else f"{here}.{i}": text for i, text in enumerate(strings(value))}
    return bound
