"""Uses of columns by a recipe (as written, as lists or as numbers), which decide on the types of CSV columns."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from mtl_lightning.data.features.base import Feature
from mtl_lightning.data.features.history import History
from mtl_lightning.data.features.overlap import Overlap
from mtl_lightning.data.features.sequence import Sequence
from mtl_lightning.data.preparation.split import SplitSpec
from mtl_lightning.data.preparation.text_columns import read_as_text
from mtl_lightning.data.readers.uses import TypedByUse, Uses
from mtl_lightning.data.targets.tasks import bare_name, columns_of, names_classes
from mtl_lightning.interfaces import Source
from mtl_lightning.schema import Task


class EarlierTypes(Protocol):
    """Types of columns in the run that fitted some transforms."""

    text: set[str]
    """Columns that held text."""
    tokens: tuple[str, ...] | None
    """Columns whose values were read as written; None if their use did not decide on types."""


def read_for(source: Source, uses: Uses, fitted: EarlierTypes | None = None) -> tuple[str, ...] | None:
    """Let a source give columns the types that their uses need, if its format leaves types open.

    Args:
        source: Source of the rows.
        uses: Uses of the columns.
        fitted: Transforms of an earlier run, or None. Columns that were text in that run stay text. If their use did
            not decide on types then, it does not now.

    Returns:
        Columns whose values are read as they are written, sorted; None if their use does not decide on types.
    """
    if fitted is not None:
        read_as_text(source, fitted.text)
        if fitted.tokens is None:
            return None
    if isinstance(source, TypedByUse):
        source.follow(uses)
    return tuple(sorted(uses.tokens))


def column_uses(
    features: Mapping[str, Feature],
    tasks: Iterable[Task] = (),
    split: SplitSpec | None = None,
    group: str | None = None,
    raw: Iterable[str] = (),
    keys: Iterable[str] = (),
) -> Uses:
    """Return the uses of all columns.

    An expression may also be the name of a column. Its text is therefore among the names, even if no source has it.

    Args:
        features: Features by name.
        tasks: Tasks.
        split: How rows are divided.
        group: Column with the user, or None.
        raw: Raw numeric columns.
        keys: Columns with keys of side tables.

    Example:
        >>> from mtl_lightning.data.features.build import build_features
        >>> features = build_features({"user": "categorical", "price": "numeric"})
        >>> uses = column_uses(features, [Task(name="buy", kind="binary", label="price > 2 * mean")])
        >>> sorted(uses.tokens), sorted(uses.numbers)
        (['user'], ['mean', 'price', 'price > 2 * mean'])
    """
    tokens = {*keys, *([group] if group else [])}
    lists: set[str] = set()
    numbers = set(raw)
    for name, feature in features.items():
        written = feature.tokens(name)
        tokens |= set(written)
        lists |= set(written) if isinstance(feature, Sequence | Overlap) else set()
        numbers |= {*feature.columns(name), *feature.event_columns(name)} - set(written)
    for task in tasks:
        numbers |= {task.oracle} if task.oracle else set()
        for text in (task.label, task.observed_when, task.sample_weight):
            if text is None or (text is task.label and names_classes(task)):
                continue
            numbers |= columns_of(text)
        if names_classes(task):
            tokens.add(bare_name(task.label))
            lists |= {bare_name(task.label)} if task.traits.several else set()
    if split is not None:
        ids = {split.column} if split.by in ("user", "last", "given") and split.column else set()
        tokens |= {*ids, *split.cold}
        numbers |= {*split.columns} - ids
    # A recipe that is not checked yet may have any value in place of a name.
    return Uses(
        *(frozenset(name for name in names if isinstance(name, str)) for names in (tokens, lists, numbers - lists))
    )


def with_events(uses: Uses, features: Mapping[str, Feature]) -> Uses:
    """Return the uses of the columns of side tables, which events from files of their own read as well.

    Args:
        uses: Uses of the log's columns.
        features: Features by name.
    """
    histories = [feature for feature in features.values() if isinstance(feature, History)]
    tokens = uses.tokens.union(*(feature.event_tokens for feature in histories))
    numbers = uses.numbers | {name for feature in histories for name in feature.numbers} - tokens
    return Uses(tokens, uses.lists, numbers)
