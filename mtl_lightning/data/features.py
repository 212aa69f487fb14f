"""Features as a recipe names them: one frozen record per kind, whose constructor is the schema of its options."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol, runtime_checkable

from mtl_lightning.data.columns import did_you_mean
from mtl_lightning.errors import DataError

NUMERIC_TRANSFORMS = ("standard", "log", "none")
MISSING_WORDS = ("mean", "zero")


@runtime_checkable
class Feature(Protocol):
    """What all kinds of features have in common."""

    kind: ClassVar[str]

    def columns(self, name: str) -> tuple[str, ...]:
        """Raw columns that the feature called ``name`` reads."""

    def needs(self) -> tuple[str, ...]:
        """Other features that it refers to."""


def _check(condition: bool, message: str, hint: str = "") -> None:
    if not condition:
        raise DataError(message, hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Categorical:
    """Values that are looked up: ids, names, codes of any type.

    Args:
        column: Raw column; the feature's name if None.
        min_count: A value must occur this often in the training split to be in the vocabulary.
        max_size: At most this many values are kept, the most frequent ones; None for all.

    Raises:
        DataError: If an option is out of range.

    Example:
        >>> feature("user", {"kind": "categorical", "column": "user_id", "min_count": 5}).columns("user")
        ('user_id',)
    """

    kind: ClassVar[str] = "categorical"
    column: str | None = None
    min_count: int = 1
    max_size: int | None = None

    def __post_init__(self) -> None:
        _check(self.min_count >= 1, f"min_count is {self.min_count}", "at least 1")
        _check(self.max_size is None or self.max_size >= 1, f"max_size is {self.max_size}", "at least 1")

    def columns(self, name: str) -> tuple[str, ...]:
        """Its column."""
        return (self.column or name,)

    def needs(self) -> tuple[str, ...]:
        """Nothing."""
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Numeric:
    """A number that enters the model as it is.

    Args:
        column: Raw column; the feature's name if None.
        missing: What stands for a missing value: ``mean``, ``zero`` or a number, in the column's own unit.
        transform: ``standard`` (mean 0, standard deviation 1 over the training split), ``log`` (sign(x)·log(1+|x|),
            then standard) or ``none``.
        minimum: Smaller values are clipped to it before anything else.
        maximum: Larger values likewise.

    Raises:
        DataError: If an option is unknown or out of range.

    Example:
        >>> feature("price", {"kind": "numeric", "transform": "log", "missing": 0.0}).transform
        'log'
    """

    kind: ClassVar[str] = "numeric"
    column: str | None = None
    missing: str | float = "mean"
    transform: str = "standard"
    minimum: float | None = None
    maximum: float | None = None

    def __post_init__(self) -> None:
        known = isinstance(self.missing, int | float) or self.missing in MISSING_WORDS
        _check(known, f"missing is {self.missing!r}", "mean, zero or a number")
        _check(
            self.transform in NUMERIC_TRANSFORMS,
            f"transform is {self.transform!r}",
            did_you_mean(self.transform, NUMERIC_TRANSFORMS) or f"one of {', '.join(NUMERIC_TRANSFORMS)}",
        )
        ordered = self.minimum is None or self.maximum is None or self.minimum < self.maximum
        _check(ordered, f"minimum {self.minimum} is not below maximum {self.maximum}")

    def columns(self, name: str) -> tuple[str, ...]:
        """Its column."""
        return (self.column or name,)

    def needs(self) -> tuple[str, ...]:
        """Nothing."""
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence:
    """Several values per row in the order of time, such as the items a user saw: a list column or delimited text.

    Args:
        column: Raw column; the feature's name if None.
        of: Categorical feature whose vocabulary and embedding table the values share; None for an own one.
        length: Number of values kept; of longer sequences the latest, which stand at the end.
        separator: Delimiter where the column holds text.
        min_count: As for :class:`Categorical`; only with an own vocabulary.
        max_size: Likewise.

    Raises:
        DataError: If an option is out of range.

    Example:
        >>> feature("history", {"kind": "sequence", "of": "item", "length": 20}).needs()
        ('item',)
    """

    kind: ClassVar[str] = "sequence"
    column: str | None = None
    of: str | None = None
    length: int = 50
    separator: str = ","
    min_count: int = 1
    max_size: int | None = None

    def __post_init__(self) -> None:
        _check(self.length >= 1, f"length is {self.length}", "at least 1")
        _check(bool(self.separator), "separator is empty")
        _check(self.min_count >= 1, f"min_count is {self.min_count}", "at least 1")
        _check(self.max_size is None or self.max_size >= 1, f"max_size is {self.max_size}", "at least 1")

    def columns(self, name: str) -> tuple[str, ...]:
        """Its column."""
        return (self.column or name,)

    def needs(self) -> tuple[str, ...]:
        """The feature whose vocabulary it shares."""
        return (self.of,) if self.of else ()


FEATURES: dict[str, type] = {kind.kind: kind for kind in (Categorical, Numeric, Sequence)}
"""Kinds of features by the name that a recipe gives them."""

Spec = str | Mapping[str, Any] | Feature
"""A feature as a recipe has it: a kind, or a mapping with ``kind`` and options, or the record itself."""


def feature(name: str, spec: Spec) -> Feature:
    """Build one feature.

    Args:
        name: The feature's name, for messages.
        spec: Kind or options.

    Raises:
        DataError: If the kind or an option is unknown or an option is out of range.

    Example:
        >>> feature("age", "numerc")
        Traceback (most recent call last):
        mtl_lightning.errors.DataError: features.age: no kind 'numerc' (did you mean 'numeric'?)
    """
    if not isinstance(spec, str | Mapping):
        return spec
    options = {"kind": spec} if isinstance(spec, str) else dict(spec)
    chosen = options.pop("kind", None)
    if chosen is None:
        raise DataError(f"features.{name}: no kind given", f"one of {', '.join(FEATURES)}")
    if chosen not in FEATURES:
        hint = did_you_mean(str(chosen), FEATURES) or f"one of {', '.join(FEATURES)}"
        raise DataError(f"features.{name}: no kind {chosen!r}", hint)
    known = [option.name for option in fields(FEATURES[chosen])]
    for option in options:
        if option not in known:
            hint = did_you_mean(option, known) or f"options of {chosen}: {', '.join(known)}"
            raise DataError(f"features.{name}: {chosen} has no option {option!r}", hint)
    try:
        built: Feature = FEATURES[chosen](**options)
    except DataError as error:
        raise DataError(f"features.{name}: {error.message}", error.hint) from None
    except TypeError as error:
        raise DataError(f"features.{name}: an option has a wrong type: {error}") from None
    return built


def build_features(specs: Mapping[str, Spec]) -> dict[str, Feature]:
    """Build all features of a recipe and check what they refer to.

    Raises:
        DataError: As for :func:`feature`, or if a reference leads nowhere.
    """
    built = {name: feature(name, spec) for name, spec in specs.items()}
    for name, one in built.items():
        for other in one.needs():
            if other not in built:
                hint = did_you_mean(other, built)
                raise DataError(f"features.{name}: refers to {other!r}, which is no feature", hint)
    return built
