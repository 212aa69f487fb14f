"""How a recipe reads columns, as written, as lists or as numbers: the types of CSV columns follow it."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from mtl_lightning.data.features.base import Feature
from mtl_lightning.data.features.sequence import Sequence
from mtl_lightning.data.preparation.split import SplitSpec
from mtl_lightning.data.preparation.text_columns import read_as_text
from mtl_lightning.data.readers.uses import TypedByUse, Uses
from mtl_lightning.data.targets.tasks import bare_name, columns_of, names_classes
from mtl_lightning.interfaces import Source
from mtl_lightning.schema import Task


class Fitted(Protocol):
    """What fitted transforms know of the types that columns had."""

    text: set[str]
    tokens: tuple[str, ...] | None


def read_for(source: Source, uses: Uses, fitted: Fitted | None = None) -> tuple[str, ...] | None:
    """Let a source give columns the types that their uses need, if its format leaves types open.

    Args:
        source: Where rows come from.
        uses: How columns are read.
        fitted: Transforms of an earlier run, whose values mean what they meant: what was text stays text, and where
            that run read numbers, whatever their use, so does this one.

    Returns:
        Columns whose values are read as they are written; None if their use doesn't decide.
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
) -> Uses:
    """The uses of all columns; names that no source has are among them where an expression may also be a name.

    Example:
        >>> from mtl_lightning.data.features.build import build_features
        >>> features = build_features({"user": "categorical", "price": "numeric"})
        >>> uses = column_uses(features, [Task(name="buy", kind="binary", label="price > 2 * mean")])
        >>> sorted(uses.tokens), sorted(uses.numbers)
        (['user'], ['mean', 'price', 'price > 2 * mean'])
    """
    tokens = {group} if group else set()
    lists: set[str] = set()
    numbers = set(raw)
    for name, feature in features.items():
        read = feature.tokens(name)
        tokens |= set(read)
        lists |= set(read) if isinstance(feature, Sequence) else set()
        numbers |= {*feature.columns(name), *feature.event_columns(name)} - set(read)
    for task in tasks:
        numbers |= {task.oracle} if task.oracle else set()
        for text in (task.label, task.observed_when, task.sample_weight):
            if text is None or (text is task.label and names_classes(task)):
                continue
            numbers |= columns_of(text)
        if names_classes(task):
            tokens.add(bare_name(task.label))
            lists |= {bare_name(task.label)} if task.kind == "multilabel" else set()
    if split is not None:
        ids = {split.column} if split.by in ("user", "last", "given") and split.column else set()
        tokens |= {*ids, *split.cold}
        numbers |= {*split.columns} - ids
    named = [frozenset(one for one in names if isinstance(one, str)) for names in (tokens, lists, numbers - lists)]
    return Uses(*named)  # a recipe that isn't checked yet may have anything where a name is expected
