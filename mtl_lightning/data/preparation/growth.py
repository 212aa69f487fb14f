"""Warm-starting from an earlier fit: vocabularies grow, and everything else stays as it was fitted."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from mtl_lightning.data.features.base import Feature
from mtl_lightning.data.features.build import kind_of
from mtl_lightning.data.features.categorical import SharedVocabulary
from mtl_lightning.data.features.vocabulary import FIRST, Vocabulary
from mtl_lightning.errors import ConfigError, Problem
from mtl_lightning.schema import UNKNOWN

if TYPE_CHECKING:
    from mtl_lightning.data.preparation.transforms import Transforms

LOG = logging.getLogger(__name__)

FREE = ("column", "min_count", "max_size", "admit", "expire", "evict", "time", "length", "separator", "from_")
"""Options that may change between runs: they do not affect what an id or a number means."""


@runtime_checkable
class GrowableTransform(Protocol):
    """A transform that keeps the ids of an earlier fit and adds new ones."""

    def grow(self, state: Mapping[str, Any]) -> None:
        """Keep the ids of an earlier fit's state; called before any block is observed."""


def begin(transforms: "Transforms", base: "Transforms") -> None:
    """Warm-start transforms from the fitted transforms of an earlier run.

    Known values keep their ids, and new values get ids after them. Means, scales, edges and classes stay the same, so
    that weights keep their meaning.

    Args:
        transforms: Transforms that are not fitted yet.
        base: Fitted transforms of an earlier run.

    Raises:
        ConfigError: If features or tasks of the two differ; the message lists all differences.

    Example:
        >>> import pyarrow as pa
        >>> from mtl_lightning.data.features.build import build_features
        >>> from mtl_lightning.data.preparation.transforms import Transforms
        >>> yesterday = Transforms(build_features({"user": "categorical"}), ())
        >>> yesterday.fit([pa.table({"user": ["b", "b", "a"]})])
        >>> today = Transforms(build_features({"user": "categorical"}), ())
        >>> begin(today, yesterday)
        >>> today.fit([pa.table({"user": ["c", "c", "c", "a"]})])
        >>> today.encode(pa.table({"user": ["b", "a", "c"]})).ids.flatten().tolist()
        [2, 3, 4]
    """
    problems = [
        *_features(transforms.features, base.features),
        *_tasks(transforms, base),
        *_histories(transforms, base),
    ]
    if problems:
        raise ConfigError(problems)
    transforms.base = base
    for name, transform in transforms.transforms.items():
        if isinstance(transform, GrowableTransform):
            transform.grow(base.transforms[name].state())
    for name, label in transforms.labels.items():
        label.earlier = base.labels.get(name)
    for name, marks in transforms.cold.items():
        if name in base.cold:
            marks.grow(base.cold[name].state())


def _features(new: Mapping[str, Feature], old: Mapping[str, Feature]) -> list[Problem]:
    problems = [Problem(f"features.{name}", "is not a feature of the earlier run") for name in new if name not in old]
    problems += [Problem(f"features.{name}", "is missing; the earlier run has it") for name in old if name not in new]
    for name in new.keys() & old.keys():
        if type(new[name]) is not type(old[name]):
            problems.append(Problem(f"features.{name}", f"is {kind_of(new[name])}, was {kind_of(old[name])}"))
            continue
        before, now = _options(old[name]), _options(new[name])
        problems += [
            Problem(f"features.{name}.{option}", f"is {now[option]!r}, was {before[option]!r}")
            for option in now
            if now[option] != before.get(option)
        ]
    if [name for name in new if name in old] != [name for name in old if name in new]:
        problems.append(Problem("features", "are in another order", f"it was {', '.join(old)}"))
    return problems


def _histories(new: "Transforms", old: "Transforms") -> list[Problem]:
    """Histories whose earlier events are missing, or too few."""
    problems = []
    for name in new.histories.keys() & old.histories.keys():
        length, stored = (part.histories[name].feature.length for part in (new, old))
        if name not in old.latest:
            reason = "is a history, and the earlier run, of another version, has no events of it"
            problems.append(Problem(f"features.{name}", reason, "train the earlier run again, or without init_from"))
        elif length > stored:
            reason = f"is {length}, and the earlier run has the latest {stored} events of a user"
            problems.append(Problem(f"features.{name}.length", reason, f"at most {stored}"))
    return problems


def _options(feature: Feature) -> dict[str, Any]:
    return {name: value for name, value in asdict(feature).items() if name not in FREE}  # type: ignore[call-overload]


def _tasks(new: "Transforms", old: "Transforms") -> list[Problem]:
    shared = [name for name in new.labels if name in old.labels]
    kinds = {name: (new.labels[name].task.kind, old.labels[name].task.kind) for name in shared}
    return [Problem(f"tasks.{name}.kind", f"is {now}, was {was}") for name, (now, was) in kinds.items() if now != was]


def finish(transforms: "Transforms", base: "Transforms") -> None:
    """Restore the state that does not grow; called when the new rows have been observed and fitted.

    Args:
        transforms: Transforms that were fitted after :func:`begin`.
        base: Fitted transforms of the earlier run.
    """
    for name, transform in transforms.transforms.items():
        if not isinstance(transform, GrowableTransform):
            transform.restore(base.transforms[name].state())
    for name, reader in transforms.readers.items():
        reader.types = dict(base.readers[name].types)
    for name, label in transforms.labels.items():
        if label.earlier is not None:
            if label.counter is None and not label.moments.deviation:
                LOG.warning("tasks.%s: the label is the same in all training rows of this run, or missing", name)
            label.counter = None
            label.restore(label.earlier.state())
            earlier = label.earlier.task
            label.task = replace(label.task, mean=earlier.mean, scale=earlier.scale, classes=earlier.classes)


def vocabularies(transforms: "Transforms") -> dict[str, SharedVocabulary]:
    """Return the vocabularies of all features by the names of their embedding tables."""
    owned = (getattr(transform, "own", {}).values() for transform in transforms.transforms.values())
    return {table.name: table for tables in owned for table in tables}


def stayed(transforms: "Transforms", base: "Transforms") -> dict[str, np.ndarray]:
    """Return the earlier ids that still have a place, in the order of their new ids, where ids have left.

    Args:
        transforms: Transforms that were fitted after :func:`begin`.
        base: Fitted transforms of the earlier run.

    Returns:
        By table that an id has left: earlier ids, from the id of unknown values on, [K] int64. The new ids are 1 to K.
    """
    earlier, left = vocabularies(base), {}
    for name, table in vocabularies(transforms).items():
        if table.lifetime is not None and table.lifetime.leaves:
            ids = table.vocabulary.ids(earlier[name].vocabulary.keys, distinct=True)
            if (ids == UNKNOWN).any():
                left[name] = np.append(UNKNOWN, np.flatnonzero(ids != UNKNOWN) + FIRST)
    return left


def known_sizes(transforms: "Transforms", base: "Transforms") -> dict[str, int]:
    """Return the number of ids that each field has from the earlier run; larger ids are new.

    Args:
        transforms: Transforms that were fitted after :func:`begin`.
        base: Fitted transforms of the earlier run.
    """
    left = stayed(transforms, base)
    fields = (field for field in base.schema.fields if field.table)
    return {field.name: len(left[field.table]) + 1 if field.table in left else field.size for field in fields}


def turnover(transforms: "Transforms", base: "Transforms | None") -> dict[str, dict[str, int]]:
    """Count the ids that came and went, by table whose ids may.

    Args:
        transforms: Fitted transforms.
        base: Fitted transforms of the earlier run, if there is one.

    Returns:
        ``ids``, ``admitted``, ``expired``, ``evicted`` (by more frequent values) and ``waiting`` values per table.
    """
    earlier = {} if base is None else vocabularies(base)
    left = {} if base is None else stayed(transforms, base)
    counts = {}
    for name, table in vocabularies(transforms).items():
        if table.usage is not None:
            keys = earlier[name].vocabulary.keys if name in earlier else pa.array([], table.vocabulary.keys.type)
            gone = np.setdiff1d(np.arange(len(keys)), left[name] - FIRST) if name in left else np.zeros(0, np.int64)
            ids = len(table.vocabulary.keys)
            waiting = Vocabulary(table.usage.waiting)
            evicted = int((waiting.ids(keys.take(pa.array(gone)), distinct=True) != UNKNOWN).sum())
            counts[name] = {
                "ids": ids,
                "admitted": ids - len(keys) + len(gone),
                "expired": len(gone) - evicted,
                "evicted": evicted,
                "waiting": len(table.usage.waiting),
            }
    return counts
