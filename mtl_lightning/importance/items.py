"""Features that are permuted together."""

from collections.abc import Mapping
from typing import Any

from mtl_lightning.data.features.base import Feature
from mtl_lightning.errors import MtlError, did_you_mean

Items = dict[str, tuple[str, ...]]
"""Names of features by the name of what is permuted as one."""


def items(features: Mapping[str, Feature], groups: Mapping[str, Any] | None = None) -> Items:
    """Divide features into what is permuted together.

    Groups come first. Of the other features, those that read one column, and the same one, are together: permuting one
    of them leaves its information to the others. The name of such an item lists its features.

    Args:
        features: Features of a recipe by name.
        groups: Lists of features by name. A feature may be in several; it is then not an item of its own.

    Raises:
        MtlError: If a group is not a list of features, or has the name of a feature outside it.

    Example:
        >>> from mtl_lightning.data.features.build import build_features
        >>> features = build_features({"user": "hashed", "age": "numeric", "sex": "categorical", "price": "numeric",
        ...                            "level": {"kind": "buckets", "column": "price"}})
        >>> items(features, {"person": ["age", "sex"]})
        {'person': ('age', 'sex'), 'user': ('user',), 'price + level': ('price', 'level')}
    """
    result: Items = {}
    for name, members in (groups or {}).items():
        result[str(name)] = _group(f"groups.{name}", members, features)
    grouped = {member for members in result.values() for member in members}
    by_column: dict[tuple[str, ...], list[str]] = {}
    for name, feature in features.items():
        if name not in grouped:
            columns = feature.columns(name)
            by_column.setdefault(columns if len(columns) == 1 else ("", name), []).append(name)
    for together in by_column.values():
        name = " + ".join(together)
        if name in result:
            raise MtlError(f"groups.{name} has the name of a feature that it lacks", "choose another name")
        result[name] = tuple(together)
    return result


def _group(path: str, members: Any, features: Mapping[str, Feature]) -> tuple[str, ...]:
    if not isinstance(members, list) or not members:
        raise MtlError(f"{path} is {members!r}, not a list of features", f"write {path}=[first,second]")
    for member in members:
        if not isinstance(member, str) or member not in features:
            raise MtlError(f"{path}: no feature {member!r}", did_you_mean(str(member), features, listing=len(features)))
    return tuple(dict.fromkeys(members))
