"""Builders of features and transforms from a recipe's specifications."""

import keyword
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from mtl_lightning.data.features.base import Feature, Transform
from mtl_lightning.errors import DataError, PluginError, did_you_mean
from mtl_lightning.plugins import registry

__all__ = [
    "Feature",
    "Spec",
    "build_features",
    "build_transforms",
    "feature",
    "kind_of",
    "option_name",
    "parameter_name",
]

Spec = str | Mapping[str, Any] | Feature
"""Specification of a feature: a kind, a mapping with ``kind`` and options, or the feature itself."""


def feature(name: str, spec: Spec) -> Feature:
    """Build one feature.

    Args:
        name: Name of the feature, for messages.
        spec: Its specification.

    Raises:
        DataError: If the kind or an option is unknown, or an option is out of range.

    Example:
        >>> feature("age", "numerc")
        Traceback (most recent call last):
        mtl_lightning.errors.DataError: features.age: no feature is called 'numerc' (did you mean 'numeric'?)
    """
    if not isinstance(spec, str | Mapping):
        return spec
    options = {"kind": spec} if isinstance(spec, str) else {parameter_name(key): value for key, value in spec.items()}
    chosen = options.pop("kind", None)
    if isinstance(options.get("column"), int):
        options["column"] = str(options["column"])
    if chosen is None:
        raise DataError(f"features.{name}: no kind given", f"one of {', '.join(registry().names('feature'))}")
    try:
        kind: Any = registry().resolve("feature", str(chosen))
    except PluginError as error:
        hint = error.hint or f"one of {', '.join(registry().names('feature'))}"
        raise DataError(f"features.{name}: {error.message}", hint) from error
    known = [option.name for option in fields(kind)]
    for option in options:
        if option not in known:
            hint = did_you_mean(option, known) or f"options of {chosen}: {', '.join(map(option_name, known))}"
            raise DataError(f"features.{name}: {chosen} has no option {option!r}", hint)
    required = [option.name for option in fields(kind) if option.default is MISSING]
    if missing := [option_name(option) for option in required if option not in options]:
        raise DataError(f"features.{name}: {chosen} needs {missing[0]!r}", f"set features.{name}.{missing[0]}")
    try:
        built: Feature = kind(**options)
    except DataError as error:
        raise DataError(f"features.{name}: {error.message}", error.hint) from None
    except TypeError as error:
        raise DataError(f"features.{name}: an option has a wrong type: {error}") from None
    return built


def parameter_name(option: str) -> str:
    """Return the constructor's parameter for an option: options named by a Python keyword end with an underscore.

    Example:
        >>> parameter_name("with"), parameter_name("length")
        ('with_', 'length')
    """
    return f"{option}_" if keyword.iskeyword(option) else option


def option_name(parameter: str) -> str:
    """Return the option of a recipe for a parameter; the inverse of :func:`parameter_name`.

    Example:
        >>> option_name("with_"), option_name("length")
        ('with', 'length')
    """
    plain = parameter.removesuffix("_")
    return plain if keyword.iskeyword(plain) else parameter


def kind_of(feature: Feature) -> str:
    """Return the name of the kind of a feature, qualified if several plugins have a kind of that name.

    Example:
        >>> kind_of(build_features({"age": "numeric"})["age"])
        'numeric'
    """
    return registry().name_of("feature", type(feature)) or feature.kind


def build_features(specs: Mapping[str, Spec]) -> dict[str, Feature]:
    """Build all features of a recipe and check the features that they refer to.

    Raises:
        DataError: As for :func:`feature`, or if a referenced feature is missing or of the wrong kind.
    """
    built = {str(name): feature(str(name), spec) for name, spec in specs.items()}  # pandas columns may be numbers
    for name, current in built.items():
        for other in current.needs():
            if other not in built:
                hint = did_you_mean(other, built)
                raise DataError(f"features.{name}.of: no feature {other!r}", hint)
            if reason := current.refuses(built[other]):
                raise DataError(f"features.{name}.of: {other!r} {reason}", "it must be categorical")
    return built


def build_transforms(features: Mapping[str, Feature]) -> dict[str, Transform]:
    """Build a transform per feature, in the order of the features; features that others refer to are built first.

    Raises:
        DataError: If features refer to each other in a circle.
    """
    built: dict[str, Transform] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise DataError(f"features.{name}.of: features refer to each other: {' → '.join((*path, name))}")
        if name not in built:
            for other in (*features[name].needs(), *features[name].shares(features)):
                visit(other, (*path, name))
            built[name] = features[name].build(name, built)

    for name in features:
        visit(name, ())
    return {name: built[name] for name in features}
