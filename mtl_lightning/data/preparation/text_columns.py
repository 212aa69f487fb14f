"""Columns of text in files without types: a column that was text when a model was trained stays text."""

from collections.abc import Iterable, Mapping
from typing import Protocol, runtime_checkable

import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.data.arrow.columns import Block, column_chunks
from mtl_lightning.data.arrow.types import is_text
from mtl_lightning.data.features.base import Feature, expression_of
from mtl_lightning.interfaces import Source

PARSED_KINDS = ("numeric", "buckets")
"""Kinds of features that parse text as numbers."""


@runtime_checkable
class UntypedSource(Protocol):
    """A source whose format leaves types open, as CSV does."""

    def as_text(self, columns: Iterable[str]) -> None:
        """Read these columns as text as well; called before rows are read."""


def read_as_text(source: Source, columns: Iterable[str]) -> None:
    """Let a source read columns as text if its format leaves that open.

    Args:
        source: Source of the rows.
        columns: Columns that were text when a model was trained. The version 1.10 stays text, even in a file where
            every value looks like a number.
    """
    if isinstance(source, UntypedSource):
        source.as_text(columns)


def text_columns(block: Block, names: Iterable[str]) -> set[str]:
    """Return the columns that hold text which is not always a number.

    Args:
        block: Block of rows.
        names: Names of columns; names that the block lacks are ignored.

    Example:
        >>> text_columns(pa.table({"user": ["a"], "price": [1.0], "code": ["1.50"]}), ["user", "price", "code", "day"])
        {'user'}
    """
    return {name for name in names if name in block.schema.names and any(map(_has_words, column_chunks(block, name)))}


def _has_words(values: pa.Array) -> bool:
    if pa.types.is_dictionary(values.type):
        values = values.dictionary
    if not is_text(values.type):
        return False
    try:
        pc.cast(values, pa.float64())
    except pa.ArrowException:
        return True
    return False


def parsed_columns(features: Mapping[str, Feature], others: Iterable[str]) -> set[str]:
    """Return the columns that only features of numbers read; a source may therefore parse their text.

    Args:
        features: Features by name.
        others: Columns with other uses.

    Example:
        >>> from mtl_lightning.data.features.build import build_features
        >>> older = {"kind": "categorical", "column": "age"}
        >>> features = build_features({"price": "numeric", "age": "buckets", "older": older})
        >>> parsed_columns(features, ["click"])
        {'price'}
    """
    numeric, text = set[str](), set(others)
    for name, feature in features.items():
        parsed = feature.kind in PARSED_KINDS and expression_of(feature) is None
        (numeric if parsed else text).update({*feature.columns(name), *feature.event_columns(name)})
    return numeric - text
