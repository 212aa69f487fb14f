"""Options of a constructor, those that it inherits included. The constructor is the schema of its configuration."""

import inspect
import re
import textwrap
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, is_dataclass, replace
from functools import lru_cache
from typing import Any, Unpack, get_args, get_origin, get_type_hints

from mtl_lightning.errors import PluginError

ENTRY = re.compile(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", re.MULTILINE)
"""One argument of the section ``Args``: its name, and its text with the lines that continue it."""

INNER = object()
"""Default of an option that only a ``TypedDict`` declares, so that the constructor's body chooses the value."""


@dataclass(frozen=True)
class Option:
    """One option of a constructor.

    Args:
        name: Its name in a recipe.
        hint: Its resolved type hint.
        default: Its default, :data:`INNER`, or ``inspect.Parameter.empty`` if it is required.
    """

    name: str
    hint: Any
    default: Any = inspect.Parameter.empty

    @property
    def required(self) -> bool:
        """True if a recipe must give it."""
        return self.default is inspect.Parameter.empty

    @property
    def has_default(self) -> bool:
        """True if the default is known: the option is not required, and a constructor lists it."""
        return not self.required and self.default is not INNER


@lru_cache(maxsize=1024)
def options_of(target: Callable[..., Any]) -> dict[str, Option]:
    """The options of a constructor: keyword-only parameters, or every parameter of a dataclass.

    A constructor that ends with ``**options`` passes them to the next constructor of the class's bases, as
    ``super().__init__(**options)`` does. It has that constructor's options too:

    - all of its options with ``**options: Any``;
    - the options that the ``TypedDict`` names with ``**options: Unpack[SomeOptions]``. Types come from the
      ``TypedDict``, defaults from the base.

    An option that a constructor lists itself overrides the inherited one, with its type and its default.

    Args:
        target: A class or function.

    Raises:
        PluginError: If a type hint can't be resolved.

    Example:
        >>> def component(context, *, eps: float = 1e-8): ...
        >>> options_of(component)["eps"].default
        1e-08
        >>> from typing import TypedDict
        >>> class WidthOptions(TypedDict, total=False):
        ...     width: int
        >>> class Base:
        ...     def __init__(self, context, *, width: int = 16, bias: bool = True): ...
        >>> class Derived(Base):
        ...     def __init__(self, context, *, depth: int = 2, **options: Unpack[WidthOptions]):
        ...         super().__init__(context, bias=False, **options)
        >>> {option.name: option.default for option in options_of(Derived).values()}
        {'width': 16, 'depth': 2}
    """
    if not inspect.isclass(target):
        options, accepted = _declared(target, target, {inspect.Parameter.KEYWORD_ONLY})
        return (accepted or {}) | options
    kinds: set[Any] = {inspect.Parameter.KEYWORD_ONLY}
    if is_dataclass(target):
        kinds.add(inspect.Parameter.POSITIONAL_OR_KEYWORD)
    result: dict[str, Option] = {}
    accepted = None
    for owner in target.__mro__:
        if owner is object or "__init__" not in vars(owner):
            continue
        options, passed_on = _declared(owner, vars(owner)["__init__"], kinds)
        result = _restricted(options, accepted) | result
        if passed_on == {}:
            break
        accepted = accepted if passed_on is None else _restricted(passed_on, accepted)
    return {name: option for name, option in (accepted or {}).items() if name not in result} | result


def _restricted(options: Mapping[str, Option], accepted: Mapping[str, Option] | None) -> dict[str, Option]:
    """The options that a ``TypedDict`` accepts, with its types; all of them for None."""
    if accepted is None:
        return dict(options)
    return {name: replace(option, hint=accepted[name].hint) for name, option in options.items() if name in accepted}


def _declared(
    owner: Callable[..., Any], constructor: Callable[..., Any], kinds: Collection[Any]
) -> tuple[dict[str, Option], dict[str, Option] | None]:
    """The options that a constructor lists, and those that its ``**options`` accepts: None for any, {} without it."""
    parameters = inspect.signature(constructor).parameters
    passed_on: dict[str, Option] | None = {}
    try:
        hints = get_type_hints(constructor, include_extras=True)
        for name, parameter in parameters.items():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                passed_on = _unpacked(hints.get(name))
    except (NameError, TypeError, AttributeError) as error:
        place = getattr(owner, "__qualname__", str(owner))
        raise PluginError(
            f"the options of {getattr(owner, '__module__', '')}.{place} can't be read: {error}",
            "type hints of a constructor must be importable at run time",
        ) from error
    options = {
        name: Option(name, hints.get(name, Any), parameter.default)
        for name, parameter in parameters.items()
        if parameter.kind in kinds and name != "self"
    }
    return options, passed_on


def _unpacked(hint: Any) -> dict[str, Option] | None:
    """Options of ``Unpack[SomeOptions]``; None for any other hint."""
    if get_origin(hint) is not Unpack:
        return None
    (record,) = get_args(hint)
    return {
        name: Option(name, inner, inspect.Parameter.empty if name in record.__required_keys__ else INNER)
        for name, inner in get_type_hints(record, include_extras=True).items()
    }


def documentation_of(target: Callable[..., Any]) -> dict[str, str]:
    """Texts of the section ``Args`` of a docstring by argument: first the class's own, then its bases'.

    Args:
        target: A class or function.

    Example:
        >>> class Base:
        ...     '''Base.
        ...
        ...     Args:
        ...         width: Width of a layer,
        ...             in units.
        ...     '''
        >>> class Derived(Base):
        ...     '''Derived.
        ...
        ...     Args:
        ...         depth: Number of layers.
        ...     '''
        >>> documentation_of(Derived)
        {'depth': 'Number of layers.', 'width': 'Width of a layer, in units.'}
    """
    texts: dict[str, str] = {}
    for owner in target.__mro__ if inspect.isclass(target) else (target,):
        for name, text in ENTRY.findall(_arguments(inspect.cleandoc(owner.__doc__ or ""))):
            texts.setdefault(name, re.sub(r" \(Default: .*\)$", "", " ".join(text.split())))
    return texts


def _arguments(docstring: str) -> str:
    """The body of the section ``Args`` of a cleaned docstring; empty if there is none."""
    section = re.search(r"^Args:\n((?: {4}.*\n|\n)*)", f"{docstring}\n", re.MULTILINE)
    return section[1] if section else ""


def write_inherited(component: type) -> None:
    """Replace the entry ``options`` of a class's docstring by the inherited options, in place.

    ``help`` then shows every option with its documentation and default, and the source says it once. A docstring
    without such an entry is left alone, as is one whose type hints can't be resolved yet.

    Args:
        component: A class whose docstring lists its arguments.

    Example:
        >>> class Base:
        ...     '''Base.
        ...
        ...     Args:
        ...         width: Width of a layer.
        ...     '''
        ...     def __init__(self, *, width: int = 16): ...
        >>> class Derived(Base):
        ...     '''Derived.
        ...
        ...     Args:
        ...         options: Options of :class:`Base`.
        ...     '''
        ...     def __init__(self, **options: Any): ...
        >>> write_inherited(Derived)
        >>> print(inspect.getdoc(Derived))
        Derived.
        <BLANKLINE>
        Args:
            width: Width of a layer. (Default: 16)
    """
    own = _arguments(inspect.cleandoc(component.__doc__ or ""))
    entry = re.search(r"^( *)options: .*\n(?:\1 {4}.*\n)*", component.__doc__ or "", re.MULTILINE)
    if entry is None or not own:
        return
    try:
        options = options_of.__wrapped__(component)
    except PluginError:
        return
    listed, texts = {name for name, _ in ENTRY.findall(own)}, documentation_of(component)
    lines = [
        f"{name}: {texts[name]}" + (f" (Default: {option.default!r})" if option.has_default else "")
        for name, option in options.items()
        if name not in listed and name in texts
    ]
    if lines:
        wrapped = (
            textwrap.fill(line, 120, initial_indent=entry[1], subsequent_indent=f"{entry[1]}    ") for line in lines
        )
        component.__doc__ = (component.__doc__ or "").replace(entry[0], "\n".join(wrapped) + "\n", 1)
