"""Ali-CCP: impressions of a shop's recommendations, from the raw files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.data.sources.delimited import Form, read_blocks, read_tables
from mtl_lightning.data.sources.multivalued import as_list
from mtl_lightning.data.sources.raw_log import RawLog, append_columns, declare
from mtl_lightning.errors import DataError

# Fields of the file of common features, and of the skeleton.
COMMON_FIELDS = ("101", "109_14", "110_14", "127_14", "150_14", "121", "122", "124", "125", "126", "127", "128", "129")
OWN_FIELDS = ("205", "206", "207", "210", "216", "508", "509", "702", "853", "301")
SEVERAL = {"109_14": 50, "110_14": 50, "127_14": 50, "150_14": 50, "210": 10, "508": 5, "509": 5, "702": 5, "853": 10}
"""Fields with many values, and the suggested length of their sequences."""
SKELETON = Form(
    columns={
        "sample_id": pa.string(),
        "click": pa.int8(),
        "purchase": pa.int8(),
        "common_feature_index": pa.string(),
        "feature_num": pa.int64(),
        "feature_list": pa.string(),
    },
    header=False,
    quoted=False,
)
COMMON = Form(
    columns={"common_feature_index": pa.string(), "feature_num": pa.int64(), "feature_list": pa.string()},
    header=False,
    quoted=False,
)
LIST, WEIGHTS = pa.list_(pa.string()), pa.list_(pa.float32())


def _kinds(fields: tuple[str, ...]) -> dict[str, pa.DataType]:
    """Types of the columns of some fields: ids, and weights where a field has many values."""
    weights = {f"f{field}_weight": WEIGHTS for field in fields if field in SEVERAL}
    return {f"f{field}": LIST for field in fields} | weights


def _feature(field: str) -> dict[str, Any]:
    """Suggested feature of a field."""
    if field not in SEVERAL:
        return {"kind": "sequence", "length": 1}
    return {"kind": "sequence", "length": SEVERAL[field], "weights": f"f{field}_weight"}


class AliCCP(RawLog):
    """Source of 84 million impressions of a shop's recommendations, with clicks and purchases (Ma et al., 2018).

    - Fields are named ``f101`` and so on. They are lists of feature ids, because every field may repeat; a missing
      field is an empty list.
    - Fields with many values have their weights in parallel lists, ``f109_14_weight`` and so on. A value without a
      weight has a null.
    - Features that impressions of a user have in common come from the file of common features.
    - Impressions with a purchase but no click, which the raw file has, are dropped.

    Args:
        path: Directory with ``sample_skeleton_{train,test}.csv`` and ``common_features_{train,test}.csv``.

    Raises:
        DataError: If a file is missing, a line has a wrong number of values, a weight is not a number of at least 0, or
            an index is repeated.

    Example:
        >>> AliCCP(path="ali-ccp").schema().tasks["purchase"]["parents"]
        ['click']
    """

    name = "ali_ccp"
    raw, arrow = declare(
        {"sample_id": (pa.string(), None), "click": (pa.int8(), None), "purchase": (pa.int8(), None)}
        | {
            name: (kind, _feature(name[1:]) if kind == LIST else None)
            for name, kind in _kinds((*COMMON_FIELDS, *OWN_FIELDS)).items()
        },
        {
            "click": {"kind": "binary", "label": "click"},
            "purchase": {"kind": "binary", "label": "purchase", "parents": ["click"]},
        },
        splits=("train", "test"),
        after_event=("click", "purchase"),
    )

    def files(self) -> list[Path]:
        """Skeletons and common features of both splits."""
        return [
            self.find(f"{kind}_{split}.csv")
            for split in self.raw.splits
            for kind in ("sample_skeleton", "common_features")
        ]

    def tables(self, split: str | None) -> Iterator[pa.Table]:
        """Read the impressions of a split, with the features of both files."""
        skeleton, common = self.find(f"sample_skeleton_{split}.csv"), self.find(f"common_features_{split}.csv")
        kinds = {"common_feature_index": pa.string()} | _kinds(COMMON_FIELDS)
        shared = self.side(f"common-{split}", [common], kinds, "common_feature_index", _common(common))
        for table in read_tables(skeleton, SKELETON):
            table = table.filter(pc.or_(pc.equal(table["click"], 1), pc.equal(table["purchase"], 0)))
            own = _fields(skeleton, table["feature_list"].combine_chunks(), OWN_FIELDS)
            yield append_columns(append_columns(table, own), _filled(shared.take(table["common_feature_index"])))


def fields_of(texts: pa.Array, fields: tuple[str, ...]) -> pa.Table:
    r"""Extract feature ids and weights by field from pieces ``field\x02id\x03weight`` joined by ``\x01``.

    Args:
        texts: Joined pieces of each row, [N].
        fields: Fields to extract, with weights if they are in :data:`SEVERAL`.

    Raises:
        DataError: If a weight is not a number of at least 0.

    Example:
        >>> fields_of(pa.array(["210\x02a\x030.5\x01210\x02b\x032.0\x01999\x02c\x031.0", None]), ("210",)).to_pydict()
        {'f210': [['a', 'b'], []], 'f210_weight': [[0.5, 2.0], []]}
    """
    pieces = as_list(texts, "\x01")
    row = np.repeat(np.arange(len(texts)), np.diff(pieces.offsets.to_numpy()))
    parts = pc.extract_regex(pieces.values, "^(?P<field>[^\x02]*)\x02(?P<id>[^\x03]*)(?:\x03(?P<weight>.*))?$")
    field, ids, weights = (pc.struct_field(parts, part) for part in ("field", "id", "weight"))
    columns = {}
    for name in fields:
        here = pc.fill_null(pc.equal(field, name), False)
        mask = here.to_numpy(zero_copy_only=False)
        offsets = np.zeros(len(texts) + 1, dtype=np.int32)
        np.cumsum(np.bincount(row[mask], minlength=len(texts)), out=offsets[1:])
        columns[f"f{name}"] = pa.ListArray.from_arrays(pa.array(offsets), ids.filter(here))
        if name in SEVERAL:
            columns[f"f{name}_weight"] = pa.ListArray.from_arrays(pa.array(offsets), _numbers(weights.filter(here)))
    return pa.table(columns)


def _numbers(texts: pa.Array) -> pa.Array:
    """Read weights; null where there is none."""
    known = pc.and_kleene(pc.is_valid(texts), pc.not_equal(texts, ""))
    right = pc.or_kleene(pc.invert(known), pc.match_substring_regex(texts, r"^\+?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"))
    if pc.any(pc.invert(right)).as_py():
        wrong = texts[pc.index(right, False).as_py()].as_py()
        raise DataError(f"{wrong!r} is not a weight", "field\\x02id\\x03weight with a weight of at least 0")
    return pc.if_else(known, texts, pa.scalar(None, pa.string())).cast(pa.float32())


def _fields(path: Path, texts: pa.Array, fields: tuple[str, ...]) -> pa.Table:
    """:func:`fields_of`, with the file in its error."""
    try:
        return fields_of(texts, fields)
    except DataError as error:
        raise DataError(f"{path}: {error.message}", error.hint) from error


def _common(path: Path) -> Iterator[pa.Table]:
    for batch in read_blocks(path, COMMON):
        own = _fields(path, batch["feature_list"], COMMON_FIELDS)
        yield append_columns(pa.table({"common_feature_index": batch["common_feature_index"]}), own)


def _filled(table: pa.Table) -> pa.Table:
    """Replace nulls by empty lists, for impressions whose index is not among the common features."""
    columns = {name: table[name] for name in table.column_names}
    return pa.table(
        {name: pc.if_else(pc.is_valid(part), part, pa.scalar([], part.type)) for name, part in columns.items()}
    )
