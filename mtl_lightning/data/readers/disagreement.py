"""Description of files of one table whose columns have incompatible types."""

from collections.abc import Sequence

import pyarrow as pa

from mtl_lightning.data.arrow.types import is_number, is_text, is_time

ZONES = "write the times of all files with one zone, or all without"


def describe_disagreement(paths: Sequence[str], schemas: Sequence[pa.Schema]) -> tuple[str, str]:
    """Describe the first column on whose type two files disagree: a message with both files, and a hint.

    Args:
        paths: The files.
        schemas: Schema of each file.

    Example:
        >>> zoned, plain = (pa.schema({"t": pa.timestamp("us", zone)}) for zone in ("UTC", None))
        >>> message, hint = describe_disagreement(["a.parquet", "b.parquet"], [zoned, plain])
        >>> message
        "files disagree on the column 't': timestamp[us, tz=UTC] in a.parquet, timestamp[us] in b.parquet"
    """
    known: dict[str, tuple[str, pa.DataType]] = {}
    pairs = []
    for path, schema in zip(paths, schemas, strict=True):
        for field in schema:
            first, kind = known.setdefault(field.name, (path, field.type))
            if not _fit(kind, field.type):
                pairs.append((field.name, first, kind, path, field.type))
    if not pairs:
        return "files disagree on a column", "write all files with the same types"
    # Some readers combine text and numbers: name such a pair only if there is no other.
    pairs.sort(key=lambda pair: {is_text(pair[2]), is_text(pair[4])} == {True, False} and _plain(pair[2], pair[4]))
    name, first, kind, second, other = pairs[0]
    message = f"files disagree on the column {name!r}: {kind} in {first}, {other} in {second}"
    return message, ZONES if is_time(kind) and is_time(other) else "write it with the same type in all files"


def _fit(first: pa.DataType, second: pa.DataType) -> bool:
    try:
        pa.unify_schemas([pa.schema({"x": first}), pa.schema({"x": second})], promote_options="permissive")
    except pa.ArrowException:
        return False
    return True


def _plain(*kinds: pa.DataType) -> bool:
    return all(is_text(kind) or is_number(kind) or pa.types.is_boolean(kind) for kind in kinds)
