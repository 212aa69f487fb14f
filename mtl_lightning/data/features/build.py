"""Builders of features and transforms from a recipe's specifications."""

import keyword
from collections.abc import Mapping
from typing import Any

from mtl_lightning.data.features.base import Feature, Transform
from mtl_lightning.errors import DataError, PluginError, did_you_mean
from mtl_lightning.plugins import registry
from mtl_lightning.plugins.names import Registry
from mtl_lightning.validation.order import CycleError, sort_by_needs
from mtl_lightning.validation.review import Review

__all__ = [
    "Feature",
    "Spec",
    "build_features",
    "build_transforms",
    "feature",
    "kind_of",
    "option_name",
    "parameter_name",
    "read_features",
]

Spec = str | Mapping[str, Any] | Feature
"""Specification of a feature: a kind, a mapping with ``kind`` and options, or the feature itself."""


def feature(name: str, spec: Spec) -> Feature:
    """Build one feature.

    Args:
        name: Name of the feature, for messages.
        spec: Its specification.

    Raises:
        DataError: If the kind or an option is unknown, or an option has a wrong type or size.

    Example:
        >>> feature("age", "numerc")
        Traceback (most recent call last):
        mtl_lightning.errors.DataError: features.age.kind: no feature is called 'numerc' (did you mean 'numeric'?)
    """
    review = Review()
    built = _read(name, spec, review, registry())
    review.raise_problems()
    assert built is not None
    return built


def _read(name: str, spec: Any, review: Review, names: Registry) -> Feature | None:
    """Build one feature, or add to the review why that is impossible."""
    path = f"features.{name}"
    if isinstance(spec, Feature):
        return spec
    options = {"kind": spec} if isinstance(spec, str) else spec
    if not isinstance(options, Mapping):
        review.problem(path, f"expects a kind, not {spec!r}", "one of " + ", ".join(names.names("feature")))
        return None
    kind = options.get("kind")
    if kind is None:
        review.problem(f"{path}.kind", "is required", "one of " + ", ".join(names.names("feature")))
        return None
    try:
        target = names.resolve("feature", str(kind))
    except PluginError as error:
        review.problem(f"{path}.kind", error.message, error.hint or "one of " + ", ".join(names.names("feature")))
        return None
    given = {parameter_name(str(option)): value for option, value in options.items() if option != "kind"}
    built: Feature | None = review.record(path, target, given, owner=f"{kind} features", also=("kind",))
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


def read_features(specs: Mapping[str, Spec], review: Review, names: Registry | None = None) -> dict[str, Feature]:
    """Build the features of a recipe that can be built.

    Args:
        specs: Specifications by name.
        review: Receives the problems of all others, of wrong references, and of references in a circle.
        names: Registry of kinds; the installed plugins if None.
    """
    names = registry() if names is None else names
    features: dict[str, Feature] = {}
    for name, spec in specs.items():  # pandas columns may be numbers
        built = _read(str(name), spec, review, names)
        if built is not None:
            features[str(name)] = built
    known = [str(name) for name in specs]
    for name, built in features.items():
        for other in built.needs():
            referred = features.get(other)
            if other not in known:
                review.problem(f"features.{name}.of", f"no feature {other!r}", did_you_mean(other, known))
            elif referred is not None and (reason := built.refuses(referred)):
                hint = "it must be categorical" if reason.startswith("is ") else "name another feature"
                review.problem(f"features.{name}.of", f"{other!r} {reason}", hint)
    try:
        _in_order(features)
    except CycleError as error:
        review.problem(f"features.{error.chain[0]}.of", f"features refer to each other: {error}", "break the cycle")
    return features


def build_features(specs: Mapping[str, Spec]) -> dict[str, Feature]:
    """Build all features of a recipe and check what they refer to.

    Raises:
        DataError: With all problems; see :func:`read_features`.
    """
    review = Review()
    features = read_features(specs, review)
    review.raise_problems()
    return features


def build_transforms(features: Mapping[str, Feature]) -> dict[str, Transform]:
    """Build a transform per feature, in the order of the features; features that others refer to are built first.

    Raises:
        DataError: If features refer to each other in a circle.
    """
    built: dict[str, Transform] = {}
    try:
        for name in _in_order(features):
            built[name] = features[name].build(name, built)
    except CycleError as error:
        raise DataError(f"features.{error.chain[0]}.of: features refer to each other: {error}") from None
    return {name: built[name] for name in features}


def _in_order(features: Mapping[str, Feature]) -> list[str]:
    return sort_by_needs({name: (*built.needs(), *built.shares(features)) for name, built in features.items()})
