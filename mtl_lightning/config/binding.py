"""Options of a recipe, bound to the constructor that takes them: the constructor is the schema."""

import inspect
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, is_dataclass
from functools import lru_cache
from typing import Any, get_type_hints

from mtl_lightning.config.values import MismatchError, coerce, describe, is_plain, mentions, strings
from mtl_lightning.errors import PluginError, Problem, did_you_mean
from mtl_lightning.schema import ColumnName, FieldName


@dataclass(frozen=True)
class Option:
    """One option of a constructor."""

    name: str
    hint: Any
    default: Any = inspect.Parameter.empty

    @property
    def required(self) -> bool:
        """True if there is no default."""
        return self.default is inspect.Parameter.empty


@dataclass
class Bound:
    """Options after binding.

    Args:
        options: Values as the constructor takes them, defaults filled in; without those that have problems.
        columns: Paths of options that name raw columns, with the names.
        fields: Paths of options that name features, with the names.
    """

    options: dict[str, Any] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)


@lru_cache(maxsize=1024)
def options_of(target: Callable[..., Any]) -> dict[str, Option]:
    """The options of a constructor: keyword-only parameters, or every parameter of a dataclass.

    A constructor that ends with ``**options`` hands them to the next one of the class's bases, as ``super().__init__``
    does, and so has that one's options too. One that it lists itself is its own: its type and default count.

    Args:
        target: A class or function.

    Raises:
        PluginError: If a type hint can't be resolved.

    Example:
        >>> def component(context, *, eps: float = 1e-8): ...
        >>> options_of(component)["eps"].default
        1e-08
        >>> class Base:
        ...     def __init__(self, context, *, width: int = 16): ...
        >>> class Derived(Base):
        ...     def __init__(self, context, *, depth: int = 2, **options: Any):
        ...         super().__init__(context, **options)
        >>> [option.name for option in options_of(Derived).values()]
        ['width', 'depth']
    """
    if not inspect.isclass(target):
        return _listed(target, target, {inspect.Parameter.KEYWORD_ONLY})
    kinds: set[Any] = {inspect.Parameter.KEYWORD_ONLY}
    if is_dataclass(target):
        kinds.add(inspect.Parameter.POSITIONAL_OR_KEYWORD)
    found: dict[str, Option] = {}
    for owner in target.__mro__:
        if owner is object or "__init__" not in vars(owner):
            continue
        constructor = vars(owner)["__init__"]
        found = _listed(owner, constructor, kinds) | found
        parameters = inspect.signature(constructor).parameters.values()
        if all(parameter.kind is not inspect.Parameter.VAR_KEYWORD for parameter in parameters):
            break
    return found


def _listed(owner: Callable[..., Any], constructor: Callable[..., Any], kinds: Collection[Any]) -> dict[str, Option]:
    """What a constructor lists itself."""
    try:
        hints = get_type_hints(constructor, include_extras=True)
    except (NameError, TypeError, AttributeError) as error:
        named = getattr(owner, "__qualname__", str(owner))
        raise PluginError(
            f"the options of {getattr(owner, '__module__', '')}.{named} can't be read: {error}",
            "type hints of a constructor must be importable at run time",
        ) from error
    return {
        name: Option(name, hints.get(name, Any), parameter.default)
        for name, parameter in inspect.signature(constructor).parameters.items()
        if parameter.kind in kinds and name != "self"
    }


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
        given: Options of the recipe.
        path: Where they stand, for problems.
        problems: Receives everything that is wrong.
        owner: Who takes the options, in words (``weighter 'pcgrad'``).
        also: Further keys that may stand beside the options (``name``), for hints.
        without: Parameters that are not for a recipe.

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
        here = f"{path}.{name.removesuffix('_')}"  # ``with_`` stands for ``with``, which Python keeps for itself
        if name not in given:
            if option.required:
                problems.append(Problem(here, f"is required: {describe(option.hint)}"))
                continue
            value = option.default
            if not is_plain(value):
                continue  # such a default can only come from the constructor itself
            with suppress(MismatchError):  # the form that reading it back gives: a list for a default of ()
                value = coerce(value, option.hint)
        else:
            try:
                value = coerce(given[name], option.hint)
            except MismatchError as error:
                problems.append(Problem(f"{here}.{error.inner}" if error.inner else here, error.reason, error.hint))
                continue
        bound.options[name] = value
        for marker, found in ((ColumnName, bound.columns), (FieldName, bound.fields)):
            if mentions(option.hint, marker):
                found |= {here if i == 0 else f"{here}.{i}": text for i, text in enumerate(strings(value))}
    return bound
