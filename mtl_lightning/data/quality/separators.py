"""Sequences whose text is not divided, because it has another separator than the feature."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.data.arrow.columns import as_written
from mtl_lightning.data.arrow.types import is_text
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.features.sequence import Sequence
from mtl_lightning.data.preparation.split_reader import SplitReader
from mtl_lightning.data.quality.findings import Finding

SIGNS = ("|", ";", ",", "\t", "::")
"""Common separators."""

NUMBERS = r"^-?[0-9]+( +-?[0-9]+)+$"
"""Numbers with blanks between them. Between words, a blank may be a part of a name."""

SHARE = 0.02
"""Share of rows above which another separator is reported."""


def separator_findings(data: DataModule) -> Iterator[Finding]:
    """Yield a finding for each sequence feature whose text seems to have another separator, by the first block.

    Example:
        >>> import tempfile
        >>> rows = {"genres": ["Comedy|Drama", "Drama"] * 10, "click": [0, 1] * 10}
        >>> data = DataModule.from_frame(rows, features={"genres": "sequence"}, tasks={"click": "binary"},
        ...                              cache_dir=tempfile.mkdtemp())
        >>> [finding.name for finding in separator_findings(data)]
        ['unsplit:genres']
    """
    raw = {*data.source.schema().columns}
    features = {
        name: feature
        for name, feature in data.features.items()
        if isinstance(feature, Sequence) and {*feature.columns(name)} <= raw and feature.expression is None
    }
    columns = tuple({column for name, feature in features.items() for column in feature.columns(name)})
    block = next(SplitReader(data.source, data.split, columns).train(), None) if columns else None
    for name, feature in features.items() if block is not None else ():
        values = pc.drop_null(as_written(block, feature.columns(name)[0]))
        sign = _other(values, feature.separator) if is_text(values.type) and len(values) else None
        if sign is not None:
            shown, share = repr(sign[0]).replace("'", '"'), sign[1] / len(values)
            yield Finding(
                level="warning",
                name=f"unsplit:{name}",
                reason=f"{share:.0%} of {name!r} hold {shown}, hardly any the separator {feature.separator!r}",
                hint=f"features.{name}.separator={shown}",
            )


def _other(values: pa.Array, separator: str) -> tuple[str, int] | None:
    """Return the sign that most rows have, and their number, if it is not the separator."""
    divided = _count(pc.match_substring(values, separator))
    counts = {sign: _count(pc.match_substring(values, sign)) for sign in SIGNS if sign != separator}
    if separator != " ":
        counts[" "] = _count(pc.match_substring_regex(values, NUMBERS))
    sign = max(counts, key=counts.__getitem__)
    count = counts[sign]
    return (sign, count) if count > SHARE * len(values) and 10 * divided < count else None


def _count(matches: pa.Array) -> int:
    return int(pc.sum(matches).as_py() or 0)
